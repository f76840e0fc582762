"""Candidates on a Ray cluster: each is a task that runs the trainer's own process on some node.

Data set and model travel through Ray's object store. A task whose node dies is run again on another one; a
trainer that fails is not, since it would fail again. Every node has holdfast installed, of this version.
"""

from __future__ import annotations

import os
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

import holdfast
from holdfast.clock import Clock, SystemClock
from holdfast.errors import HoldfastError, MissingExtraError
from holdfast.spec.checklist import Training
from holdfast.train.candidates import Candidate, Finished
from holdfast.train.errors import TrainerFailedError
from holdfast.train.running import LOG_FILE, Progress, Trained, run_trainer
from holdfast.train.trainer_process import Order

CONNECT_S: Final = 10.0
RETRIES: Final = 3
"""Of a task whose node died."""
LARGEST_CODE_BYTES: Final = 10_000_000
_POLL_S: Final = 0.5
_MODEL_FILES: Final = ("model.onnx", "model.joblib")


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What a node needs for one candidate, beside the two splits."""

    order: bytes
    code: dict[str, bytes]
    """The modules of the deployment folder, by file name."""
    timeout_s: float
    show_output: bool
    version: str


class Returned(msgspec.Struct, frozen=True, kw_only=True):
    """What comes back from a node."""

    node: str
    log: bytes
    name: str = ""
    model: bytes = b""
    seconds: float = 0.0
    loss: float | None = None
    error: str = ""


def run_on_ray(
    orders: list[Order],
    settings: Training,
    *,
    clock: Clock,
    progress: Progress | None,
    show_output: bool,
) -> list[Finished]:
    """Train all of them at once, as far as the cluster has room.

    Raises:
        MissingExtraError: Ray is not installed.
        TrainerFailedError: there is no such cluster, or no node of it has so many cores.
    """
    if find_spec("ray") is None:
        raise MissingExtraError("ray", "ray")
    import ray

    ours = not ray.is_initialized()
    if ours:
        _connect(ray, settings)
    try:
        _require_room(ray, settings)
        data_set = orders[0].data_set
        splits = [ray.put(Path(path).read_bytes()) for path in (data_set.train, data_set.dev)]
        task = ray.remote(
            num_cpus=settings.cores,
            memory=settings.memory_mb * 1024 * 1024,
            max_retries=RETRIES,
            scheduling_strategy="SPREAD",
        )(on_node)
        code = _code(Path(orders[0].import_from))
        waiting = {
            task.remote(
                msgspec.json.encode(_parcel(order, code, settings, show_output=show_output)), *splits
            ): order
            for order in orders
        }
        return _gather(ray, waiting, settings, clock=clock, progress=progress)
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, settings: Training) -> None:
    host, _, port = settings.ray_address.rpartition("://")[2].rpartition(":")
    try:
        if port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
        ray.init(address=settings.ray_address, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise TrainerFailedError(
            "no Ray cluster can be reached",
            where=f"[training] ray_address = {settings.ray_address!r}",
            received=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
            next_step="Start one with `ray start --head`, or name the address of its head node",
        ) from error


def _require_room(ray: Any, settings: Training) -> None:
    """A task that no node can ever hold would wait for ever."""
    nodes = [one["Resources"] for one in ray.nodes() if one["Alive"]]
    needed_bytes = settings.memory_mb * 1024 * 1024
    for one in nodes:
        if one.get("CPU", 0) >= settings.cores and one.get("memory", 0) >= needed_bytes:
            return
    have = ", ".join(
        f"{one.get('CPU', 0):g} cores and {one.get('memory', 0) / 2**20:.0f} MB" for one in nodes
    )
    raise TrainerFailedError(
        "no node of the Ray cluster has room for a trainer",
        where="[training] cores, memory_mb",
        expected=f"{settings.cores} cores and {settings.memory_mb} MB on one node",
        received=have or "no node is alive",
    )


def _code(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in sorted(folder.glob("*.py"))}
    if sum(map(len, found.values())) > LARGEST_CODE_BYTES:
        raise TrainerFailedError(
            "the modules of the deployment folder are too large to send to every node",
            where=str(folder),
            expected=f"at most {LARGEST_CODE_BYTES} bytes",
            next_step="Install them on the nodes as a package",
        )
    return found


def _parcel(order: Order, code: dict[str, bytes], settings: Training, *, show_output: bool) -> Parcel:
    return Parcel(
        order=msgspec.json.encode(order),
        code=code,
        timeout_s=settings.timeout.seconds,
        show_output=show_output,
        version=holdfast.__version__,
    )


def _gather(
    ray: Any, waiting: dict[Any, Order], settings: Training, *, clock: Clock, progress: Progress | None
) -> list[Finished]:
    """Wait for all of them; every candidate, its retries included, may come one after the other."""
    began_s = clock.monotonic_s()
    longest_s = settings.timeout.seconds * len(waiting) * (RETRIES + 1)
    found: dict[int, Finished] = {}
    total = len(waiting)
    while waiting:
        done, _ = ray.wait(list(waiting), timeout=_POLL_S)
        for one in done:
            order = waiting.pop(one)
            found[order.data_set.candidate] = _finished(ray, one, order)
        spent_s = clock.monotonic_s() - began_s
        if progress is not None:
            progress(spent_s, f"{len(found) / total:.4f} {len(found)} of {total} candidates")
        if spent_s > longest_s:
            for one, order in waiting.items():
                ray.cancel(one, force=True)
                failure = TrainerFailedError("the cluster did not end in time", expected=f"{longest_s:g} s")
                found[order.data_set.candidate] = _failed(order, failure)
            break
    return [found[number] for number in sorted(found)]


def _finished(ray: Any, one: Any, order: Order) -> Finished:
    try:
        back = msgspec.msgpack.decode(ray.get(one), type=Returned)
    except ray.exceptions.RayError as error:
        failure = TrainerFailedError(
            "a candidate was lost with its node", received=str(error).splitlines()[0][:200]
        )
        return _failed(order, failure)
    folder = Path(order.folder)
    folder.joinpath(LOG_FILE).write_bytes(back.log)
    if back.error:
        failure = TrainerFailedError(back.error, where=str(folder / LOG_FILE))
        return _failed(order, failure, back.node)
    model = folder / back.name
    model.write_bytes(back.model)
    about = Candidate(
        number=order.data_set.candidate, loss=back.loss, seconds=round(back.seconds, 3), node=back.node
    )
    return Finished(about, Trained(model, back.seconds, not order.command, back.loss, about.number))


def _failed(order: Order, failure: TrainerFailedError, node: str = "") -> Finished:
    about = Candidate(number=order.data_set.candidate, error=str(failure), node=node)
    return Finished(about, None, failure)


def on_node(parcel: bytes, train: bytes, dev: bytes) -> bytes:
    """Carry out one order on this node, in a folder that is gone afterwards."""
    import ray

    sent = msgspec.json.decode(parcel, type=Parcel)
    node = ray.get_runtime_context().get_node_id()[:12]
    if sent.version != holdfast.__version__:
        error = f"the node has holdfast {holdfast.__version__}, the training {sent.version}"
        return msgspec.msgpack.encode(Returned(node=node, log=b"", error=error))
    with tempfile.TemporaryDirectory(prefix="holdfast-candidate-") as name:
        folder = Path(name)
        code, work = folder / "code", folder / "work"
        code.mkdir()
        work.mkdir()
        for file, data in sent.code.items():
            (code / file).write_bytes(data)
        for file, data in (("train", train), ("dev", dev)):
            (folder / f"{file}.parquet").write_bytes(data)
        order = msgspec.json.decode(sent.order, type=Order)
        paths = msgspec.structs.replace(
            order.data_set, train=str(folder / "train.parquet"), dev=str(folder / "dev.parquet")
        )
        order = msgspec.structs.replace(order, data_set=paths, folder=str(work), import_from=str(code))
        try:
            trained = run_trainer(
                order,
                timeout_s=sent.timeout_s,
                environ=os.environ,
                clock=SystemClock(),
                show_output=sent.show_output,
            )
            back = Returned(
                node=node,
                log=_log(work),
                name=trained.model.name
                if trained.model.name in _MODEL_FILES
                else "model" + trained.model.suffix,
                model=trained.model.read_bytes(),
                seconds=trained.seconds,
                loss=trained.loss,
            )
        except HoldfastError as error:
            back = Returned(node=node, log=_log(work), error=str(error))
    return msgspec.msgpack.encode(back)


def _log(work: Path) -> bytes:
    log = work / LOG_FILE
    return log.read_bytes() if log.exists() else b""

"""`kill -9` under load: every process of the service, at random and at every named step of the keeper.

    uv run python bench/kills.py --n 20 --json    under a minute
    uv run python bench/kills.py --n 100          every step twice, and more of all else

A real service answers three callers, who note each prediction and label that was acknowledged. Meanwhile
processes die: a worker, the keeper, the whole group (every process at once; then it is started again), or a
keeper that kills itself right after one of its named steps: of a commit, of compaction and vacuum, of
retention, of an erasure. After each kill the tables are opened and counted. In the end the log must hold
every acknowledged row once, and its large input as it was sent; a large input that no row names any more goes
with the next retention.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import multiprocessing
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CHECKLIST = """
[model]
name = "kills"
[target]
port = 0
[compute]
cores = 2
[logging]
commit_interval = "100ms"
segment_mb = 0.1
large_input_kb = 1
"""
EMBEDDING = (16, 16)
"""Shape of the model's large input: 1 KB."""
CONTENTS = 50
"""Different ones of each caller, who sends each again and again."""
COMMIT_STEPS = (
    "read",
    "predictions committed",
    "labels committed",
    "ledger committed",
    "tables synced",
    "segment deleted",
)
UPKEEP_STEPS = ("compacted", "checkpointed", "vacuumed")
RETENTION_STEPS = ("expired rows noted", "predictions expired", "labels expired")
ERASURE_STEPS = (
    "erased ids noted",
    "erased rows noted",
    "labels erased",
    "predictions erased",
    "history erased",
    "spool erased",
    "erasure reported",
    "refused labels noted",
)
STEPS = COMMIT_STEPS + UPKEEP_STEPS + RETENTION_STEPS + ERASURE_STEPS
TURNS = ("worker", "step", "keeper", "worker", "step", "group", "step", "worker", "keeper", "step")
DAY_S = 86_400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--n", type=int, default=20, help="how many kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        document = run(Path(folder), arguments.n, arguments.seed)
    print(json.dumps(document, indent=2) if arguments.json else as_text(document))
    faults = ("lost", "duplicated", "unreadable", "large_inputs_lost", "large_inputs_orphaned")
    whole = document["acknowledged"] > 0 and not any(document[name] for name in faults)
    sys.exit(0 if whole and document["verified"] else 1)


@dataclass
class Acknowledged:
    """What one caller was told is safe."""

    predictions: dict[str, float] = field(default_factory=dict)
    """What fills the large input, by id."""
    labels: list[str] = field(default_factory=list)


class Service:
    """`holdfast serve`, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.start()

    def start(self) -> None:
        said = self.folder / "serve.log"
        with said.open("w") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "holdfast", "serve", "--no-monitor"),
                    *("-C", str(self.folder), "--port", str(self.port)),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + 60
        while "http://127.0.0.1:" not in said.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                sys.exit(f"the service did not start:\n{said.read_text()}")
            time.sleep(0.02)
        self.port = int(said.read_text().split("http://127.0.0.1:")[1].split(",")[0].split()[0])

    def children(self) -> dict[str, list[int]]:
        """Process ids by what they are."""
        found: dict[str, list[int]] = {"worker": [], "keeper": []}
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in map(int, listed):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                found["keeper" if b"keep" in words else "worker"].append(child)
        return found

    def kill_group(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def run(folder: Path, n: int, seed: int) -> dict[str, Any]:
    began_s = time.monotonic()
    chance = random.Random(seed)
    make_deployment(folder)
    keepers = multiprocessing.get_context("forkserver")
    keepers.set_forkserver_preload(["holdfast.prediction_log.settling", "holdfast.prediction_log.spool"])
    service = Service(folder)
    stop = threading.Event()
    acknowledged = [Acknowledged() for _ in range(3)]
    callers = [
        threading.Thread(target=ask, args=(service, place, stop, notes))
        for place, notes in enumerate(acknowledged)
    ]
    for caller in callers:
        caller.start()
    killed: Counter[str] = Counter()
    steps = list(STEPS)
    chance.shuffle(steps)
    unreadable = beside = 0
    try:
        while killed.total() < n:
            time.sleep(chance.uniform(0.05, 0.5))
            turn = TURNS[killed.total() % len(TURNS)]
            if turn == "group":
                service.kill_group()
                service.start()
                killed["group"] += 1
            elif turn == "step":
                step = steps[sum(killed[f"step: {one}"] for one in steps) % len(steps)]
                process = keepers.Process(target=die_at, args=(str(folder / "log"), step, killed.total()))
                process.start()
                while process.is_alive():  # the service's keeper has the lease: only one can
                    for keeper in service.children()["keeper"]:
                        os.kill(keeper, signal.SIGKILL)
                        beside += 1
                    process.join(0.3)
                if process.exitcode != -signal.SIGKILL:
                    sys.exit(f"step {step!r} was not reached (exit {process.exitcode})")
                killed[f"step: {step}"] += 1
            else:
                victims = service.children()[turn]
                if victims:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    killed[turn] += 1
            unreadable += not is_readable(folder / "log")
        time.sleep(0.3)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
        service.stop()
    return account(folder, acknowledged, killed, unreadable) | {
        "keepers_killed_beside": beside,
        "seconds": round(time.monotonic() - began_s, 1),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "date": time.strftime("%Y-%m-%d"),
    }


def make_deployment(folder: Path) -> None:
    """One model version: a graph of five nodes, as the model is not what is tested here."""
    import onnx
    from onnx import TensorProto, helper

    from holdfast.clock import SystemClock
    from holdfast.registry import Registry, register_model
    from holdfast.spec import Deployment

    (folder / "holdfast.toml").write_text(CHECKLIST)
    column = [TensorProto.FLOAT, ["N", 1]]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["e"], ["means"], axes=[2], keepdims=0),
            helper.make_node("ReduceMean", ["means"], ["mean"], axes=[1]),
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Add", ["sum", "mean"], ["all"]),
            helper.make_node("Sigmoid", ["all"], ["p"]),
        ],
        "kills",
        [
            *(helper.make_tensor_value_info(name, *column) for name in "ab"),
            helper.make_tensor_value_info("e", TensorProto.FLOAT, ["N", *EMBEDDING]),
        ],
        [helper.make_tensor_value_info("p", *column)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        folder / "kills.onnx",
    )
    deployment = Deployment.open(folder, {})
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        register_model(deployment, registry, folder / "kills.onnx", clock=SystemClock())


def ask(service: Service, caller: int, stop: threading.Event, acknowledged: Acknowledged) -> None:
    number = 0
    connection: http.client.HTTPConnection | None = None
    while not stop.is_set():
        prediction_id = f"caller{caller}-{number}"
        number += 1
        fill = float(CONTENTS * caller + number % CONTENTS)
        record = {
            "prediction_id": prediction_id,
            "a": number % 7 - 3.0,
            "b": 0.5,
            "e": np.full(EMBEDDING, fill).tolist(),
        }
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
            if post(connection, "/predict", record):
                acknowledged.predictions[prediction_id] = fill
            if number % 5 == 0 and post(
                connection, "/labels", {"prediction_id": prediction_id, "label": number % 2}
            ):
                acknowledged.labels.append(prediction_id)
        except (OSError, http.client.HTTPException):
            # Its process was killed: not acknowledged, and never asked again under this id.
            if connection is not None:
                connection.close()
            connection = None
            time.sleep(0.02)
    if connection is not None:
        connection.close()


def post(connection: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> bool:
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status in {200, 202}


def die_at(log: str, step: str, turn: int) -> None:
    """A keeper that kills itself after this step; it gives itself what the step needs."""
    from holdfast.clock import ManualClock, SystemClock
    from holdfast.prediction_log import Keeper, Label, erase
    from holdfast.prediction_log.erasing import write_request

    log_folder = Path(log)
    clock = SystemClock()
    own = f"own-{turn}"
    if step in RETENTION_STEPS:
        spool_rows(log_folder, ManualClock(clock.now_us() - 2 * DAY_S * 1_000_000), own)
    else:
        spool_rows(log_folder, clock, own)
    if step == "refused labels noted":
        writer = new_writer(log_folder, clock)
        with contextlib.suppress(Exception):
            erase(log_folder, clock, prediction_ids=[own], timeout_s=5)
        writer.append_labels([Label(own, 1, clock.now_us())])
        writer.close()
    elif step in ERASURE_STEPS:
        write_request(log_folder, clock, (), (own,))

    def on_step(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        keeper = Keeper(
            log_folder,
            clock,
            upkeep_commits=1,
            retention_days=1 if step in RETENTION_STEPS else None,
            on_step=on_step,
        )
        keeper.run_once()
        time.sleep(0.002)


def new_writer(log_folder: Path, clock: Any) -> Any:
    from holdfast.prediction_log import SpoolWriter

    return SpoolWriter(log_folder, deployment="kills", replica="own", clock=clock)


def spool_rows(log_folder: Path, clock: Any, prediction_id: str) -> None:
    """One prediction with a large input of its own, and its label, by a writer that has ended."""
    from holdfast.prediction_log import Label
    from holdfast.privacy import PredictionRecord, Redactor
    from holdfast.spec.checklist import Privacy

    writer = new_writer(log_folder, clock)
    record = PredictionRecord(
        model_version="1",
        arm="champion",
        prediction_ids=[prediction_id],
        times_us=[clock.now_us()],
        latency_us=[1],
        inputs={"a": [0.5]},
        context={},
        prediction=[0],
        large={"e": np.frombuffer(os.urandom(1024), np.float32).reshape(1, *EMBEDDING)},
    )
    writer.append(Redactor(Privacy(), None).redact(record))
    writer.append_labels([Label(prediction_id, 1, clock.now_us())])
    writer.close()


def is_readable(log_folder: Path) -> bool:
    from deltalake import DeltaTable

    try:
        for table in ("predictions", "labels", "ledger"):
            if DeltaTable.is_deltatable(str(log_folder / table)):
                count_rows(log_folder / table)
    except Exception as error:  # noqa: BLE001 - whatever it is, the table could not be read
        print(f"unreadable: {error}", file=sys.stderr)
        return False
    return True


def count_rows(table: Path) -> int:
    """Rows now. A reader whose files an erasure removes meanwhile opens the table again."""
    from deltalake import DeltaTable

    for _ in range(5):
        with contextlib.suppress(FileNotFoundError):
            return int(DeltaTable(str(table)).to_pyarrow_dataset().count_rows())
    return int(DeltaTable(str(table)).to_pyarrow_dataset().count_rows())


def account(
    folder: Path, acknowledged: list[Acknowledged], killed: Counter[str], unreadable: int
) -> dict[str, Any]:
    from holdfast.clock import SystemClock
    from holdfast.prediction_log import PredictionLog, retain_now, settle
    from holdfast.spec import Deployment

    deployment = Deployment.open(folder, {})
    settle(deployment, SystemClock())
    log = PredictionLog(deployment)
    stored = Counter(log.predictions(columns=["prediction_id"]).read_all()["prediction_id"].to_pylist())
    labels = Counter(log.labels(history=True).read_all()["prediction_id"].to_pylist())
    predictions = {one: fill for notes in acknowledged for one, fill in notes.predictions.items()}
    sent_labels = [one for notes in acknowledged for one in notes.labels]
    report = log.verify()
    large = account_large_inputs(log, predictions)
    retain_now(deployment, SystemClock())
    kinds = Counter({"step" if name.startswith("step: ") else name: 0 for name in killed})
    for name, count in killed.items():
        kinds["step" if name.startswith("step: ") else name] += count
    return {
        "kills": dict(kinds) | {"all": killed.total()},
        "steps": {name[6:]: count for name, count in sorted(killed.items()) if name.startswith("step: ")},
        "acknowledged": len(predictions),
        "acknowledged_labels": len(sent_labels),
        "stored": stored.total(),
        "stored_labels": labels.total(),
        "lost": len(set(predictions) - set(stored))
        + len(set(sent_labels) - set(labels))
        + report.missing_rows,
        "duplicated": stored.total()
        - len(stored)
        + sum(count > 1 for count in labels.values())
        + report.repeated_rows,
        "unreadable": unreadable + len(report.unreadable),
        "torn_records": report.torn_records,
        "verified": report.ok,
        "large_inputs": report.large_inputs,
        "large_inputs_lost": large + report.large_fault_count,
        "large_inputs_orphaned": sum(1 for _ in deployment.log_folder.glob("large_inputs/??/*.npy"))
        - len(log.large_inputs_of(None)),
    }


def account_large_inputs(log: Any, sent: dict[str, float]) -> int:
    """Acknowledged rows whose large input is not what was sent."""
    found: dict[str, float] = {}
    wrong = 0
    for row in log.predictions(columns=["prediction_id", "large_e"]).read_all().to_pylist():
        digest, fill = row["large_e"], sent.get(row["prediction_id"])
        if fill is None:
            continue
        if digest is not None and digest not in found:
            value = log.large_input(digest)
            found[digest] = float(value[0, 0]) if np.all(value == value[0, 0]) else math.nan
        wrong += digest is None or found[digest] != fill
    return wrong


def as_text(document: dict[str, Any]) -> str:
    rows = [f"{document['kills']['all']} kills in {document['seconds']} s: {document['kills']}"]
    rows += [
        f"{name:>20} {document[name]}"
        for name in (
            "acknowledged",
            "stored",
            "lost",
            "duplicated",
            "unreadable",
            "large_inputs",
            "large_inputs_lost",
            "large_inputs_orphaned",
        )
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    main()

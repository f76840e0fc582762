"""The systems that are compared: holdfast and its peers, each started as its users start it.

A peer runs in an environment of its own (`uv run --isolated --with ...`). All get the same ONNX file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import FEATURES, SESSION, Ask, Peer, Question, records, v2
from processes import cpu_s

BODY = records("json", 1).body.decode()  # type: ignore[union-attr]  # spoken by all


@dataclass(frozen=True)
class System:
    """One that runs."""

    url: str
    pid: int
    """Of the first process; all others are of its session."""
    ask: Ask


def asked_of_holdfast(url: str) -> Ask:
    """Named fields at `/predict`; binary tensors by protocol v2."""
    described = json.loads(urllib.request.urlopen(f"{url}/v2/models/bench", timeout=60).read())
    binary = v2("bench", described["inputs"][0]["name"])
    return lambda codec, rows: records(codec, rows) or binary(codec, rows)


def fitted(model: str, inputs: Any, labels: Any) -> Any:
    """Model A: scaler and MLP of 64 x 64; B: gradient boosting of 100 trees; C: MLP of 2048 x 2048."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if model == "B":
        return GradientBoostingClassifier(n_estimators=100, max_depth=4, random_state=0).fit(inputs, labels)
    if model == "C":
        return MLPClassifier((2048, 2048), max_iter=1, random_state=0).fit(inputs[:400], labels[:400])
    mlp = MLPClassifier((64, 64), max_iter=20, random_state=0)
    return make_pipeline(StandardScaler(), mlp).fit(inputs, labels)


def make_deployment(
    folder: Path, workers: int, *, logging: bool, model: str = "A", extra: str = "", logging_extra: str = ""
) -> Path:
    """A deployment with a fitted and registered pipeline; the path of its ONNX file."""
    import warnings

    import numpy as np
    import pyarrow as pa

    from holdfast.clock import SystemClock
    from holdfast.registry import Registry, register_model
    from holdfast.spec import Deployment

    folder.mkdir()
    (folder / "holdfast.toml").write_text(
        f'[model]\nname = "bench"\n[compute]\ncores = {workers}\n[target]\nport = 0\n'
        f"[logging]\nenabled = {str(logging).lower()}\n{logging_extra}{extra}"
    )
    random = np.random.default_rng(0)
    inputs = random.normal(size=(2000, FEATURES)).astype(np.float32)
    labels = (inputs[:, 0] + inputs[:, 1] * inputs[:, 2] > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = fitted(model, inputs, labels)
    reference = pa.table({**{f"f{i}": inputs[:, i].astype(float) for i in range(FEATURES)}, "y": labels})
    deployment = Deployment.open(folder, {})
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        version = register_model(
            deployment, registry, pipeline, reference=reference, labels="y", clock=SystemClock()
        )
    return deployment.artifacts_folder / version.sha256[:32] / "model.onnx"


def compiled() -> Path:
    """The folder of the holdfast whose hot path is compiled, which `just compile` makes.

    Raises:
        RuntimeError: it is not there, or older than the sources.
    """
    root = Path(__file__).parent.parent
    built = root / "build" / "compiled"
    newest_s = max(file.stat().st_mtime for file in (root / "src").rglob("*.py"))
    if not built.exists() or built.stat().st_mtime < newest_s:
        raise RuntimeError(
            f"{'older than the sources' if built.exists() else 'not built'}: run `just compile`"
        )
    return built


@contextlib.contextmanager
def holdfast(folder: Path, package: Path | None = None) -> Iterator[tuple[str, int]]:
    """`holdfast serve` as users start it, the log's keeper beside it; its address and first process.

    `package`: the folder to import holdfast from, else the one that is installed.
    """
    end_by_sigterm()
    path = {} if package is None else {"PYTHONPATH": str(package)}
    command = [sys.executable, "-m", "holdfast", "serve", "-C", str(folder), "--no-monitor"]
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **path}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://\S+:\d+", log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield found[0], process.pid
    finally:
        stop(process)


@contextlib.contextmanager
def running(folder: Path, peer: Peer, model: Path, workers: int) -> Iterator[tuple[str, int]]:
    """A peer in its own environment.

    Raises:
        RuntimeError: it cannot be installed or started; the end of its own words.
    """
    end_by_sigterm()
    folder.mkdir()
    (folder / "session.py").write_text(SESSION)
    for name, text in peer.files.items():
        (folder / name).write_text(text)
    port = free_ports(3)
    command = ["uv", "run", "--isolated", "--no-project", "--python", sys.executable]
    for package in (*peer.packages, "onnxruntime", "numpy"):
        command += ["--with", package]
    log = folder / "output.log"
    installed = subprocess.run([*command, "python", "-c", ""], capture_output=True, text=True, check=False)
    if installed.returncode:
        raise RuntimeError("cannot be installed: " + installed.stderr.strip()[-300:])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *peer.command(port, workers)],
            cwd=folder,
            env={**os.environ, "MODEL": str(model), "PYTHONPATH": str(folder)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        question = peer.ask("json", 1)
        deadline = time.monotonic() + peer.patience_s
        while True:
            try:
                send(url, question)
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"does not start ({error}): {log.read_text()[-300:]}") from None
                time.sleep(0.1)
        yield url, process.pid
    finally:
        stop(process)


def free_ports(count: int) -> int:
    """The first of so many free ports in a row: some systems take the next ones too."""
    while True:
        with contextlib.ExitStack() as held, contextlib.suppress(OSError, OverflowError):
            first = held.enter_context(socket.create_server(("", 0))).getsockname()[1]
            for port in range(first + 1, first + count):
                held.enter_context(socket.create_server(("", port)))
            return int(first)


def send(url: str, question: Question | None, patience_s: float = 10) -> Any:
    if question is None:
        raise RuntimeError("not spoken")
    headers = {"content-type": question.content_type, **dict(question.headers)}
    request = urllib.request.Request(url + question.path, question.body, headers)
    with urllib.request.urlopen(request, timeout=patience_s) as response:
        return json.load(response)


def ask(url: str, patience_s: float = 10) -> Any:
    """One record by named fields."""
    return send(url, records("json", 1), patience_s)


def score_of(url: str, question: Question | None) -> float:
    """The probability of the second class, wherever the system puts it: all must say the same."""
    found = send(url, question, 30)
    while isinstance(found, dict):
        keys = ("score", "predictions", "outputs", "output", "data")
        found = next(found[key] for key in keys if key in found)
    while isinstance(found, list):
        found = found[-1] if not isinstance(found[-1], dict) else found[-1]["data"]
    return float(found)


def settle(systems: list[System], longest_s: float = 20.0, look_s: float = 0.5) -> None:
    """Wait until nobody starts up any more: processes beside the workers may still load what they import."""
    until_s = time.monotonic() + longest_s
    busy = True
    while busy and time.monotonic() < until_s:
        before_s = sum(cpu_s(system.pid) for system in systems)
        time.sleep(look_s)
        busy = sum(cpu_s(system.pid) for system in systems) - before_s > 0.2 * look_s


def end_by_sigterm() -> None:
    """Let SIGTERM end this process so that it stops what it started, which has sessions of its own."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would leave the rest behind
        sys.exit("ended by SIGTERM")

    signal.signal(signal.SIGTERM, end)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

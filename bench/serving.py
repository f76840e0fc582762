"""holdfast beside hand-written FastAPI + ONNX Runtime: same model, machine and client, rounds in turn.

    uv run python bench/serving.py --quick --json    under a minute: 3 rounds each, logging on, 64 connections
    uv run python bench/serving.py                   also without the log, and at 1 connection

The model is a scaler and an MLP of 64 x 64 on 20 features; each request is one row as named JSON fields.
The load generator is `wrk` (`apt-get install wrk`); it shares the machine, so only ratios travel between
machines. FastAPI runs in an environment of its own (`uv run --isolated --with ...`), with as many worker
processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FEATURES = 20
HANDWRITTEN = """
import os
from typing import Any
import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import create_model

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
names = [f"f{i}" for i in range(20)]
Record = create_model("Record", **{name: (float, ...) for name in names})
app = FastAPI()

@app.post("/predict")
async def predict(record: Record) -> dict[str, Any]:
    row = np.array([[getattr(record, name) for name in names]], dtype=np.float32)
    label, probabilities = session.run(None, {session.get_inputs()[0].name: row})
    p = probabilities[0].tolist()
    return {"prediction": int(label[0]), "probabilities": {"0": p[0], "1": p[1]}, "score": p[1]}
"""
BODY = json.dumps({f"f{i}": round(math.sin(i) * 2, 4) for i in range(FEATURES)})


@dataclass
class Round:
    """What wrk saw in one round."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="three short rounds, logging on, 64 connections")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    cases = (
        [("logging on", 64)]
        if arguments.quick
        else [("logging on", 64), ("logging off", 64), ("logging on", 1)]
    )
    with tempfile.TemporaryDirectory() as folder:
        document = run(Path(folder), cases, arguments.workers, arguments.rounds, arguments.seconds)
    print(json.dumps(document, indent=2) if arguments.json else as_text(document))


def run(
    folder: Path, cases: list[tuple[str, int]], workers: int, rounds: int, seconds: float
) -> dict[str, Any]:
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{BODY}'\nwrk.headers['Content-Type'] = 'application/json'\n"
    )
    model = make_deployment(folder / "on", workers, logging=True)
    if any(logging == "logging off" for logging, _ in cases):
        make_deployment(folder / "off", workers, logging=False)
    results = []
    with handwritten(folder, model, workers) as peer:
        for logging, connections in cases:
            with holdfast(folder / ("on" if logging == "logging on" else "off")) as ours:
                systems = {"holdfast": ours, "FastAPI by hand": peer}
                check_equal(ours, peer)
                seen: dict[str, list[Round]] = {name: [] for name in systems}
                for url in systems.values():
                    load(url, script, connections, 1.0)
                for _ in range(rounds):
                    for name, url in systems.items():
                        seen[name].append(load(url, script, connections, seconds))
            results.append(summary(logging, connections, seen))
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "model": "scaler + MLP 64x64, 20 features, single rows, JSON",
        "workers": workers,
        "rounds": rounds,
        "seconds": seconds,
        "load_average": os.getloadavg()[0],
        "cases": results,
        "ratio": results[0]["ratio"],
    }


def summary(logging: str, connections: int, seen: dict[str, list[Round]]) -> dict[str, Any]:
    systems = {
        name: {
            "requests_per_s": statistics.median(one.requests_per_s for one in rounds),
            "spread": [min(one.requests_per_s for one in rounds), max(one.requests_per_s for one in rounds)],
            "p50_ms": statistics.median(one.p50_ms for one in rounds),
            "p99_ms": statistics.median(one.p99_ms for one in rounds),
            "failures": sum(one.failures for one in rounds),
        }
        for name, rounds in seen.items()
    }
    rates = [statistics.median(one.requests_per_s for one in rounds) for rounds in seen.values()]
    return {"logging": logging, "connections": connections, "systems": systems, "ratio": rates[0] / rates[1]}


def as_text(document: dict[str, Any]) -> str:
    lines = [f"{document['model']}; {document['workers']} workers; {document['machine']}; {document['date']}"]
    for case in document["cases"]:
        lines.append(f"\n{case['connections']} connections, holdfast with {case['logging']}:")
        for name, one in case["systems"].items():
            low, high = one["spread"]
            lines.append(
                f"  {name:<16} {one['requests_per_s']:>9,.0f}/s ({low:,.0f} to {high:,.0f})"
                f"  p50 {one['p50_ms']:.2f} ms  p99 {one['p99_ms']:.2f} ms  failures {one['failures']}"
            )
        lines.append(f"  ratio {case['ratio']:.1f}")
    return "\n".join(lines)


def load(url: str, script: Path, connections: int, seconds: float) -> Round:
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{max(1, round(seconds))}s",
        "--latency",
        "-s",
        str(script),
    ]
    text = subprocess.run([*command, f"{url}/predict"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if found is None:
        raise RuntimeError(text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failures = (int(bad[1]) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0)
    return Round(float(found[1]), milliseconds(text, "50%"), milliseconds(text, "99%"), failures)


def milliseconds(text: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", text)
    return math.nan if found is None else float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def make_deployment(folder: Path, workers: int, *, logging: bool) -> Path:
    """A deployment with a fitted and registered pipeline; the path of its ONNX file."""
    import warnings

    import numpy as np
    import pyarrow as pa
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from holdfast.clock import SystemClock
    from holdfast.registry import Registry, register_model
    from holdfast.spec import Deployment

    folder.mkdir()
    (folder / "holdfast.toml").write_text(
        f'[model]\nname = "bench"\n[compute]\ncores = {workers}\n[target]\nport = 0\n'
        f"[logging]\nenabled = {str(logging).lower()}\n"
    )
    random = np.random.default_rng(0)
    inputs = random.normal(size=(2000, FEATURES)).astype(np.float32)
    labels = (inputs[:, 0] + inputs[:, 1] * inputs[:, 2] > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = make_pipeline(StandardScaler(), MLPClassifier((64, 64), max_iter=20)).fit(inputs, labels)
    reference = pa.table({**{f"f{i}": inputs[:, i].astype(float) for i in range(FEATURES)}, "y": labels})
    deployment = Deployment.open(folder, {})
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        version = register_model(
            deployment, registry, pipeline, reference=reference, labels="y", clock=SystemClock()
        )
    return deployment.artifacts_folder / version.sha256[:32] / "model.onnx"


@contextlib.contextmanager
def holdfast(folder: Path) -> Iterator[str]:
    """`holdfast serve` as users start it, the log's keeper beside it."""
    command = [sys.executable, "-m", "holdfast", "serve", "-C", str(folder), "--no-monitor"]
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://\S+:\d+", log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield found[0]
    finally:
        stop(process)


@contextlib.contextmanager
def handwritten(folder: Path, model: Path, workers: int) -> Iterator[str]:
    """FastAPI, uvicorn and ONNX Runtime as one would write it, in their own environment."""
    (folder / "handwritten.py").write_text(HANDWRITTEN)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    packages = ["fastapi", "uvicorn[standard]", "onnxruntime", "numpy"]
    command = ["uv", "run", "--isolated", "--no-project", "--python", sys.executable]
    for package in packages:
        command += ["--with", package]
    command += [
        "uvicorn",
        "handwritten:app",
        "--port",
        str(port),
        "--workers",
        str(workers),
        "--no-access-log",
    ]
    log = folder / "handwritten.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "MODEL": str(model)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                ask(url)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(log.read_text()) from None
                time.sleep(0.1)
        yield url
    finally:
        stop(process)


def ask(url: str, patience_s: float = 10) -> Any:
    import urllib.request

    request = urllib.request.Request(f"{url}/predict", BODY.encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=patience_s) as response:
        return json.load(response)


def check_equal(ours: str, peer: str) -> None:
    """Both must give the same answer, or the comparison means nothing."""
    first, second = ask(ours), ask(peer)
    if abs(first["score"] - second["score"]) > 1e-5:
        raise RuntimeError(f"the systems disagree: {first} and {second}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()

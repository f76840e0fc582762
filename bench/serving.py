"""holdfast beside other servers: the same ONNX model, machine and client, rounds in turn.

    uv run python bench/serving.py --quick --json    under a minute: holdfast with its log, FastAPI by hand
    uv run python bench/serving.py                   every system, models A, B and C, JSON and binary, 1 and
                                                     32 rows, 1 and 64 connections, with and without the log
    uv run python bench/serving.py --models A --peers granian mlserver --codecs json --rows 1

Model A is a scaler and an MLP of 64 x 64 on 20 features, B a gradient boosting of 100 trees, C an MLP of
2048 x 2048. After `just compile`, `PYTHONPATH=build/compiled` before the command measures what was compiled.
The load generator is `wrk` (`apt-get install wrk`); it shares the machine, so only ratios travel between
machines. Each system runs in an environment of its own (`uv run --isolated --with ...`), with as many workers
where it has such; what cannot be installed or started is said so, and the others go on. How each is asked
stands in `peers.py`.
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
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from ceiling import Ceiling
from peers import FEATURES, PEERS, SESSION, Ask, Peer, Question, records, v2
from processes import cpu_s

from holdfast.compiled import hot_path_is_compiled

BODY = records("json", 1).body.decode()  # type: ignore[union-attr]  # spoken by all


PROMISES = {"C": "[speed]\np99_ms = 2000\ndeadline_ms = 5000\n"}
"""Peers promise nothing. 64 callers with 32 rows of model C each want half a second of work at once, most of
which holdfast would refuse under its default promise of 100 ms: see `overload.py` for that."""


@dataclass
class Round:
    """What wrk saw in one round."""

    requests_per_s: float
    """Answered with success."""
    p50_ms: float
    p99_ms: float
    failures: int
    cpu_us: float
    """Processor time of all the system's processes per request: it hardly depends on what else runs."""


@dataclass(frozen=True)
class System:
    """One that runs."""

    url: str
    pid: int
    """Of the first process; all others are of its session."""
    ask: Ask


@dataclass(frozen=True)
class Case:
    """What is asked."""

    codec: str
    rows: int
    connections: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="three short rounds, logging on, 64 connections")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round")
    parser.add_argument("--models", nargs="+", choices=("A", "B", "C"), default=["A", "B", "C"])
    parser.add_argument("--peers", nargs="*", choices=tuple(PEERS), default=list(PEERS))
    parser.add_argument("--codecs", nargs="+", choices=("json", "binary"), default=["json", "binary"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--connections", nargs="+", type=int, default=[64, 1])
    arguments = parser.parse_args()
    # Ended from outside, it still ends the systems that it started, which have sessions of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    if arguments.quick:
        arguments.models, arguments.peers, arguments.codecs = ["A"], ["fastapi"], ["json"]
        arguments.rows, arguments.connections = [1], [64]
    cases = [
        Case(codec, rows, connections)
        for connections in arguments.connections
        for codec in arguments.codecs
        for rows in arguments.rows
    ]
    results: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            results += compare(Path(folder), model, cases, arguments, failed)
    document = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "compiled": hot_path_is_compiled(),
        "workers": arguments.workers,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "load_average": os.getloadavg()[0],
        "cases": results,
        "not_run": failed,
    }
    if arguments.quick:
        document["ratio"] = results[0]["ratios"]["FastAPI by hand"]
    print(json.dumps(document, indent=2) if arguments.json else as_text(document))


def compare(
    folder: Path, model: str, cases: list[Case], arguments: argparse.Namespace, failed: dict[str, str]
) -> list[dict[str, Any]]:
    """All cases of one model."""
    promise = PROMISES.get(model, "")
    file = make_deployment(folder / "on", arguments.workers, logging=True, model=model, extra=promise)
    if not arguments.quick:
        make_deployment(folder / "off", arguments.workers, logging=False, model=model, extra=promise)
    with contextlib.ExitStack() as stack:
        systems: dict[str, System] = {}
        ours = stack.enter_context(holdfast(folder / "on"))
        systems["holdfast"] = System(*ours, asked_of_holdfast(ours[0]))
        if not arguments.quick:
            bare = stack.enter_context(holdfast(folder / "off"))
            systems["holdfast, no log"] = System(*bare, asked_of_holdfast(bare[0]))
        for key in arguments.peers:
            peer = PEERS[key]
            try:
                peers = stack.enter_context(running(folder / key, peer, file, arguments.workers))
                systems[peer.name] = System(*peers, peer.ask)
            except RuntimeError as error:
                failed[f"{peer.name}, model {model}"] = str(error)
        wanted = score_of(ours[0], records("json", 1))
        for name, system in systems.items():
            score = score_of(system.url, system.ask("json", 1))
            if abs(score - wanted) > 1e-4:
                raise RuntimeError(f"{name} says {score}, holdfast says {wanted}")
        results = []
        ceiling = None
        if model == "C":
            ceiling = Ceiling(file, arguments.workers)
            stack.callback(ceiling.close)
        for case in cases:
            asked = {
                name: (system, question)
                for name, system in systems.items()
                if (question := system.ask(case.codec, case.rows)) is not None
            }
            seen: dict[str, list[Round]] = {name: [] for name in asked}
            script = folder / "post.lua"
            for turn in range(arguments.rounds + 1):
                for name, (system, question) in asked.items():
                    script.write_text(lua(question))
                    seconds = arguments.seconds if turn else 1.0
                    one = load(system, question, script, case.connections, seconds)
                    if turn:  # the first is a warm-up
                        seen[name].append(one)
                if not turn:
                    settle(list(systems.values()))
                if ceiling is not None:
                    ceiling.look()
            results.append(summary(model, case, seen))
            if ceiling is not None:
                results[-1]["onnxruntime_in_process"] = ceiling.reached(
                    [one.requests_per_s for one in seen["holdfast"]], case.rows
                )
            print(as_text({"cases": results[-1:]}), file=sys.stderr, flush=True)
    return results


def summary(model: str, case: Case, seen: dict[str, list[Round]]) -> dict[str, Any]:
    systems = {
        name: {
            "requests_per_s": statistics.median(one.requests_per_s for one in rounds),
            "spread": [min(one.requests_per_s for one in rounds), max(one.requests_per_s for one in rounds)],
            "p50_ms": statistics.median(one.p50_ms for one in rounds),
            "p99_ms": statistics.median(one.p99_ms for one in rounds),
            "cpu_us_per_request": statistics.median(one.cpu_us for one in rounds),
            "failures": sum(one.failures for one in rounds),
        }
        for name, rounds in seen.items()
    }
    ours = systems["holdfast"]["requests_per_s"]
    ratios = {
        name: ours / one["requests_per_s"] for name, one in systems.items() if one["requests_per_s"] > 0
    }
    return {
        "model": model, "codec": case.codec, "rows": case.rows, "connections": case.connections,
        "systems": systems, "ratios": ratios,
    }  # fmt: skip


def as_text(document: dict[str, Any]) -> str:
    lines = []
    if "machine" in document:
        build = "compiled" if document["compiled"] else "interpreted"
        lines.append(
            f"{document['workers']} workers, hot path {build}; {document['machine']}; {document['date']}"
        )
    for case in document["cases"]:
        what = f"{case['codec']}, rows {case['rows']}, connections {case['connections']}"
        lines.append(f"\nmodel {case['model']}, {what}")
        for name, one in case["systems"].items():
            low, high = one["spread"]
            lines.append(
                f"  {name:<22} {one['requests_per_s']:>9,.0f}/s ({low:,.0f} to {high:,.0f})"
                f"  p50 {one['p50_ms']:.2f} ms  p99 {one['p99_ms']:.2f} ms  failures {one['failures']}"
                f"  cpu {one['cpu_us_per_request']:.0f} us"
                f"  holdfast is {case['ratios'].get(name, math.nan):.2f} times that"
            )
        if "onnxruntime_in_process" in case:
            found = case["onnxruntime_in_process"]
            low, high = found["spread"]
            lines.append(
                f"  ONNX Runtime in process on those cores, rows/s by batch: {found['rows_per_s']}\n"
                f"  holdfast reaches {found['reached']:.2f} of the best of them ({low:.2f} to {high:.2f})"
            )
    lines += [f"not run: {name}: {why}" for name, why in document.get("not_run", {}).items()]
    return "\n".join(lines)


def lua(question: Question) -> str:
    """A script for wrk that sends this request; the body as hexadecimal, since it may be any bytes."""
    headers = dict((("Content-Type", question.content_type), *question.headers))
    lines = [
        "wrk.method = 'POST'",
        "local function byte(digits) return string.char(tonumber(digits, 16)) end",
        f"wrk.body = ('{question.body.hex()}'):gsub('..', byte)",
        *(f"wrk.headers['{name}'] = '{value}'" for name, value in headers.items()),
    ]
    return "\n".join(lines) + "\n"


def settle(systems: list[System], longest_s: float = 20.0, look_s: float = 0.5) -> None:
    """Wait until nobody starts up any more: processes beside the workers may still load what they import."""
    until_s = time.monotonic() + longest_s
    busy = True
    while busy and time.monotonic() < until_s:
        before_s = sum(cpu_s(system.pid) for system in systems)
        time.sleep(look_s)
        busy = sum(cpu_s(system.pid) for system in systems) - before_s > 0.2 * look_s


def load(system: System, question: Question, script: Path, connections: int, seconds: float) -> Round:
    duration = f"-d{max(1, round(seconds))}s"
    command = ["wrk", "-t1", f"-c{connections}", duration, "--latency", "--timeout", "10s", "-s", str(script)]
    url = system.url + question.path
    before_s = cpu_s(system.pid)
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    spent_s = cpu_s(system.pid) - before_s
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    count = re.search(r"(\d+) requests in", text)
    if found is None or count is None:
        raise RuntimeError(text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failures = (int(bad[1]) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0)
    cpu_us = spent_s / max(int(count[1]), 1) * 1e6
    # wrk counts refusals too, and a refusal is no answer.
    answered_per_s = float(found[1]) * (1 - (int(bad[1]) if bad else 0) / max(int(count[1]), 1))
    return Round(answered_per_s, milliseconds(text, "50%"), milliseconds(text, "99%"), failures, cpu_us)


def milliseconds(text: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)", text)
    factors = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
    return math.nan if found is None else float(found[1]) * factors[found[2]]


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


@contextlib.contextmanager
def holdfast(folder: Path) -> Iterator[tuple[str, int]]:
    """`holdfast serve` as users start it, the log's keeper beside it; its address and first process."""
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
        yield found[0], process.pid
    finally:
        stop(process)


@contextlib.contextmanager
def running(folder: Path, peer: Peer, model: Path, workers: int) -> Iterator[tuple[str, int]]:
    """A peer in its own environment.

    Raises:
        RuntimeError: it cannot be installed or started; the end of its own words.
    """
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


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    main()

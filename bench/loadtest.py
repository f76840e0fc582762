"""What `holdfast loadtest` sees of a stall that a closed loop hides, and its ceiling on one core against wrk.

    uv run python bench/loadtest.py [stall] [ceiling] [pairs] [--work DIR] [--out bench/results/loadtest.json]

stall: a server that stands still for 200 ms in every second. A fifth of its callers arrive then, evenly, so
the share that waits longer than x ms is (200 - x) / 1000 and the 99th percentile is 190 ms.

ceiling: a server that answers a constant without reading the request, on one core; the client has the other.
Both clients send a JSON body of one row of 20 numbers. Where the server is the limit, the rate says nothing
of the client, so the requests per second of its processor time are compared too.

pairs: pairs of whole checks of one deployment. How often do the 95 % intervals of a line in two checks have a
value in common, as the evidence of two checks on one machine should?
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from holdfast.check import Effort, check_deployment
from holdfast.check.running import machine
from holdfast.clock import SystemClock
from holdfast.loadtest import (
    Load,
    Requests,
    Target,
    made_up_rows,
    make_requests,
    run_load,
    with_reference_run,
)
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

ROOT = Path(__file__).parents[1]
CONNECTIONS = 64
ROW = [round(float(np.sin(i)) * 2, 4) for i in range(20)]
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 20], "datatype": "FP32", "data": ROW}]}, separators=(",", ":")
)

CONSTANT = """
import asyncio, os, socket, sys, uvloop
os.sched_setaffinity(0, {int(sys.argv[2])})
BODY = b'{"model_name":"m","outputs":[{"name":"y","shape":[1,1],"datatype":"FP32","data":[0.5]}]}'
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n"
ANSWER = HEAD % len(BODY) + BODY
class Constant(asyncio.Protocol):
    def connection_made(self, transport):
        self.write = transport.write
    def data_received(self, data):
        self.write(ANSWER)
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Constant, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()
uvloop.run(main())
"""


def stall() -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "tests" / "loadtest"))
    from stalling import stalling_server

    with stalling_server(stall_s=0.2, period_s=1.0) as url:
        target = Target(url, "double")
        signature = target.signature()
        rows = made_up_rows(signature, 16, np.random.default_rng(0))
        requests = with_reference_run(make_requests(target, signature, rows, (1,) * 16))
        opened = run_load(requests, Load(rate_per_s=200, seconds=10, warmup_s=1, rounds=1))
        closed = run_load(
            requests, Load(rate_per_s=20_000, seconds=10, warmup_s=1, closed_loop=True, connections=1)
        )
    found = {"right_p99_ms": 190.0}
    for name, report in (("open", opened), ("closed", closed)):
        p99 = report.percentile(0.99)
        found |= {f"{name}_p99_ms": p99.ms, f"{name}_interval_ms": [p99.low_ms, p99.high_ms]}
        found |= {f"{name}_p50_ms": report.percentile(0.5).ms, f"{name}_requests": report.answered}
    return found


@contextmanager
def constant_server(core: int) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", CONSTANT, str(port), str(core)])
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def ceiling(seconds: float = 4.0) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    server_core, client_core = cores[0], cores[-1]
    rounds: list[dict[str, float]] = []
    with constant_server(server_core) as port, tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            first = wrk(port, client_core, Path(folder), seconds)
            rounds.append(first | holdfast(port, client_core, seconds, 1.5 * first["wrk_per_s"]))
            print("   ", rounds[-1], flush=True)
    middle = {name: float(np.median([one[name] for one in rounds])) for name in rounds[0]}
    return middle | {
        "ratio_of_rates": middle["holdfast_per_s"] / middle["wrk_per_s"],
        "ratio_per_cpu_second": middle["holdfast_per_cpu_s"] / middle["wrk_per_cpu_s"],
        "wanted": 0.3,
    }


def wrk(port: int, core: int, folder: Path, seconds: float) -> dict[str, float]:
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{BODY}'\nwrk.headers['content-type'] = 'application/json'\n"
    )
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is not installed")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    place = f"http://127.0.0.1:{port}/v2/models/m/infer"
    how = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", str(script)]
    done = subprocess.run(
        ["taskset", "-c", str(core), program, *how, place],
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    total = re.search(r"(\d+) requests in", done.stdout)
    if rate is None or total is None:
        raise SystemExit(done.stdout)
    return {"wrk_per_s": float(rate[1]), "wrk_per_cpu_s": int(total[1]) / spent}


def holdfast(port: int, core: int, seconds: float, rate_per_s: float) -> dict[str, float]:
    """As many as it can: more are due than it can send, so each answer is followed by the next request."""
    target = Target(f"http://127.0.0.1:{port}", "m")
    requests = Requests(target, (target.request(BODY.encode()),), (1,))
    load = Load(
        rate_per_s=rate_per_s,
        seconds=seconds,
        warmup_s=0,
        arrivals="constant",
        connections=CONNECTIONS,
        processes=1,
        timeout_s=60,
        cpus=(core,),
    )
    report = run_load(requests, load)
    # Offered more than it can send, it ends late, and its last request is its latest.
    wall_s = seconds + (report.max_ms or 0.0) / 1000
    return {
        "holdfast_per_s": report.answered / wall_s,
        "holdfast_per_cpu_s": report.answered / report.generator_cpu_s,
    }


def pairs(count: int = 10, work: Path | None = None) -> dict[str, Any]:
    """Checks of one deployment, two by two, each with a service that was started for it.

    Args:
        count: of pairs.
        work: where finished checks are kept, so that a run which is broken off goes on there.
    """
    lines = ("speed.p50_ms", "speed.p99_ms", "speed.qps", "compute.memory_mb")
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="holdfast-pairs-") as name:
        deployment = _deployment((work or Path(name)) / "sums")
        with Registry.open(deployment.registry_url, clock) as registry:
            for seed in range(len(registry.evidence("1", "check")), 2 * count):
                began_s = time.monotonic()
                effort = Effort(seed=seed)
                report = check_deployment(deployment, registry, clock, os.environ, effort=effort)
                shown = {x: (report.line(x).measured, report.line(x).interval) for x in lines}
                print("   ", f"{time.monotonic() - began_s:.1f} s", shown, flush=True)
            stored = registry.evidence("1", "check")[::-1]
        reports = [{line["line"]: line for line in one.payload["lines"]} for one in stored]
    found: dict[str, Any] = {"pairs": count, "wanted": 0.9}
    for line in lines:
        ends = [report[line]["interval"] or (0.0, float("inf")) for report in reports]
        agree = [a[0] <= b[1] and b[0] <= a[1] for a, b in zip(ends[::2], ends[1::2], strict=True)]
        found[line] = {
            "agree": sum(agree) / count,
            # Bounded from above only, as others used the cores: such a check agrees more easily.
            "disturbed": sum(low == 0.0 for low, _ in ends),
            "measured": [report[line]["measured"] for report in reports],
            "intervals": ends,
        }
    return found


def _deployment(folder: Path) -> Deployment:
    import pyarrow as pa

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "holdfast.toml").write_text('[model]\nname = "sums"\n[speed]\np50_ms = 50\nqps = 300\n')
    deployment = Deployment.open(folder, {})
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        if registry.versions():
            return deployment
    rng = np.random.default_rng(0)
    names = [f"f{i}" for i in range(20)]
    table = pa.table({name: rng.normal(size=500).astype(np.float32) for name in names})
    model = LogisticRegression().fit(np.stack(table.columns, axis=1), rng.integers(0, 2, 500))
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        register_model(deployment, registry, model, reference=table, clock=SystemClock())
    return deployment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {"stall": stall, "ceiling": ceiling, "pairs": pairs}
    parser.add_argument("parts", nargs="*", default=list(parts))
    parser.add_argument("--work", type=Path, help="Folder that pairs which are broken off go on from.")
    parser.add_argument("--out", type=Path, help="Keeps what other runs found for other parts.")
    given = parser.parse_args()
    for name in given.parts:
        found = pairs(work=given.work) if name == "pairs" else parts[name]()
        print(name, json.dumps(found, indent=1))
        if given.out:
            results = json.loads(given.out.read_text()) if given.out.exists() else {}
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(results | {"machine": machine(), name: found}, indent=1))


if __name__ == "__main__":
    main()

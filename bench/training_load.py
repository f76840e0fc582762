"""What a training beside the service costs the service's callers.

    uv run python bench/training_load.py

One service of two workers, an open loop at a constant rate, and in turn: nothing beside it; trainings that
the service starts by itself (`[training] unattended`: SCHED_IDLE, niceness 19); the same training started by
hand at ordinary priority. A training is whole each time (data set of 200 000 rows, ready-made trees,
judgement) and is begun anew when it ends, with two threads, so that it wants every core there is. Rounds take
turns, so that a machine that slows down does so for all three.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from sklearn.ensemble import HistGradientBoostingClassifier

from holdfast.clock import SystemClock
from holdfast.demo.service import ServiceProcess
from holdfast.loadtest import (
    Load,
    LoadReport,
    Target,
    made_up_rows,
    make_requests,
    run_load,
    with_reference_run,
)
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

ROWS, COLUMNS = 200_000, 20
DAY_US = 86_400_000_000
TOML = """\
[model]
name = "beside"
[compute]
cores = 2
[speed]
p99_ms = 1000
deadline_ms = 5000
[monitoring]
label_delay = "1d"
[training]
sources = ["sources/history.toml"]
dev = "10d"
test = "10d"
cores = 2
triggers = ["schedule"]
schedule = "1s"
cool_down = "1s"
budget = 100000
watch_interval = "500ms"
"""
HISTORY = """\
path = "history.parquet"
licence = "own"
basis = "not about people"
kind = "historical"
time = "time"
label = "label"
"""
BESIDE = ("alone", "unattended", "ordinary")


def make(folder: Path) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(ROWS, COLUMNS))
    truth = (rng.random(ROWS) < 1 / (1 + np.exp(-inputs[:, :5].sum(axis=1)))).astype(np.int64)
    table = pa.table({f"x{number}": inputs[:, number] for number in range(COLUMNS)})
    times = 1_700_000_000_000_000 + np.arange(ROWS) * (100 * DAY_US // ROWS)
    table = table.append_column("label", pa.array(truth))
    table = table.append_column("time", pa.array(times, pa.timestamp("us", tz="UTC")))
    (folder / "sources").mkdir()
    parquet.write_table(table, folder / "sources" / "history.parquet")
    (folder / "sources" / "history.toml").write_text(HISTORY)
    (folder / "holdfast.toml").write_text(TOML)
    some = table.slice(0, 5000)
    trees = HistGradientBoostingClassifier(max_iter=100, random_state=0)
    trees.fit(some.drop_columns(["label", "time"]).to_pandas(), truth[:5000])
    deployment, clock = Deployment.open(folder, {}), SystemClock()
    with Registry.open(deployment.registry_url, clock) as registry:
        register_model(deployment, registry, trees, reference=some, labels="label", time="time", clock=clock)


@contextmanager
def by_hand(folder: Path) -> Iterator[None]:
    """Whole trainings one after the other, for as long as the round takes."""
    command = [sys.executable, "-P", "-m", "holdfast", "train", "--keep-worse", "-C", str(folder)]
    stop = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def run() -> None:
        while not stop.is_set():
            silent = subprocess.DEVNULL
            running[:] = [subprocess.Popen(command, stdout=silent, stderr=silent, start_new_session=True)]
            running[0].wait()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        running[0].terminate()
        thread.join()


def trained(folder: Path) -> int:
    """Trainings that have begun."""
    return len(list((folder / "training").glob("*/run.json")))


def milliseconds(report: LoadReport, quantile: float) -> float:
    """Endless where so many had no answer in time."""
    found = report.percentile(quantile).ms
    return float("inf") if found is None else round(found, 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=400.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in BESIDE}
    with tempfile.TemporaryDirectory(prefix="holdfast-beside-") as name:
        folder = Path(name)
        make(folder)
        rounds = [(number, beside) for number in range(chosen.rounds) for beside in BESIDE]
        for _, beside in rounds:
            unattended = "true" if beside == "unattended" else "false"
            (folder / "holdfast.toml").write_text(f"{TOML}unattended = {unattended}\n")
            before = trained(folder)
            with ExitStack() as stack:
                service = stack.enter_context(ServiceProcess(folder, "--no-monitor"))
                if beside == "ordinary":
                    stack.enter_context(by_hand(folder))
                while beside != "alone" and trained(folder) == before:
                    time.sleep(0.05)
                target = Target(f"http://{service.host}:{service.port}", "beside")
                rows = made_up_rows(target.signature(), 64, np.random.default_rng(0))
                requests = make_requests(target, target.signature(), rows, (1,) * 64)
                load = Load(rate_per_s=chosen.rate, seconds=chosen.seconds, warmup_s=2, rounds=1)
                report = run_load(with_reference_run(requests), load)
            one = {
                "answered": report.answered,
                "p50_ms": milliseconds(report, 0.5),
                "p99_ms": milliseconds(report, 0.99),
                "p999_ms": milliseconds(report, 0.999),
                "trainings": trained(folder) - before,
            }
            found[beside].append(one)
            print(f"{beside:12} {one}", flush=True)
    middle = {
        beside: {
            key: float(np.median([one[key] for one in rounds])) for key in ("p50_ms", "p99_ms", "p999_ms")
        }
        for beside, rounds in found.items()
    }
    document = {"cores": os.cpu_count(), "rate_per_s": chosen.rate, "median": middle, "rounds": found}
    least = {beside: min(one["p99_ms"] for one in rounds) for beside, rounds in found.items()}
    print(json.dumps({"median": middle, "least_p99_ms": least}, indent=2))
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

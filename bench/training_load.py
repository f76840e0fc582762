"""What a training beside the service costs the service's callers.

    uv run python bench/training_load.py --out bench/results/training_load.json

One service of two workers, an open loop at a constant rate, and in turn: nothing beside it; a training as an
unattended service runs it (niceness 19, SCHED_IDLE); the same training started by hand at ordinary priority.
The training is whole each time (data set of 200 000 rows, ready-made trees, judgement) and is begun anew when
it ends, with two threads, so that it wants every core there is. Rounds take turns, so that a machine that
slows down does so for all three.
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
from contextlib import contextmanager
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
"""
HISTORY = """\
path = "history.parquet"
licence = "own"
basis = "not about people"
kind = "historical"
time = "time"
label = "label"
"""
BESIDE = {
    "alone": None,
    "unattended": "from holdfast.cli.training_watch import stand_back; stand_back(); ",
    "ordinary": "",
}


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
def training(folder: Path, first: str | None, ended: list[float]) -> Iterator[None]:
    """Whole trainings one after the other, for as long as the round takes."""
    if first is None:
        yield
        return
    command = [sys.executable, "-c", first + "from holdfast.cli import main; main()"]
    command += ["train", "--keep-worse", "--json", "-C", str(folder)]
    stop = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def run() -> None:
        while not stop.is_set():
            began_s = time.monotonic()
            running[:] = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
            if running[0].wait() == 0:
                ended.append(round(time.monotonic() - began_s, 1))
            elif not stop.is_set():
                raise SystemExit("a training failed")

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(1.0)  # it is under way
    try:
        yield
    finally:
        stop.set()
        running[0].terminate()
        thread.join()


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
        with ServiceProcess(folder, "--no-monitor") as service:
            target = Target(f"http://{service.host}:{service.port}", "beside")
            signature = target.signature()
            rows = made_up_rows(signature, 64, np.random.default_rng(0))
            requests = with_reference_run(make_requests(target, signature, rows, (1,) * 64))
            for _ in range(chosen.rounds):
                for beside, first in BESIDE.items():
                    ended: list[float] = []
                    with training(folder, first, ended):
                        load = Load(rate_per_s=chosen.rate, seconds=chosen.seconds, warmup_s=1, rounds=1)
                        report = run_load(requests, load)
                    one = {
                        "answered": report.answered,
                        "p50_ms": milliseconds(report, 0.5),
                        "p99_ms": milliseconds(report, 0.99),
                        "p999_ms": milliseconds(report, 0.999),
                        "trainings_s": ended,
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
    print(json.dumps(middle, indent=2))
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

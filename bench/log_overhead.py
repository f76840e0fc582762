"""What the log costs: throughput with it and without, the keeper's rate, and the disk the spool takes.

    uv run python bench/log_overhead.py --json    about a minute; needs wrk (`apt-get install wrk`)

One worker, the load of bench/serving.py. What a round reaches changes with what else the machine does, so
`off` and `spool` are asked in pairs of short rounds, each pair the other way round; the median of the pairs'
ratios counts, with an interval of 95 % by their order. `whole` is asked after them.

- `off`: `[logging] enabled = false`;
- `spool`: each answer is spooled before it leaves; the keeper is kept from working, so what is measured is
  the path of the request and nothing else;
- `whole`: with the keeper at work beside worker and load generator, on as many cores as there are.

Beside the throughput stands the worker's CPU time per request, which does not depend on what else the machine
does. Then the keeper alone moves what `spool` left, in a process of its own: its rate must be at least the
server's. During `whole` the size of the spool is watched: it must stay bounded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peers import Question, records
from systems import System, holdfast, make_deployment
from wrk import load, lua

CONNECTIONS = 64
KEEPER = """
import json, sys, time
from pathlib import Path
from holdfast.clock import SystemClock
from holdfast.prediction_log import Keeper
keeper = Keeper(Path(sys.argv[1]), SystemClock())
began_s, cpu_s = time.perf_counter(), time.process_time()
report = keeper.run_once()
json.dump(
    {
        "rows": report.predictions,
        "seconds": time.perf_counter() - began_s,
        "cpu_seconds": time.process_time() - cpu_s,
    },
    sys.stdout,
)
"""


def main() -> None:
    print_pairs(__doc__ or "", run, as_text, pairs=20)


def print_pairs(
    description: str,
    run: Callable[..., dict[str, Any]],
    as_text: Callable[[dict[str, Any]], str],
    *,
    pairs: int,
    among: Sequence[str] = (),
) -> None:
    """Ask the command line for pairs of rounds and their length, run them, print what was found.

    Args:
        description: of the bench.
        run: is given a folder, the pairs, the seconds, and which of `among` where there are such.
        as_text: of what it found.
        pairs: unless the command line says so.
        among: what the command line may choose from; all, if it does not.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--pairs", type=int, default=pairs, help="rounds with it, each beside one without")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one round")
    if among:
        parser.add_argument("--only", nargs="+", choices=among, default=list(among), help="fewer, but surer")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    chosen = (arguments.only,) if among else ()
    with tempfile.TemporaryDirectory() as folder:
        document = run(Path(folder), arguments.pairs, arguments.seconds, *chosen)
    print(json.dumps(document, indent=2) if arguments.json else as_text(document))


def run(folder: Path, pairs: int, seconds: float) -> dict[str, Any]:
    from holdfast.prediction_log.lease import Lease

    script = folder / "post.lua"
    question = records("json", 1)
    if not isinstance(question, Question):
        raise TypeError("one record in JSON is always spoken")
    script.write_text(lua(question))
    for name in ("off", "spool", "whole"):
        make_deployment(folder / name, 1, logging=name != "off")
    lease = Lease(folder / "spool" / "log")
    lease.acquire()
    rates: dict[str, list[float]] = {"off": [], "spool": [], "whole": []}
    costs: dict[str, list[float]] = {"off": [], "spool": [], "whole": []}
    watch = SpoolWatch(folder / "whole" / "log" / "spool")
    with (
        holdfast(folder / "off") as off,
        holdfast(folder / "spool") as spool,
        holdfast(folder / "whole") as whole,
    ):
        systems = {
            name: System(*one, records) for name, one in (("off", off), ("spool", spool), ("whole", whole))
        }
        for system in systems.values():
            load(system, question, script, CONNECTIONS, 1.0)
        watch.start()
        turns = [("off", "spool"), ("spool", "off")] * (pairs // 2 + pairs % 2) + [("whole",)] * (pairs // 2)
        for name in itertools.chain.from_iterable(turns):
            before_s = worker_cpu_s(folder / name)
            rate = load(systems[name], question, script, CONNECTIONS, seconds).requests_per_s
            rates[name].append(rate)
            costs[name].append((worker_cpu_s(folder / name) - before_s) / (rate * seconds) * 1e6)
        watch.stop()
    lease.release()
    moved = json.loads(
        subprocess.run(
            [sys.executable, "-c", KEEPER, str(folder / "spool" / "log")], capture_output=True, check=True
        ).stdout
    )
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratios = sorted(spool / off for spool, off in zip(rates["spool"], rates["off"], strict=True))
    by_cpu = sorted(off / spool for spool, off in zip(costs["spool"], costs["off"], strict=True))
    keeper_rate = moved["rows"] / moved["cpu_seconds"]
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average": os.getloadavg()[0],
        "requests_per_s": {name: round(value) for name, value in medians.items()},
        "worker_us_per_request": {name: round(statistics.median(cost), 1) for name, cost in costs.items()},
        "spool_to_off": round(statistics.median(ratios), 3),
        "spool_to_off_interval": interval_of_median(ratios),
        "spool_to_off_by_cpu": round(statistics.median(by_cpu), 3),
        "spool_to_off_by_cpu_interval": interval_of_median(by_cpu),
        "whole_to_off": round(medians["whole"] / medians["off"], 3),
        "keeper": {
            "rows": moved["rows"],
            "rows_per_s": round(moved["rows"] / moved["seconds"]),
            "rows_per_cpu_s": round(keeper_rate),
            "to_server": round(keeper_rate / medians["spool"], 2),
        },
        "spool_peak_mb": round(watch.peak_bytes / 1e6, 1),
    }


def interval_of_median(ordered: list[float]) -> list[float]:
    """Two of the values; in 95 % of all samples the median lies between those, whatever its law."""
    n = len(ordered)
    low = 0
    while 2 * sum(math.comb(n, k) for k in range(low + 1)) / 2**n <= 0.05:
        low += 1
    place = max(low - 1, 0)
    return [round(ordered[place], 3), round(ordered[n - 1 - place], 3)]


def worker_cpu_s(folder: Path) -> float:
    """CPU time of the deployment's one worker so far, in seconds."""
    (said,) = folder.rglob("serve.json")
    supervisor = json.loads(said.read_bytes())["pid"]
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        if b"holdfast.serve.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
            threads = Path(f"/proc/{child}/task").glob("*/schedstat")  # in nanoseconds; none of them ends
            return sum(int(one.read_text().split()[0]) for one in threads) / 1e9
    raise LookupError(f"no worker of {folder}")


class SpoolWatch:
    """The largest size of a spool while it is watched."""

    def __init__(self, spool: Path) -> None:
        self.peak_bytes = 0
        self._spool = spool
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            size = 0
            for path in self._spool.glob("*.spool"):
                try:
                    size += path.stat().st_size
                except FileNotFoundError:
                    continue
            self.peak_bytes = max(self.peak_bytes, size)


def as_text(document: dict[str, Any]) -> str:
    rates = document["requests_per_s"]
    keeper = document["keeper"]
    return (
        f"{document['machine']}; {document['date']}; load {document['load_average']:.1f}\n"
        f"  without the log    {rates['off']:>8,}/s\n"
        f"  spooling           {rates['spool']:>8,}/s   {document['spool_to_off']:.3f} of it "
        f"{document['spool_to_off_interval']}, {document['spool_to_off_by_cpu']:.3f} "
        f"{document['spool_to_off_by_cpu_interval']} by the worker's CPU time per request\n"
        f"  keeper beside it   {rates['whole']:>8,}/s   {document['whole_to_off']:.3f} of it\n"
        f"  the keeper alone   {keeper['rows_per_cpu_s']:>8,} rows per second of one core, "
        f"{keeper['to_server']:.1f} times the server's rate\n"
        f"  largest spool      {document['spool_peak_mb']} MB"
    )


if __name__ == "__main__":
    main()

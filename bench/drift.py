"""False alarms, delays and kinds on streams whose truth is known.

    uv run python bench/drift.py --quick --json

A reference of 20 windows and up to 200 windows of production (see `drift_streams.py`). Delay is the number of
windows until the first alarm after the onset. Streams without change: weekly seasons, 0.5 % positive labels,
heavy tails, correlated columns, a value of 1e6 in each window of 5000 rows, windows of 50 to 50 000 rows.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from drift_streams import CHANGED, QUIET, Stream, stream
from scipy.stats import chi2
from threadpoolctl import threadpool_limits

from holdfast.monitor import diagnose

QUICK = [*QUIET[:1], *(one for one in CHANGED if one.name in {"shift 0.2", "flip", "covariate"})]


def judge(one: Stream, seed: int) -> dict[str, Any]:
    """One stream."""
    reference, current = stream(one.kind, seed, one.size, one.rows, one.windows)
    window = "1h" if one.kind == "mixed" else f"{one.rows} rows"
    found = diagnose(reference, current, target="y", score="score", window=window, explain=False)
    alarm = np.array([window.alarm for window in found.windows])
    concept = np.array([(window.log_e_concept or 0) >= 1 for window in found.windows])
    quiet = len(alarm) if one.onset is None else one.onset
    later = alarm[quiet:]
    first = int(np.argmax(later)) if later.any() else None
    # A shift of x moves the score too; that one is no input.
    names = [feature.name for feature in found.features if feature.name != "score"]
    return {
        "false_alarms": int(alarm[:quiet].sum()),
        "quiet_windows": quiet,
        "false_concept": None if one.concept else int(concept.sum()),
        "delay_windows": None if first is None else first + 1,
        "later_in_alarm": float(later[first:].mean()) if first is not None else None,
        "named": None if first is None else one.named in names,
        "named_first": None if first is None else names[:1] == [one.named],
        "kinds": list(found.kinds),
        "shape": found.shape,
        "onset": None if found.since is None else int(found.since.estimate) // one.rows,
    }


def summary(one: Stream, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all seeds of a stream."""

    def known(key: str) -> list[float]:
        return [result[key] for result in results if result[key] is not None]

    kinds: dict[str, int] = {}
    for result in results:
        name = " and ".join(result["kinds"]) or "healthy"
        kinds[name] = kinds.get(name, 0) + 1
    alarms, windows = sum(known("false_alarms")), sum(known("quiet_windows"))
    found: dict[str, Any] = {
        "seeds": len(results),
        "false_alarms": alarms,
        "quiet_windows": windows,
        "false_alarms_per_1000_windows": round(1000 * alarms / windows, 3),
        # Poisson; windows of one stream share their reference, so it is a little too narrow.
        "upper_95": round(1000 * float(chi2.ppf(0.95, 2 * alarms + 2)) / 2 / windows, 3),
        "false_concept_windows": sum(known("false_concept")),
    }
    if one.onset is not None:
        delays = known("delay_windows")
        found |= {
            "median_delay_windows": float(np.median(delays)) if delays else None,
            "delays": sorted(map(int, delays)),
            "missed": len(results) - len(delays),
            "later_in_alarm": round(float(np.mean(known("later_in_alarm"))), 4) if delays else None,
            "named": sum(known("named")),
            "named_first": sum(known("named_first")),
            "onset_within_1": sum(
                result["onset"] is not None and abs(result["onset"] - one.onset) <= 1 for result in results
            ),
            "shapes": {
                shape: sum(r["shape"] == shape for r in results)
                for shape in sorted({r["shape"] for r in results if r["shape"]})
            },
        }
    return found | {"kinds": kinds}


def main(report: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="four kinds of stream")
    parser.add_argument("--seeds", type=int, default=10, help="streams of each kind")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--kinds", nargs="*", help="only these: " + ", ".join(one.name for one in (*QUIET, *CHANGED))
    )
    arguments = parser.parse_args()
    started = time.perf_counter()
    results = {}
    chosen = [
        one
        for one in (QUICK if arguments.quick else (*QUIET, *CHANGED))
        if not arguments.kinds or one.name in arguments.kinds or one.kind in arguments.kinds
    ]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    # Streams are independent: one process a core, each with one thread.
    with ProcessPoolExecutor(os.cpu_count(), initializer=threadpool_limits, initargs=(1,)) as pool:
        waiting = [(one, [pool.submit(judge, one, seed) for seed in seeds]) for one in chosen]
        for one, streams in waiting:
            results[one.name] = summary(one, [done.result() for done in streams])
            if not arguments.json:
                report(f"{one.name:22} {results[one.name]}")
    if arguments.json:
        report(json.dumps({"streams": results, "wall_s": round(time.perf_counter() - started, 1)}, indent=2))


if __name__ == "__main__":
    main()

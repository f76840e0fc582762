"""One column whose rows follow on each other: false alarms by kind of series, and what they cost.

    uv run python bench/series.py --rows 50 --seeds 40

A reference of 12 to 40 windows, 100 windows without change, then 20 with one of three: half a standard
deviation more, one and a half, or a burst of twelve rows beyond all that was seen. The kinds are noise,
memory, days, counts, switches and spikes in clusters of one to seven rows, `spikes 0.002` so rare that many
references hold none or one. `windows_in_alarm` counts each, `once` neighbouring ones as one.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from threadpoolctl import threadpool_limits

from holdfast.monitor import diagnose

QUIET, AFTER, DAY, WARM = 100, 20, 288, 600
BURST_ROWS: Final = 12
Numbers = NDArray[np.float64]
Random = np.random.Generator


def memory(random: Random, rows: int, by: float) -> Numbers:
    steps = random.normal(size=rows + WARM) * np.sqrt(1 - by**2)
    found: Numbers = lfilter([1.0], [1.0, -by], steps)[WARM:]
    return found


def spikes(random: Random, rows: int, rate: float) -> Numbers:
    result = 0.1 * random.normal(size=rows)
    for start in np.flatnonzero(random.random(rows) < rate):
        length = random.integers(1, 8)
        result[start : start + length] += random.lognormal(1, 0.5)
    return result


def day(random: Random, rows: int) -> Numbers:
    wave = np.sin(2 * np.pi * np.arange(rows) / DAY + random.uniform(0, 6))
    return float(random.choice([1, 3, 6])) * wave + memory(random, rows, random.choice([0.3, 0.6, 0.9]))


def switch(random: Random, rows: int) -> Numbers:
    on = (np.arange(rows) + random.integers(DAY)) % DAY < random.integers(60, 200)
    return np.where(on, 80.0, 20.0) + random.normal(size=rows) * np.where(on, 4.0, 0.5)


def counts(random: Random, rows: int, level: float, by: float) -> Numbers:
    return random.poisson(np.exp(level + 0.5 * memory(random, rows, by))).astype(np.float64)


KINDS: Final[dict[str, Callable[[Random, int], Numbers]]] = {
    "noise": lambda random, rows: random.normal(size=rows),
    "heavy": lambda random, rows: random.standard_t(2, size=rows),
    **{f"memory {by}": partial(memory, by=by) for by in (0.5, 0.8, 0.9, 0.97)},
    "skewed memory 0.6": lambda random, rows: np.exp(memory(random, rows, 0.6)),
    "skewed memory 0.9": lambda random, rows: np.exp(memory(random, rows, 0.9)),
    "day": day,
    "switch": switch,
    "counts 0.8": partial(counts, level=1.0, by=0.8),
    "counts 0.9": partial(counts, level=0.0, by=0.9),
    "counts": lambda random, rows: random.poisson(3, size=rows).astype(np.float64),
    **{f"spikes {rate}": partial(spikes, rate=rate) for rate in (0.02, 0.005, 0.002)},
}


def changes(random: Random, seen: Numbers, later: Numbers, rows: int, *, whole: bool) -> dict[str, Numbers]:
    """What comes after the quiet windows, of each change."""
    deviation, middle = seen.std(), float(np.median(seen))

    def raised(by: float) -> Numbers:
        # Counts stay whole: each goes up by one more or one less.
        return np.floor(later + by + random.random(len(later))) if whole else later + by

    burst = later.copy()
    height = seen.max() + random.uniform(0.5, 2) * (seen.max() - middle)
    burst[rows // 2 : rows // 2 + BURST_ROWS] = height + 0.2 * deviation * random.normal(size=BURST_ROWS)
    return {"half": raised(0.5 * deviation), "one and a half": raised(1.5 * deviation), "burst": burst}


def judge(kind: str, rows: int, seed: int) -> dict[str, Any]:
    """One series with each of the changes."""
    random = np.random.default_rng([seed, rows, sum(map(ord, kind))])
    before = int(random.integers(12, 41)) * rows
    values = KINDS[kind](random, before + (QUIET + AFTER) * rows)
    moments = np.datetime64("2025-01-01", "us") + np.arange(len(values)) * np.timedelta64(300, "s")
    seen, quiet, later = np.split(values, [before, before + QUIET * rows])
    found: dict[str, Any] = {"kind": kind}
    for name, after in changes(random, seen, later, rows, whole=kind.startswith("counts")).items():
        current = {"at": moments[before:], "x": np.concatenate([quiet, after])}
        verdict = diagnose(
            {"at": moments[:before], "x": seen}, current,
            time="at", window=f"{rows} rows", min_rows=min(rows, 50), explain=False,
        )  # fmt: skip
        alarm = np.array([window.alarm for window in verdict.windows])
        found[name] = int(alarm[QUIET:].argmax()) + 1 if alarm[QUIET:].any() else None
        found["alarms"] = int(alarm[:QUIET].sum())
        found["once"] = int((np.diff(alarm[:QUIET].astype(int), prepend=0) == 1).sum())
    return found


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    windows = QUIET * len(results)
    alarms, once = (sum(one[key] for one in results) for key in ("alarms", "once"))
    row = {"series": len(results), "quiet_windows": windows, "windows_in_alarm": alarms, "once": once}
    row["in_alarm_per_1000"] = round(1000 * alarms / windows, 2)
    for name in ("half", "one and a half", "burst"):
        delays = [one[name] for one in results if one[name] is not None]
        row[f"{name}: missed"] = len(results) - len(delays)
        row[f"{name}: mean_delay_windows"] = round(float(np.mean(delays)), 2) if delays else None
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50, help="of a window")
    parser.add_argument("--seeds", type=int, default=40, help="series of each kind")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    every: list[dict[str, Any]] = []
    rows = {}
    with ProcessPoolExecutor(os.cpu_count(), initializer=threadpool_limits, initargs=(1,)) as pool:
        waiting = {
            kind: [pool.submit(judge, kind, arguments.rows, seed) for seed in seeds]
            for kind in arguments.kinds
        }
        for kind, some in waiting.items():
            results = [one.result() for one in some]
            every += results
            rows[kind] = summary(results)
            if not arguments.json:
                print(f"{kind:18}", rows[kind], flush=True)
    rows["all"] = summary(every)
    print(json.dumps(rows, indent=2) if arguments.json else f"{'all':18} {rows['all']}")


if __name__ == "__main__":
    main()

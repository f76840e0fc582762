"""False alarms, delays and kinds on streams whose truth is known.

    uv run python bench/drift.py --quick --json

Each stream: a reference of 20 windows and 200 windows of 1000 rows, 16 numeric columns (normal, exponential,
bimodal, one log-normal, one correlated pair) and 4 categorical ones, a calibrated classifier's score, true
labels. Changes begin at window 100. Delay is the number of windows until the first alarm after the onset.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from holdfast.monitor import diagnose

WINDOWS, ROWS, REFERENCE_WINDOWS, ONSET = 200, 1000, 20, 100
LEVELS = np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01])

Numbers = NDArray[np.float64]


def inputs(rng: np.random.Generator, rows: int) -> tuple[Numbers, NDArray[np.int64]]:
    x = np.empty((rows, 16))
    for column in range(16):
        form = column % 4
        if form in (0, 1):
            x[:, column] = rng.normal(size=rows)
        elif form == 2:
            x[:, column] = rng.exponential(1, rows)
        else:
            left = rng.random(rows) < 0.5
            x[:, column] = np.where(left, rng.normal(-1.5, 0.7, rows), rng.normal(1.5, 0.7, rows))
    x[:, 5] = 0.6 * x[:, 1] + 0.8 * x[:, 5]
    x[:, 9] = np.exp(x[:, 9] * 0.8)
    return x, rng.choice(10, size=(rows, 4), p=LEVELS)


def logit(x: Numbers, c: NDArray[np.int64], effect: Numbers | float, base: float) -> Numbers:
    linear: Numbers = (
        effect * x[:, 0] + 0.8 * x[:, 1] - 0.6 * x[:, 2] + 0.3 * x[:, 3] + 0.6 * (c[:, 0] < 2)
        - 0.4 * x[:, 0] * x[:, 4] + base
    )  # fmt: skip
    return linear


def stream(kind: str, seed: int, size: float = 0.0) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng([seed, sum(map(ord, kind)), int(size * 1000)])
    reference_rows, rows = REFERENCE_WINDOWS * ROWS, WINDOWS * ROWS
    old_x, old_c = inputs(rng, reference_rows)
    x, c = inputs(rng, rows)
    window = np.repeat(np.arange(WINDOWS), ROWS)
    after = window >= ONSET
    effect: Numbers | float = 1.0
    base = -6.0 if kind == "rare" else -0.3
    if kind in {"season", "season shift"}:
        old_window = np.repeat(np.arange(REFERENCE_WINDOWS), ROWS)
        old_x[:, 0] += 0.3 * np.sin(2 * np.pi * old_window / 7)
        x[:, 0] += 0.3 * np.sin(2 * np.pi * (window + REFERENCE_WINDOWS) / 7) + size * after
    elif kind == "pair":
        x[after, 5] = -0.6 * x[after, 1] + 0.8 * rng.normal(size=int(after.sum()))
    elif kind == "shift":
        x[:, 0] += size * after
    elif kind == "ramp":
        x[:, 0] += 0.5 * np.clip((window - 69) / 60, 0, 1)
    elif kind == "covariate":
        x[after, 0] += 0.5
        x[after, 1] *= 1.3
        c[after & (rng.random(rows) < 0.15), 0] = 0
    elif kind == "flip":
        effect = np.where(after, -1.0, 1.0)
    elif kind == "halved":
        effect = np.where(after, 0.5, 1.0)

    def table(x: Numbers, c: NDArray[np.int64], effect: Numbers | float) -> dict[str, Any]:
        chance = 1 / (1 + np.exp(-logit(x, c, effect, base)))
        score = 1 / (1 + np.exp(-logit(x, c, 1.0, base)))
        columns: dict[str, Any] = {f"x{column}": x[:, column] for column in range(16)}
        columns |= {
            f"c{column}": pa.DictionaryArray.from_arrays(c[:, column].astype(np.int32), list("abcdefghij"))
            for column in range(4)
        }
        return columns | {"score": score, "y": (rng.random(len(x)) < chance).astype(np.int64)}

    return table(old_x, old_c, 1.0), table(x, c, effect)


def judge(kind: str, seed: int, size: float = 0.0) -> dict[str, Any]:
    reference, current = stream(kind, seed, size)
    found = diagnose(reference, current, target="y", score="score", window=f"{ROWS} rows", explain=False)
    alarm = np.array([window.alarm for window in found.windows])
    concept = np.array([(window.log_e_concept or 0) >= 1 for window in found.windows])
    onset = 70 if kind == "ramp" else ONSET
    changed = kind not in {"none", "season", "rare"}
    quiet = onset if changed else WINDOWS
    later = alarm[onset:]
    first = int(np.argmax(later)) if later.any() else None
    return {
        "false_alarms": int(alarm[:quiet].sum()),
        "quiet_windows": quiet,
        "false_concept": int(concept.sum()) if kind in {"covariate", "shift"} else 0,
        "delay_windows": None if first is None or not changed else first + 1,
        "later_in_alarm": float(later[first:].mean()) if first is not None and changed else None,
        "kinds": list(found.kinds),
        "shape": found.shape,
        "onset": None if found.since is None else int(found.since.estimate) // ROWS,
    }


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    def known(key: str) -> list[float]:
        return [result[key] for result in results if result[key] is not None]

    kinds: dict[str, int] = {}
    for result in results:
        name = " and ".join(result["kinds"]) or "healthy"
        kinds[name] = kinds.get(name, 0) + 1
    return {
        "seeds": len(results),
        "false_alarms_per_1000_windows": round(
            1000 * sum(known("false_alarms")) / sum(known("quiet_windows")), 3
        ),
        "false_concept_windows": sum(known("false_concept")),
        "median_delay_windows": float(np.median(known("delay_windows"))) if known("delay_windows") else None,
        "missed": sum(result["delay_windows"] is None for result in results),
        "later_in_alarm": round(float(np.mean(known("later_in_alarm"))), 4)
        if known("later_in_alarm")
        else None,
        "onset_within_1": sum(
            result["onset"] is not None and abs(result["onset"] - ONSET) <= 1 for result in results
        ),
        "shapes": {
            shape: sum(r["shape"] == shape for r in results)
            for shape in {r["shape"] for r in results}
            if shape
        },
        "kinds": kinds,
    }


QUICK = [("none", 0.0), ("shift", 0.2), ("flip", 0.0), ("covariate", 0.0)]
FULL = [
    *QUICK,
    ("season", 0.0),
    ("rare", 0.0),
    ("shift", 0.1),
    ("shift", 0.5),
    ("season shift", 0.5),
    ("pair", 0.0),
    ("ramp", 0.0),
    ("halved", 0.0),
]


def main(report: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four kinds of stream")
    parser.add_argument("--seeds", type=int, default=10, help="streams of each kind")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kinds", nargs="*", help="only these kinds of stream")
    arguments = parser.parse_args()
    started = time.perf_counter()
    results = {}
    chosen = [
        (kind, size)
        for kind, size in (QUICK if arguments.quick else FULL)
        if not arguments.kinds or kind in arguments.kinds
    ]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    # Streams are independent: one process a core, each with one thread.
    with ProcessPoolExecutor(os.cpu_count(), initializer=threadpool_limits, initargs=(1,)) as pool:
        waiting = [
            (f"{kind} {size:g}" if size else kind, [pool.submit(judge, kind, seed, size) for seed in seeds])
            for kind, size in chosen
        ]
        for name, streams in waiting:
            results[name] = summary([one.result() for one in streams])
            if not arguments.json:
                report(f"{name:12} {results[name]}")
    if arguments.json:
        report(json.dumps({"streams": results, "wall_s": round(time.perf_counter() - started, 1)}, indent=2))


if __name__ == "__main__":
    main()

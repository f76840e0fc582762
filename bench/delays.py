"""How long a shift of one column goes unseen, beside what any method could do.

    uv run python bench/delays.py --json

One column of 16 moves by some standard deviations; the windows' normal scores are drawn, and judged with
the thresholds, scales and tolerance of the monitor at a budget of 1 per 1000 windows without labels. Lorden's
bound is log(1000) over the Kullback-Leibler divergence of a window: the least mean delay, at that mean run
length, of whoever knows column, size and the law before the change. `knowing_less` is the bound with what
nobody knows: the column and the sign (32 alternatives), and the mean before the change, which the reference
shows only so well.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np

from holdfast.monitor.family import DATA_FAMILIES, SCALE_SHARES, SHARES
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS, unseen
from holdfast.stats import SCALES, Sums, scan, threshold

COLUMNS, RUN_LENGTH, TOLERANCE_SD, BEFORE = 16, 1000.0, 0.05, 40
SIZES = (50, 200, 1000, 5000)
SHIFTS = (0.1, 0.14, 0.2, 0.28, 0.4, 0.5)
REFERENCES = (20, 60, 200)
LONGEST = 200
"""Windows followed; a longer delay counts as so much."""


def delays(rows: int, shift: float, reference: int, streams: int, seed: int) -> np.ndarray:
    """Of each stream, the windows until the alarm."""
    random = np.random.default_rng([seed, rows, reference, int(shift * 1000)])
    windows = BEFORE + LONGEST
    moved = shift * (np.arange(windows) >= BEFORE)[:, None]
    wrong = random.normal(size=streams) / math.sqrt(rows * reference)
    observed = rows * (moved - wrong) + math.sqrt(rows) * random.normal(size=(windows, streams))
    weight = np.full(observed.shape, float(rows))
    spread = np.ones((len(SCALES), streams)) * unseen(reference)[:, None]
    error = np.full(streams, 1 / (rows * reference))
    z = scan(
        Sums(observed, 0 * weight, weight, 0 * weight, weight),
        error,
        spread if reference >= LEAST_REFERENCE_WINDOWS else None,
    )
    share = SHARES["location"] / sum(SHARES[family] for family in DATA_FAMILIES) * len(SCALES)
    alarm = np.zeros(observed.shape, dtype=bool)
    total = np.cumsum(observed, axis=0)
    for place, (scale, part) in enumerate(zip(SCALES, SCALE_SHARES, strict=True)):
        pooled = total.copy()
        pooled[scale:] -= total[:-scale]
        material = np.abs(pooled) / scale / rows >= TOLERANCE_SD
        alarm |= material & (np.abs(z[:, :, place]) >= threshold(COLUMNS, RUN_LENGTH, share * part))
    later = alarm[BEFORE:]
    return np.where(later.any(axis=0), later.argmax(axis=0) + 1, LONGEST)


def bounds(rows: int, shift: float, reference: int) -> tuple[float, float | None]:
    """Lorden's, and that of whoever has to find column, sign and mean; None where nobody can."""
    divergence = rows * shift**2 / 2
    needed = math.log(RUN_LENGTH * COLUMNS * 2) / divergence
    least = max(1.0, math.log(RUN_LENGTH) / divergence)
    return least, max(1.0, needed / (1 - needed / reference)) if needed < reference else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = []
    for reference in REFERENCES:
        for rows in SIZES:
            for shift in SHIFTS:
                least, less = bounds(rows, shift, reference)
                some = delays(rows, shift, reference, arguments.streams, arguments.seed)
                found.append(
                    {
                        "reference_windows": reference,
                        "rows": rows,
                        "shift_sd": shift,
                        "median": float(np.median(some)),
                        "mean": round(float(some.mean()), 2),
                        "within_2": round(float((some <= 2).mean()), 3),
                        "never": round(float((some >= LONGEST).mean()), 3),
                        "lorden": round(least, 2),
                        "of_lorden": round(float(some.mean()) / least, 2),
                        "knowing_less": None if less is None else round(less, 2),
                        "of_knowing_less": None if less is None else round(float(some.mean()) / less, 2),
                    }
                )
                if not arguments.json:
                    print(found[-1], flush=True)
    if arguments.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

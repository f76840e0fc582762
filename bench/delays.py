"""How long a shift of one column goes unseen, beside what any method could do.

    uv run python bench/delays.py --json

One column of 16 moves by some standard deviations; the windows' normal scores are drawn, and judged by the
monitor's own rules at a budget of 1 per 1000 windows without labels, at once after the reference and after
calm windows that joined it. Lorden's bound is log(1000) over the Kullback-Leibler divergence of a window: the
least mean delay, at that mean run length, of whoever knows column, size and the law before the change.
`knowing_less` is the bound with what nobody knows: the column and the sign (32 alternatives), and the mean
before the change, which the reference and the calm windows show only so well.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np

from holdfast.monitor.family import DATA_FAMILIES, SHARES, Budget, Plan, judge_family
from holdfast.monitor.seasons import Calendar
from holdfast.stats import Sums

COLUMNS, RUN_LENGTH, TOLERANCE_SD = 16, 1000.0, 0.05
SIZES = (50, 200, 1000, 5000)
SHIFTS = (0.1, 0.14, 0.2, 0.28, 0.4, 0.5)
KNOWN = ((20, 0), (20, 40), (20, 160), (60, 0), (60, 160), (200, 0), (200, 160))
"""Windows of reference, and calm windows after it before the change."""
Known = tuple[int, int]
LONGEST = 200
"""Windows followed; a longer delay counts as so much."""


def delays(rows: int, shift: float, known: Known, streams: int, seed: int) -> np.ndarray:
    """Of each stream, the windows until the alarm; as many streams at a time as there are columns."""
    random = np.random.default_rng([seed, rows, *known, int(shift * 1000)])
    return np.concatenate([_delays(random, rows, shift, known) for _ in range(-(-streams // COLUMNS))])


def _delays(random: np.random.Generator, rows: int, shift: float, known: Known) -> np.ndarray:
    reference, before = known

    def drawn(windows: int) -> np.ndarray:
        return math.sqrt(rows) * random.normal(size=(windows, COLUMNS))

    def sums(observed: np.ndarray, mean: np.ndarray) -> Sums:
        weight = np.full(observed.shape, float(rows))
        return Sums(observed, weight * mean, weight, 0 * weight, weight)

    own, later = drawn(reference), drawn(before + LONGEST)
    # Each column counts as a stream of its own; what is common to their references is chance.
    later[before:] += rows * shift
    mean = own.sum(axis=0) / (rows * reference)
    names = [(f"x{column}", "location") for column in range(COLUMNS)]
    plan = Plan("location", names, np.full(COLUMNS, 1 / (rows * reference)), np.zeros(COLUMNS))
    share = 1 / sum(SHARES[family] for family in DATA_FAMILIES)
    calendar = Calendar(
        (),
        np.arange(float(reference)),
        np.full(reference, float(rows)),
        np.arange(float(before + LONGEST)),
        np.full(reference, 0.5),
    )
    budget = Budget(RUN_LENGTH, TOLERANCE_SD, share)
    found = judge_family(plan, sums(later, mean), sums(own, mean), budget=budget, calendar=calendar)
    alarm = found.strength[before:] >= 1
    return np.where(alarm.any(axis=0), alarm.argmax(axis=0) + 1, LONGEST)


def bounds(rows: int, shift: float, known: Known) -> tuple[float, float | None]:
    """Lorden's, and that of whoever has to find column, sign and mean; None where nobody can."""
    divergence = rows * shift**2 / 2
    needed = math.log(RUN_LENGTH * COLUMNS * 2) / divergence
    least = max(1.0, math.log(RUN_LENGTH) / divergence)
    reference = sum(known)
    return least, max(1.0, needed / (1 - needed / reference)) if needed < reference else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = []
    for known in KNOWN:
        for rows in SIZES:
            for shift in SHIFTS:
                least, less = bounds(rows, shift, known)
                some = delays(rows, shift, known, arguments.streams, arguments.seed)
                found.append(
                    {
                        "reference_windows": known[0],
                        "calm_windows": known[1],
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

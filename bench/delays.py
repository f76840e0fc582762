"""How long a shift of one column goes unseen, beside what any method could do.

    uv run python bench/delays.py --json

One column of 16 moves by some standard deviations; the windows' normal scores are drawn, and judged by the
monitor's own rules at a budget of 1 per 1000 windows without labels, at once after the reference and after
calm windows that joined it. Beside it stand three limits, each of someone who knows the size, and that
windows vary by sampling alone:

- `lorden`: log(1000) over the Kullback-Leibler divergence of a window, the least mean delay at that mean run
  length of whoever knows the column, the sign and the law before the change;
- `finite`: of whoever knows column and sign, and the mean before the change only by the windows seen so far.
  Then only differences of windows tell anything; their Shiryaev-Roberts statistic is as good as any (Pollak
  and Siegmund 1991), and what it needs is drawn, at a threshold that calm windows pass once in 1000;
- `blind`: the same with the column and the sign unknown, 32 statistics that share the budget.

With `--wandering` instead: 0.1 standard deviations in windows of 200 rows, 60 windows known, for whoever is
`blind` and keeps the budget even where levels wander slowly, by a share of a window's variance that 60
windows hardly show, and knows by how much.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np

from holdfast.monitor.family import DATA_FAMILIES, SHARES, Budget, Plan
from holdfast.monitor.judge_family import judge_family
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
CALM, CALM_PATHS, PATHS = 100, 4000, 1000
"""Windows without change on which the best statistic's threshold is found, how often they are drawn, and
how often a change."""


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


def lorden(rows: int, shift: float) -> float:
    """The least mean delay, in windows, of whoever knows all."""
    return max(1.0, math.log(RUN_LENGTH) / (rows * shift**2 / 2))


def best(rows: int, shift: float, known: int, seed: int) -> tuple[float, float]:
    """Mean delays of whoever knows the size and not the mean: of one column and sign, and of all."""
    random = np.random.default_rng([seed, rows, known, int(shift * 1000)])
    size = shift * math.sqrt(rows)
    calm = _evidence(random, size, known, CALM, changed=False).max(axis=1)
    found = _evidence(random, size, known, LONGEST, changed=True)
    means = []
    for alternatives in (1, 2 * COLUMNS):
        chance = -math.expm1(-CALM / RUN_LENGTH / alternatives)
        raised = found >= np.quantile(calm, 1 - chance)
        means.append(float(np.where(raised.any(axis=1), raised.argmax(axis=1) + 1, LONGEST).mean()))
    return means[0], means[1]


def _evidence(
    random: np.random.Generator, size: float, known: int, windows: int, *, changed: bool
) -> np.ndarray:
    """Logarithms of the Shiryaev-Roberts statistic, `[PATHS, windows]`, of means with a variance of 1."""
    seen = random.normal(size=(PATHS if changed else CALM_PATHS, 1)) * math.sqrt(known)
    drawn = random.normal(size=(len(seen), windows)) + size * changed
    total = np.concatenate([seen, seen + np.cumsum(drawn, axis=1)], axis=1)
    result = np.empty(drawn.shape)
    for window in range(windows):
        before = known + np.arange(window + 1)
        after = known + window + 1 - before
        weight = before * after / (before + after)
        apart = (total[:, window + 1 : window + 2] - total[:, : window + 1]) / after
        apart -= total[:, : window + 1] / before
        result[:, window] = np.logaddexp.reduce(weight * (size * apart - size**2 / 2), axis=1)
    return result


def wandering(share: float, memory: float, seed: int) -> tuple[float, float]:
    """Mean delays on windows that vary by sampling alone, and on those that wander.

    Args:
        share: variance of the level, that of a window's mean being 1.
        memory: correlation of neighbouring levels.
        seed: of the draws.
    """
    random, known, size = np.random.default_rng([seed, int(share * 1000)]), 60, 0.1 * math.sqrt(200)
    place = np.arange(known + LONGEST)
    covariance = np.eye(len(place)) + share * memory ** np.abs(place[:, None] - place)
    root = np.linalg.cholesky(covariance)
    calm = (random.normal(size=(4 * CALM_PATHS, len(place))) @ root.T)[:, : known + CALM]
    limit = _restricted(calm, known, size, covariance).max(axis=1)
    limit = np.quantile(limit, 1 + math.expm1(-CALM / RUN_LENGTH / (2 * COLUMNS)))
    drawn, change = random.normal(size=(PATHS, len(place))), size * (place >= known)
    means = []
    for windows in (drawn, drawn @ root.T):
        raised = _restricted(windows + change, known, size, covariance) >= limit
        means.append(float(np.where(raised.any(axis=1), raised.argmax(axis=1) + 1, LONGEST).mean()))
    return means[0], means[1]


def _restricted(windows: np.ndarray, known: int, size: float, covariance: np.ndarray) -> np.ndarray:
    """Logarithms of the Shiryaev-Roberts statistic of differences, `[PATHS, windows after those known]`."""
    result = np.empty((len(windows), windows.shape[1] - known))
    for number in range(known + 1, windows.shape[1] + 1):
        inverse = np.linalg.inv(covariance[:number, :number])
        whole = inverse.sum(axis=1)
        inverse -= np.outer(whole, whole) / whole.sum()
        # Column k: as if windows from k on had changed.
        changed = np.cumsum(inverse[:, ::-1], axis=1)[:, ::-1][:, known:]
        weight = np.cumsum(changed[::-1], axis=0)[::-1][known:].diagonal()
        result[:, number - known - 1] = np.logaddexp.reduce(
            size * (windows[:, :number] @ changed) - size**2 / 2 * weight, axis=1
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--wandering", action="store_true")
    arguments = parser.parse_args()
    if arguments.wandering:
        for share in (0.0, 0.05, 0.1):
            independent, same = wandering(share, 0.97, arguments.seed)
            print({"share": share, "independent": round(independent, 1), "wandering": round(same, 1)})
        return
    found = []
    for known in KNOWN:
        for rows in SIZES:
            for shift in SHIFTS:
                least, (finite, blind) = lorden(rows, shift), best(rows, shift, sum(known), arguments.seed)
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
                        "finite": round(finite, 2),
                        "of_finite": round(float(some.mean()) / finite, 2),
                        "blind": round(blind, 2),
                        "of_blind": round(float(some.mean()) / blind, 2),
                    }
                )
                if not arguments.json:
                    print(found[-1], flush=True)
    if arguments.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

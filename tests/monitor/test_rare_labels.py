"""Rare positives: what changes among the few rows that a model suspects is seen, and called by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.monitor import diagnose
from holdfast.monitor.family import Budget, Plan
from holdfast.monitor.judge_family import judge_family
from holdfast.monitor.seasons import Calendar
from holdfast.stats import Sums

ROWS, REFERENCE, QUIET, AFTER = 2000, 20, 40, 30
SUSPECTED = 0.005


def card_payments(seed: int, windows: int, since: int, *, times: float) -> dict[str, Any]:
    """One fraud in 100 rows; of the few suspected ones 3 in 10, and so many times as many since a window."""
    random = np.random.default_rng([31, seed, windows])
    rows = windows * ROWS
    suspected = random.random(rows) < SUSPECTED
    score = np.where(suspected, random.beta(9, 21, rows), 0.0085 * random.lognormal(-0.18, 0.6, rows))
    changed = suspected & (np.arange(rows) >= since * ROWS)
    chance = np.where(changed, np.minimum(times * score, 0.98), score)
    return {
        "amount": random.lognormal(size=rows),
        "score": score,
        "fraud": (random.random(rows) < chance).astype(int),
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_twice_as_many_frauds_among_the_suspected_rows_are_concept_drift(seed: int) -> None:
    old = card_payments(seed, REFERENCE, REFERENCE, times=1)
    new = card_payments(seed, QUIET + AFTER, QUIET, times=2)
    found = diagnose(old, new, target="fraud", score="score", window=f"{ROWS} rows", explain=False)
    assert found.kinds == ("concept drift",)
    assert found.features[0].name == "score"
    assert not any(window.alarm for window in found.windows[:QUIET])


@pytest.mark.parametrize(("rows", "times"), [(1_000_000, 2.0), (10_000_000, 1.1)])
def test_twice_a_rare_event_is_material_and_a_tenth_more_is_not(rows: int, times: float) -> None:
    one = np.full((1, 1), float(rows))
    sums = Sums(one * 0.0005 * (times - 1), 0 * one, one * 0.0005, one * 0.0005, one)
    plan = Plan("overall", [("", "overall")], np.zeros(1), np.ones(1), binary=True)
    calendar = Calendar((), np.empty(0), np.empty(0), np.zeros(1), np.empty(0))
    found = judge_family(plan, sums, None, budget=Budget(1000, 0.05), calendar=calendar)
    assert bool(found.alarm.any()) == (times == 2.0)

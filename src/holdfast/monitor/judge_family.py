"""One family of tests on all windows: how far each is beyond what calm windows vary by."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.family import Budget, Family, Plan, Tests, limits_of
from holdfast.monitor.known import LONGEST, Known
from holdfast.monitor.parts import Parts
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.variation import unseen
from holdfast.stats import Sums

LEAST_SHARE: Final = 0.002
"""A cell whose share moved by less than two rows in a thousand is immaterial, however rare it was."""
CELL_TOLERANCES: Final = 2.0
"""Tolerances by which a cell's share must move: with the default, one that held an eighth by 3.3 points."""
ODDS_TOLERANCES: Final = 5.0
"""Tolerances by which log odds may move, a quarter with the default: a tolerance is many rare events."""
SHAPE_TOLERANCES: Final = 2.0
"""The same for skew and tails: with the default, an excess kurtosis of half."""
LEAST_SHAPE_ROWS: Final = 15.0
"""Rows, less those that follow on others, below which three cumulants do not tell a fourth power's tail."""


def judge_family(
    plan: Plan,
    sums: Sums,
    own: Sums | None,
    *,
    budget: Budget,
    calendar: Calendar,
    doubt: NDArray[np.float64] | None = None,
    parts: tuple[Parts, Sums] | None = None,
) -> Tests:
    """Every test on every window.

    Args:
        plan: of the family.
        sums: what the windows contribute.
        own: the same of the reference's own windows; None where there are too few to tell natural variation.
        budget: of everything together.
        calendar: when the windows were.
        doubt: as for `scan`.
        parts: of the reference's windows, and what they contribute.
    """
    return judge_known(Known.of(plan, sums, own, calendar, parts), budget, doubt)


def judge_known(known: Known, budget: Budget, doubt: NDArray[np.float64] | None = None) -> Tests:
    """The same, of one whose calm times are known.

    Args:
        known: by the reference alone.
        budget: of everything together.
        doubt: as for `scan`.
    """
    plan, sums = known.plan, known.sums
    limits = limits_of(plan.family, plan.total or len(plan.names), budget)
    worth = None
    if plan.family == "location" and known.own is not None and known.spread is not None:
        longest = np.flatnonzero(unseen(len(known.own.weight)) == 1)[-1]
        worth = known.own.weight.sum(axis=0) / known.spread[longest]
    strength, single = np.zeros(sums.observed.shape), np.zeros(sums.observed.shape)
    for some in known.stretches():
        known.look_back(strength[: some.start] >= 1)
        lead = max(some.start - LONGEST + 1, 0)
        for position, (values, pool) in enumerate(
            known.scanned(
                slice(lead, some.stop),
                None if doubt is None else doubt[lead : some.stop],
                lead=some.start - lead,
            )
        ):
            material = _material(
                plan.family, pool, budget, known.spread_at(position), known.left, binary=plan.binary
            )
            beyond = np.where(material, np.abs(values) / limits[position], 0.0)
            strength[some] = np.maximum(strength[some], beyond)
            if position == 0:
                single[some] = values
    weight = np.maximum(sums.weight, 1e-9)
    deviation = np.sqrt(np.maximum(sums.variance / weight / known.left, 1e-12))
    return Tests(
        plan.family,
        tuple(plan.names),
        single,
        strength,
        (sums.observed - sums.expected) / weight / deviation,
        worth=worth,
    )


def _material(
    family: Family,
    pool: Sums,
    budget: Budget,
    spread: NDArray[np.float64] | None,
    left: NDArray[np.float64] | float,
    *,
    binary: bool,
) -> NDArray[np.bool_]:
    """Whether pooled sums are off by more than is tolerated, in standard deviations of all rows."""
    weight = np.maximum(pool.weight, 1e-9)
    change = np.abs(pool.observed - pool.expected) / weight
    deviation = np.sqrt(np.maximum(pool.variance / weight / left, 1e-300))
    least = budget.tolerance_sd * deviation
    if binary:
        least = np.minimum(least, ODDS_TOLERANCES * budget.tolerance_sd * deviation**2)
    material = change >= least
    if family == "shape":
        material &= change >= SHAPE_TOLERANCES * budget.tolerance_sd * deviation
        if spread is not None:
            material &= weight >= LEAST_SHAPE_ROWS * spread
    if family == "cells":
        material &= change >= np.maximum(CELL_TOLERANCES * budget.tolerance_sd * deviation, LEAST_SHARE)
    return material

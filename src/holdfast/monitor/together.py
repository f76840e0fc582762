"""Whether many cells of a column have changed together, though each by itself hardly shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.family import Budget, Tests, limits_of
from holdfast.monitor.features import FEW_VALUES, Feature
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS, unseen
from holdfast.stats import (
    SCALES,
    CategoryBins,
    CellShares,
    Excess,
    departure_z,
    departures,
    natural_excess,
    pooled,
    without_largest,
)

TOGETHER: Final = "together"
MANY_TOLERANCES: Final = 4.0
"""Tolerances by which a column must change: with the default, some function of it moves by a fifth of its
standard deviation, and its population stability index is 0.04."""
_LEFT_OUT: Final = 2
"""Cells that have most part in a change: what those show is not a change of many."""
Counted = NDArray[Any]


def has_many_cells(feature: Feature) -> bool:
    """Whether it has more than are looked at one by one."""
    return int((cells_of(feature, feature.counts[None])[0] > 0).sum()) > FEW_VALUES


def cells_of(feature: Feature, counts: Counted) -> Counted:
    """`[W, K]`, counts of the cells that are looked at together, from `[W, cells]`.

    Without values that are missing or beyond the reference's range, which have tests of their own. Where rare
    categories share cells the frequent ones are put among them: these were chosen by how often they came, and
    come less often afterwards.

    Args:
        feature: of the column.
        counts: of windows.
    """
    if not isinstance(feature.bins, CategoryBins):
        return counts[:, 1 : len(feature.bins.edges) + 1]
    bins, top = feature.bins, len(feature.bins.top)
    if bins.shared == 1:
        return counts[:, : top + 1]
    place = np.zeros((top, bins.shared))
    place[np.arange(top), [bins.shared_by(name) for name in bins.top]] = 1.0
    found: NDArray[np.float64] = counts[:, top : top + bins.shared] + counts[:, :top] @ place
    return found


def shares_of(feature: Feature) -> CellShares:
    """What the reference says of those cells."""
    rows = cells_of(feature, feature.counts[None])[0].astype(np.float64)
    noise = rows
    if isinstance(feature.bins, CategoryBins) and feature.bins.twice:
        # Whether a rare category has one row, and so counts as unseen, or two is chance as well.
        noise = rows * (1 + 2 * feature.bins.twice / max(float(rows.sum()), 1.0))
    if isinstance(feature.bins, CategoryBins):
        return CellShares.of(rows, noise)
    # Between its coarse cells, which have tests, a number moves with its season; within them it hardly does.
    return CellShares.of(rows, group=feature.coarse[1 : len(feature.bins.edges) + 1])


def categories_of_cell(feature: Feature, shares: CellShares) -> float:
    """How many categories a cell holds, as far as they count: of like ones their number by that of cells.

    Changes of the categories of a cell add up as chance has it, so what the cells show of a squared change is
    less than it is by that.
    """
    if not isinstance(feature.bins, CategoryBins) or feature.bins.shared == 1:
        return 1.0
    own = feature.bins.alike
    total = max(float(shares.rows.sum()), 2.0)
    of_cells = float((shares.rows * (shares.rows - 1)).sum()) / (total * (total - 1))
    return max(of_cells / max(own, 1 / total), 1.0)


def judge_together(feature: Feature, counts: Counted, own: Counted, total: int, budget: Budget) -> Tests:
    """The test of one column.

    Args:
        feature: its reference.
        counts: `[W, cells]` of the windows.
        own: `[B, cells]` of the reference's own.
        total: columns that have such a test.
        budget: of everything together.
    """
    found = _judge(feature, counts, own, limits_of("together", total, budget), budget)
    single, strength, change = (each[:, None] for each in found)
    return Tests("together", ((feature.name, TOGETHER),), single, strength, change)


def _judge(
    feature: Feature, counts: Counted, own: Counted, limits: NDArray[np.float64], budget: Budget
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    shares = shares_of(feature)
    held = categories_of_cell(feature, shares)
    excess, usual = Excess.none(), 1.0
    if len(own) >= LEAST_REFERENCE_WINDOWS:
        before = cells_of(feature.of_reference, own).astype(np.float64)
        excess, usual = natural_excess(before, shares), float(before.sum(axis=1).mean())
    excess = replace(excess, granted=(1 + excess.granted) * unseen(len(own)) - 1)
    some = cells_of(feature, counts)
    found = departures(some, shares)
    single, strength = np.zeros(len(counts)), np.zeros(len(counts))
    for position, (apart, rows) in enumerate(found):
        relative = np.maximum(rows.sum(axis=1) / (SCALES[position] * max(usual, 1.0)), 1.0)
        z = departure_z(apart, rows, shares, excess.of_windows(position, relative))
        if position == 0:
            single = z
        raised = np.flatnonzero(z >= limits[position])
        if raised.size:
            there = excess.of_windows(position, relative[raised])
            kept = without_largest(
                pooled(some.astype(np.float64), SCALES[position])[raised], shares, _LEFT_OUT
            )
            value = departure_z(kept, rows[raised], shares, there) / limits[position]
            calm = shares.cumulants(rows[raised])[0] * (there.shown + there.granted)
            value[_size(kept - calm, rows[raised], held) < MANY_TOLERANCES * budget.tolerance_sd] = 0.0
            strength[raised] = np.maximum(strength[raised], value)
    return single, strength, _size(*found[0], held)


def _size(apart: NDArray[np.float64], rows: NDArray[np.float64], held: float) -> NDArray[np.float64]:
    """The greatest shift that any function of the column shows, in its standard deviations."""
    found: NDArray[np.float64] = np.sqrt(np.maximum(apart, 0.0) * held) / np.maximum(rows.sum(axis=1), 1.0)
    return found

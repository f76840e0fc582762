"""Extreme or rare rows that come one after the other: they make sums vary more, and to one side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.features import Feature
from holdfast.stats import RARE_PART, CategoryBins, Clumps, NumericBins

_SHARE: Final = 0.02
_DEPTHS: Final = (4, 8, 20)
"""Rows at either end of the reference's range that are looked at, and that share of all if it is more."""
_MOST: Final = 0.1
"""Share of the rows in them beyond which they are no end: a value that many rows have."""
_CHANCE: Final = 0.001
"""Level at which there must be more neighbours among them than in rows of any order."""
_GAP: Final = 3
"""Rows from one to the next that still belong to one cluster, where there are clusters at all."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """What rows that come together add to the cumulants of one row, for each test of a column."""

    variance: NDArray[np.float64] = field(repr=False)
    """`[tests]`."""
    third: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, feature: Feature, index: NDArray[np.intp]) -> Clusters | None:
        """From the reference's rows in order; None where extreme rows, and those of rare cells, come alone.

        Clusters come independently, so what they add up to is a compound Poisson process: with `F` the sum
        over a cluster, the variance of one row is the mean over all rows of `F²`, and its third cumulant that
        of `F³`, where independent rows have their own squares and cubes. Few clusters tell the variance
        badly, so it is raised by a standard error.

        Args:
            feature: fitted on them.
            index: the cell of each row.
        """
        tests = len(feature.tests)
        variance, third = np.zeros(tests), np.zeros(tests)
        found = [_of_ends(feature, index), _of_rare_cells(feature, index)]
        for some in found:
            if some is not None:
                variance += some[0]
                third += some[1]
        return cls(variance, third) if found != [None, None] else None


def _of_ends(
    feature: Feature, index: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """What rows at either end of a number's range add to moments, `[tests]` each."""
    if not isinstance(feature.bins, NumericBins) or "location" not in feature.tests:
        return None
    within = feature.counts[: len(feature.bins.edges) + 2]
    total = int(within.sum())
    moments = [number for number, test in enumerate(feature.tests) if not test.startswith("cell:")]
    values = feature.functionals[:, moments] - feature.moments()[0][moments]
    variance, third = np.zeros(len(feature.tests)), np.zeros(len(feature.tests))
    found = False
    for order in (slice(None), slice(None, None, -1)):
        rows = _clustered(within, index, order)
        if rows is None:
            continue
        found = True
        number = np.cumsum(np.diff(rows, prepend=rows[0]) > _GAP)
        single = values[index[rows]]
        whole = np.stack([np.bincount(number, weights=column) for column in single.T], axis=1)
        square = whole**2
        more = np.maximum(square.sum(axis=0) - (single**2).sum(axis=0), 0.0)
        variance[moments] += more * _doubt(square) / total
        third[moments] += ((whole**3).sum(axis=0) - (single**3).sum(axis=0)) / total
    return (variance, third) if found else None


def _of_rare_cells(
    feature: Feature, index: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """What rows of one value add to the counts of rare cells, `[tests]` each.

    A few visits tell a rare cell's own variance badly, all rare cells together tell how many rows come at a
    time.
    """
    # Bins of a number say nothing by themselves, its coarse cells do.
    cells = index if isinstance(feature.bins, CategoryBins) else feature.coarse[index]
    clumps = Clumps.of(cells, np.bincount(cells))
    if clumps is None:
        return None
    _, variance, third = feature.moments()
    rare = feature.counting * (feature.functionals.T @ feature.counts <= feature.rows / RARE_PART)
    if isinstance(feature.bins, CategoryBins):
        rare[-3:] = 1.0  # all other and all unseen categories are rare ones
    sizes = clumps.sizes[clumps.rare].astype(np.float64)
    doubt = float(_doubt(sizes[:, None] ** 2)[0])
    return (
        rare * variance * (clumps.together() * doubt - 1),
        rare * third * (clumps.together(2) - 1),
    )


def _doubt(square: NDArray[Any]) -> NDArray[np.float64]:
    """By how much a variance is raised that clusters with these squares, `[clusters, tests]`, tell."""
    told = square.sum(axis=0) ** 2 / np.maximum((square**2).sum(axis=0), 1e-300)
    found: NDArray[np.float64] = 1 + 1 / np.sqrt(np.maximum(told, 1.0))
    return found


def _clustered(within: NDArray[np.int64], index: NDArray[np.intp], order: slice) -> NDArray[np.intp] | None:
    """Row numbers of the outermost rows at one end, as many as come together; None where they do not."""
    total = int(within.sum())
    places = np.arange(len(within))[order]
    passed = np.cumsum(within[places])
    # Missing and other cells that are no numbers lie at no end.
    depth = np.full(max(int(index.max(initial=0)) + 1, len(within)), len(places))
    depth[places] = np.arange(len(places))
    found = held = None
    for wanted in sorted((*_DEPTHS, max(_SHARE * total, _DEPTHS[-1])), reverse=True):
        last = int(np.searchsorted(passed, wanted))
        held = np.flatnonzero(depth[index] <= last) if held is None else held[depth[index[held]] <= last]
        if found is None and held.size <= _MOST * total and _together(held, total):
            found = held
    return found


def _together(rows: NDArray[np.intp], total: int) -> bool:
    """Whether more of some rows follow on each other than chance makes."""
    from scipy.special import pdtrc

    neighbours = int((np.diff(rows) == 1).sum())
    return neighbours > 0 and float(pdtrc(neighbours - 1, rows.size**2 / total)) < _CHANCE

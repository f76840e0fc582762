"""Rows that went from one cell to another while all others stayed: filled holes, renamed categories."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.features import Feature
from holdfast.monitor.plain import plain
from holdfast.stats import CategoryBins

BURST: Final = 0.05
"""A cell that gains five rows in a hundred at once is a burst."""
_DEVIATIONS: Final = 3.0
"""Standard deviations by which what one cell gains may differ from what the other lost."""
_OFF: Final = 0.02
"""Total variation by which the other cells may differ, besides chance."""
_GONE: Final = 0.05
"""Share of what a cell is expected to hold, below which it counts as gone."""
_LEAST_ROWS: Final = 20
"""To be expected of a cell that is gone."""
_NAMED: Final = 3


def filled_holes(feature: Feature, counts: NDArray[np.int64]) -> str | None:
    """Whether values that were missing hold one value now, and all others are as they were; in words.

    Args:
        feature: of the reference.
        counts: `[cells]`, since the change.
    """
    before, after, rows = _shares(feature, counts)
    missing = len(before) - (2 if feature.numeric else 1)
    lost = float(before[missing] - after[missing])
    if lost < BURST or after[missing] > _GONE * before[missing]:
        return None
    gain = after - before
    gain[missing] = 0.0
    most = int(np.argmax(gain))
    rest = np.delete(gain, [most, missing])
    noise = np.sqrt(before * (1 - before) * rows)
    chance = float(np.delete(noise, [most, missing]).sum()) / 2
    error = float(np.hypot(noise[most], noise[missing]))
    if abs(gain[most] - lost) > _DEVIATIONS * error or np.abs(rest).sum() / 2 > _OFF + chance:
        return None
    value = _value(feature, most)
    if value is None:
        return None
    return (
        f"filled: missing in {before[missing]:.0%} of rows before and in none now, as many more are {value}"
    )


def renamed_categories(feature: Feature, counts: NDArray[np.int64]) -> str:
    """Categories that are gone, where as many rows hold ones never met; empty where it is not so.

    Args:
        feature: of the reference.
        counts: `[cells]`, since the change.
    """
    if not isinstance(feature.bins, CategoryBins):
        return ""
    before, after, rows = _shares(feature, counts)
    top = len(feature.bins.top)
    enough = before[:top] * counts.sum() >= _LEAST_ROWS
    gone = np.flatnonzero(enough & (after[:top] <= _GONE * before[:top]))
    lost = float((before[gone] - after[gone]).sum())
    gained = float(after[-2] - before[-2])
    if not len(gone) or abs(gained - lost) > _DEVIATIONS * np.sqrt(lost * (1 - lost) * rows):
        return ""
    named = [repr(feature.bins.top[number]) for number in gone[:_NAMED]]
    return ", ".join(named) + (" and others" if len(gone) > _NAMED else "")


def _shares(
    feature: Feature, counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Of rows in each cell then and now, and the variance of their difference but for `p (1 - p)`."""
    old, new = max(int(feature.counts.sum()), 1), max(int(counts.sum()), 1)
    return feature.counts / old, counts / new, 1 / old + 1 / new


def _value(feature: Feature, cell: int) -> str | None:
    """What a cell holds; None of what is no place of its own."""
    if isinstance(feature.bins, CategoryBins):
        return repr(feature.bins.top[cell]) if cell < len(feature.bins.top) else None
    if 1 <= cell <= len(feature.bins.edges):
        return f"near {plain(feature.bins.edges[cell - 1])}"
    return None

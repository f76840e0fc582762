"""Broken pipes, told from drift: missing values, a stuck column, another unit, categories never seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.features import Feature
from holdfast.monitor.moved_cells import BURST, filled_holes, renamed_categories
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.rounding import rounding_of
from holdfast.monitor.units import unit_of, unit_of_some
from holdfast.stats import NumericBins

_USUAL: Final = 0.0005
"""Share of rows with categories never met before from which it is said what is usual."""
NEVER_MET: Final = "categories that the reference never had"
SWAPPED: Final = "holding the values of {}: swapped columns?"
RENAMED: Final = "renamed?"
SWAP_TOLERANCE: Final = 0.15
"""Quartiles of one column are those of another if they agree within this share of their distance."""
_AT_MOST: Final = 1.0
"""Beyond this share no season of a column is looked for."""
STUCK_SHARE: Final = 0.2
"""Share of the rows that one narrow bin must gain to hold a stuck value."""
_LEAST_MARKED: Final = 10
"""Rows of one value that are a mark, and no chance."""
_NARROW_BINS: Final = 100
_STUCK_DISTINCT: Final = 10
"""A column with fewer distinct values in the reference may be constant for a day."""


def find_fault(reference: ReferenceModel, name: str, windows: Sequence[WindowProfile]) -> str | None:
    """What is broken about a column in the windows since a change, in words; None if it may be drift.

    Args:
        reference: fitted.
        name: of a column in alarm.
        windows: since the change, at least one.
    """
    feature = reference.features[name]
    before = feature.counts / max(feature.counts.sum(), 1)
    counts = np.sum([window.counts[name] for window in windows], axis=0)
    after = counts / max(counts.sum(), 1)
    cells = feature.bins.cells
    missing = cells - 2 if feature.numeric else cells - 1
    if after[missing] - before[missing] >= BURST:
        if counts[missing] == counts.sum():
            return "missing in every row: gone, renamed or of another type?"
        return f"missing in {after[missing]:.0%} of rows (reference {before[missing]:.1%})"
    holes = filled_holes(feature, counts)
    if holes is not None:
        return holes
    if not feature.numeric:
        unseen = cells - 2
        renamed = renamed_categories(feature, counts)
        if renamed:
            return f"{after[unseen]:.1%} of rows hold {NEVER_MET}, and as many no more {renamed}: {RENAMED}"
        if after[unseen] - before[unseen] >= BURST:
            usual = f" (usually {before[unseen]:.1%})" if before[unseen] >= _USUAL else ""
            return f"{after[unseen]:.0%} of rows hold {NEVER_MET}{usual}"
        return None
    if after[cells - 1] - before[cells - 1] >= BURST:
        return f"not finite in {after[cells - 1]:.0%} of rows"
    distinct = int((feature.counts[1:-3] > 0).sum())
    stuck = [window for window in windows if name in window.constant]
    # The first of the windows may hold rows from before.
    still = {window.quartiles[name][1] for window in reference.windows if name in window.constant}
    if distinct >= _STUCK_DISTINCT and 2 * len(stuck) > len(windows):
        if stuck[-1].quartiles[name][1] in still:
            return None  # As at night, where the sun's power is nought.
        return f"stuck at {stuck[-1].quartiles[name][1]:.6g} in every row"
    quartiles = np.median([_quartiles(reference, name, window) for window in windows], axis=0)
    return (
        unit_of(reference, name, windows, quartiles)
        or _mark(feature, windows, counts)
        or unit_of_some(reference, name, windows, BURST)
        or rounding_of(feature, counts)
        or _partly_stuck(feature, before, after)
    )


def find_swaps(
    reference: ReferenceModel,
    windows_of: Mapping[str, Sequence[WindowProfile]],
    all_of: Mapping[str, Sequence[WindowProfile]],
) -> Mapping[str, str]:
    """Columns that hold each other's values, in words by column.

    Single windows of half a day do not have the quartiles of all hours, all of them together do. Nor has half
    a year those of a whole one: there they are the quartiles of some window of the reference.

    Args:
        reference: fitted.
        windows_of: of each numeric column in alarm, windows in which it shows most.
        all_of: the same, all windows while it was in alarm.
    """
    found: dict[str, str] = {}
    names = [name for name in windows_of if reference.features[name].numeric and windows_of[name]]
    own = {name: _quartiles(reference, name, reference.whole) for name in names}
    # Once for each column and not for each pair: of a thousand in alarm there are half a million pairs.
    now = {
        name: (
            np.median([_quartiles(reference, name, window) for window in windows_of[name]], axis=0),
            _quartiles_of_all(reference, name, all_of[name]),
        )
        for name in names
    }
    for first, second in combinations(names, 2):
        if first in found or second in found:
            continue
        both = ((first, second), (second, first))
        if any(_near(own[one], own[other]) for one, other in both):
            continue
        if any(
            all(_near(now[one][way], own[other]) for one, other in both) for way in range(2)
        ) or _at_some_time(reference, {other: now[one][0] for one, other in both}):
            found[first], found[second] = (SWAPPED.format(other) for other in (second, first))
    return found


def _at_some_time(reference: ReferenceModel, wanted: Mapping[str, NDArray[np.float64]]) -> bool:
    """Whether in some window of the reference the columns had the quartiles that are wanted."""
    usual = {name: _quartiles(reference, name, reference.whole) for name in wanted}
    if not all(_near(now, usual[name], _AT_MOST) for name, now in wanted.items()):
        return False
    # Of two that differ less a season might look like the other.
    if any(_near(usual[one], usual[other], 2 * SWAP_TOLERANCE) for one, other in permutations(usual, 2)):
        return False
    found = np.ones(len(reference.windows), dtype=bool)
    for name, now in wanted.items():
        found &= [_near(now, _quartiles(reference, name, window)) for window in reference.windows]
    return bool(found.any())


def _near(now: NDArray[np.float64], wanted: NDArray[np.float64], tolerance: float = SWAP_TOLERANCE) -> bool:
    """Whether three quartiles agree within a share of the distance between the outer ones."""
    width = float(wanted[2] - wanted[0])
    return bool(np.abs(now - wanted).max() <= tolerance * width) if width > 0 else False


def _partly_stuck(feature: Feature, before: NDArray[np.float64], after: NDArray[np.float64]) -> str | None:
    """One of many narrow bins that gains a fifth of all rows at once: a value, not a distribution."""
    if not isinstance(feature.bins, NumericBins) or len(feature.bins.edges) < _NARROW_BINS:
        return None
    inner = slice(1, len(feature.bins.edges) + 1)
    gain = after[inner] - before[inner]
    most = int(np.argmax(gain))
    beside = np.delete(gain, most)[max(most - 1, 0) : most + 1].max(initial=0.0)
    # What moves together spreads over several bins; the rest of the rows must be as they were.
    rest = after[inner] / max(1 - float(gain[most]), 1e-9) - before[inner]
    if gain[most] < STUCK_SHARE or beside > gain[most] / 4 or np.abs(np.delete(rest, most)).sum() > 0.5:
        return None
    return f"stuck near {feature.bins.edges[most]:.6g} in {after[inner][most]:.0%} of rows"


def _mark(feature: Feature, windows: Sequence[WindowProfile], counts: NDArray[np.int64]) -> str | None:
    """One value beyond the reference's range in many rows, as -999 stands for what is missing."""
    shown = [window.beyond[feature.name] for window in windows if feature.name in window.beyond]
    rows = int(counts[0] + counts[feature.bins.cells - 3])
    if not shown or rows < max(_LEAST_MARKED, BURST * float(counts.sum())):
        return None
    if int((feature.counts[1:-3] > 0).sum()) < _STUCK_DISTINCT or np.ptp(np.array(shown)) > 0:
        return None
    share = rows / float(counts.sum())
    return f"at {shown[0][1]:.6g} in {share:.0%} of rows: a mark for missing values?"


def _quartiles_of_all(
    reference: ReferenceModel, name: str, windows: Sequence[WindowProfile]
) -> NDArray[np.float64]:
    """By their counts, which end with the reference's range."""
    feature = reference.features[name]
    counts = np.sum([window.counts[name] for window in windows], axis=0)
    return np.array([feature.quantile(counts, share) for share in (0.25, 0.5, 0.75)])


def _quartiles(reference: ReferenceModel, name: str, window: WindowProfile) -> NDArray[np.float64]:
    """From raw values where the window lies outside the reference's range, else from its counts."""
    if name in window.quartiles:
        return np.array(window.quartiles[name])
    feature = reference.features[name]
    return np.array([feature.quantile(window.counts[name], share) for share in (0.25, 0.5, 0.75)])

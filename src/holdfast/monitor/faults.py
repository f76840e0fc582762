"""Broken pipes, told from drift: missing values, a stuck column, another unit, categories never seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel

BURST: Final = 0.05
"""A cell that gains five rows in a hundred at once is a burst."""
UNITS: Final[tuple[tuple[float, str], ...]] = (
    (1e6, "a factor of a million"),
    (3600.0, "a factor of 3600 (hours, seconds)"),
    (1000.0, "a factor of 1000 (kilo)"),
    (100.0, "a factor of 100 (cents, per cent)"),
    (60.0, "a factor of 60 (minutes, seconds)"),
    (2.54, "a factor of 2.54 (inches, centimetres)"),
)
UNIT_TOLERANCE: Final = 0.08
"""All three quartiles must have moved by the factor within this share."""
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
        return f"missing in {after[missing]:.0%} of rows (reference {before[missing]:.1%})"
    if not feature.numeric:
        unseen = cells - 2
        if after[unseen] >= BURST:
            return f"{after[unseen]:.0%} of rows hold categories that the reference never had"
        return None
    if after[cells - 1] - before[cells - 1] >= BURST:
        return f"not finite in {after[cells - 1]:.0%} of rows"
    distinct = int((feature.counts[1:-3] > 0).sum())
    if distinct >= _STUCK_DISTINCT and all(name in window.constant for window in windows):
        return f"stuck at {windows[-1].quartiles[name][1]:.6g} in every row"
    return _unit(reference, name, windows)


def _unit(reference: ReferenceModel, name: str, windows: Sequence[WindowProfile]) -> str | None:
    old = _quartiles(reference, name, reference.whole)
    new = np.median([_quartiles(reference, name, window) for window in windows], axis=0)
    if (old == 0).any() or (new / old <= 0).any() or np.ptp(old) == 0:
        return None
    ratio = new / old
    for factor, words in UNITS:
        for wanted, direction in ((factor, "larger"), (1 / factor, "smaller")):
            if np.abs(ratio / wanted - 1).max() <= UNIT_TOLERANCE:
                return f"{direction} by {words}: another unit?"
    return None


def _quartiles(reference: ReferenceModel, name: str, window: WindowProfile) -> NDArray[np.float64]:
    """From raw values where the window lies outside the reference's range, else from its counts."""
    if name in window.quartiles:
        return np.array(window.quartiles[name])
    feature = reference.features[name]
    return np.array([feature.quantile(window.counts[name], share) for share in (0.25, 0.5, 0.75)])

"""Moments that a clock of another time zone wrote, told from days that people live at other hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.features import Feature
from holdfast.monitor.kinds import AGE
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.stats import NumericBins

_HOURS: Final = 24
_LEAST_HOURS: Final = 12
"""Distinct hours of the reference."""
_OFF: Final = 0.03
"""Total variation by which the hours may differ after they are turned back, besides chance."""
_WORSE: Final = 0.1
"""By how much they must differ more as they are."""
_PAST_MIDNIGHT: Final = 0.05
"""Share of the rows that must be on another day than before, and that must not: no other number turns so."""
_OTHERS: Final = 0.03
"""By how much they must differ more when turned by other hours."""


def find_turned_clocks(
    reference: ReferenceModel, shown: Mapping[str, Sequence[WindowProfile]]
) -> dict[str, str]:
    """Columns of hours that are all as many hours off, in words; and what else is known of the same moments.

    Args:
        reference: fitted.
        shown: of each column in alarm, windows in which it shows most.
    """
    found: dict[str, str] = {}
    for name, windows in shown.items():
        counts = np.sum([window.counts[name] for window in windows], axis=0)
        hours = hours_off(reference.features[name], counts)
        if hours is None:
            continue
        later = f"{hours} hours later or {_HOURS - hours} earlier"
        found[name] = f"turned, each hour being {later}: another time zone?"
        moment, apart, _ = name.rpartition(": ")
        for other in shown.keys() & {f"{moment}: weekday", f"{moment}: {AGE}"} if apart else ():
            found[other] = "of moments whose hours are turned: another time zone?"
    return found


def hours_off(feature: Feature, counts: NDArray[np.int64]) -> int | None:
    """By how many hours a column of hours is later, 1 to 23; None if that does not explain its counts.

    Args:
        feature: of the reference.
        counts: `[cells]`.
    """
    if not isinstance(feature.bins, NumericBins):
        return None
    hours = np.array(feature.bins.edges)
    if not (_LEAST_HOURS <= len(hours) <= _HOURS and (hours == hours.round()).all()):
        return None
    if hours[0] < 0 or feature.bins.maximum > _HOURS - 1:
        return None
    cells = feature.bins.cells
    before, after = (
        each[: cells - 2] / max(int(each[: cells - 2].sum()), 1) for each in (feature.counts, counts)
    )
    off = np.empty(_HOURS)
    for turn in range(_HOURS):
        at = feature.bins.index((hours + turn) % _HOURS)
        expected = np.bincount(at, before[1 : len(hours) + 1], len(before))
        off[turn] = np.abs(after - expected).sum() / 2
    best = int(off.argmin())
    rows = 1 / max(int(feature.counts.sum()), 1) + 1 / max(int(counts.sum()), 1)
    chance = float(np.sqrt(after * (1 - after) * rows).sum()) / 2
    past_midnight = float(before[1 : len(hours) + 1][hours + best >= _HOURS].sum())
    if min(past_midnight, 1 - past_midnight) < _PAST_MIDNIGHT:
        return None  # A number that grew by a few would look the same.
    if best == 0 or off[best] > _OFF + chance or off[0] < off[best] + _WORSE:
        return None
    return best if np.delete(off, best).min() >= off[best] + _OTHERS else None

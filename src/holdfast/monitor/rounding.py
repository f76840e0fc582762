"""Numbers that arrive rounded: they lie only where bins hold a multiple of a step, as others did not."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.features import FEW_VALUES, Feature
from holdfast.monitor.plain import plain
from holdfast.stats import NumericBins

_STEPS: Final = (5.0, 2.0, 1.0)
"""Times a power of ten, coarsest first."""
_ALL: Final = 0.995
"""Share of the rows on multiples of the step; some may be mended by hand."""
_ELSEWHERE: Final = 0.2
"""Share of the reference's rows in bins without one, in the range that the rows now have."""
_EVIDENCE: Final = 20.0
"""Minus the logarithm of the chance that all those rows lie on multiples of a step."""
_LEAST_BINS: Final = 5
_OFF: Final = 0.5
"""Share of the rows below a value by which it may differ beyond what a step moves: a season's part of a day
may differ by much, but where numbers grew tenfold the few that lie where others did lie in wide bins."""
_POWERS: Final = 7
"""Powers of ten below the range's own that are tried: finer steps have a multiple in every bin."""
_SLACK: Final = 1e-9
"""Of a step: multiples of 0.1 are no exact doubles."""


def rounding_of(feature: Feature, counts: NDArray[np.int64]) -> str | None:
    """Whether rows are rounded to a step that the reference's were not, in words.

    Args:
        feature: of the reference.
        counts: `[cells]`, since the change.
    """
    bins = feature.bins
    if not isinstance(bins, NumericBins) or len(bins.edges) <= FEW_VALUES:
        return None
    inner = slice(1, len(bins.edges) + 1)
    now, before = counts[inner].astype(np.float64), feature.counts[inner].astype(np.float64)
    held = np.flatnonzero(now > 0)
    if held.size < _LEAST_BINS:
        return None
    span = slice(int(held[0]), int(held[-1]) + 1)
    low = np.array(bins.edges)
    high = np.append(low[1:], np.nextafter(bins.maximum, np.inf))
    reach = float(high[span][-1] - low[span][0])
    if not np.isfinite(reach) or reach <= 0:
        return None
    power = int(np.floor(np.log10(reach)))
    for step in (each * 10.0**place for place in range(power, power - _POWERS, -1) for each in _STEPS):
        first = np.ceil(low / step - _SLACK) * step
        marked = first < high - _SLACK * step
        if marked[span].all():
            return None
        apart = float(before[span][~marked[span]].sum()) / max(float(before[span].sum()), 1.0)
        sure = -float(now.sum()) * np.log1p(-min(apart, 0.99)) >= _EVIDENCE
        on_marks = now[marked].sum() >= _ALL * now.sum()
        if on_marks and apart >= _ELSEWHERE and sure and _moved_by(step, bins, feature.counts, counts):
            return f"rounded: its values are {_multiples(step)}, those of the reference were not"
    return None


def _moved_by(step: float, bins: NumericBins, before: NDArray[np.int64], now: NDArray[np.int64]) -> bool:
    """Whether most values may have moved by a step at most."""
    edges = np.append(np.array(bins.edges), bins.maximum)
    old, new = (np.cumsum(counts[: len(edges)]) / counts[: len(edges) + 1].sum() for counts in (before, now))
    least, most = (np.interp(edges + by, edges, old) for by in (-step, step))
    return bool(((new >= least - _OFF) & (new <= most + _OFF)).all())


def _multiples(step: float) -> str:
    return "whole numbers" if step == 1.0 else f"multiples of {plain(step)}"

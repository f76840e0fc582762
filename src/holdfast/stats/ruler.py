"""Edges that lie on marks of an even ruler: which of them a value has passed is then read off, not compared.

The marks are a power of two apart, so that a value times their number a unit is exact; rounding it to a whole
number is exact as well, and says which two marks it lies between. Edges are moved to a mark where they are
fitted on so many values that the shares of their bins hardly change; what is counted on them stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_MARKS: Final = 15_000
"""Of them counts are made: arrays below 128 KiB, which the allocator keeps."""
_LEAST_VALUES: Final = 1 << 16
"""Fewer are quickly counted on their exact quantiles."""
_TURN: Final = 1.5 * 2.0**52
"""Added to a number it leaves no room for a fraction: the sum's lowest bits are the nearest whole number."""
_TURN_BITS: Final = int(np.float64(_TURN).view(np.int64))
_WHOLE: Final = 2.0**51
"""Numbers below it stay themselves in that sum."""
_MOVED: Final = 0.5
"""Of its share, what a bin may gain or lose by moving its edges."""
_ABOVE, _MISSING, _NOT_FINITE = range(1, 4)
"""Behind the last place that lies between marks."""


@dataclass(frozen=True, slots=True)
class Ruler:
    """M places between marks. Before them is place 0 for what lies below, behind them are three more.

    A place is what comes out of rounding a value times `scale`; between two edges there are whole places.
    """

    scale: float
    first: int
    """What comes out of it for place 1."""
    places: int
    """M."""
    least: float
    greatest: float
    """What lies beyond them is outside."""
    starts: NDArray[np.intp] = field(repr=False)
    """`[cells]`, the first place of each cell."""
    bin_of: NDArray[np.intp] = field(repr=False)
    """`[M + 4]`, the cell of each place."""

    def find(self, values: NDArray[np.float64], found: NDArray[np.int64]) -> None:
        """The place of each value, into `found`, which is as long."""
        least, greatest = float(values.min()), float(values.max())
        low, high = least * self.scale, greatest * self.scale
        place = found.view(np.float64)
        if abs(low) < _WHOLE and abs(high) < _WHOLE:
            np.multiply(values, self.scale, out=place)
        else:
            with np.errstate(over="ignore"):
                np.multiply(values, self.scale, out=place)
        place += _TURN
        found -= _TURN_BITS + self.first - 1
        # What NaN is compared with is never true: with it among the values, both ends are cut.
        if not low >= self.first:
            np.maximum(found, 1, out=found)
        if not high <= self.first + self.places - 1:
            np.minimum(found, self.places, out=found)
        if least >= self.least and greatest <= self.greatest:
            return
        found[np.flatnonzero(values < self.least)] = 0
        found[np.flatnonzero(values > self.greatest)] = self.places + _ABOVE
        if not (np.isfinite(least) and np.isfinite(greatest)):
            found[np.isnan(values)] = self.places + _MISSING
            found[np.isinf(values)] = self.places + _NOT_FINITE

    def folded(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts of the cells from counts `[M + 4]` of the places."""
        found: NDArray[np.int64] = np.add.reduceat(counts, self.starts)
        return found


@lru_cache(maxsize=512)
def ruler_for(edges: tuple[float, ...], maximum: float) -> Ruler | None:
    """The ruler on whose marks all edges but the first lie, which is the least value; None if there is none.

    Example:
        >>> ruler = ruler_for((0.0, 0.75, 1.75, 3.75), 5.0)
        >>> found = np.empty(6, dtype=np.int64)
        >>> ruler.find(np.array([0.0, 0.7, 0.75, 4.0, 9.0, np.nan]), found)
        >>> ruler.bin_of[found].tolist()
        [1, 1, 2, 4, 5, 6]
        >>> ruler_for((0.0, 0.1, 0.2), 1.0) is None
        True
    """
    if len(edges) < 3:
        return None
    inner = np.array(edges[1:])
    scale = _scale_of(edges[1])
    begin = edges[0] * scale
    if scale == 0.0 or not (abs(begin) < _WHOLE and abs(edges[-1] * scale) < _WHOLE):
        return None
    on_marks = inner * (2 * scale)
    if not (np.mod(on_marks, 4.0) == 3.0).all():
        return None
    # A mark lies one half above an odd number, so that it rounds up.
    starts = (on_marks + 1) / 2
    first, last = float(np.rint(begin)), float(np.rint(min(maximum * scale, _WHOLE)))
    if last - first + 1 > MOST_MARKS:
        first, last = float(starts[0] - 1), float(starts[-1])
    places = int(last - first) + 1
    if places > MOST_MARKS:
        return None
    behind = places + np.array([_ABOVE, _MISSING, _NOT_FINITE])
    begins = np.concatenate([[0, 1], starts - first + 1, behind]).astype(np.intp)
    bin_of = np.repeat(np.arange(len(begins)), np.diff(begins, append=places + 4))
    return Ruler(scale, int(first), places, edges[0], maximum, begins, bin_of)


def on_marks(ordered: NDArray[np.float64], edges: NDArray[np.float64], usual: float) -> NDArray[np.float64]:
    """The edges on marks of a ruler; as they are where the values are too few or lie too unevenly.

    Args:
        ordered: the values that they are quantiles of, rising.
        edges: rising; the first stays where it is.
        usual: how many of the values a bin should hold.
    """
    if len(ordered) < _LEAST_VALUES or len(edges) < 3 or bool((edges == np.rint(edges)).all()):
        return edges
    least, greatest = float(ordered[0]), float(ordered[-1])
    before = _held(ordered, edges)
    for width in (greatest - least, float(edges[-1]) - float(edges[1])):
        # The widest range that fits, with some places to spare for the least and greatest of more values.
        room = 0.95 * MOST_MARKS / width if width > 0 else 0.0
        if not 0.0 < room < np.inf:
            continue
        power = int(np.floor(np.log2(room)))
        if abs(power) > 1000 or not max(abs(least), abs(greatest)) < _WHOLE / 2.0**power:
            continue
        scale = 2.0**power
        marks = (4.0 * np.floor((edges[1:] * (2 * scale) - 3.0) / 4.0) + 3.0) / (2 * scale)
        moved = np.concatenate([edges[:1], marks])
        if not all(low < high for low, high in pairwise(moved.tolist())):
            continue
        if np.abs(_held(ordered, moved) - before).max() <= _MOVED * usual:
            return moved
    return edges


def _held(ordered: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """How many values each bin holds."""
    return np.diff(np.append(np.searchsorted(ordered, edges, side="left"), len(ordered)))


def _scale_of(edge: float) -> float:
    """Places a unit, if the edge is a mark: half of what makes it an odd whole number."""
    above, below = edge.as_integer_ratio()
    if below > 1:
        power = below.bit_length() - 2
    elif above:
        power = -((above & -above).bit_length() - 1) - 1
    else:
        return 0.0
    return 2.0**power if abs(power) < 1000 else 0.0

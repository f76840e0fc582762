"""Which of many rising edges a value has passed, by a table instead of a search.

An even grid is laid over the edges. A value's grid cell tells which edges it has surely passed; where one
edge lies in the cell one comparison decides, where more do a binary search of those few values. The grid cell
is a rising function of the value even in floating point, so the answer is that of `numpy.searchsorted`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

GRID_CELLS: Final = 4096
"""16 for each of 256 edges: most cells hold none, and the tables stay in the first cache."""
_STRETCH: Final = 15 * 1024
"""Values located at a time: arrays of so many stay in the cache, and the allocator keeps them (from 128 KiB
on it asks the system for fresh pages each time, which costs more than all the arithmetic)."""
_WHOLE: Final = 2.0**62
"""Below it a number's whole part is one that numpy can hold."""
_CUTS: Final = (0.0, 0.01, 0.05)
"""Shares of the edges left outside the grid on each side: a long tail would make its cells too wide."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Tables for one set of edges."""

    edges: NDArray[np.float64] = field(repr=False)
    low: float
    scale: float
    passed: NDArray[np.int32] = field(repr=False)
    """`[GRID_CELLS]`, edges in lower grid cells."""
    next_edge: NDArray[np.float64] = field(repr=False)
    """`[GRID_CELLS]`, the first edge not in a lower grid cell; after the last NaN, which nothing passes."""
    crowded: NDArray[np.bool_] = field(repr=False)
    """`[GRID_CELLS]`, whether more than one edge lies in the cell."""
    search: bool
    """Whether any cell is crowded."""

    @classmethod
    def over(cls, edges: NDArray[np.float64]) -> Grid:
        """For rising edges, at least one."""
        low, scale, held = min((_laid(edges, share) for share in _CUTS), key=lambda one: _in_crowds(one[2]))
        passed = np.concatenate([[0], np.cumsum(held)[:-1]]).astype(np.int32)
        following = np.append(edges, np.nan)[passed]
        return cls(edges, low, scale, passed, following, held > 1, bool((held > 1).any()))

    def tame(self, least: float, greatest: float) -> bool:
        """Whether the grid cells of all values from the least to the greatest are whole numbers to numpy."""
        low, high = (least - self.low) * self.scale, (greatest - self.low) * self.scale
        return low > -_WHOLE and high < _WHOLE

    def locate(
        self, values: NDArray[np.float64], room: Room | None = None, *, tame: bool = False
    ) -> NDArray[np.intp]:
        """How many edges are at or below each value; 0 for NaN.

        Args:
            values: `[N]`.
            room: to work in; the answer then is part of it, until it is used again.
            tame: what the method of that name says of them: they are then not cut to the grid first.
        """
        if room is None:
            room = Room(len(values))
        found = room.found[: len(values)]
        for start in range(0, len(values), _STRETCH):
            part = values[start : start + _STRETCH]
            size = len(part)
            place, edge = room.place[:size], room.edge[:size]
            cell, beyond = room.cell[:size], room.beyond[:size]
            _cells(part, self.low, self.scale, place, cell, tame=tame)
            at, passed = found[start : start + size], room.passed[:size]
            # "clip" spares the check of every cell, and puts values beyond the grid into its ends.
            self.passed.take(cell, out=passed, mode="clip")
            self.next_edge.take(cell, out=edge, mode="clip")
            np.greater_equal(part, edge, out=beyond)
            # As numbers of 8 bits: numpy would widen truth values first.
            np.add(passed, beyond.view(np.int8), out=at)
            if self.search:
                hard = np.flatnonzero(self.crowded.take(cell, mode="clip"))
                some = part[hard]
                at[hard] = np.where(np.isnan(some), 0, np.searchsorted(self.edges, some, side="right"))
        return found


class Room:
    """Arrays to locate at most so many values in, again and again.

    The allocator gives the end of its memory back to the system as soon as it is free, and asks for it again
    page by page: with arrays of their own, that took half of the time of every call.

    Example:
        What numpy's own binary search says of the same values.

        >>> import numpy as np
        >>> from holdfast.stats import NumericBins
        >>> random = np.random.default_rng(0)
        >>> bins, room = NumericBins.fit(random.normal(size=1000)), Room(500)
        >>> values = np.linspace(-2.0, 2.0, 500)
        >>> found = bins.index(values, room)
        >>> bool(np.array_equal(found, np.searchsorted(bins.edges, values, side="right")))
        True
        >>> found.base is room.found
        True
    """

    __slots__ = ("beyond", "cell", "edge", "found", "passed", "place")

    def __init__(self, values: int) -> None:
        size = min(values, _STRETCH)
        self.found = np.empty(values, dtype=np.intp)
        self.place, self.edge = np.empty(size), np.empty(size)
        self.cell, self.beyond = np.empty(size, dtype=np.intp), np.empty(size, dtype=np.bool_)
        self.passed = np.empty(size, dtype=np.int32)


def _laid(edges: NDArray[np.float64], cut: float) -> tuple[float, float, NDArray[np.intp]]:
    """Begin and scale of a grid, and how many edges each of its cells holds."""
    left_out = int(len(edges) * cut)
    low, high = float(edges[left_out]), float(edges[len(edges) - 1 - left_out])
    width = high - low
    scale = (GRID_CELLS - 1) / width if np.isfinite(width) and width > 0 else 0.0
    if not np.isfinite(scale):
        scale = 0.0
    cell = np.empty(len(edges), dtype=np.intp)
    _cells(edges, low, scale, np.empty(len(edges)), cell)
    return low, scale, np.bincount(cell, minlength=GRID_CELLS)


def _in_crowds(held: NDArray[np.intp]) -> int:
    return int(held[held > 1].sum())


def _cells(
    values: NDArray[np.float64],
    low: float,
    scale: float,
    place: NDArray[np.float64],
    cells: NDArray[np.intp],
    *,
    tame: bool = False,
) -> None:
    """The grid cell of each value, into `cells`; `place` is room to work in. Tame values may lie beyond."""
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(values, low, out=place)
        place *= scale
    if not tame:
        np.fmax(place, 0.0, out=place)
        np.fmin(place, GRID_CELLS - 1.0, out=place)
    np.copyto(cells, place, casting="unsafe")


@lru_cache(maxsize=512)
def grid_for(edges: tuple[float, ...]) -> Grid:
    """The grid of those edges, made once.

    Example:
        >>> grid_for((0.0, 1.0, 5.0)).locate(np.array([-1.0, 0.0, 4.9, 5.0, np.nan])).tolist()
        [0, 1, 2, 3, 0]
    """
    return Grid.over(np.asarray(edges, dtype=np.float64))

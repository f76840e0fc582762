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
"""16 for each of 256 edges: two thirds of the cells hold none, and the tables stay in the first cache."""
_STRETCH: Final = 1 << 15
"""Values located at a time, so that all passes over them stay in the cache."""
_CUT: Final = 0.01
"""Share of the edges left outside the grid on each side: a long tail would make its cells too wide."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Tables for one set of edges."""

    edges: NDArray[np.float64] = field(repr=False)
    next_edge: NDArray[np.float64] = field(repr=False)
    """The edges, then NaN, which nothing passes."""
    low: float
    scale: float
    passed: NDArray[np.intp] = field(repr=False)
    """`[GRID_CELLS]`, edges in lower grid cells."""
    crowded: NDArray[np.bool_] = field(repr=False)
    """`[GRID_CELLS]`, whether more than one edge lies in the cell."""

    @classmethod
    def over(cls, edges: NDArray[np.float64]) -> Grid:
        """For rising edges, at least one."""
        cut = int(len(edges) * _CUT)
        low, high = float(edges[cut]), float(edges[len(edges) - 1 - cut])
        width = high - low
        scale = (GRID_CELLS - 1) / width if np.isfinite(width) and width > 0 else 0.0
        if not np.isfinite(scale):
            scale = 0.0
        held = np.bincount(_cells(edges, low, scale), minlength=GRID_CELLS)
        passed = np.concatenate([[0], np.cumsum(held)[:-1]]).astype(np.intp)
        return cls(edges, np.append(edges, np.nan), low, scale, passed, held > 1)

    def locate(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        """How many edges are at or below each value; 0 for NaN."""
        found = np.empty(len(values), dtype=np.intp)
        for start in range(0, len(values), _STRETCH):
            part = values[start : start + _STRETCH]
            cell = _cells(part, self.low, self.scale)
            at = self.passed[cell]
            at += part >= self.next_edge[at]
            hard = np.flatnonzero(self.crowded[cell])
            if hard.size:
                some = part[hard]
                at[hard] = np.where(np.isnan(some), 0, np.searchsorted(self.edges, some, side="right"))
            found[start : start + _STRETCH] = at
        return found


def _cells(values: NDArray[np.float64], low: float, scale: float) -> NDArray[np.intp]:
    with np.errstate(over="ignore", invalid="ignore"):
        place = values - low
        place *= scale
    np.fmax(place, 0.0, out=place)
    np.fmin(place, GRID_CELLS - 1.0, out=place)
    cells: NDArray[np.intp] = place.astype(np.intp)
    return cells


@lru_cache(maxsize=512)
def grid_for(edges: tuple[float, ...]) -> Grid:
    """The grid of those edges, made once.

    Example:
        >>> grid_for((0.0, 1.0, 5.0)).locate(np.array([-1.0, 0.0, 4.9, 5.0, np.nan])).tolist()
        [0, 1, 2, 3, 0]
    """
    return Grid.over(np.asarray(edges, dtype=np.float64))

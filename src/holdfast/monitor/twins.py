"""How many rows of a window are there twice, from a bounded sample of their hashes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MOST_KEPT: Final = 1 << 13
_LEAST_KEPT: Final = 1 << 10
"""A share of twins of a fifth is then right within 0.013 (one standard deviation)."""
_KEPT_OF_ALL: Final = 1 << 22
"""Hashes kept of all windows together: 32 MB."""
LOOKED_BACK: Final = 5
"""Windows before in which the rows of one are looked for."""
_SPREAD: Final = np.uint64(0xBF58476D1CE4E5B9)
"""A factor of the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""


def kept_of_each(windows: int) -> int:
    """How many hashes are kept of each of so many windows."""
    return max(_LEAST_KEPT, min(_MOST_KEPT, _KEPT_OF_ALL // max(windows, 1)))


class Twins:
    """Rows are drawn by their hash: of two twins both are drawn or none, wherever in the window they lie.

    Args:
        most: hashes kept; a window with no more rows is counted exactly.
    """

    __slots__ = ("_held", "_level", "_most", "_parts")

    def __init__(self, most: int = _MOST_KEPT) -> None:
        self._most = most
        self._level = 0
        self._held = 0
        self._parts: list[NDArray[np.uint64]] = []

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Of some more rows, as `spread` makes them."""
        kept = hashes[hashes <= self._highest] if self._level else hashes.copy()
        self._parts.append(kept)
        self._held += len(kept)
        while self._held > self._most and self._level < 63:
            self._thin(self._level + 1)

    def include(self, other: Twins) -> None:
        """The rows of another one."""
        if other._level > self._level:
            self._thin(other._level)
        for part in other._parts:
            self.add(part)

    def _thin(self, level: int) -> None:
        self._level = level
        self._parts = [part[part <= self._highest] for part in self._parts]
        self._held = sum(map(len, self._parts))

    @property
    def _highest(self) -> np.uint64:
        return np.uint64((1 << (64 - self._level)) - 1)

    @property
    def count(self) -> int:
        """Rows that are the same as an earlier one; estimated where not all rows were kept."""
        if not self._held:
            return 0
        ordered = np.sort(np.concatenate(self._parts))
        return int((ordered[1:] == ordered[:-1]).sum()) << self._level

    @property
    def distinct(self) -> NDArray[np.uint64]:
        """The hashes that were kept, each once."""
        return np.unique(np.concatenate(self._parts)) if self._parts else np.empty(0, dtype=np.uint64)

    @property
    def level(self) -> int:
        """Of 2 to this power rows one was kept."""
        return self._level


def returning(windows: Sequence[Twins | None]) -> list[int]:
    """How many distinct rows of each window are the same as one of the few windows before it."""
    found: list[int] = []
    before: deque[tuple[int, NDArray[np.uint64]]] = deque(maxlen=LOOKED_BACK)
    for twins in windows:
        if twins is None:
            found.append(0)
            continue
        own = twins.distinct
        level = max([twins.level, *(level for level, _ in before)])
        highest = np.uint64((1 << (64 - level)) - 1)
        known = np.concatenate([hashes for _, hashes in before]) if before else own[:0]
        found.append(int(np.isin(own[own <= highest], known[known <= highest]).sum()) << level)
        before.append((twins.level, own))
    return found


def spread(mixed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes whose highest bits are as good as drawn, of numbers that differ where rows do."""
    hashes = mixed ^ (mixed >> np.uint64(30))
    hashes *= _SPREAD
    hashes ^= hashes >> np.uint64(31)
    return hashes

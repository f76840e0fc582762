"""How many rows of a window are there twice, from a bounded sample of their hashes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats import drawn_hashes

_MOST_KEPT: Final = 1 << 13
_LEAST_KEPT: Final = 1 << 10
"""A share of twins of a fifth is then right within 0.013 (one standard deviation)."""
_KEPT_OF_ALL: Final = 1 << 22
"""Hashes kept of all windows together: 32 MB."""
_MOST_COMPARED: Final = 1 << 11
"""Rows of a window that are looked for in those before it."""
LOOKED_BACK: Final = 5
"""Windows before in which the rows of one are looked for."""


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
        """Of some more rows, as `spread_hashes` makes them."""
        kept = drawn_hashes(hashes, self._highest) if self._level else hashes.copy()
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
        self._parts = [drawn_hashes(part, self._highest) for part in self._parts]
        self._held = sum(map(len, self._parts))

    @property
    def _highest(self) -> int:
        return (1 << (64 - self._level)) - 1

    @property
    def count(self) -> int:
        """Rows that are the same as an earlier one; estimated where not all rows were kept."""
        if not self._held:
            return 0
        ordered = np.sort(np.concatenate(self._parts))
        return int((ordered[1:] == ordered[:-1]).sum()) << self._level

    def drawn(self, most: int) -> tuple[int, NDArray[np.uint64]]:
        """At most so many of the hashes, each once and rising; of 2 to what power of rows one was drawn."""
        ordered = np.sort(np.concatenate(self._parts)) if self._parts else np.empty(0, dtype=np.uint64)
        # `numpy.unique` takes ten times as long for whole numbers.
        ordered = ordered[np.r_[True, ordered[1:] != ordered[:-1]]] if len(ordered) else ordered
        level = self._level
        while len(ordered) > most:
            level += 1
            ordered = _up_to(ordered, level)
        return level, ordered


def _up_to(ordered: NDArray[np.uint64], level: int) -> NDArray[np.uint64]:
    highest = np.uint64((1 << (64 - level)) - 1)
    return ordered[: int(np.searchsorted(ordered, highest, side="right"))]


def returning(windows: Sequence[Twins | None], bounds: Sequence[tuple[int, int]] = ()) -> list[int]:
    """How many distinct rows of each window are the same as one of the few windows before it.

    Args:
        windows: in order of time.
        bounds: of those windows. Where all are as long, those before a gap count as far back as they are:
            after an outage of some days, the Monday before would have the rows of this one.
    """
    lengths = {end - start for start, end in bounds}
    reach = LOOKED_BACK * lengths.pop() if len(lengths) == 1 else None
    found: list[int] = []
    before: deque[tuple[int, int, NDArray[np.uint64]]] = deque(maxlen=LOOKED_BACK)
    for number, twins in enumerate(windows):
        if twins is None:
            found.append(0)
            continue
        start = bounds[number][0] if reach is not None else 0
        near = [one for one in before if reach is None or start - one[0] <= reach]
        level, ordered = drawn = twins.drawn(_MOST_COMPARED)
        level = max([level, *(other for _, other, _ in near)])
        own = _up_to(ordered, level)
        known = [_up_to(hashes, level) for _, _, hashes in near]
        found.append(_in_both(own, np.sort(np.concatenate(known))) << level if known else 0)
        before.append((start, *drawn))
    return found


def _in_both(own: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> int:
    """How many of the first are among the second, which are rising; `numpy.isin` takes ten times as long."""
    if not len(ordered):
        return 0
    place = np.searchsorted(ordered, own)
    return int((ordered.take(place, mode="clip") == own).sum())

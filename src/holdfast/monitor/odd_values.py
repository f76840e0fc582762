"""Raw values of a window that may be stuck or in another unit, of which counts say too little."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

KEPT: Final = 1 << 12
"""Values kept of a column and window: a quartile is right within one rank in a hundred, whatever the rows."""


class OddValues:
    """A bounded sample of values, and how many there were and between which bounds."""

    __slots__ = ("_parts", "_step", "greatest", "least", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.least, self.greatest = np.inf, -np.inf
        self._parts: list[NDArray[np.float64]] = []
        self._step = 1

    def add(self, finite: NDArray[np.float64]) -> None:
        """Some more values; every so many-th is kept, evenly over all."""
        if finite.size == 0:
            return
        self.least = min(self.least, float(finite.min()))
        self.greatest = max(self.greatest, float(finite.max()))
        self._parts.append(finite[-self.rows % self._step :: self._step].astype(np.float64))
        self.rows += len(finite)
        while self.rows > KEPT * self._step:
            self._thin()

    def include(self, other: OddValues) -> None:
        """The values of another sample, as many of them as of one's own."""
        other_parts = [np.concatenate(other._parts)] if other._parts else []
        step = other._step
        while self._step < step:
            self._thin()
        self._parts += [part[:: self._step // step] for part in other_parts]
        self.rows += other.rows
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)
        while self.rows > KEPT * self._step:
            self._thin()

    def _thin(self) -> None:
        self._step *= 2
        if self._parts:
            self._parts = [np.concatenate(self._parts)[::2]]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Of at least one value."""
        return _quartiles(np.concatenate(self._parts))

    def quartiles_beyond(self, low: float, high: float) -> tuple[float, float, float] | None:
        """Of the values below one bound or above another; None without any.

        Args:
            low: of the reference's range.
            high: of it.
        """
        held = np.concatenate(self._parts)
        beyond = held[(held < low) | (held > high)]
        return _quartiles(beyond) if beyond.size else None


def _quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)

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
        before, self.rows = self.rows, self.rows + len(finite)
        self._thin_to(self.rows)
        self._parts.append(finite[-before % self._step :: self._step].astype(np.float64))

    def include(self, other: OddValues) -> None:
        """The values of another sample, as many of them as of one's own."""
        other_parts = [np.concatenate(other._parts)] if other._parts else []
        self._thin_to(KEPT * other._step)
        self._parts += [part[:: self._step // other._step] for part in other_parts]
        self.rows += other.rows
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)
        self._thin_to(self.rows)

    def _thin_to(self, rows: int) -> None:
        """Keep no more than of so many rows may be kept."""
        before = self._step
        while rows > KEPT * self._step:
            self._step *= 2
        if self._parts and self._step > before:
            self._parts = [np.concatenate(self._parts)[:: self._step // before]]

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
    """As `numpy.quantile` gives them, of so few values in a third of its time."""
    ordered = np.sort(values)
    low, middle, high = (_between(ordered, share) for share in (0.25, 0.5, 0.75))
    return low, middle, high


def _between(ordered: NDArray[np.float64], share: float) -> float:
    at = (len(ordered) - 1) * share
    place = int(at)
    below, above = float(ordered[place]), float(ordered[min(place + 1, len(ordered) - 1)])
    part = at - place
    return below + (above - below) * part if part < 0.5 else above - (above - below) * (1.0 - part)

"""When windows were, in the terms of the seasons that the reference can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.profiling import WindowProfile
from holdfast.stats import Period, calendar_periods, counted_periods


@dataclass(frozen=True, slots=True)
class Calendar:
    """Times of the reference's windows and of the current ones, in the unit of the periods."""

    periods: tuple[Period, ...]
    own: NDArray[np.float64] = field(repr=False)
    own_rows: NDArray[np.float64] = field(repr=False)
    current: NDArray[np.float64] = field(repr=False)
    half: NDArray[np.float64] = field(repr=False)
    """Half the length of each of the reference's windows."""

    @classmethod
    def of(cls, own: Sequence[WindowProfile], current: Sequence[WindowProfile], *, timed: bool) -> Calendar:
        """From windows in order of time.

        Args:
            own: of the reference.
            current: to be judged.
            timed: their bounds are times. Otherwise windows follow on the reference's, one by one.
        """
        rows = np.array([float(max(window.rows, 1)) for window in own])
        if not timed:
            place = np.arange(len(own) + len(current), dtype=np.float64)
            half = np.full(len(own), 0.5)
            return cls(counted_periods(len(own)), place[: len(own)], rows, place[len(own) :], half)
        start = np.array([window.start for window in own], dtype=np.int64)
        end = np.array([window.end for window in own], dtype=np.int64)
        middle = np.array([(window.start + window.end) / 2 for window in current], dtype=np.float64)
        return cls(calendar_periods(start, end), (start + end) / 2, rows, middle, (end - start) / 2)

    def at(self, chosen: Sequence[int]) -> Calendar:
        """For some of the current windows only."""
        return Calendar(self.periods, self.own, self.own_rows, self.current[list(chosen)], self.half)

    def within(self, window: NDArray[np.intp], place: NDArray[np.float64]) -> NDArray[np.float64]:
        """Times within the reference's windows, from their numbers and places between 0 and 1."""
        result: NDArray[np.float64] = self.own[window] + (2 * place - 1) * self.half[window]
        return result

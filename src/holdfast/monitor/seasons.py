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
            return cls(counted_periods(len(own)), place[: len(own)], rows, place[len(own) :])
        start = np.array([window.start for window in own], dtype=np.int64)
        end = np.array([window.end for window in own], dtype=np.int64)
        middle = np.array([(window.start + window.end) / 2 for window in current], dtype=np.float64)
        return cls(calendar_periods(start, end), (start + end) / 2, rows, middle)

    def at(self, chosen: Sequence[int]) -> Calendar:
        """For some of the current windows only."""
        return Calendar(self.periods, self.own, self.own_rows, self.current[list(chosen)])

"""Windows of so many rows, of a log that is read batch by batch: the times alone say where each ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.windows import Stretch, cut
from holdfast.spec import WindowSize


@dataclass(slots=True)
class CountedWindows:
    """Which window each row falls into. Rows of one time are taken in the order in which they are shown."""

    stretches: Sequence[Stretch]
    _times: NDArray[np.int64] = field(repr=False)
    """Of all rows, rising."""
    _size: int
    _shown: dict[int, int] = field(default_factory=dict, repr=False)
    """Rows so far of times at which a window ends between two rows."""

    @classmethod
    def cut(cls, times_us: NDArray[np.int64], size: WindowSize) -> CountedWindows:
        """The full windows.

        Args:
            times_us: of all rows, in any order.
            size: of a window, in rows.
        """
        times, length = np.sort(times_us), size.rows or 1
        whole = len(times) // length * length
        return cls(cut(whole, times, size, min_rows=1), times, length)

    @property
    def apart(self) -> int:
        """Windows, from the first on, whose end no two rows of one time straddle: time tells them apart."""
        for number, (_, end, part) in enumerate(self.stretches):
            if part.stop >= len(self._times) or int(self._times[part.stop]) < end:
                return number
        return len(self.stretches)

    def of(self, times_us: NDArray[np.int64]) -> NDArray[np.intp]:
        """The number of each row's window, -1 in none that is full; every row is to be shown once.

        Args:
            times_us: of rows of the log, rising.
        """
        first = np.searchsorted(self._times, times_us, side="left")
        last = np.maximum(np.searchsorted(self._times, times_us, side="right") - 1, first)
        window = first // self._size
        for time in np.unique(times_us[window != last // self._size]).tolist():
            rows = np.flatnonzero(times_us == time)
            seen = self._shown.get(time, 0)
            window[rows] = (first[rows] + seen + np.arange(len(rows))) // self._size
            self._shown[time] = seen + len(rows)
        return np.where(window < len(self.stretches), window, -1)

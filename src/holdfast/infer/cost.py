"""How long a run of a given number of rows will take: fixed part plus a part per row, learned as it goes."""

from __future__ import annotations

from typing import Final

_FORGET: Final = 0.98
"""Weight kept of all earlier runs at each new one: the last 50 or so count."""
_LEAST_SPREAD: Final = 0.05
"""Of the squared mean of rows: below it, runs are too alike to tell fixed part and part per row apart on a
machine on which a run now and then takes twice its time."""
_FEW_RUNS: Final = 5.0
_NOISE_S: Final = 0.0002


class RunCost:
    """Least squares of run seconds on rows, old runs forgotten exponentially.

    Before the first observation every estimate is 0: nothing is refused on a guess. Where runs are too alike
    to tell the two parts apart, both change by the same factor: what makes all of them slower, such as
    another program on the core, is not taken for a fixed part.
    """

    __slots__ = ("_nn", "_nt", "_sn", "_st", "_w", "fixed_s", "per_row_s")

    def __init__(self) -> None:
        self._w = self._sn = self._nn = self._st = self._nt = 0.0
        self.fixed_s = 0.0
        self.per_row_s = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        """Take in one run.

        A run far slower than expected counts as three times the expected: on a busy machine a thread is put
        aside now and then, which says nothing about the model; one that became slower is slow again.
        """
        # A hot path: each attribute is read and written once.
        weight = self._w
        per_row_s = self.per_row_s
        if weight > _FEW_RUNS:
            most_s = 3.0 * (self.fixed_s + per_row_s * rows) + _NOISE_S
            seconds = min(seconds, most_s)
        self._w = weight = weight * _FORGET + 1.0
        self._sn = rows_sum = self._sn * _FORGET + rows
        self._nn = squares = self._nn * _FORGET + rows * rows
        self._st = seconds_sum = self._st * _FORGET + seconds
        self._nt = products = self._nt * _FORGET + rows * seconds
        mean_rows = rows_sum / weight
        mean_s = seconds_sum / weight
        square = mean_rows * mean_rows
        variance = squares / weight - square
        if variance > _LEAST_SPREAD * square:
            slope = (products / weight - mean_rows * mean_s) / variance
            self.per_row_s = per_row_s = min(max(slope, 0.0), mean_s / mean_rows)
        elif per_row_s == 0.0:
            self.per_row_s = per_row_s = mean_s / (2 * mean_rows)
        else:
            self.per_row_s = per_row_s = mean_s * per_row_s / (self.fixed_s + per_row_s * mean_rows)
        fixed_s = mean_s - per_row_s * mean_rows
        self.fixed_s = max(0.0, fixed_s)

    def seconds(self, rows: int) -> float:
        """Expected seconds of one run of that many rows."""
        return self.fixed_s + self.per_row_s * rows

    def rows_within(self, seconds: float) -> int:
        """Most rows whose run is expected to end within that time; at least 1."""
        if self.per_row_s <= 0.0:
            return 1_000_000
        return max(1, int(min((seconds - self.fixed_s) / self.per_row_s, 1_000_000)))

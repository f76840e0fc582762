"""How long a run of a given number of rows will take: fixed part plus a part per row, learned as it goes."""

from __future__ import annotations

from typing import Final

_FORGET: Final = 0.98
"""Weight kept of all earlier runs at each new one: the last 50 or so count."""
_LEAST_SPREAD: Final = 1e-3
"""Of the squared mean of rows: below it, runs are too alike to tell fixed part and part per row apart."""
_FEW_RUNS: Final = 5.0
_NOISE_S: Final = 0.0002


class RunCost:
    """Least squares of run seconds on rows, old runs forgotten exponentially.

    Before the first observation every estimate is 0: nothing is refused on a guess.
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
        if self._w > _FEW_RUNS:
            seconds = min(seconds, 3.0 * self.seconds(rows) + _NOISE_S)
        self._w = self._w * _FORGET + 1.0
        self._sn = self._sn * _FORGET + rows
        self._nn = self._nn * _FORGET + rows * rows
        self._st = self._st * _FORGET + seconds
        self._nt = self._nt * _FORGET + rows * seconds
        mean_rows = self._sn / self._w
        mean_s = self._st / self._w
        variance = self._nn / self._w - mean_rows * mean_rows
        if variance > _LEAST_SPREAD * mean_rows * mean_rows:
            slope = (self._nt / self._w - mean_rows * mean_s) / variance
            self.per_row_s = min(max(slope, 0.0), mean_s / mean_rows)
        elif self.per_row_s == 0.0:
            self.per_row_s = mean_s / (2 * mean_rows)
        self.fixed_s = max(mean_s - self.per_row_s * mean_rows, 0.0)

    def seconds(self, rows: int) -> float:
        """Expected seconds of one run of that many rows."""
        return self.fixed_s + self.per_row_s * rows

    def rows_within(self, seconds: float) -> int:
        """Most rows whose run is expected to end within that time; at least 1."""
        if self.per_row_s <= 0.0:
            return 1_000_000
        return max(1, int(min((seconds - self.fixed_s) / self.per_row_s, 1_000_000)))

"""Labelled rows of a replay on their way from known to learnt from."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from holdfast.train.standing_in import LARGEST_FIT, Numbers, newest


@dataclass(slots=True)
class Learnable:
    """The newest rows that can be learnt from, and those that will be."""

    delay_us: int
    """From a row to the moment at which its label counts, if it has come by then."""
    held_us: int
    """How much older than just known a row must be to teach: the test judges, and does not teach."""
    history: tuple[Numbers, Numbers] = field(repr=False)
    """Inputs and truth, at most `LARGEST_FIT` rows."""
    newest_us: int = 0
    """Time of the newest row that can be learnt from."""
    parts: list[tuple[int, int]] = field(default_factory=list, repr=False)
    """Time of the newest row, and rows, of each part that can be learnt from."""
    _waiting: list[tuple[int, int, int, Numbers, Numbers]] = field(default_factory=list, repr=False)
    """When it is known, a number to tell equals apart, time of the newest row, inputs, truth: a heap."""
    _held: list[tuple[int, int, Numbers, Numbers]] = field(default_factory=list, repr=False)
    """Known, and not old enough to teach: a heap by time of the newest row."""

    def add(
        self,
        inputs: Numbers,
        truth: Numbers,
        observed_us: NDArray[np.int64],
        in_time: NDArray[np.bool_],
        *,
        number: int,
        last_us: int,
    ) -> None:
        """The labelled rows of one window.

        Args:
            inputs: `[N, D]`.
            truth: `[N]`.
            observed_us: `[N]`, when the label came.
            in_time: `[N]`, whether that was within the delay.
            number: of the window, from 1.
            last_us: time of its last row.
        """
        if in_time.any():
            ready_us = last_us + self.delay_us
            heapq.heappush(self._waiting, (ready_us, number, last_us, inputs[in_time], truth[in_time]))
        if not in_time.all():  # the window's stragglers together, once the last of them is there
            late = ~in_time
            ready_us = int(observed_us[late].max())
            heapq.heappush(self._waiting, (ready_us, -number, last_us, inputs[late], truth[late]))

    def learn(self, now_us: int) -> int:
        """Take up what can be learnt from by now; how many labels have become known since the last call."""
        known = 0
        while self._waiting and self._waiting[0][0] <= now_us:
            _, number, at_us, inputs, truth = heapq.heappop(self._waiting)
            heapq.heappush(self._held, (at_us, number, inputs[-LARGEST_FIT:], truth[-LARGEST_FIT:]))
            known += len(truth)
        while self._held and self._held[0][0] <= now_us - self.held_us:
            at_us, _, inputs, truth = heapq.heappop(self._held)
            self.newest_us = max(self.newest_us, at_us)
            self.parts.append((at_us, len(truth)))
            self.history = newest(self.history, inputs, truth)
        return known

    def rows_since(self, change_us: int) -> int:
        """That can be learnt from, since a change."""
        return sum(rows for at_us, rows in self.parts if at_us >= change_us)

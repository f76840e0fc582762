"""Rows cut into windows, by time or by number."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.spec import WindowSize

Stretch = tuple[int, int, slice]
"""Start and end (microseconds, or row numbers; the end is exclusive) and the rows between."""

TARGET_WINDOWS: Final = 20
"""Where nobody says how long a window is: about twenty of them show when a change began."""
_NICE_US: Final = tuple(
    seconds * 1_000_000
    for seconds in (60, 300, 900, 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
)


def propose_window(rows: int, time_us: NDArray[np.int64] | None) -> WindowSize:
    """A window that gives about twenty windows of at least a hundred rows each."""
    from holdfast.spec import Duration

    wanted = max(1, min(TARGET_WINDOWS, rows // 100))
    if time_us is None or len(time_us) < 2 or time_us.max() == time_us.min():
        return WindowSize(rows=max(1, -(-rows // wanted)))
    span = int(time_us.max() - time_us.min()) / wanted
    fitting = [length for length in _NICE_US if length >= span / 2]
    return WindowSize(duration=Duration(fitting[0] if fitting else _NICE_US[-1]))


def cut(
    rows: int, time_us: NDArray[np.int64] | None, size: WindowSize, *, min_rows: int, offset: int = 0
) -> list[Stretch]:
    """The windows of rows in order of time.

    Windows by time begin at whole multiples of their length since the epoch, so that a day is a day in UTC.
    Windows with fewer than `min_rows` rows are joined to the next (the last to the one before).

    Args:
        rows: how many.
        time_us: of each row, rising; None cuts by number.
        size: of a window.
        min_rows: of a window.
        offset: number of the first row.
    """
    if rows == 0:
        return []
    if time_us is None or size.duration is None:
        length = size.rows or propose_window(rows, None).rows or rows
        starts = np.arange(0, rows, length)
        bounds = [*starts.tolist(), rows]
        raw = [(offset + low, offset + high, slice(low, high)) for low, high in pairwise(bounds)]
    else:
        length = size.duration.microseconds
        number = time_us // length
        first = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
        bounds = [*first.tolist(), rows]
        raw = [
            (int(number[low]) * length, (int(number[low]) + 1) * length, slice(low, high))
            for low, high in pairwise(bounds)
        ]
    return _join_small(raw, min_rows)


def _join_small(raw: list[Stretch], min_rows: int) -> list[Stretch]:
    joined: list[Stretch] = []
    for start, end, part in raw:
        if joined and joined[-1][2].stop - joined[-1][2].start < min_rows:
            before = joined.pop()
            joined.append((before[0], end, slice(before[2].start, part.stop)))
        else:
            joined.append((start, end, part))
    if len(joined) > 1 and joined[-1][2].stop - joined[-1][2].start < min_rows:
        last, before = joined.pop(), joined.pop()
        joined.append((before[0], last[1], slice(before[2].start, last[2].stop)))
    return joined

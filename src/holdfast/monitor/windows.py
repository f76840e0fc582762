"""Rows cut into windows, by time or by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.clock import iso_utc
from holdfast.spec import WindowSize
from holdfast.stats.season import DAY_US

Stretch = tuple[int, int, slice]
"""Start and end (microseconds, or row numbers; the end is exclusive) and the rows between."""

STRAY_GAP: Final = 10
"""Empty windows beyond which a few rows are dated by a wrong clock."""
_STRAY_SHARE: Final = 0.05
"""Of the rows, what a wrong clock may date where it is much farther off than all others lie apart."""
_LACKING: Final = 0.1
"""Share of its length that a window may lack at either end of the rows."""
LEAST_WHOLE: Final = 3
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
    # A few rows that a wrong clock dated years away say nothing of a window.
    ordered, cut_off = np.sort(time_us), len(time_us) // 200
    inner = int(ordered[-1 - cut_off] - ordered[cut_off]) * len(ordered) / (len(ordered) - 2 * cut_off)
    span = inner / wanted
    # The nearest by ratio: a week where a day and a half is wanted would leave seven windows.
    return WindowSize(duration=Duration(min(_NICE_US, key=lambda length: abs(np.log(length / span)))))


def cut(
    rows: int,
    time_us: NDArray[np.int64] | None,
    size: WindowSize,
    *,
    min_rows: int,
    offset: int = 0,
    begin_us: int = 0,
) -> list[Stretch]:
    """The windows of rows in order of time.

    Windows by time begin at whole multiples of their length since the epoch, so that a day is a day in UTC.
    Windows with fewer than `min_rows` rows are joined to the next (the last to the one before). Windows of so
    many rows end just after the time of their last row, where rows have times.

    Args:
        rows: how many.
        time_us: of each row, rising; None cuts by number.
        size: of a window.
        min_rows: of a window.
        offset: number of the first row, where rows have no times.
        begin_us: what windows by time begin at multiples of their length after, as of `first_day`.
    """
    if rows == 0:
        return []
    if time_us is None or size.duration is None:
        length = size.rows or propose_window(rows, None).rows or rows
        starts = np.arange(0, rows, length)
        bounds = [*starts.tolist(), rows]
        raw = [(offset + low, offset + high, slice(low, high)) for low, high in pairwise(bounds)]
        if time_us is not None:
            raw = [(int(time_us[part.start]), int(time_us[part.stop - 1]) + 1, part) for _, _, part in raw]
    else:
        length = size.duration.microseconds
        numbers, counts = np.unique((time_us - begin_us) // length, return_counts=True)
        return cut_counted(numbers, counts, length, min_rows=min_rows, begin_us=begin_us)
    return _join_small(raw, min_rows)


def cut_counted(
    numbers: NDArray[np.int64],
    counts: NDArray[np.int64],
    length_us: int,
    *,
    min_rows: int,
    begin_us: int = 0,
) -> list[Stretch]:
    """`cut` by time, from how many rows each window has.

    Args:
        numbers: of the windows that have rows, rising: their start divided by the length.
        counts: rows of each.
        length_us: of a window.
        min_rows: as for `cut`.
        begin_us: as for `cut`.
    """
    ends = np.cumsum(counts)
    raw = [
        (
            begin_us + int(number) * length_us,
            begin_us + (int(number) + 1) * length_us,
            slice(int(end - count), int(end)),
        )
        for number, count, end in zip(numbers, counts, ends, strict=True)
    ]
    return _join_small(raw, min_rows)


@dataclass(frozen=True, slots=True)
class RightlyDated:
    """Rows in order of time that no wrong clock dated, and what is said of clocks."""

    rows: slice
    strays: str
    """The rows that a wrong clock dated, in words; empty without any."""
    gap: str
    """Where no row lies for longer than all others cover, in words; empty if nowhere."""

    @classmethod
    def of(cls, time_us: NDArray[np.int64], length_us: int, min_rows: int) -> RightlyDated:
        """By windows of one length.

        Args:
            time_us: of each row, rising.
            length_us: of a window.
            min_rows: as for `cut`.
        """
        numbers, counts = np.unique(time_us // length_us, return_counts=True)
        kept = without_strays(numbers, counts, min_rows=min_rows)
        return cls(
            slice(int(counts[: kept[0]].sum()), int(counts[: kept[1]].sum())),
            describe_strays(numbers, counts, kept, length_us),
            describe_gap(numbers, kept, length_us),
        )


def without_strays(
    numbers: NDArray[np.int64], counts: NDArray[np.int64], *, min_rows: int
) -> tuple[int, int]:
    """Positions of the first window that is not astray, and of the one after the last.

    A wrong clock dates a few rows years before or after all others. They are astray if ten empty windows lie
    between, and they are fewer than `min_rows` and than half of the rows of a usual window; or one in twenty
    at most, as where one till of many has lost the year, and ten times as far off as the others lie apart, if
    these fill ten windows or more.

    Args:
        numbers: as for `cut_counted`.
        counts: as for `cut_counted`.
        min_rows: as for `cut`.

    Example:
        >>> without_strays(np.array([0, 500, 501, 502, 9000]), np.array([1, 80, 90, 85, 2]), min_rows=50)
        (1, 4)
        >>> without_strays(np.r_[0, 1, 500:510], np.array([60, 60, *[3000] * 10]), min_rows=50)
        (2, 12)
    """
    low, high = 0, len(numbers)
    if high < 2:
        return low, high
    few = min(min_rows, float(np.median(counts)) / 2)
    many = _STRAY_SHARE * float(counts.sum())
    apart = np.diff(numbers)
    far = np.flatnonzero(apart > STRAY_GAP) + 1

    def astray(rows: int, gap: int, others: NDArray[np.int64]) -> bool:
        span = int(others[-1] - others[0]) + 1
        known = len(others) >= STRAY_GAP
        return rows < few or (known and rows <= many and gap > STRAY_GAP * span)

    for place in far:
        if astray(int(counts[:place].sum()), int(apart[place - 1]), numbers[place:high]):
            low = int(place)
    for place in far[::-1]:
        if place > low and astray(int(counts[place:].sum()), int(apart[place - 1]), numbers[low:place]):
            high = int(place)
    return low, high


def first_day(time_us: NDArray[np.int64], length_us: int) -> int:
    """Where windows of several days begin: on the first day of the rows, so that it begins a whole window."""
    if length_us <= DAY_US or length_us % DAY_US:
        return 0
    return int(time_us.min()) // DAY_US * DAY_US % length_us


def whole_windows(
    stretches: Sequence[Stretch], time_us: NDArray[np.int64], min_left: int = LEAST_WHOLE
) -> tuple[int, int]:
    """Positions of the first window that is whole, and of the one after the last.

    A window that the rows only begin or end in holds some hours or weekdays and not the others, which is no
    drift. Whether it is one is told by where in the others the rows begin and end.

    Args:
        stretches: windows by time of rows in order of time.
        time_us: of the rows.
        min_left: with fewer whole windows all are kept.
    """
    starts, ends = (np.array([one[side] for one in stretches], dtype=np.float64) for side in (0, 1))
    first = np.array([time_us[part.start] for _, _, part in stretches], dtype=np.float64)
    last = np.array([time_us[part.stop - 1] for _, _, part in stretches], dtype=np.float64)
    length = ends - starts
    before, after = (first - starts) / length, (ends - last) / length
    low, high = 0, len(stretches)
    if high < min_left + 1:
        return low, high
    rows = np.array([part.stop - part.start for _, _, part in stretches], dtype=np.float64)
    few = rows < (1 - _LACKING) * np.median(rows[1:-1])
    low = int(few[0] and before[0] > float(np.median(before[1:-1])) + _LACKING)
    if few[-1] and after[-1] > float(np.median(after[1:-1])) + _LACKING:
        high -= 1
    return (low, high) if high - low >= min_left else (0, len(stretches))


def describe_strays(
    numbers: NDArray[np.int64], counts: NDArray[np.int64], kept: tuple[int, int], length_us: int
) -> str:
    """The rows of windows that are left out, in words; empty without any."""
    parts = []
    for some, side in ((slice(0, kept[0]), "before"), (slice(kept[1], None), "after")):
        if counts[some].sum():
            first, end = int(numbers[some][0]) * length_us, (int(numbers[some][-1]) + 1) * length_us
            days = " to ".join(dict.fromkeys(iso_utc(one)[:10] for one in (first, end - 1)))
            rows = int(counts[some].sum())
            parts.append(f"{rows} row{'s' if rows > 1 else ''} dated {days}, long {side} all others")
    return f"{'; '.join(parts)}: a wrong clock?" if parts else ""


def describe_gap(numbers: NDArray[np.int64], kept: tuple[int, int], length_us: int) -> str:
    """Where no row lies for longer than all others cover, in words; empty if nowhere.

    So many rows that a wrong clock dated are no strays, and neither side is known to be right.

    Args:
        numbers: as for `cut_counted`.
        kept: positions of windows that are not astray.
        length_us: of a window.

    Example:
        >>> describe_gap(np.array([0, 1, 4000, 4001]), (0, 4), 86_400_000_000)
        'No row is dated between 1970-01-03 and 1980-12-14: a wrong clock?'
    """
    own = numbers[kept[0] : kept[1]]
    apart = np.diff(own)
    if not len(apart) or apart.max() <= max(STRAY_GAP, int(own[-1] - own[0]) / 2):
        return ""
    place = int(apart.argmax())
    first, end = ((int(own[place]) + 1) * length_us, int(own[place + 1]) * length_us)
    return f"No row is dated between {iso_utc(first)[:10]} and {iso_utc(end)[:10]}: a wrong clock?"


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

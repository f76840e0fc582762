"""Windows that are not whole: the rows only begin or end in them, or an outage left a hole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.clock import iso_utc
from holdfast.monitor.plain import listed
from holdfast.monitor.windows import Stretch, cut, whole_windows
from holdfast.spec import WindowSize
from holdfast.stats.season import DAY_US

_PARTS: Final = 48
"""Of a window, in which rows are counted."""
_LACKING: Final = 0.1
"""Share of a usual window's rows that must be missing together."""
_LONGER: Final = 3.0
"""Times as improbable, by its logarithm, as the longest hole of the median window of no more rows than
`_AS_MANY` times as many: rows that come by chance leave holes, too."""
_AS_MANY: Final = 4.0
_LEAST_MISSED: Final = 3.0
_CHANCE: Final = 1e-3
"""Of a hole, where hardly any windows have so few rows."""
_ALL: Final = 1 - 1e-9
_SHARED: Final = 0.1
"""Share of the other windows that may be all but empty there: Saturdays that end at noon are no outage."""
_LEAST_OTHERS: Final = 5
_NAMED: Final = 4
"""Windows that are left out and said so one by one."""


def of_whole_windows(
    time_us: NDArray[np.int64], size: WindowSize, begin_us: int, own_time_us: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.bool_] | slice, str]:
    """The rows in windows that are whole, and the others in words.

    Args:
        time_us: of each row, rising.
        size: of a window, by time.
        begin_us: as for `cut`.
        own_time_us: of the reference's rows, rising: they show what is usual too.
    """
    stretches = cut(len(time_us), time_us, size, min_rows=1, begin_us=begin_us)
    if not stretches:
        return slice(None), ""
    low, high = whole_windows(stretches, time_us)
    own: Sequence[Stretch] = ()
    if own_time_us is not None:
        own = cut(len(own_time_us), own_time_us, size, min_rows=1, begin_us=begin_us)
    holed = [low + one for one in with_holes(stretches[low:high], time_us, own, own_time_us)]
    left_out = [*range(low), *holed, *range(high, len(stretches))]
    if not left_out:
        return slice(None), ""
    if holed:
        kept = np.ones(len(time_us), dtype=bool)
        for number in left_out:
            kept[stretches[number][2]] = False
    parts = []
    for number in left_out[:_NAMED]:
        start, _, part = stretches[number]
        rows = part.stop - part.start
        parts.append(f"{rows} row{'s' if rows > 1 else ''} from {iso_utc(start)[:16]}")
    if len(left_out) > _NAMED:
        parts.append(f"{len(left_out) - _NAMED} windows more")
    said = f"Not judged, as their window is not whole: {listed(parts)}."
    return kept if holed else slice(stretches[low][2].start, stretches[high - 1][2].stop), said


def with_holes(
    stretches: Sequence[Stretch],
    time_us: NDArray[np.int64],
    own: Sequence[Stretch] = (),
    own_time_us: NDArray[np.int64] | None = None,
) -> list[int]:
    """Numbers of windows without a row where others, of the same time of day, have a tenth of theirs.

    Args:
        stretches: windows by time of rows in order of time.
        time_us: of the rows.
        own: the reference's windows, which show what is usual too.
        own_time_us: of its rows.
    """
    counts = _counts(stretches, time_us)
    starts = np.array([start for start, _, _ in stretches], dtype=np.int64)
    before = np.zeros((0, _PARTS))
    own_starts = np.array([start for start, _, _ in own], dtype=np.int64)
    if own_time_us is not None and own:
        before = _counts(own, own_time_us)
    found: list[int] = []
    for phase in np.unique(starts % DAY_US):
        some = np.flatnonzero(starts % DAY_US == phase)
        alike = np.concatenate([counts[some], before[own_starts[: len(before)] % DAY_US == phase]])
        if len(alike) > _LEAST_OTHERS:
            found += some[_holed(alike, len(some))].tolist()
    return sorted(found)


def _counts(stretches: Sequence[Stretch], time_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """`[W, _PARTS]`, rows."""
    result = np.zeros((len(stretches), _PARTS))
    for number, (start, end, part) in enumerate(stretches):
        place = (time_us[part] - start) * _PARTS // max(end - start, 1)
        result[number] = np.bincount(place, minlength=_PARTS)[:_PARTS]
    return result


def _holed(counts: NDArray[np.float64], judged: int) -> list[int]:
    """Which of the first windows have a hole, of windows that should be alike."""
    rows = counts.sum(axis=1)
    # The outage itself must not say what is usual.
    usual = counts[rows >= np.median(rows)].mean(axis=0)
    held = [_longest(row == 0, usual / usual.sum()) for row in counts]
    share = np.array([one for one, _ in held])
    # That all of a window's rows miss such a part by chance has the probability exp(-missed).
    missed = -rows * np.log1p(-np.minimum(share, _ALL))
    fewer = rows < (1 - _LACKING) * np.median(rows)
    found = []
    for number in np.flatnonzero((share >= _LACKING)[:judged] & fewer[:judged]):
        alike = np.delete(missed, number)[np.delete(rows, number) <= _AS_MANY * rows[number]]
        least = float(np.log(rows[number] / _CHANCE))
        if len(alike) >= _LEAST_OTHERS:
            least = max(_LEAST_MISSED, _LONGER * float(np.median(alike)))
        if missed[number] < least:
            continue
        others = np.delete(counts, number, axis=0)
        there = others[:, held[number][1]].sum(axis=1)
        if (there < _LACKING * share[number] * others.sum(axis=1)).mean() <= _SHARED:
            found.append(int(number))
    return found


def _longest(empty: NDArray[np.bool_], usual: NDArray[np.float64]) -> tuple[float, slice]:
    """The hole in which most of the usual rows lie, and their share."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]])))
    best = (0.0, slice(0, 0))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        some = slice(int(first), int(last))
        best = max(best, (float(usual[some].sum()), some), key=lambda one: one[0])
    return best

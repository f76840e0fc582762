"""What the reference is too short to show, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.family import Tests
from holdfast.monitor.profiling import WindowProfile

_FEW_ROWS: Final = 20.0
"""Independent rows that a reference must be worth."""
_NAMED: Final = 3
_HOUR_US: Final = 3_600_000_000
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EPOCH_DAY: Final = 3
"""1970-01-01 was a Thursday."""


def too_short(
    own: Sequence[WindowProfile], current: Sequence[WindowProfile], data: Sequence[Tests], *, timed: bool
) -> Iterator[str]:
    """Notes on columns that remember for too long, and on hours and weekdays that the reference lacks.

    Args:
        own: windows of the reference.
        current: windows that are judged.
        data: all tests of P(x) on them.
        timed: the windows' bounds are times.
    """
    for tests in data:
        if tests.worth is None:
            continue
        few = np.flatnonzero(tests.worth < _FEW_ROWS)
        for number in few[np.argsort(tests.worth[few], kind="stable")][:_NAMED]:
            rows = max(int(tests.worth[number]), 1)
            name = tests.names[number][0]
            yield (
                f"{name!r} changes so slowly that the whole reference may tell as little of it as "
                f"{rows} independent row{'s' if rows > 1 else ''}: how much it varies is hardly known, so "
                "an alarm about it may be false, and only large changes are found. A longer reference "
                "tells more."
            )
    if timed and own and current:
        missing = _never_seen(own, current)
        if missing:
            yield (
                f"The reference has no rows {missing} (UTC), so what is usual then is not known: it may look "
                "like drift that comes again and again. Take a longer reference."
            )


def _never_seen(own: Sequence[WindowProfile], current: Sequence[WindowProfile]) -> str:
    before, after = _hours(own), _hours(current)
    days = [
        name
        for name, seen, wanted in zip(_DAYS, before, after, strict=True)
        if wanted.any() and not seen.any()
    ]
    if days:
        return f"on a {' or '.join([', '.join(days[:-1]), days[-1]] if len(days) > 1 else days)}"
    lacking = np.flatnonzero(after.any(axis=0) & ~before.any(axis=0))
    if not lacking.size:
        return ""
    ends = np.flatnonzero(np.diff(lacking, append=99) > 1)
    begins = np.concatenate([[0], ends[:-1] + 1])
    spans = [
        f"from {lacking[one]} to {lacking[other] + 1} o'clock"
        for one, other in zip(begins, ends, strict=True)
    ]
    return " or ".join(spans)


def _hours(windows: Sequence[WindowProfile]) -> NDArray[np.bool_]:
    """`[7, 24]`, hours of the week that some window holds, in UTC, from Monday on."""
    held = np.zeros(7 * 24, dtype=bool)
    for window in windows:
        first, last = window.start // _HOUR_US, -(-window.end // _HOUR_US)
        held[(np.arange(first, min(last, first + 7 * 24)) + _EPOCH_DAY * 24) % (7 * 24)] = True
    return held.reshape(7, 24)

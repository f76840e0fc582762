"""What the reference is too short to show, or shows already, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.family import Tests
from holdfast.monitor.features import Feature
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS

_FEW_ROWS: Final = 20.0
"""Independent rows that a reference must be worth."""
_NAMED: Final = 3
_SURE_ERRORS: Final = 4.0
"""Standard errors that a slope over the reference's windows must have to be called one."""
_HOUR_US: Final = 3_600_000_000
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EPOCH_DAY: Final = 3
"""1970-01-01 was a Thursday."""


def too_short(
    own: Sequence[WindowProfile], current: Sequence[WindowProfile], data: Sequence[Tests], *, timed: bool
) -> Iterator[str]:
    """Notes on too few windows, columns that remember for too long, and hours and weekdays that are lacking.

    Args:
        own: windows of the reference.
        current: windows that are judged.
        data: all tests of P(x) on them.
        timed: the windows' bounds are times.
    """
    if len(own) < LEAST_REFERENCE_WINDOWS:
        yield (
            f"The reference spans fewer than {LEAST_REFERENCE_WINDOWS} windows: natural variation between "
            "windows is not known."
        )
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


def already_moving(
    reference: ReferenceModel, windows: Sequence[WindowProfile], data: Sequence[Tests]
) -> Iterator[str]:
    """Notes on columns in alarm that went the same way within the reference, from window to window.

    A trend is natural variation as far as the reference reaches and is not carried on beyond it.

    Args:
        reference: fitted.
        windows: in order of time.
        data: tests of P(x) on them that stand.
    """
    if len(reference.windows) < LEAST_REFERENCE_WINDOWS:
        return
    raised: dict[str, NDArray[np.bool_]] = {}
    for tests in data:
        for test in tests.in_alarm:
            name, alarm = tests.names[test][0], tests.strength[:, test] >= 1
            raised[name] = raised.get(name, False) | alarm
    for name, alarm in raised.items():
        feature = reference.features.get(name)
        if feature is None or not feature.numeric:
            continue
        by, errors = _slope(feature, [window.counts[name] for window in reference.windows])
        counts = np.sum([window.counts[name] for window in compress(windows, alarm)], axis=0)
        now = float(counts @ feature.functionals[:, 0])
        if abs(errors) >= _SURE_ERRORS and by * now > 0:
            yield (
                f"{name!r} {'rose' if by > 0 else 'fell'} within the reference already, by {abs(by):.2f} "
                "standard deviations from its first window to its last: the change may be that trend, which "
                "is not taken for granted beyond the reference. A newer reference, or a column without the "
                "trend (a ratio, a difference), tells whether anything else has changed."
            )


def _slope(feature: Feature, counts: Sequence[NDArray[np.int64]]) -> tuple[float, float]:
    """By how many standard deviations of one row a column rose over windows, and in standard errors."""
    held = np.stack(counts)
    rows = held.sum(axis=1)
    held, time = held[rows > 0], np.flatnonzero(rows > 0)
    level = held @ feature.functionals[:, 0] / held.sum(axis=1)
    time = time - time.mean()
    square = max(float((time**2).sum()), 1e-300)
    slope = float(time @ level) / square
    rest = level - level.mean() - slope * time
    error = np.sqrt(float((rest**2).sum()) / max(len(time) - 2, 1) / square)
    return slope * (len(counts) - 1), slope / max(float(error), 1e-300)


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

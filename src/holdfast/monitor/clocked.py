"""Columns that say nothing but what time it is: a window holds the hours and weekdays that it holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.rows import ColumnValues
from holdfast.stats import Coded
from holdfast.stats.season import DAY_US

_QUARTERS: Final = 96
_MOST_VALUES: Final = 200
"""Distinct values of a column that may follow a clock: a week has 168 hours."""
_SHARE: Final = 0.995
"""Of the rows that hold the value of their hour, or weekday."""
_RARE: Final = 0.05
"""A column that nearly always holds one value, as a holiday does, follows no clock."""
_CYCLES: Final = 2
"""Days or weeks in which the same must have been seen."""


def clock_columns(columns: Mapping[str, ColumnValues], time_us: NDArray[np.int64] | None) -> Collection[str]:
    """Names of the columns whose value is that of the hour, of the weekday, or of both, in UTC.

    Args:
        columns: of a reference.
        time_us: of its rows.
    """
    if time_us is None or not len(time_us):
        return ()
    days = time_us // DAY_US
    quarter = (time_us % DAY_US) * _QUARTERS // DAY_US
    span = int(days.max() - days.min()) + 1
    clocks = []
    if span >= _CYCLES:
        clocks.append(quarter)
    if span >= 7 * _CYCLES:
        clocks += [days % 7, (days % 7) * _QUARTERS + quarter]
    if not clocks:
        return ()
    found = []
    for name, values in columns.items():
        codes = _codes(values)
        if codes is not None and any(_follows(codes, clock) for clock in clocks):
            found.append(name)
    return found


def _codes(values: ColumnValues) -> NDArray[np.int64] | None:
    """Numbers of the distinct values; None where they are many, or one of them is nearly all."""
    if isinstance(values, Coded):
        codes = values.codes.astype(np.int64)
    elif isinstance(values, np.ndarray):
        # Most columns of many values show so in their first rows.
        some = values[:: max(1, len(values) // 2000)]
        if len(np.unique(some)) > _MOST_VALUES:
            return None
        codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    else:
        return None
    counts = np.bincount(codes - codes.min())
    if (counts > 0).sum() > _MOST_VALUES or counts.max() > (1 - _RARE) * len(codes):
        return None
    from_zero: NDArray[np.int64] = codes - codes.min()
    return from_zero


def _follows(codes: NDArray[np.int64], clock: NDArray[np.int64]) -> bool:
    """Whether nearly all rows of a time hold one value, and the times differ in it."""
    table = np.bincount(clock * (codes.max() + 1) + codes, minlength=(clock.max() + 1) * (codes.max() + 1))
    table = table.reshape(-1, codes.max() + 1)
    held = table.sum(axis=1) > 0
    same = float(table.max(axis=1).sum()) / len(codes)
    return bool(same >= _SHARE and len(np.unique(table[held].argmax(axis=1))) > 1)

"""Columns that only count up, as meters and totals do: what they rise by is judged, not where they stand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

_LEAST_ROWS: Final = 200
_RISING: Final = 0.2
"""Share of steps that must rise: what rises seldom is a level."""
_NEW_BEGINNINGS: Final = 0.01
_EVEN: Final = 1e-6
"""Share of the span by which a column may leave a straight line and still be the time itself."""


def counters(
    table: pa.Table, current: pa.Table, time_us: NDArray[np.int64] | None, apart: Collection[str | None]
) -> list[str]:
    """Names of columns of fractions that never fall in the order of the rows, and are not the time.

    Whole numbers that only rise are mostly names of rows, and are left to be found out as such.

    Args:
        table: a reference, in order of time where it has times.
        current: in which they rise too, but for a few new beginnings: a reference may have been sorted.
        time_us: of the reference's rows.
        apart: columns that are no inputs.
    """
    import pyarrow as pa

    found = []
    for column in table.schema:
        if column.name in apart or not pa.types.is_floating(column.type) or len(table) < _LEAST_ROWS:
            continue
        values = table.column(column.name).drop_null().to_numpy()
        if len(values) < _LEAST_ROWS or not np.isfinite(values).all():
            continue
        steps = np.diff(values)
        if (steps < 0).any() or float((steps > 0).mean()) < _RISING or not _goes_on(current, column.name):
            continue
        if not _is_line(values, np.arange(len(values))) and (
            time_us is None or len(values) < len(time_us) or not _is_line(values, time_us)
        ):
            found.append(column.name)
    return found


def _goes_on(table: pa.Table, name: str) -> bool:
    if not _counts(table, name):
        return False
    steps = np.diff(table.column(name).drop_null().to_numpy())
    return bool(steps.size and float((steps < 0).mean()) <= _NEW_BEGINNINGS)


def new_beginnings(table: pa.Table, name: str) -> int:
    """How often a counter fell back, as one that is changed or set to zero does."""
    if not _counts(table, name):
        return 0
    return int((np.diff(table.column(name).drop_null().to_numpy()) < 0).sum())


def with_steps(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The table with what each of these columns rose by since the row before; unknown where it fell back."""
    import pyarrow as pa

    for name in names:
        if not _counts(table, name):
            continue
        values = table.column(name).cast(pa.float64()).to_numpy()
        steps = np.r_[np.nan, np.diff(values)] if len(values) else values
        steps = np.where(steps < 0, np.nan, steps)
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(steps, from_pandas=True))
    return table


def _counts(table: pa.Table, name: str) -> bool:
    """Whether it is there and holds fractions, as counters do."""
    import pyarrow as pa

    return name in table.column_names and pa.types.is_floating(table.schema.field(name).type)


def _is_line(values: NDArray[np.float64], along: NDArray[np.int64]) -> bool:
    span = float(values[-1] - values[0])
    share = (along - along[0]) / max(float(along[-1] - along[0]), 1.0)
    return bool(np.abs(values - values[0] - share * span).max() <= _EVEN * span)

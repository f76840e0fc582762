"""Columns that no bins fit: moments and free text, as numbers that say what can change about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.errors import MonitorError

if TYPE_CHECKING:
    import pyarrow as pa

OwnColumns = Mapping[str, "Callable[[pa.Table], Any]"]
"""By name, what makes a column of a table: an array with one value a row."""
DAY_US: Final = 86_400_000_000
_DISTINCT: Final = 0.5
"""Share of distinct values above which text is no category."""
_LEAST_ROWS: Final = 200
_WORDS: Final = 3.0
"""Words in a mean text: shorter ones are names, codes and keys."""
_SAMPLE: Final = 5000


def free_texts(table: pa.Table) -> list[str]:
    """Names of the columns of a reference that hold sentences rather than categories."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = []
    for column in table.schema:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        some = table.column(column.name).slice(0, _SAMPLE).drop_null()
        if len(some) < _LEAST_ROWS or pc.count_distinct(some).as_py() < _DISTINCT * len(some):
            continue
        if pc.mean(pc.count_substring_regex(some, r"\S+")).as_py() >= _WORDS:
            found.append(column.name)
    return found


def measured(
    table: pa.Table,
    texts: list[str],
    time: str | None,
    time_us: NDArray[np.int64] | None,
    own: OwnColumns,
) -> pa.Table:
    """The table with numbers in the place of moments and free texts, and with the columns of your own.

    Args:
        table: of the reference or current.
        texts: from `free_texts` of the reference.
        time: column of the time of each row, left as it is.
        time_us: its values; None: moments have no age.
        own: by name, what makes a column.

    Raises:
        MonitorError: a column of your own fails or has another length.
    """
    import pyarrow as pa

    names, columns = [], []
    for column in table.schema:
        held = table.column(column.name)
        parts: Iterator[tuple[str, Any]] | None = None
        if column.name != time and (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
            parts = _of_moments(held, time_us)
        elif column.name in texts:
            parts = _of_texts(held)
        if parts is None:
            names.append(column.name)
            columns.append(held)
            continue
        for what, values in parts:
            names.append(f"{column.name}: {what}")
            columns.append(values)
    result = pa.table(columns, names=names)
    for name, make in own.items():
        try:
            result = result.append_column(name, pa.array(np.asarray(make(table))))
        except Exception as error:
            raise MonitorError(
                "a column of your own cannot be made",
                where=name,
                expected=f"an array of {table.num_rows} numbers or texts",
                received=f"{type(error).__name__}: {error}",
            ) from error
    return result


def _of_moments(held: pa.ChunkedArray, time_us: NDArray[np.int64] | None) -> Iterator[tuple[str, Any]]:
    """Hour of the day and day of the week in UTC, and the age in days at the time of the row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(held.type):
        yield "hour", pc.hour(held)
    moments = held.cast(pa.timestamp("us", getattr(held.type, "tz", None)), safe=False)
    yield "weekday", pc.day_of_week(moments)
    if time_us is not None:
        age = pc.subtract(pa.array(time_us), moments.cast(pa.int64()))
        yield "age in days", pc.divide(age.cast(pa.float64()), float(DAY_US))


def _of_texts(held: pa.ChunkedArray) -> Iterator[tuple[str, Any]]:
    """Length, and shares of classes of signs that every script has: no language is assumed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    length = pc.utf8_length(held).cast(pa.float64())
    yield "characters", length
    yield "words", pc.count_substring_regex(held, r"\S+")
    some = pc.max_element_wise(length, 1.0, skip_nulls=False)
    for what, signs in (("digits", r"\p{Nd}"), ("capitals", r"\p{Lu}"), ("marks", r"[\p{P}\p{S}]")):
        count = pc.count_substring_regex(held, signs).cast(pa.float64())
        yield f"share of {what}", pc.divide(count, some)

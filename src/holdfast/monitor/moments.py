"""Which columns of a table hold times, and what they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import ReferenceDataError, Written
from holdfast.artifact.moments import names_month, plain_values
from holdfast.monitor.columns import flat_array, is_text
from holdfast.monitor.errors import MonitorError

if TYPE_CHECKING:
    import pyarrow as pa

_LOOKED_AT: Final = 1 << 10
"""Rows among which the first value of a column is looked for at a time."""
_DIGITS: Final = r"^\s*(\d{1,4}[./-]\d{1,2}[./-]\d{2,4}|\d{4}年\d{1,2}月)"


def written(held: pa.ChunkedArray, where: str, other: pa.ChunkedArray | None = None) -> Written:
    """How the times of a column are written, as of `Written.of`.

    Raises:
        MonitorError: it cannot be told, or the values are no times.
    """
    try:
        return Written.of(held, where, other)
    except ReferenceDataError as error:
        raise MonitorError.of(error) from error


def microseconds(way: Written, held: pa.ChunkedArray, where: str) -> NDArray[np.int64]:
    """Times of all rows, since the epoch.

    Raises:
        MonitorError: a row has no time.
    """
    import pyarrow as pa

    try:
        moments = way.complete(held, where)
    except ReferenceDataError as error:
        raise MonitorError.of(error) from error
    values: NDArray[np.int64] = flat_array(moments.cast(pa.int64()), np.int64)
    return values


def only_written_time(old: pa.Table, new: pa.Table) -> str | None:
    """The only column of text that holds times of rows which follow on each other in both tables."""
    found = [
        name
        for name in written_moments(old)
        if name in new.column_names
        and is_text(plain_values(new.column(name)).type)
        and all(_rises(table.column(name)) for table in (old, new))
    ]
    return found[0] if len(found) == 1 else None


def written_moments(table: pa.Table) -> dict[str, Written]:
    """Columns of text whose values are moments, with how they are written."""
    found = {}
    for name in table.column_names:
        first = _first_text(table.column(name))
        if first is None or not (re.match(_DIGITS, first) or names_month(first)):
            continue
        known = plain_values(table.column(name)).drop_null()
        try:
            way = written(known, name)
        except MonitorError:
            continue
        import pyarrow.compute as pc

        if pc.is_valid(way.timestamps(known)).to_pylist().count(False) == 0:
            found[name] = way
    return found


def _first_text(held: pa.ChunkedArray) -> str | None:
    """Its first value; None where it holds no text. Codes of many rows are not made into text for it."""
    import pyarrow as pa

    kind = held.type.value_type if pa.types.is_dictionary(held.type) else held.type
    if not is_text(kind):
        return None
    for start in range(0, len(held), _LOOKED_AT):
        some = held.slice(start, _LOOKED_AT)
        if some.null_count < len(some):
            # What drops nulls imports 8 MB of Arrow's functions.
            found: str = (some.drop_null() if some.null_count else some)[0].as_py()
            return found
    return None


def _rises(held: pa.ChunkedArray) -> bool:
    if held.null_count:
        return False
    try:
        numbers = microseconds(written(held, ""), held, "")
    except MonitorError:
        return False
    return bool(numbers.size > 1 and (numbers[1:] >= numbers[:-1]).all() and numbers[-1] > numbers[0])

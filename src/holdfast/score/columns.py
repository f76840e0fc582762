"""Arrow columns to the values a model takes.

Clean columns are converted as a whole. As soon as anything in a column is out of order, its values are judged
one by one by the same authority that judges a real-time request, so a table and a request accept the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from holdfast.artifact import Column, Signature
from holdfast.infer import InputError, check_time, check_value, nearest
from holdfast.privacy import Values
from holdfast.score.errors import TableError

MISSING_WORDS: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""What stands for a missing value where a CSV file holds numbers."""
_COMMA_DECIMALS: Final = r"^\s*([+-]?\d+),(\d+)\s*$"
_TRUE_WORDS: Final = ("true", "True", "TRUE", "1")
_FALSE_WORDS: Final = ("false", "False", "FALSE", "0")


@dataclass(frozen=True, slots=True)
class Fault:
    """One value that the model does not accept. Holds no value."""

    row: int
    """Position in the batch."""
    column: str
    what: str
    expected: str | None = None


@dataclass(slots=True)
class Converted:
    """The columns of one batch and what is wrong with them; a harmless value stands for a faulty one."""

    columns: dict[str, Values] = field(repr=False)
    faults: list[Fault]


def convert_batch(
    signature: Signature, batch: pa.RecordBatch | pa.Table, *, text: bool, comma: bool = False
) -> Converted:
    """The signature's columns of a batch.

    Args:
        signature: of the model.
        batch: has every column of the signature (see `check_header`).
        text: the batch comes from a CSV file, in which every value is text.
        comma: and numbers in it may have a decimal comma.
    """
    columns: dict[str, Values] = {}
    faults: list[Fault] = []
    for column in signature.columns:
        held = _plain(batch.column(column.name))
        if comma and column.dtype != "string":
            held = pc.replace_substring_regex(held, _COMMA_DECIMALS, r"\1.\2")
        values = _fast(column, held, text=text)
        if values is None:
            values = _one_by_one(column, held, faults, text=text)
        columns[column.name] = values
    return Converted(columns, faults)


def check_header(signature: Signature, schema: pa.Schema, *, text: bool) -> None:
    """Refuse a table that can hold no good row.

    Raises:
        TableError: a column of the model is missing, or is of a type that no value of it can have.
    """
    for column in signature.columns:
        if column.name not in schema.names:
            near = nearest(column.name, schema.names)
            raise TableError(
                "the table lacks a column that the model needs",
                where=f"column {column.name!r}",
                received=", ".join(schema.names[:20]) + (", ..." if len(schema.names) > 20 else ""),
                next_step=f"Did you mean {near!r}?" if near else None,
            )
        held = schema.field(column.name).type
        if not text and not _can_hold(column, held):
            raise TableError(
                "the column is of another type than the model needs",
                where=f"column {column.name!r}",
                expected=f"{column.dtype}" + (f" of shape {list(column.shape)}" if column.shape else ""),
                received=str(held),
                next_step="Cast it first, so that nobody has to guess.",
            )


def _can_hold(column: Column, held: Any) -> bool:
    types = pa.types
    if types.is_dictionary(held):
        held = held.value_type
    if types.is_null(held):
        return column.nullable
    if column.shape:
        return bool(types.is_list(held) or types.is_large_list(held) or types.is_fixed_size_list(held))
    if column.dtype == "string":
        return bool(types.is_string(held) or types.is_large_string(held) or types.is_string_view(held))
    if column.dtype == "bool":
        return bool(types.is_boolean(held))
    return bool(types.is_integer(held) or types.is_floating(held) or types.is_decimal(held))


def _plain(held: Any) -> Any:
    """One array, no dictionary, no exotic string layout, no decimals."""
    if isinstance(held, pa.ChunkedArray):
        held = held.combine_chunks()
        if isinstance(held, pa.ChunkedArray):  # combine_chunks keeps columns beyond 2 GB in pieces
            held = pa.concat_arrays(held.chunks)
    if pa.types.is_dictionary(held.type):
        held = held.cast(held.type.value_type)
    if pa.types.is_large_string(held.type) or pa.types.is_string_view(held.type):
        held = held.cast(pa.string())
    if pa.types.is_decimal(held.type):
        held = held.cast(pa.float64())
    return held


def _fast(column: Column, held: Any, *, text: bool) -> Values | None:
    """The whole column at once; None where a value needs a closer look."""
    if column.dtype == "uint64":
        return None
    if column.shape:
        return _arrays(column, held)
    if text and column.dtype != "string":
        try:
            held = _from_text(column, held)
        except pa.ArrowInvalid:
            return None
    if held.null_count and not column.nullable:
        return None
    if column.dtype == "string":
        return held.to_pylist() if pa.types.is_string(held.type) else None
    if column.dtype == "bool":
        return None if held.null_count else held.to_numpy(zero_copy_only=False)
    if held.null_count and not column.dtype.startswith("float"):
        return None
    values = held.to_numpy(zero_copy_only=False)
    if column.dtype.startswith("float"):
        return _floats(column, values)
    return _integers(column, values)


def _arrays(column: Column, held: Any) -> Values | None:
    """Lists of numbers that all have the shape of the column."""
    shape = [len(held)]
    for wanted in column.shape:
        types = pa.types
        if held.null_count or not (
            types.is_list(held.type) or types.is_large_list(held.type) or types.is_fixed_size_list(held.type)
        ):
            return None
        lengths = pc.min_max(pc.list_value_length(held)).as_py()
        if lengths["min"] is None or lengths["min"] != lengths["max"] or wanted not in (-1, lengths["min"]):
            return None
        shape.append(lengths["min"])
        held = held.flatten()
    if held.null_count or not (pa.types.is_integer(held.type) or pa.types.is_floating(held.type)):
        return None
    numbers = held.to_numpy(zero_copy_only=False)
    if column.dtype.startswith("float"):
        # An array has no missing values: NaN is beyond every limit.
        fits = bool((np.abs(numbers) <= np.float64(np.finfo(column.dtype).max)).all())
        values: Values | None = numbers.astype(column.dtype) if fits else None
    else:
        values = _integers(column, numbers) if column.dtype.startswith(("int", "uint")) else None
    return None if values is None else np.asarray(values).reshape(shape)


def _floats(column: Column, values: NDArray[Any]) -> Values | None:
    doubles = np.ascontiguousarray(values, dtype=np.float64)
    missing = np.isnan(doubles)
    if missing.any() and not column.nullable:
        return None
    limit = float(np.finfo(column.dtype).max)
    return doubles if bool((missing | (np.abs(doubles) <= limit)).all()) else None


def _integers(column: Column, values: NDArray[Any]) -> Values | None:
    limits = np.iinfo(column.dtype)
    if values.dtype.kind == "f":
        # Doubles are whole and exact only up to 2**53; a closer look decides about larger ones.
        if not bool(((values == np.floor(values)) & (np.abs(values) <= 2.0**53)).all()):
            return None
    elif values.dtype.kind not in "iu":
        return None
    if len(values) and not (limits.min <= int(values.min()) and int(values.max()) <= limits.max):
        return None
    return np.ascontiguousarray(values, dtype=column.dtype)


def _from_text(column: Column, held: Any) -> Any:
    """Numbers and truth values out of CSV text.

    Raises:
        pa.ArrowInvalid: a value is neither.
    """
    held = pc.utf8_trim_whitespace(held)
    held = pc.if_else(pc.is_in(held, pa.array(MISSING_WORDS)), pa.scalar(None, pa.string()), held)
    if column.dtype == "bool":
        yes, no = pc.is_in(held, pa.array(_TRUE_WORDS)), pc.is_in(held, pa.array(_FALSE_WORDS))
        if not pc.all(pc.or_(pc.or_(yes, no), held.is_null())).as_py() and len(held):
            raise pa.ArrowInvalid("neither true nor false")
        return pc.if_else(held.is_null(), pa.scalar(None, pa.bool_()), yes)
    if column.dtype.startswith("float"):
        return pc.cast(held, pa.float64())
    return pc.cast(held, pa.int64())


def _one_by_one(column: Column, held: Any, faults: list[Fault], *, text: bool) -> Values:
    checked: list[Any] = []
    filler: Any = None
    for row, value in enumerate(held.to_pylist()):
        try:
            checked.append(check_value(column, _scalar(column, value, text=text), f"$.{column.name}"))
            filler = checked[-1] if filler is None else filler
        except InputError as error:
            faults.append(Fault(row, column.name, error.what, error.expected))
            checked.append(_BAD)
    filler = _filler(column) if filler is None else filler
    return as_column(column, [filler if value is _BAD else value for value in checked])


_BAD: Final = object()


def _filler(column: Column) -> Any:
    plain: Any = "" if column.dtype == "string" else False if column.dtype == "bool" else 0
    return np.full(tuple(max(size, 1) for size in column.shape), plain).tolist() if column.shape else plain


def _scalar(column: Column, value: Any, *, text: bool) -> Any:
    """As JSON would hold it."""
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN
        return None
    if not text or value is None or column.dtype == "string":
        return value
    word = value.strip()
    if word in MISSING_WORDS:
        return None
    if column.dtype == "bool":
        return True if word in _TRUE_WORDS else False if word in _FALSE_WORDS else value
    for read in (int, float):
        try:
            return read(word)
        except ValueError:
            continue
    return value


def as_column(column: Column, checked: Sequence[Any]) -> Values:
    """Checked values in the form in which the data plane takes a column."""
    if column.dtype == "string" and not column.shape:
        return list(checked)
    if column.shape:
        return np.array(checked, dtype=object if column.dtype == "string" else column.dtype)
    if column.dtype.startswith("float"):
        return np.array(checked, dtype=np.float64)
    if None in checked:
        return list(checked)
    return np.array(checked, dtype=column.dtype)


def times_us(held: Any, name: str, faults: list[Fault]) -> list[int | None]:
    """Microseconds since the epoch of a column of times: timestamps, dates, or ISO 8601 text."""
    held = _plain(held)
    if pa.types.is_timestamp(held.type) or pa.types.is_date(held.type):
        # The log holds microseconds; pandas writes nanoseconds.
        moments = held.cast(pa.timestamp("us", tz="UTC"), safe=False)
        whole: list[int | None] = moments.cast(pa.int64()).to_pylist()
        return whole
    found: list[int | None] = []
    for row, value in enumerate(held.to_pylist()):
        moment = None
        if value not in (None, ""):
            try:
                moment = check_time(str(value), f"$.{name}")
            except InputError as error:
                faults.append(Fault(row, name, error.what, error.expected))
        found.append(moment)
    return found


def scalars(held: Any) -> list[Any]:
    """A logged column that no model sees: text, numbers, truth values; anything else as text."""
    values: list[Any] = _plain(held).to_pylist()
    return [one if one is None or isinstance(one, str | int | float | bool) else str(one) for one in values]


def take_rows(columns: Mapping[str, Values], rows: NDArray[np.int64]) -> dict[str, Values]:
    """Some rows of every column."""
    wanted = rows.tolist()
    return {
        name: values[rows] if isinstance(values, np.ndarray) else [values[row] for row in wanted]
        for name, values in columns.items()
    }

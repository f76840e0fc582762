"""The authority on which values a column takes, and the words that say why one is refused.

The record decoder is fast and knows only yes or no; whatever it refuses comes here, is judged value by
value, and either passes after all (1.0 for a whole number) or raises an error with the path to the value.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.signature import Column
from holdfast.clock import parse_time_us
from holdfast.infer.errors import InputError
from holdfast.infer.schema import FLOAT_LIMITS, INTEGER_RANGES, RecordSchema, is_float, is_integer
from holdfast.privacy.record import Values


def check_record(schema: RecordSchema, record: Any, path: str) -> dict[str, Any]:
    """The record's fields, each as its column wants it.

    Args:
        schema: of the model version.
        record: any JSON value.
        path: to the record, such as `$` or `$[3]`.

    Raises:
        InputError: at the first fault, in the order of the fields; values are never repeated.
    """
    if not isinstance(record, dict):
        raise InputError(
            "wrong type", where=path, expected="an object with the model's fields", received=kind_of(record)
        )
    for name in record:
        if name not in schema.fields:
            raise InputError(
                "unknown field",
                where=path + step(name),
                next_step=_hint(
                    name, [field for field in schema.fields if field not in record], schema.fields
                ),
            )
    checked: dict[str, Any] = {}
    for column in schema.columns:
        if column.name not in record:
            raise InputError(
                "missing",
                where=path + step(column.name),
                expected=in_words(column),
                next_step=_null_hint(column),
            )
        checked[column.name] = check_value(column, record[column.name], path + step(column.name))
    for name in schema.reserved:
        checked[name] = _check_reserved(schema, name, record.get(name), path + step(name))
    return checked


def check_value(column: Column, value: Any, path: str) -> Any:
    """One value as the column wants it: nested lists of a shaped column stay lists.

    Raises:
        InputError: it does not fit.
    """
    if value is None:
        if column.nullable:
            return None
        raise InputError(
            "null is not accepted here: the model's reference has no missing values in this field",
            where=path,
            expected=in_words(column),
        )
    return _check_shaped(column, value, path, column.shape)


def _check_shaped(column: Column, value: Any, path: str, shape: tuple[int, ...]) -> Any:
    if not shape:
        return _check_scalar(column, value, path)
    if not isinstance(value, list):
        raise InputError("wrong type", where=path, expected=_shape_in_words(shape), received=kind_of(value))
    if shape[0] >= 0 and len(value) != shape[0]:
        raise InputError(
            "wrong length", where=path, expected=_shape_in_words(shape), received=f"{len(value)} values"
        )
    checked = [_check_shaped(column, item, f"{path}[{i}]", shape[1:]) for i, item in enumerate(value)]
    if len(shape) > 1 and len({np.shape(item) for item in checked}) > 1:
        raise InputError(
            "ragged: the inner lists differ in length", where=path, expected=_shape_in_words(shape)
        )
    return checked


def _check_scalar(column: Column, value: Any, path: str) -> Any:
    wanted, what = in_words(column), "wrong type"
    if column.dtype == "string":
        if isinstance(value, str):
            return value
    elif column.dtype == "bool":
        if isinstance(value, bool):
            return value
    elif isinstance(value, bool) or not isinstance(value, int | float):
        pass
    elif is_integer(column.dtype):
        low, high = INTEGER_RANGES[column.dtype]
        if isinstance(value, float) and not value.is_integer():
            what = "not a whole number"
        elif low <= int(value) <= high:
            return int(value)
        else:
            what = f"out of the range of {column.dtype}"
            wanted = f"a whole number from {low} to {high}"
    elif abs(value) <= FLOAT_LIMITS[column.dtype]:
        return float(value)
    else:
        what = f"out of the range of {column.dtype}"
    raise InputError(what, where=path, expected=wanted, received=kind_of(value))


def _check_reserved(schema: RecordSchema, name: str, value: Any, path: str) -> Any:
    if value is not None and not isinstance(value, str | int | float):
        raise InputError("wrong type", where=path, expected="text or a number", received=kind_of(value))
    if name == schema.time_field and value is not None:
        if not isinstance(value, str):
            raise InputError("wrong type", where=path, expected="a time (ISO 8601)", received=kind_of(value))
        check_time(value, path)
    return value


def check_time(value: str, path: str) -> int:
    """Microseconds since the epoch.

    Raises:
        InputError: no ISO 8601 time.
    """
    try:
        return parse_time_us(value)
    except (ValueError, OverflowError):
        raise InputError(
            "not a time", where=path, expected='ISO 8601, such as "2026-03-14T02:00:00Z"', received="text"
        ) from None


def check_columns(columns: Sequence[Column], values: Mapping[str, Values], rows: int) -> dict[str, Values]:
    """Columns of a table as the model's columns want them; numbers out of arrays may be NaN or infinite.

    Args:
        columns: of the signature.
        values: by name; further names are ignored, since a table may hold more than a model needs.
        rows: of every column.

    Raises:
        InputError: a column is missing or holds something else; `where` is its path.
    """
    checked: dict[str, Values] = {}
    for column in columns:
        if column.name not in values:
            near = _hint(column.name, list(values), list(values))
            raise InputError(
                "missing column", where=f"$.{column.name}", expected=in_words(column), next_step=near
            )
        found = values[column.name]
        if len(found) != rows:
            raise InputError(
                "wrong number of rows", where=f"$.{column.name}", expected=str(rows), received=str(len(found))
            )
        checked[column.name] = (
            _check_array(column, found) if isinstance(found, np.ndarray) else _check_sequence(column, found)
        )
    return checked


def truths_of_numbers(column: Column, numbers: NDArray[Any]) -> Values:
    """A boolean column out of a tensor of numbers, as graphs take them that know no booleans.

    Args:
        column: boolean.
        numbers: 1 and 0; NaN for a missing value, where the column may have them.

    Raises:
        InputError: another number; `where` is its path.
    """
    missing = np.isnan(numbers)
    bad = (numbers != 0) & (numbers != 1)
    if column.nullable and not column.shape:
        bad &= ~missing
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise InputError(
            "neither true nor false",
            where=f"$[{row}].{column.name}",
            expected=f"{in_words(column)}, as 1 or 0",
        )
    truths = numbers.astype(np.bool_)
    if not missing.any():
        return truths
    return [None if gone else bool(one) for one, gone in zip(truths, missing, strict=True)]


def _check_array(column: Column, found: NDArray[Any]) -> Values:
    where = f"$.{column.name}"
    wanted_shape = column.shape
    if found.ndim != len(wanted_shape) + 1 or any(
        size not in {-1, seen} for size, seen in zip(wanted_shape, found.shape[1:], strict=True)
    ):
        raise InputError(
            "wrong shape",
            where=where,
            expected=_shape_in_words(wanted_shape),
            received=str(list(found.shape[1:])),
        )
    if found.dtype.kind in "OUST":
        return _check_sequence(column, found.tolist())
    if column.dtype == "bool" and found.dtype.kind == "b":
        return found
    if is_float(column.dtype) and found.dtype.kind in "fiu":
        if column.shape:
            return found.astype(column.dtype, copy=False)
        return found.astype(np.float64, copy=False)
    if is_integer(column.dtype) and found.dtype.kind in "fiu":
        return _as_integers(column, found)
    raise InputError("wrong type", where=where, expected=in_words(column), received=str(found.dtype))


def _as_integers(column: Column, found: NDArray[Any]) -> Values:
    low, high = INTEGER_RANGES[column.dtype]
    if found.dtype.kind == "f":
        missing = np.isnan(found)
        if column.nullable and missing.any() and not column.shape:
            return _check_sequence(
                column, [None if gone else one for one, gone in zip(found.tolist(), missing, strict=True)]
            )
        bad = ~(np.isfinite(found) & (found == np.floor(found)) & (found >= low) & (found < float(high) + 1))
    else:
        bad = np.zeros(found.shape, dtype=bool) if found.size == 0 else _outside(found, low, high)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise InputError(
            "not such a whole number", where=f"$[{row}].{column.name}", expected=f"{low} to {high}"
        )
    return found.astype(column.dtype, copy=False)


def _outside(found: NDArray[Any], low: int, high: int) -> NDArray[np.bool_]:
    limits = np.iinfo(found.dtype)
    bad = np.zeros(found.shape, dtype=bool)
    if limits.min < low:
        bad |= found < low
    if limits.max > high:
        bad |= found > high
    return bad


def _check_sequence(column: Column, found: Sequence[Any]) -> Values:
    checked = [
        check_value(
            column,
            None if column.nullable and isinstance(value, float) and value != value else value,  # noqa: PLR0124 - NaN
            f"$[{row}].{column.name}",
        )
        for row, value in enumerate(found)
    ]
    return as_values(column, checked)


def as_values(column: Column, checked: Sequence[Any]) -> Values:
    """Checked values of one column as the model and the log take them."""
    if column.dtype == "string":
        return list(checked)
    if column.shape:
        if not checked:
            return np.empty((0, *(max(size, 0) for size in column.shape)), dtype=column.dtype)
        return np.array(checked, dtype=column.dtype)
    if is_float(column.dtype):
        return np.array(checked, dtype=np.float64)
    if column.nullable and None in checked:
        return list(checked)
    return np.array(checked, dtype=column.dtype)


def in_words(column: Column) -> str:
    """What the column takes, such as `a number` or `text`."""
    if column.shape:
        return _shape_in_words(column.shape)
    word = "a number"
    if column.dtype == "string":
        word = "text"
    elif column.dtype == "bool":
        word = "true or false"
    elif is_integer(column.dtype):
        word = "a whole number"
    return word + (" or null" if column.nullable else "")


def kind_of(value: Any) -> str:
    """The kind of a JSON value, never the value itself."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def step(name: str) -> str:
    """One step of a path: `.amount`, or `['any other name']`."""
    return f".{name}" if name.isidentifier() else f"[{name[:80]!r}]"


def nearest(name: str, valid: Sequence[str]) -> str | None:
    """The valid name most like it, or None."""
    folded = {one.lower().replace("-", "_"): one for one in valid}
    found = difflib.get_close_matches(name[:80].lower().replace("-", "_"), folded, n=1, cutoff=0.55)
    return folded[found[0]] if found else None


def _hint(name: str, free: Sequence[str], valid: Sequence[str]) -> str:
    near = nearest(name, free)
    if near is not None:
        return f"Did you mean {near!r}?"
    shown = ", ".join(valid[:12]) + (", ..." if len(valid) > 12 else "")
    return f"Fields of this model: {shown}."


def _null_hint(column: Column) -> str | None:
    return "Send null where the value is not known." if column.nullable else None


def _shape_in_words(shape: tuple[int, ...]) -> str:
    if not shape:
        return "one value per row"
    return "nested lists of shape [" + ", ".join("any" if size < 0 else str(size) for size in shape) + "]"

"""The ways in which other protocols write rows in JSON or CSV, all turned into records with named fields.

A row may be an object of fields, an object of input tensors, or values in the order of the model's columns.
Records are then judged by the one authority that judges `POST /predict`.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
import math
import re
from collections.abc import Collection, Sequence
from typing import Any, Final, Never

import msgspec

from holdfast.artifact.signature import Column, Signature
from holdfast.errors import HoldfastError
from holdfast.infer import InputError, MalformedBodyError, TooManyRowsError, kind_of, read_json
from holdfast.infer.schema import is_float, is_integer
from holdfast.serve.service import Endpoint

Records = list[dict[str, Any]]
_ROW: Final = re.compile(r"^\$\[(\d+)\](?:\.([^.\[]+))?")
_OTHER_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
_TRUTH: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def read_lenient(body: bytes) -> Any:
    """JSON in which a bare NaN stands for a missing value, as TensorFlow Serving and Python write it.

    Raises:
        MalformedBodyError: not readable even so; Infinity is not.
    """
    try:
        return read_json(body)
    except MalformedBodyError:
        if b"NaN" not in body and b"Infinity" not in body:
            raise
    try:
        found = json.loads(body, parse_constant=_constant, parse_float=_finite)
        msgspec.json.encode(found)  # Python reads halves of surrogate pairs, which nobody can write
    except (ValueError, RecursionError):
        return read_json(body)
    return found


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _constant("Infinity")


def _constant(text: str) -> Any:
    if text != "NaN":
        raise MalformedBodyError("Infinity is not read from JSON", next_step="Use binary tensors (v2).")


def decode_records(
    endpoint: Endpoint, given: bytes | Records, max_rows: int, path: str, *, by_column: bool = False
) -> list[Any]:
    """The records as the data plane takes them.

    Args:
        endpoint: whose columns they are.
        given: records, or a JSON list of them.
        max_rows: of one request.
        path: where the rows stand in the body, for errors.
        by_column: they stand there column by column.

    Raises:
        InputError: a record does not fit; `where` is the path in the body.
        TooManyRowsError: more rows than one request may hold.
    """
    try:
        content = given if isinstance(given, bytes) else msgspec.json.encode(given)
        records, _ = endpoint.lane.codec.decode(content)
    except HoldfastError as error:
        error.where = _moved(error.where, path, by_column=by_column)
        raise
    check_rows(len(records), max_rows, path)
    return records


def check_rows(rows: int, max_rows: int, path: str) -> None:
    """Refuse more rows than one request may hold.

    Raises:
        TooManyRowsError: they are more.
    """
    if rows > max_rows:
        raise TooManyRowsError(
            "too many rows in one request", where=path, expected=f"at most {max_rows}", received=str(rows)
        )


def _moved(where: str | None, path: str, *, by_column: bool) -> str:
    if where is None:
        return path
    found = _ROW.match(where)
    if by_column and found is not None and found[2]:
        return f"{path}.{found[2]}[{found[1]}]{where[found.end() :]}"
    return path + where.removeprefix("$")


def of_instances(signature: Signature, instances: Any, path: str) -> Records:
    """Records of a list of rows.

    Raises:
        InputError: no list, or a row with another number of values than the model has columns.
    """
    if not isinstance(instances, list):
        raise InputError("wrong type", where=path, expected="a list of rows", received=kind_of(instances))
    return [_record(signature, one, f"{path}[{row}]") for row, one in enumerate(instances)]


def of_inputs(signature: Signature, inputs: Any, path: str) -> Records:
    """Records of an object of columns or tensors, each a list with one value per row; or of a list of rows.

    Raises:
        InputError: neither, or the lists differ in length.
    """
    if not isinstance(inputs, dict):
        return of_instances(signature, inputs, path)
    rows: int | None = None
    for name, values in inputs.items():
        where = f"{path}.{name[:80]}"
        if not isinstance(values, list):
            raise InputError("wrong type", where=where, expected="a list", received=kind_of(values))
        if rows is not None and len(values) != rows:
            raise InputError(
                "inputs differ in their number of rows",
                where=where,
                expected=str(rows),
                received=str(len(values)),
            )
        rows = len(values)
    return [
        _record(signature, {name: values[row] for name, values in inputs.items()}, f"{path}[{row}]")
        for row in range(rows or 0)
    ]


def of_table(signature: Signature, columns: Any, data: Any, path: str) -> Records:
    """Records of rows of values under column names; without names, values in the model's own order.

    Raises:
        InputError: not such a table.
    """
    if columns is None:
        return of_instances(signature, data, f"{path}.data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise InputError("wrong type", where=f"{path}.columns", expected="a list of names")
    if len(set(columns)) != len(columns):
        raise InputError("a column is given twice", where=f"{path}.columns")
    if not isinstance(data, list):
        raise InputError("wrong type", where=f"{path}.data", expected="a list of rows")
    records = []
    for row, values in enumerate(data):
        if not isinstance(values, list) or len(values) != len(columns):
            _wrong_length(values, len(columns), f"{path}.data[{row}]")
        named = dict(zip(columns, values, strict=True))
        records.append(_record(signature, named, f"{path}.data[{row}]"))
    return records


def of_csv(signature: Signature, body: bytes, max_rows: int) -> Records:
    """Records of comma-separated values under a line of names; an empty field is missing.

    Raises:
        MalformedBodyError: not UTF-8, no such lines, or other signs than commas between the columns.
        InputError: a line with another number of fields than the first.
        TooManyRowsError: more lines than one request may hold rows.
    """
    by_name = {column.name: column for column in signature.columns}
    try:
        text = body.decode("utf-8-sig")
        _refuse_other_delimiters(text.partition("\n")[0], by_name)
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        names = next(lines, None)
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedBodyError(f"not CSV: {type(error).__name__}", expected="CSV in UTF-8") from None
    if not names:
        raise MalformedBodyError("the body is empty", expected="CSV with a line of column names")
    rows: list[list[Any]] = []
    try:
        for line in lines:
            if line:
                rows.append(
                    [_typed(by_name.get(name), text) for name, text in zip(names, line, strict=False)]
                    if len(line) == len(names)
                    else line
                )
                check_rows(len(rows), max_rows, "$")
    except csv.Error:
        raise MalformedBodyError("not CSV", where=f"line {lines.line_num}") from None
    return of_table(signature, names, rows, "$")


def _refuse_other_delimiters(head: str, known: Collection[str]) -> None:
    """A line of names that has no comma, and holds the model's columns between other signs."""
    if "," in head or head.strip(' "\r') in known:
        return
    for sign, word in _OTHER_DELIMITERS.items():
        parts = [part.strip(' "\r') for part in head.split(sign)]
        if len(parts) > 1 and any(part in known for part in parts):
            raise MalformedBodyError(
                "the columns are not separated by commas",
                where="line 1",
                expected="commas, and points before decimals",
                received=word,
                next_step="Send it with commas; `holdfast score` reads such a file as it is",
            )


def _typed(column: Column | None, text: str) -> Any:
    """A field of a CSV line as its column wants it; what cannot be read stays text and is refused later."""
    if column is None:
        return text or None
    if column.dtype == "string":
        return None if not text and column.nullable else text
    if not text:
        return None
    if column.dtype == "bool":
        return _TRUTH.get(text, text)
    try:
        if is_integer(column.dtype) and text.lstrip("+-").isdecimal():
            return int(text)
        value = float(text) if is_float(column.dtype) or is_integer(column.dtype) else text
    except ValueError:
        return text
    if value != value:  # noqa: PLR0124 - NaN
        return None
    return value if value not in {float("inf"), float("-inf")} else text


def _record(signature: Signature, instance: Any, path: str) -> dict[str, Any]:
    columns = signature.columns
    if isinstance(instance, dict) and set(instance) != {"b64"}:
        return _named(signature, instance, path)
    if len(columns) == 1:
        alone = isinstance(instance, list) and len(instance) == 1 and not columns[0].shape
        return {columns[0].name: _plain(instance[0] if alone else instance, f"{path}.{columns[0].name}")}
    if not isinstance(instance, list) or len(instance) != len(columns):
        _wrong_length(instance, len(columns), path)
    return {
        column.name: _plain(value, f"{path}[{i}]")
        for i, (column, value) in enumerate(zip(columns, instance, strict=True))
    }


def _named(signature: Signature, instance: dict[str, Any], path: str) -> dict[str, Any]:
    fields = {column.name for column in signature.columns}
    packed = {tensor.name: tensor.columns for tensor in signature.inputs if tensor.name not in fields}
    record: dict[str, Any] = {}
    for name, value in instance.items():
        where = f"{path}.{name[:80]}"
        held: Sequence[str] | None = packed.get(name)
        if held is None:
            record[name] = _plain(value, where)
        elif len(held) == 1:
            record[held[0]] = _plain(value, where)
        elif isinstance(value, list) and len(value) == len(held):
            record |= {
                one: _plain(item, f"{where}[{i}]")
                for i, (one, item) in enumerate(zip(held, value, strict=True))
            }
        else:
            _wrong_length(value, len(held), where)
    return record


def _plain(value: Any, path: str) -> Any:
    """The value, with `{"b64": ...}` as the text that it holds."""
    if not isinstance(value, dict) or set(value) != {"b64"}:
        return value
    try:
        return base64.b64decode(value["b64"], validate=True).decode()
    except (TypeError, ValueError, binascii.Error):
        raise InputError("not the base64 of UTF-8 text", where=f"{path}.b64") from None


def _wrong_length(value: Any, expected: int, path: str) -> Never:
    raise InputError(
        "wrong number of values" if isinstance(value, list) else "wrong type",
        where=path,
        expected=f"a list of {expected} values, or an object with the model's fields",
        received=f"{len(value)} values" if isinstance(value, list) else kind_of(value),
    )

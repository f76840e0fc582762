"""JSON records to columns: one decode per request, one array per column and batch."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import astuple

from holdfast.artifact.packing import Table
from holdfast.artifact.signature import Signature
from holdfast.infer.block import Block
from holdfast.infer.errors import InputError, MalformedBodyError
from holdfast.infer.schema import RecordSchema, is_float
from holdfast.infer.validation import as_values, check_record, check_time
from holdfast.privacy.record import Values
from holdfast.spec.checklist import Checklist

Record = msgspec.Struct
_SPACE = b" \t\r\n"


class RecordCodec:
    """Decodes records of one model version and makes blocks of them.

    `decode` validates completely, so a record that it returned never harms the rows it is batched with.
    """

    def __init__(self, signature: Signature, checklist: Checklist) -> None:
        self.schema = schema = RecordSchema.of(signature, checklist)
        self._type: Any = schema.record_type()
        self._one = msgspec.json.Decoder(self._type).decode
        self._many = msgspec.json.Decoder(list[self._type]).decode  # type: ignore[name-defined]  # made at run time
        self._plainly_named = schema.plainly_named
        self.varies = any(-1 in column.shape for column in schema.columns)
        """Whether rows may differ in the shape of a column, see `shape_of`."""
        self._positions = positions = {name: i for i, name in enumerate(schema.fields)}
        self._column_count = len(schema.columns)
        self._id_at = positions[schema.id_field]
        self._time_at = positions[schema.time_field] if schema.time_field else None
        self._context = [(name, positions[name]) for name in schema.context_fields]
        self._shaped = [i for i, column in enumerate(schema.columns) if column.shape]
        self._variable = [i for i in self._shaped if -1 in schema.columns[i].shape]
        self._unsigned = [i for i, column in enumerate(schema.columns) if column.dtype == "uint64"]
        self._thorough = bool(self._shaped or self._unsigned or self._time_at is not None)
        self._plain_floats = (
            bool(schema.columns)
            and not self._shaped
            and all(is_float(column.dtype) and not column.nullable for column in schema.columns)
            and (self._time_at is None or self._time_at >= self._column_count)
        )
        self._names = tuple(column.name for column in schema.columns)
        self._pack = struct.Struct(f"{self._column_count}d").pack

    def position(self, field: str) -> int | None:
        """Where a field is in the records: attribute `f0`, `f1`, ...; None if records have no such field."""
        return self._positions.get(field)

    def decode(self, body: bytes) -> tuple[list[Record], bool]:
        """The records of a body, and whether it is one record that stands alone.

        Raises:
            MalformedBodyError: the body is no JSON object or list.
            InputError: a record does not fit; `where` is the path to the value.
        """
        if not self._plainly_named:
            return self._decode_slowly(body)
        try:
            if body[:1] == b"{":
                records, alone = [self._one(body)], True
            elif body[:1] == b"[":
                records, alone = self._many(body), False
            else:
                return self._decode_slowly(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return self._decode_slowly(body)
        if self._thorough:
            self._finish(records, alone=alone)
        return records, alone

    def _decode_slowly(self, body: bytes) -> tuple[list[Record], bool]:
        found = read_json(body)
        if not isinstance(found, list | dict):
            raise MalformedBodyError(
                "neither a record nor a list of records", where="$", expected="an object or a list"
            )
        alone = isinstance(found, dict)
        records = []
        for i, one in enumerate([found] if alone else found):
            values = check_record(self.schema, one, "$" if alone else f"$[{i}]")
            records.append(self._type(*(values[name] for name in self.schema.fields)))
        self._finish(records, alone=alone)
        return records, alone

    def _finish(self, records: list[Any], *, alone: bool) -> None:
        """What the typed decoder cannot check or convert."""
        for row, record in enumerate(records):
            path = "$" if alone else f"$[{row}]"
            for i in self._unsigned:
                value, column = getattr(record, f"f{i}"), self.schema.columns[i]
                if not column.shape and value is not None and value >= 2**64:
                    raise InputError("out of the range of uint64", where=f"{path}.{column.name}")
            for i in self._shaped:
                column = self.schema.columns[i]
                try:
                    value = np.array(getattr(record, f"f{i}"), dtype=_array_dtype(column.dtype))
                except (ValueError, OverflowError):
                    value = None
                if value is None or value.ndim != len(column.shape):
                    raise InputError(
                        "ragged or out of range",
                        where=f"{path}.{column.name}",
                        expected=str(list(column.shape)),
                    )
                setattr(record, f"f{i}", value)
            if self._time_at is not None:
                text = getattr(record, f"f{self._time_at}")
                if isinstance(text, str):
                    time_us = check_time(text, f"{path}.{self.schema.time_field}")
                    if self._time_at >= self._column_count:
                        setattr(record, f"f{self._time_at}", time_us)

    def shape_of(self, records: Sequence[Record]) -> tuple[tuple[int, ...], ...]:
        """Shapes of the variable-size columns, equal for rows that can share one array; () where none varies.

        Raises:
            InputError: the rows of one request differ in shape.
        """
        if not self._variable:
            return ()
        shapes = {tuple(getattr(record, f"f{i}").shape for i in self._variable) for record in records}
        if len(shapes) > 1:
            raise InputError(
                "rows of different shapes in one request", where="$", next_step="Send one request per shape."
            )
        return next(iter(shapes), ())

    def block(self, records: Sequence[Any]) -> Block:
        """The records as columns."""
        rows = len(records)
        if self._plain_floats:
            if rows == 1 and self._time_at is None:
                return self._row(astuple(records[0]))
            return self._table(list(map(astuple, records)))
        fields: Sequence[tuple[Any, ...]]
        fields = tuple(zip(*map(astuple, records), strict=True)) or ((),) * len(self.schema.fields)
        count = self._column_count
        columns: Mapping[str, Values] = {
            column.name: as_values(column, values)
            for column, values in zip(self.schema.columns, fields, strict=False)
        }
        ids = _ids_of(fields[self._id_at])
        times: Any = None
        if self._time_at is not None:
            times = fields[self._time_at]
            if self._time_at < count:
                times = [None if one is None else check_time(one, "$") for one in times]
            times = None if all(one is None for one in times) else times
        context: dict[str, Values] = {name: fields[at] for name, at in self._context} if self._context else {}
        return Block(rows, columns, ids, times, context)

    def _row(self, values: tuple[Any, ...]) -> Block:
        """One record of plain numbers: what a service that is not busy has most of."""
        count = self._column_count
        row = values[:count]
        given = values[self._id_at]
        ids = None if given is None else [None if given == "" else str(given)]
        context: dict[str, Values] = (
            {name: (values[at],) for name, at in self._context} if self._context else {}
        )
        return Block(1, Table(self._names, None, row), ids, None, context)

    def _table(self, rows: list[tuple[Any, ...]]) -> Block:
        """Records of plain numbers: each is packed as it stands, which is faster than column by column."""
        count = self._column_count
        pack = self._pack
        packed = b"".join([pack(*row[:count]) for row in rows])
        matrix = np.frombuffer(packed, np.float64).reshape(len(rows), count).T
        ids = _ids_of([row[self._id_at] for row in rows])
        times: Any = None
        if self._time_at is not None:
            times = [row[self._time_at] for row in rows]
            times = None if times.count(None) == len(rows) else times
        context: dict[str, Values] = {name: [row[at] for row in rows] for name, at in self._context}
        return Block(len(rows), Table(self._names, matrix), ids, times, context)


def _ids_of(given: Sequence[Any]) -> list[str | None] | None:
    """Ids that the callers gave; None: nobody gave one."""
    if given.count(None) == len(given):
        return None
    return [None if one is None or one == "" else str(one) for one in given]


def read_json(body: bytes) -> Any:
    """Any JSON value.

    Raises:
        MalformedBodyError: not JSON; NaN and Infinity are not JSON either.
    """
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise MalformedBodyError("not readable: nested too deeply") from None
    except msgspec.MsgspecError as error:
        if not body.strip(_SPACE):
            raise MalformedBodyError("the body is empty", expected="JSON") from None
        hint = None
        if any(token in body for token in (b"NaN", b"Infinity")):
            hint = "JSON has no NaN and no Infinity: send null, or a number in range."
        text = str(error).removeprefix("JSON is malformed: ")
        raise MalformedBodyError(f"not JSON: {text}", next_step=hint) from None
    except UnicodeDecodeError:
        raise MalformedBodyError("not JSON: text that is not UTF-8") from None


def _array_dtype(dtype: str) -> Any:
    return object if dtype == "string" else dtype

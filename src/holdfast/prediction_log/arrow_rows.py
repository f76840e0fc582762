"""Blocks of the spool as Arrow tables: many blocks of one layout become columns in one step each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from holdfast.prediction_log.blocks import ColumnLayout, LabelBlock, PredictionBlock
from holdfast.prediction_log.schema import LABELS, TIME
from holdfast.privacy import canonical_text

_LAYOUT_DECODER: Final = msgspec.msgpack.Decoder(list[ColumnLayout])


PredictionBlocks = Sequence[tuple[str, PredictionBlock]]
"""Pairs of a replica and a block that it wrote."""
LabelBlocks = Sequence[tuple[str, LabelBlock]]


def prediction_tables(blocks: PredictionBlocks) -> list[pa.Table]:
    """One table per layout and per types of its lists, each with its rows in the order of the blocks."""
    by_layout: dict[bytes, list[tuple[str, PredictionBlock]]] = defaultdict(list)
    for replica, block in blocks:
        by_layout[bytes(block.layout)].append((replica, block))
    tables = []
    for encoded, group in by_layout.items():
        layout = _LAYOUT_DECODER.decode(encoded)
        if _lists_agree(layout, group):
            tables.append(_table(layout, group))
            continue
        by_types: dict[tuple[str, ...], list[tuple[str, PredictionBlock]]] = defaultdict(list)
        for replica, block in group:
            by_types[_list_types(layout, block)].append((replica, block))
        tables += [_table(layout, part) for part in by_types.values()]
    return tables


def _lists_agree(layout: Sequence[ColumnLayout], group: PredictionBlocks) -> bool:
    """Whether each column given as lists has values of one type over all blocks."""
    for place, column in enumerate(layout):
        if not column.code:
            values = chain.from_iterable(block.columns[place] for _, block in group)
            if len(set(map(type, values)) - {type(None)}) > 1:
                return False
    return True


def _list_types(layout: Sequence[ColumnLayout], block: PredictionBlock) -> tuple[str, ...]:
    return tuple(
        str(scalar_column(values).type)
        for column, values in zip(layout, block.columns, strict=True)
        if not column.code
    )


def _table(layout: Sequence[ColumnLayout], group: PredictionBlocks) -> pa.Table:
    blocks = [block for _, block in group]
    counts = np.fromiter((block.rows for block in blocks), np.int64, len(blocks))
    n_rows = int(counts.sum())
    first = np.fromiter((block.counters.stored for block in blocks), np.int64, len(blocks)) - counts
    columns: dict[str, pa.Array] = {
        "prediction_id": _strings(chain.from_iterable(block.prediction_ids for block in blocks)),
        "time": _integers([block.times_us for block in blocks]).cast(TIME),
        "logged_at": pa.array(
            np.repeat(np.fromiter((block.logged_at_us for block in blocks), np.int64, len(blocks)), counts)
        ).cast(TIME),
        "deployment": _repeated([block.deployment for block in blocks], counts),
        "model_version": _repeated([block.model_version for block in blocks], counts),
        "arm": _repeated([block.arm for block in blocks], counts),
        "replica": _repeated([replica for replica, _ in group], counts),
        "sequence": pa.array(_sequences(first, counts)),
        "latency_us": _integers([block.latency_us for block in blocks]),
        "sampling_fraction": pa.array(
            np.repeat(np.fromiter((block.sampling_fraction for block in blocks), np.float64), counts)
        ),
    }
    if any(block.device is not None for block in blocks):
        columns["device"] = _repeated([block.device for block in blocks], counts)
    for name, kind in (("subject", pa.string()), ("consent", pa.bool_())):
        given = [getattr(block, name) for block in blocks]
        if any(values is not None for values in given):
            filled = (
                [None] * block.rows if values is None else values
                for values, block in zip(given, blocks, strict=True)
            )
            columns[name] = pa.array(list(chain.from_iterable(filled)), kind)
    for place, column in enumerate(layout):
        packed = [block.columns[place] for block in blocks]
        if column.code:
            values = np.frombuffer(b"".join(packed), column.code).reshape(n_rows, *column.shape)
            columns[column.name] = array_column(values)
            if column.name == "probabilities":
                _add_probabilities(columns, values)
        else:
            columns[column.name] = scalar_column(list(chain.from_iterable(packed)))
    if "score" in columns:
        columns["score"] = _as_double(columns["score"])
    return pa.table(columns)


def _add_probabilities(columns: dict[str, pa.Array], values: NDArray[Any]) -> None:
    flat = values.reshape(len(values), -1).astype(np.float64)
    columns["probabilities"] = _lists(flat)
    if flat.shape[1] in {1, 2} and "score" not in columns:
        columns["score"] = pa.array(np.ascontiguousarray(flat[:, -1]))


def _as_double(column: pa.Array) -> pa.Array:
    return column if pa.types.is_float64(column.type) else column.cast(pa.float64())


def array_column(values: NDArray[Any]) -> pa.Array:
    """An array of N rows as a column: bool, int64 or double; lists for shaped values, flattened row by row.

    NaN stays NaN. Unsigned integers beyond int64 become double.
    """
    kind = values.dtype.kind
    if kind == "u" and values.dtype.itemsize == 8 and values.size and values.max() > np.iinfo(np.int64).max:
        values = values.astype(np.float64)
    elif kind in "iu":
        values = values.astype(np.int64)
    elif kind == "f" and values.ndim == 1:
        values = values.astype(np.float64)
    elif kind == "f" and values.dtype.itemsize < 4:
        values = values.astype(np.float32)
    return pa.array(values) if values.ndim == 1 else _lists(values)


def _lists(values: NDArray[Any]) -> pa.Array:
    width = math.prod(values.shape[1:])
    offsets = pa.array(np.arange(len(values) + 1, dtype=np.int64) * width, pa.int64())
    large = pa.LargeListArray.from_arrays(offsets, pa.array(values.reshape(-1)))
    return large.cast(pa.list_(large.type.value_type))


def scalar_column(values: list[Any]) -> pa.Array:
    """A list of scalars as a column. None is null, NaN is NaN.

    Integers among floats become double if that changes none; any other mixture, and objects, become text.
    """
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) <= 1 and not kinds & {dict}:
        try:
            column = pa.array(values, from_pandas=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            column = None
        if column is not None and (leaf := _leaf(column.type)) is not None:
            return pa.nulls(len(values)) if pa.types.is_null(leaf) else column
    elif kinds == {int, float} and all(float(value) == value for value in values if value is not None):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _leaf(kind: pa.DataType) -> pa.DataType | None:
    """What the lists hold in the end; None if that has fields of its own."""
    while pa.types.is_list(kind):
        kind = kind.value_type
    return None if pa.types.is_nested(kind) else kind


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    return value if isinstance(value, str) else canonical_text(value)


def label_table(blocks: LabelBlocks) -> pa.Table:
    """All labels of the blocks as one table."""
    counts = np.fromiter((block.rows for _, block in blocks), np.int64, len(blocks))
    first = np.fromiter((block.counters.labels for _, block in blocks), np.int64, len(blocks)) - counts
    logged = np.fromiter((block.logged_at_us for _, block in blocks), np.int64, len(blocks))
    columns = [
        _strings(chain.from_iterable(block.prediction_ids for _, block in blocks)),
        _strings(chain.from_iterable(block.y for _, block in blocks)),
        _integers([block.observed_at_us for _, block in blocks]).cast(TIME),
        pa.array(np.repeat(logged, counts)),
        _repeated([replica for replica, _ in blocks], counts),
        pa.array(_sequences(first, counts)),
    ]
    return pa.Table.from_arrays(columns, schema=LABELS)


def _sequences(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """first[i], first[i] + 1, ... counts[i] numbers for each block i, one after another."""
    before = np.cumsum(counts) - counts
    numbers: NDArray[np.int64] = np.arange(int(counts.sum()), dtype=np.int64) + np.repeat(
        first - before, counts
    )
    return numbers


def _integers(packed: Sequence[bytes | list[int]]) -> pa.Array:
    if not any(isinstance(values, bytes) for values in packed):
        return pa.array(list(chain.from_iterable(packed)), pa.int64())
    if all(isinstance(values, bytes) for values in packed):
        return pa.array(np.frombuffer(b"".join(packed), "<i8"))  # type: ignore[arg-type]  # checked above
    arrays = [
        np.frombuffer(values, "<i8") if isinstance(values, bytes) else np.asarray(values, dtype=np.int64)
        for values in packed
    ]
    return pa.array(np.concatenate(arrays))


def _strings(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), pa.string())


def _repeated(values: Sequence[str | None], counts: NDArray[np.int64]) -> pa.Array:
    """Each text as often as its block has rows."""
    distinct = {value: place for place, value in enumerate(dict.fromkeys(values))}
    places = np.fromiter((distinct[value] for value in values), np.int32, len(values))
    names = pa.array(list(distinct), pa.string())
    return names.take(pa.array(np.repeat(places, counts)))

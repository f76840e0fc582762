"""Columns of a table as the tests take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.rows import ColumnValues
from holdfast.stats import Coded

if TYPE_CHECKING:
    import pyarrow as pa


def column_values(table: pa.Table | pa.RecordBatch, name: str) -> ColumnValues:
    """A column as numbers with NaN, or as coded text; an absent column is missing in every row."""
    if name not in table.schema.names:
        return np.full(table.num_rows, np.nan)
    return array_values(table.column(name))


def array_values(held: pa.ChunkedArray | pa.Array) -> ColumnValues:
    """Numbers with NaN for null, or text as codes of its distinct words: never one Python object a row."""
    import pyarrow as pa

    kind = held.type.value_type if pa.types.is_dictionary(held.type) else held.type
    if pa.types.is_boolean(kind) or _is_number(kind):
        if pa.types.is_dictionary(held.type):
            held = held.cast(kind)
        if pa.types.is_boolean(kind):
            held = held.cast(pa.int8())
        if held.null_count or not pa.types.is_float64(held.type):
            held = held.cast(pa.float64(), safe=False)
        values: NDArray[np.float64] = (
            held.to_numpy() if isinstance(held, pa.ChunkedArray) else held.to_numpy(zero_copy_only=False)
        )
        return values
    return _coded(held)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _coded(held: pa.ChunkedArray | pa.Array) -> Coded:
    import pyarrow as pa

    if not pa.types.is_dictionary(held.type):
        if not (pa.types.is_string(held.type) or pa.types.is_large_string(held.type)):
            held = held.cast(pa.string())
        held = held.dictionary_encode()
    if isinstance(held, pa.ChunkedArray):
        # One dictionary for all chunks, then one array.
        held = held.unify_dictionaries().combine_chunks()
        if isinstance(held, pa.ChunkedArray):
            held = held.chunk(0) if held.num_chunks else pa.array([], pa.string()).dictionary_encode()
    words = held.dictionary.to_pylist()
    codes = held.indices.cast(pa.int32()).fill_null(-1).to_numpy(zero_copy_only=False)
    if None in words:
        codes = np.where(codes == words.index(None), np.int32(-1), codes)
    return Coded(codes, tuple(str(word) for word in words))

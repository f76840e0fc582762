"""Columns of a table as the tests take them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.arrow_types import is_number
from holdfast.monitor.rows import ColumnValues
from holdfast.stats import Coded, Numbers, truths

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
    if pa.types.is_boolean(kind) or is_number(kind):
        if pa.types.is_dictionary(held.type):
            held = held.cast(kind)
        if pa.types.is_boolean(kind):
            held = held.cast(pa.int8())
        if not pa.types.is_float64(held.type):
            held = held.cast(pa.float64(), safe=False)
        values: NDArray[np.float64] = flat_array(held, np.float64)
        return values
    return _coded(held)


def counted_values(table: pa.Table | pa.RecordBatch, name: str) -> ColumnValues | Numbers:
    """As `column_values`, but numbers of any plain type as they lie, if together."""
    import pyarrow as pa

    if name not in table.schema.names:
        return column_values(table, name)
    held = table.column(name)
    if isinstance(held, pa.ChunkedArray) and held.num_chunks == 1:
        held = held.chunk(0)
    lies = _lies(held.type) and isinstance(held, pa.Array) and len(held) > 0
    plain = pa.types.is_float64(held.type) and not held.null_count
    return _numbers(held) if lies and not plain else array_values(held)


def _lies(kind: pa.DataType) -> bool:
    """Whether numbers of a type can be counted as they lie."""
    import pyarrow as pa

    plain = pa.types.is_primitive(kind) and is_number(kind) and not pa.types.is_float16(kind)
    return plain or pa.types.is_boolean(kind)


_NAMES: Final = {"float": "f4", "double": "f8"}
"""As numpy calls what Arrow calls so; whole numbers are called alike."""
_FEW_WORDS: Final = 1000
"""Of more, a column's codes are not made anew for one table of words."""


@dataclass(frozen=True, slots=True)
class Lying:
    """A column whose values lie in memory as they are counted, in one or several stretches."""

    starts: Sequence[int]
    """Number of the first row of each stretch, and of all rows."""
    parts: Sequence[NDArray[Any] | Numbers | pa.BooleanArray]
    words: tuple[str, ...] | None
    """Of codes of text."""

    @classmethod
    def of(cls, held: pa.ChunkedArray) -> Lying | None:
        """None where values must be made: another type, nulls among numbers, many words of each stretch."""
        import pyarrow as pa

        kind, chunks = held.type, held.chunks
        starts = [0, *accumulate(map(len, chunks))]
        if not chunks:
            return None
        if pa.types.is_float64(kind) and not held.null_count:
            return cls(starts, [flat_array(chunk, np.float64) for chunk in chunks], None)
        if _lies(kind):
            # Truth values become bytes where they are counted.
            made = chunks if pa.types.is_boolean(kind) else [_numbers(chunk) for chunk in chunks]
            return cls(starts, made, None)
        if not pa.types.is_dictionary(kind) or kind.index_type not in {pa.int8(), pa.int32()}:
            return None
        first = chunks[0].dictionary
        if not is_plain_text(first.type) or first.null_count:
            return None
        if not all(chunk.dictionary.equals(first) for chunk in chunks[1:]):
            # Each part of a file brings its words in the order in which it met them.
            if max(len(chunk.dictionary) for chunk in chunks) > _FEW_WORDS:
                return None
            held = held.unify_dictionaries()
            chunks, first = held.chunks, held.chunks[0].dictionary
        plain = np.int8 if kind.index_type == pa.int8() else np.int32
        return cls(starts, [flat_array(chunk.indices, plain) for chunk in chunks], tuple(first.to_pylist()))

    def rows(self, first: int, stop: int) -> ColumnValues | Numbers:
        """Those from a number to before another."""
        low = min(bisect_right(self.starts, first), len(self.parts)) - 1
        found: list[NDArray[Any] | Numbers] = []
        while first < stop or not found:
            begin, end = self.starts[low], min(stop, self.starts[low + 1])
            part = self.parts[low]
            some = part[first - begin : end - begin]
            found.append(some if isinstance(some, np.ndarray | Numbers) else _numbers(some))
            first, low = end, low + 1
        if len(found) == 1:
            values = found[0]
        else:
            values = np.concatenate([one.doubles() if isinstance(one, Numbers) else one for one in found])
        if isinstance(values, Numbers) or self.words is None:
            return values
        return Coded(values, self.words)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, as it is or in codes."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def without_views(table: pa.Table) -> pa.Table:
    """The table with plain text where polars hands over views of it, on which Arrow computes little."""
    import pyarrow as pa

    for place, column in enumerate(table.schema):
        kind = column.type
        if pa.types.is_dictionary(kind) and pa.types.is_string_view(kind.value_type):
            words = pa.dictionary(kind.index_type, pa.large_string())
            table = table.set_column(place, column.name, table.column(place).cast(words))
        elif pa.types.is_string_view(kind):
            table = table.set_column(place, column.name, table.column(place).cast(pa.large_string()))
    return table


def is_plain_text(kind: pa.DataType) -> bool:
    """Whether values are text, not in codes."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def distinct_values(held: pa.ChunkedArray) -> int:
    """How many; of text in codes of few words at most so many."""
    import pyarrow as pa

    if not pa.types.is_dictionary(held.type):
        return len(held.unique())
    # A part of a file brings the words of all its rows along, and each part its own.
    most = sum(len(chunk.dictionary) for chunk in held.chunks)
    if 2 * most <= len(held):
        return most
    codes = [chunk.indices.drop_null() for chunk in held.unify_dictionaries().chunks]
    return len(pa.chunked_array(codes).unique()) if codes else 0


def flat_array(held: pa.ChunkedArray | pa.Array, kind: type[np.generic]) -> NDArray[Any]:
    """One array of plain numbers, NaN (or -1) for null; without a copy where they lie together.

    Args:
        held: of exactly this kind of number.
        kind: as numpy names it.
    """
    import pyarrow as pa

    parts = [_plain(chunk, kind) for chunk in (held.chunks if isinstance(held, pa.ChunkedArray) else [held])]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _plain(chunk: pa.Array, kind: type[np.generic]) -> NDArray[Any]:
    # Arrow's own `to_numpy` imports pandas: a second and 60 MB that nothing else here needs.
    valid, buffer = chunk.buffers()
    if buffer is None or not len(chunk):
        return np.empty(0, kind)
    held = np.frombuffer(buffer, kind, len(chunk), chunk.offset * np.dtype(kind).itemsize)
    if not chunk.null_count:
        return held
    # Arrow's own `fill_null` takes ten times as long.
    there = truths(np.frombuffer(valid, np.uint8), chunk.offset, len(chunk))
    return np.where(there, held, kind(np.nan if issubclass(kind, np.floating) else -1))


def _numbers(chunk: pa.Array) -> Numbers:
    """Of a plain type as they lie; truth values as 0 and 1, a byte each."""
    import pyarrow as pa

    valid, values = chunk.buffers()
    if pa.types.is_boolean(chunk.type):
        bits = np.frombuffer(values if len(chunk) else b"", np.uint8)
        return Numbers(truths(bits, chunk.offset, len(chunk)).view(np.uint8), *_bits(chunk, valid))
    kind = np.dtype(_NAMES.get(str(chunk.type), str(chunk.type)))
    held: NDArray[Any] = np.empty(0, kind)
    if len(chunk):
        held = np.frombuffer(values, kind, len(chunk), chunk.offset * kind.itemsize)
    return Numbers(held, *_bits(chunk, valid))


def _bits(chunk: pa.Array, valid: pa.Buffer | None) -> tuple[NDArray[np.uint8] | None, int]:
    """Those that say which are there, and the number of the first one's."""
    if valid is None or not chunk.null_count:
        return None, 0
    return np.frombuffer(valid, np.uint8), chunk.offset


def _narrow(codes: pa.Array) -> pa.Array:
    import pyarrow as pa

    return codes if codes.type == pa.int32() else codes.cast(pa.int32())


def _coded(held: pa.ChunkedArray | pa.Array) -> Coded:
    import pyarrow as pa

    if not pa.types.is_dictionary(held.type):
        if not (is_plain_text(held.type) or _is_bytes(held.type)):
            held = held.cast(pa.string())
        held = held.dictionary_encode()
    if isinstance(held, pa.ChunkedArray) and held.num_chunks == 1:
        held = held.chunk(0)
    if isinstance(held, pa.ChunkedArray):
        # One dictionary for all chunks, then one array.
        held = held.unify_dictionaries().combine_chunks()
        if isinstance(held, pa.ChunkedArray):
            held = held.chunk(0) if held.num_chunks else pa.array([], pa.string()).dictionary_encode()
    words = held.dictionary.to_pylist()
    codes = flat_array(_narrow(held.indices), np.int32)
    if None in words:
        codes = np.where(codes == words.index(None), np.int32(-1), codes)
    return Coded(codes, tuple(_word(word) for word in words))


def _word(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )

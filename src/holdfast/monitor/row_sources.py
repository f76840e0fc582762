"""Where many rows come from: a Parquet file, or a table in memory; both are taken batch by batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import numpy as np

from holdfast.monitor.columns import Lying, array_values, is_plain_text
from holdfast.stats import Numbers, finite_extremes

if TYPE_CHECKING:
    import pyarrow as pa

_WORD_BYTES: Final = 16
"""Of a row, in a column of a file: of more, text is read as it is. Codes of few words take less; of many the
reader would keep each word of a row group."""
_READ_BYTES: Final = 1 << 16
"""Read of each column at a time."""
_GROUP_ROWS: Final = 1 << 17
"""Rows of a table in memory that stand for a row group of a file."""
_APART_ROWS: Final = 1 << 14
"""Rows that lie together in memory and are not put together with others."""
_STRETCH_ROWS: Final = 1 << 17
"""Rows of which the extremes are looked for at a time."""


class RowSource(Protocol):
    """Rows in groups that follow on each other."""

    @property
    def where(self) -> str:
        """As errors call it."""

    @property
    def in_memory(self) -> bool:
        """Whether nothing is read from a file."""

    @property
    def schema(self) -> pa.Schema:
        """Of all columns."""

    @property
    def groups(self) -> Sequence[int]:
        """Rows of each group."""

    @property
    def row_bytes(self) -> float:
        """Of all columns of a row in the mean; at least 1."""

    @property
    def long_bytes(self) -> Mapping[str, float]:
        """Of a row in the mean, by column: of those that hold text, bytes or lists."""

    def batches(self, group: int, rows: int, names: Sequence[str]) -> Iterator[pa.RecordBatch | pa.Table]:
        """The rows of a group in order, at most so many at a time."""

    def first_rows(self, chosen: Sequence[tuple[int, int]], names: Sequence[str]) -> list[pa.ChunkedArray]:
        """Of each column the first rows of some groups, given as group and rows. Called from threads."""

    def column(self, name: str) -> pa.ChunkedArray:
        """All of one column."""

    def extremes(self, name: str) -> tuple[float, float] | None:
        """Least and greatest number of a column; None where they are not known."""

    def as_they_lie(self, names: Sequence[str]) -> Mapping[str, Lying]:
        """Those of the columns that lie in memory as they are counted: nothing need be made of each batch."""


@dataclass(frozen=True, slots=True)
class FileRows:
    """A Parquet file, of which only what is asked for is read."""

    path: Path
    file: Any = field(repr=False)
    called: str | None = None
    """As errors call it, if not by its path."""
    in_memory: ClassVar[bool] = False

    @classmethod
    def open(cls, path: Path, called: str | None = None) -> FileRows:
        """Reads the footer only."""
        from pyarrow import parquet

        metadata = parquet.read_metadata(path)
        text = [one.name for one in metadata.schema.to_arrow_schema() if is_plain_text(one.type)]
        text = [name for name, size in _column_bytes(metadata, text).items() if size <= _WORD_BYTES]
        file = parquet.ParquetFile(
            path, metadata=metadata, read_dictionary=text, pre_buffer=False, buffer_size=_READ_BYTES
        )
        return cls(path, file, called)

    @property
    def where(self) -> str:
        """The path, or what was said."""
        return self.called or str(self.path)

    @property
    def schema(self) -> pa.Schema:
        """Of all columns."""
        return self.file.schema_arrow

    @property
    def groups(self) -> Sequence[int]:
        """Rows of each row group."""
        metadata = self.file.metadata
        return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]

    @property
    def row_bytes(self) -> float:
        """As they are encoded, before they are compressed."""
        metadata = self.file.metadata
        groups = range(metadata.num_row_groups)
        held = sum(metadata.row_group(number).total_byte_size for number in groups)
        return float(max(1.0, held / max(metadata.num_rows, 1)))

    @property
    def long_bytes(self) -> Mapping[str, float]:
        """As they are encoded."""
        return _column_bytes(self.file.metadata, [one.name for one in self.schema if _is_long(one.type)])

    def batches(self, group: int, rows: int, names: Sequence[str]) -> Iterator[pa.RecordBatch | pa.Table]:
        """The rows of a row group."""
        return iter(
            self.file.iter_batches(batch_size=rows, row_groups=[group], columns=names, use_threads=False)
        )

    def first_rows(self, chosen: Sequence[tuple[int, int]], names: Sequence[str]) -> list[pa.ChunkedArray]:
        """Read column by column: whoever reads one holds a page of it and its dictionary too."""
        import pyarrow as pa

        # A file of one's own: a reader serves one thread.
        file = FileRows.open(self.path).file

        def read(group: int, size: int, name: str) -> pa.Table:
            parts = file.iter_batches(
                batch_size=max(size, 1), row_groups=[group], columns=[name], use_threads=False
            )
            first = list(islice(parts, 1))
            return pa.Table.from_batches(first) if first else file.read_row_group(group, columns=[name])

        return [
            pa.concat_tables([read(group, size, name) for group, size in chosen]).column(0) for name in names
        ]

    def column(self, name: str) -> pa.ChunkedArray:
        """All of one column."""
        return self.file.read(columns=[name]).column(0)

    def extremes(self, name: str) -> tuple[float, float] | None:
        """By the file's own statistics; None where they are not kept."""
        import pyarrow as pa

        names = self.schema.names
        if name not in names:
            return None  # made of another column
        position = names.index(name)
        low, high = np.inf, -np.inf
        for group in range(self.file.num_row_groups):
            kept = self.file.metadata.row_group(group).column(position).statistics
            if kept is None or not kept.has_min_max:
                return None
            try:
                low, high = min(low, float(kept.min)), max(high, float(kept.max))
            except (TypeError, ValueError):
                # Halves are kept as bytes, text says nothing.
                return (
                    self._finite_extremes(name) if pa.types.is_float16(self.schema.types[position]) else None
                )
        if np.isfinite(low) and np.isfinite(high):
            return low, high
        return self._finite_extremes(name)

    def _finite_extremes(self, name: str) -> tuple[float, float] | None:
        """Of a column whose statistics do not tell: it is read once more."""
        low, high = np.inf, -np.inf
        # A file of one's own: a reader serves one thread.
        for batch in FileRows.open(self.path).file.iter_batches(columns=[name], use_threads=False):
            values = array_values(batch.column(0))
            if not isinstance(values, np.ndarray):
                return None
            least, greatest = finite_extremes(values)
            low, high = min(low, least), max(high, greatest)
        return (low, high) if low <= high else None

    def as_they_lie(self, names: Sequence[str]) -> Mapping[str, Lying]:
        """None of a file."""
        del names
        return {}


@dataclass(frozen=True, slots=True)
class TableRows:
    """A table in memory. Its columns are never copied as a whole."""

    table: pa.Table = field(repr=False)
    where: str
    """`reference` or `current`."""
    in_memory: ClassVar[bool] = True

    @property
    def schema(self) -> pa.Schema:
        """Of all columns."""
        return self.table.schema

    @property
    def groups(self) -> Sequence[int]:
        """Groups of nearly the same size."""
        return alike_groups(self.table.num_rows)

    @property
    def row_bytes(self) -> float:
        """As they lie."""
        return float(max(1.0, self.table.nbytes / max(self.table.num_rows, 1)))

    @property
    def long_bytes(self) -> Mapping[str, float]:
        """As they lie."""
        rows = max(self.table.num_rows, 1)
        names = [one.name for one in self.schema if _is_long(one.type)]
        return {name: self.table.column(name).nbytes / rows for name in names}

    def batches(self, group: int, rows: int, names: Sequence[str]) -> Iterator[pa.RecordBatch | pa.Table]:
        """The rows of a group."""
        start, size = self._place(group)
        held = self.table.slice(start, size)
        lengths = [len(chunk) for chunk in held.column(0).chunks] if held.num_columns else []
        # Stretches that lie apart in memory would have to be put together first; small ones are.
        bounds, border = [0], 0
        for length, following in pairwise(lengths):
            border += length
            if max(length, following) >= _APART_ROWS:
                bounds.append(border)
        some = held.select(list(names))
        for begin, end in pairwise([*bounds, size]):
            for first in range(begin, end, rows):
                yield some.slice(first, min(rows, end - first))

    def first_rows(self, chosen: Sequence[tuple[int, int]], names: Sequence[str]) -> list[pa.ChunkedArray]:
        """Of each column."""
        import pyarrow as pa

        parts = [self.table.slice(self._place(group)[0], size) for group, size in chosen]
        return pa.concat_tables(parts).select(list(names)).columns if parts else []

    def column(self, name: str) -> pa.ChunkedArray:
        """All of one column."""
        return self.table.column(name)

    def extremes(self, name: str) -> tuple[float, float] | None:
        """Of the finite values."""
        if name not in self.table.column_names:
            return None  # made of another column
        low, high = np.inf, -np.inf
        lies = Lying.of(self.table.column(name))
        for start in range(0, self.table.num_rows, _STRETCH_ROWS):
            # What must be made of other types is let go again soon.
            stop = min(start + _STRETCH_ROWS, self.table.num_rows)
            some = lies.rows(start, stop) if lies else array_values(self.table.column(name)[start:stop])
            if not isinstance(some, np.ndarray | Numbers):
                return None
            least, greatest = finite_extremes(some)
            low, high = min(low, least), max(high, greatest)
        return (low, high) if low <= high else None

    def as_they_lie(self, names: Sequence[str]) -> Mapping[str, Lying]:
        """Plain numbers and codes of text without nulls."""
        present = [name for name in names if name in self.table.column_names]
        found = {name: Lying.of(self.table.column(name)) for name in present}
        return {name: one for name, one in found.items() if one is not None}

    def _place(self, group: int) -> tuple[int, int]:
        groups = self.groups
        return sum(groups[:group]), groups[group]


def alike_groups(rows: int) -> Sequence[int]:
    """Rows of each group of a table in memory, nearly the same size."""
    number = -(-rows // _GROUP_ROWS)
    if not number:
        return []
    size, more = divmod(rows, number)
    return [size + 1] * more + [size] * (number - more)


def _is_long(kind: pa.DataType) -> bool:
    """Whether values may be of many bytes each: text that is not in codes, bytes, lists."""
    import pyarrow as pa

    whole = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_nested)
    return is_plain_text(kind) or any(of_kind(kind) for of_kind in whole)


def _column_bytes(metadata: Any, names: Collection[str]) -> dict[str, float]:
    """Bytes of a row in the mean as they are encoded, of some columns of a Parquet file."""
    found = dict.fromkeys(names, 0.0)
    places = []
    for place in range(metadata.num_columns):
        path = metadata.schema.column(place).path
        name = path if path in found else path.partition(".")[0]
        if name in found:
            places.append((place, name))
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place, name in places:
            found[name] += group.column(place).total_uncompressed_size
    return {name: size / max(metadata.num_rows, 1) for name, size in found.items()}

"""Rows of a NumPy array in which the values of a row lie beside each other: columns are made by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.columns import Lying, array_values
from holdfast.monitor.row_sources import alike_groups
from holdfast.stats import PLAIN_KINDS, Numbers, finite_extremes

if TYPE_CHECKING:
    import pyarrow as pa

_TURNED_ROWS: Final = 512
"""Turned at a time, in the first cache: of whole columns each value would be fetched with its whole row."""
_STRETCH_ROWS: Final = 1 << 15
"""Rows of which the extremes are looked for at a time."""


@dataclass(frozen=True)
class MatrixRows:
    """Such an array `[N, K]`. It is never copied as a whole; columns are called by their number."""

    array: NDArray[Any] = field(repr=False)
    where: str
    """`reference` or `current`."""
    in_memory: ClassVar[bool] = True

    @classmethod
    def of(cls, source: object, where: str) -> MatrixRows | None:
        """None of anything else, and of an array whose columns lie beside each other."""
        if type(source) is not np.ndarray or source.ndim != 2 or source.shape[1] < 2:
            return None
        plain = source.dtype.kind in "fiub" and source.dtype.isnative and source.dtype.itemsize <= 8
        return cls(source, where) if plain and source.flags.c_contiguous else None

    @property
    def schema(self) -> pa.Schema:
        """Of all columns."""
        import pyarrow as pa

        kind = pa.from_numpy_dtype(self.array.dtype)
        return pa.schema([(str(number), kind) for number in range(self.array.shape[1])])

    @property
    def groups(self) -> Sequence[int]:
        """Groups of nearly the same size."""
        return alike_groups(len(self.array))

    @property
    def row_bytes(self) -> float:
        """As they lie."""
        return float(self.array.itemsize * self.array.shape[1])

    @property
    def long_bytes(self) -> Mapping[str, float]:
        """None: all are numbers."""
        return {}

    def batches(self, group: int, rows: int, names: Sequence[str]) -> Iterator[pa.RecordBatch | pa.Table]:
        """The rows of a group."""
        import pyarrow as pa

        start, size = self._place(group)
        for first in range(start, start + size, rows):
            if not names:  # all lie as they are counted
                none = pa.nulls(min(rows, start + size - first))
                yield pa.RecordBatch.from_arrays([none], names=[""]).select([])
                continue
            columns = self._turned(first, min(first + rows, start + size), names)
            yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names=list(names))

    def first_rows(self, chosen: Sequence[tuple[int, int]], names: Sequence[str]) -> list[pa.ChunkedArray]:
        """Of each column."""
        import pyarrow as pa

        starts = [self._place(group)[0] for group, _ in chosen]
        parts = [
            self._turned(start, start + size, names) for start, (_, size) in zip(starts, chosen, strict=True)
        ]
        return [pa.chunked_array([*map(pa.array, column)]) for column in zip(*parts, strict=True)]

    def column(self, name: str) -> pa.ChunkedArray:
        """All of one column."""
        import pyarrow as pa

        return pa.chunked_array([pa.array(np.ascontiguousarray(self.array[:, int(name)]))])

    def extremes(self, name: str) -> tuple[float, float] | None:
        """Of the finite values."""
        if name not in self.schema.names:
            return None  # made of another column
        low, high = self._extremes[int(name)]
        return (low, high) if low <= high else None

    def as_they_lie(self, names: Sequence[str]) -> Mapping[str, Lying]:
        """All but those of halves, from row to row."""
        held = self.array.view(np.uint8) if self.array.dtype == np.bool_ else self.array
        if held.dtype not in PLAIN_KINDS:
            return {}
        present = [name for name in names if name in self.schema.names]
        return {name: Lying([0, len(held)], [Numbers(held[:, int(name)])], None) for name in present}

    @cached_property
    def _extremes(self) -> list[tuple[float, float]]:
        """Of all columns, in one pass over the array."""
        import pyarrow as pa

        found = [(np.inf, -np.inf)] * self.array.shape[1]
        for start in range(0, len(self.array), _STRETCH_ROWS):
            columns = self._turned(start, start + _STRETCH_ROWS, self.schema.names)
            for number, column in enumerate(columns):
                values = array_values(pa.array(column))
                least, greatest = finite_extremes(np.asarray(values, dtype=np.float64))
                found[number] = min(found[number][0], least), max(found[number][1], greatest)
        return found

    def _turned(self, first: int, stop: int, names: Sequence[str]) -> NDArray[Any]:
        """`[columns, rows]`, some of both."""
        some, columns = self.array[first:stop], [int(name) for name in names]
        taken = slice(None) if columns == list(range(some.shape[1])) else columns
        turned = np.empty((len(columns), len(some)), dtype=some.dtype)
        for start in range(0, len(some), _TURNED_ROWS):
            part = some[start : start + _TURNED_ROWS, taken]
            turned[:, start : start + len(part)] = part.T
        return turned

    def _place(self, group: int) -> tuple[int, int]:
        groups = self.groups
        return sum(groups[:group]), groups[group]

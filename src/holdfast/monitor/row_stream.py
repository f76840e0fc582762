"""The rows of a source as they are judged: batch by batch, and a sample of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Written
from holdfast.monitor.column_roles import names_rows
from holdfast.monitor.free_texts import TEXTS_LOOKED_AT
from holdfast.monitor.kinds import Kinds
from holdfast.monitor.moments import microseconds
from holdfast.monitor.profiling import PIECE_ROWS
from holdfast.monitor.row_sources import RowSource

if TYPE_CHECKING:
    import pyarrow as pa

_STREAM_ROWS: Final = PIECE_ROWS
"""Rows taken at a time: of 20 columns 5 MB, and so much for each batch read ahead."""
_STREAM_BYTES: Final = 1 << 24
"""Of many columns, or of long texts, fewer rows at a time are taken."""
_LEAST_STREAM_ROWS: Final = 1 << 10
_LONG_BYTES: Final = 1 << 8
"""Of the texts and lists of a row: of more, fewer rows are held, and text that names rows is told by some."""
_LONG_BATCH_BYTES: Final = 1 << 21
"""Of rows of such: whoever reads them holds pages of a thousand rows beside."""
_LEAST_LONG_ROWS: Final = 1 << 3
_LARGE_VALUE_ROWS: Final = 1 << 8
"""Rows taken at a time where values are images or sounds, at most."""
_LARGE_VALUE_SAMPLE: Final = 1 << 14
"""Rows of the sample then: each takes milliseconds to measure."""
SAMPLE_ROWS: Final = 1 << 17
"""Rows of the reference, from its begin, middle and end, on which the bins are fitted: a bin's share is then
right within 0.1 %, and which share it is, is counted on all rows."""
_LOOK_BYTES: Final = 1 << 23
"""Of texts, images and the like that are held at once, to tell what they are."""
_LEAST_LOOK_ROWS: Final = 1 << 8


@dataclass(frozen=True, slots=True)
class RowStream:
    """Many rows, taken batch by batch."""

    source: RowSource
    kinds: Kinds | None = None
    """How columns are measured that no bins fit; None: every column is taken as it is."""
    time_us: NDArray[np.int64] | None = field(default=None, repr=False)
    """Of each row, where a moment's age needs it."""
    written: Written = field(default_factory=partial(Written, "iso"))
    """How times are."""

    @property
    def rows(self) -> int:
        """Altogether."""
        return sum(self.source.groups)

    def measured(self, kinds: Kinds, time: str | None) -> RowStream:
        """The same rows, with numbers in the place of columns that no bins fit."""
        if kinds.plain:
            return self
        return replace(self, kinds=kinds, time_us=self.times(time) if kinds.moments else None)

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch | pa.Table]:
        """All rows in order, some columns."""
        held, rows = self._taken(names)
        first = 0
        for group in range(len(self.source.groups)):
            for batch in self.source.batches(group, rows, held):
                yield batch if self.kinds is None else self._measured(self.kinds, batch, first)
                first += batch.num_rows

    def _taken(self, names: Sequence[str]) -> tuple[list[str], int]:
        """The columns that must be read for these, and how many rows at a time."""
        present = self.source.schema.names
        held = [name for name in names if name in present]
        if self.kinds is not None:
            held = self.kinds.sources(names, present)
        rows = min(_STREAM_ROWS, max(int(_STREAM_BYTES / self.source.row_bytes), _LEAST_STREAM_ROWS))
        sizes = self.source.long_bytes
        long = sum(sizes.get(name, 0.0) for name in held)
        if long > _LONG_BYTES:
            rows = min(rows, max(int(_LONG_BATCH_BYTES / long), _LEAST_LONG_ROWS))
        large = self.kinds is not None and self.kinds.large
        return held, min(rows, _LARGE_VALUE_ROWS) if large else rows

    def _measured(self, kinds: Kinds, batch: pa.RecordBatch | pa.Table, first: int) -> pa.Table:
        """Rows from a number on, with numbers in the place of what no bins fit."""
        import pyarrow as pa

        numbers = np.arange(first, first + batch.num_rows)
        some = None if self.time_us is None else self.time_us[numbers]
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        return kinds.apply(table, some, reference=True, numbers=numbers)

    def look(self) -> pa.Table:
        """The rows of the sample as they are, or fewer where they hold long texts or large values."""
        import pyarrow as pa

        if not self.source.groups:
            return self.empty()
        chosen = [(group, size) for group, _, size in self._sampled_groups(self.look_rows)]
        names = self.source.schema.names
        with ThreadPoolExecutor(2) as threads:
            halves = list(threads.map(partial(self.source.first_rows, chosen), (names[::2], names[1::2])))
        columns = [halves[number % 2][number // 2] for number in range(len(names))]
        return pa.Table.from_arrays(columns, names=names)

    @property
    def look_rows(self) -> int:
        """Of the sample, the most that are held as they are."""
        each = sum(self.source.long_bytes.values())
        few = max(int(_LOOK_BYTES / max(each, 1.0)), _LEAST_LOOK_ROWS)
        return min(few, self._sample_rows)

    @property
    def _sample_rows(self) -> int:
        import pyarrow as pa

        kinds = [one.type for one in self.source.schema]
        large = any(pa.types.is_nested(kind) or pa.types.is_binary(kind) for kind in kinds)
        return _LARGE_VALUE_SAMPLE if large else SAMPLE_ROWS

    @property
    def looks_at_all(self) -> bool:
        """Whether `look` has all rows of the sample."""
        return self.look_rows == self._sample_rows

    def long_names(self, look: pa.Table, kinds: Kinds) -> list[str]:
        """Columns of long text that name rows, as far as can be told by some: they need not be held."""
        measured = {*kinds.texts, *kinds.moments, *kinds.numbers, *kinds.large}
        return [
            name
            for name, size in self.source.long_bytes.items()
            if size > _LONG_BYTES and name not in measured and names_rows(look.column(name))
        ]

    def sample(self, names: Sequence[str]) -> pa.Table:
        """Of columns the first rows of groups that are spread evenly over all, measured batch by batch."""
        import pyarrow as pa

        parts = []
        for first, some in self._sampled(names):
            if self.kinds is None:
                parts.append(some if isinstance(some, pa.Table) else pa.Table.from_batches([some]))
            else:
                parts.append(self._measured(self.kinds, some, first))
        # Numbers of a part may all be whole.
        return pa.concat_tables(parts, promote_options="permissive") if parts else self.empty()

    def texts(self, name: str, every: int) -> Iterator[str | None]:
        """Texts of the sample, of rows whose words are not looked at: a number divides theirs."""
        import pyarrow as pa

        rows = self.sampled_rows()
        rows = rows[rows % every != 0]
        chosen = rows[:: max(1, -(-len(rows) // TEXTS_LOOKED_AT))]
        for first, some in self._sampled([name]):
            low, high = np.searchsorted(chosen, [first, first + some.num_rows])
            yield from some.column(name).take(pa.array(chosen[low:high] - first)).to_pylist()

    def _sampled(self, names: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch | pa.Table]]:
        """The rows of the sample batch by batch, with the number of the first."""
        held, rows = self._taken(names)
        for group, start, size in self._sampled_groups(self._sample_rows):
            taken = 0
            for batch in self.source.batches(group, min(rows, size), held):
                some = batch.slice(0, size - taken)
                yield start + taken, some
                taken += some.num_rows
                if taken >= size:
                    break

    def sampled_rows(self) -> NDArray[np.int64]:
        """The numbers of the rows of the sample."""
        groups = self._sampled_groups(self._sample_rows)
        parts = [np.arange(start, start + size) for _, start, size in groups]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def by_sample(self, first: int, rows: int) -> Iterator[tuple[slice, bool]]:
        """A batch that begins at a row, cut where the sample begins and ends; whether a part is of it."""
        place = first
        for _, start, size in self._sampled_groups(self._sample_rows):
            for end, inside in ((start, False), (start + size, True)):
                if place < end and place < first + rows:
                    stop = min(end, first + rows)
                    yield slice(place - first, stop - first), inside
                    place = stop
        if place < first + rows:
            yield slice(place - first, rows), False

    def _sampled_groups(self, rows: int) -> list[tuple[int, int, int]]:
        """Groups, the number of each one's first row, and how many rows are taken, so many in all at most."""
        held = self.source.groups
        if not held:
            return []
        starts = np.cumsum([0, *held])
        chosen = sorted({0, len(held) // 2, len(held) - 1})
        size = rows // len(chosen)
        return [(group, int(starts[group]), min(size, held[group])) for group in chosen]

    def empty(self) -> pa.Table:
        """A table of its columns without rows."""
        import pyarrow as pa

        # `Schema.empty_table` would import pandas: a second and 60 MB.
        empty = pa.Table.from_batches([], schema=self.source.schema)
        return empty if self.kinds is None else self.kinds.apply(empty, _no_rows(self), reference=True)

    def times(self, name: str | None) -> NDArray[np.int64] | None:
        """Microseconds of every row, in order of the rows."""
        return (
            None
            if name is None
            else microseconds(self.written, self.source.column(name), f"{self.source.where}: {name}")
        )


def _no_rows(source: RowStream) -> NDArray[np.int64] | None:
    return None if source.time_us is None else np.empty(0, dtype=np.int64)

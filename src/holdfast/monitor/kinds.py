"""Columns that no bins fit: moments, texts, images, sounds, embeddings, as numbers that say what changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Written
from holdfast.monitor.cells import cells, kind_of
from holdfast.monitor.columns import flat_array, is_text
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.free_texts import Texts, free_texts
from holdfast.monitor.moments import written_moments
from holdfast.monitor.number_texts import NumberText
from holdfast.stats import MEASURED_KINDS, RATE_HZ, feature_names, kind_features
from holdfast.stats.season import DAY_US

if TYPE_CHECKING:
    import pyarrow as pa

OwnColumns = Mapping[str, "Callable[[pa.Table], Any]"]
"""By name, what makes a column of a table: an array with one value a row."""
AGE: Final = "age in days"
_NEARLY_ALL: Final = 0.99
_LARGE_SAMPLE: Final = 20
"""Values whose greatest tells the scale."""
_LARGE_BATCH: Final = 64
"""Large values held at a time,"""
_LARGE_BATCH_BYTES: Final = 1 << 24
"""or fewer, where they are of so many bytes."""
_PLAIN_BYTES: Final = 4
"""Whole numbers of fewer bytes are what a camera or microphone made, and their type says the scale."""
SAID_KINDS: Final = (*MEASURED_KINDS, "text")
"""Kinds that `diagnose` may be told of."""


@dataclass(frozen=True, slots=True)
class Large:
    """A column of images, sounds or embeddings."""

    kind: str
    rate_hz: float
    full_scale: float | None = None
    """What the greatest value means where the type does not say it; None: the type says it."""

    @classmethod
    def fit(cls, kind: str, held: pa.ChunkedArray, rate_hz: float) -> Large:
        """The scale from the first values of the reference: 8 bits are often stored as 64."""
        some = [array for array, _ in cells(held.slice(0, _LARGE_SAMPLE)) if array is not None]
        return cls(kind, rate_hz, _full_scale(kind, some))

    def parts(self, held: pa.ChunkedArray) -> Iterator[tuple[str, Any]]:
        """Its features, a value a row."""
        columns: dict[str, list[Any]] = {name: [] for name in feature_names(self.kind)}
        batch: list[NDArray[Any] | None] = []
        rates: list[float] = []

        def measure() -> None:
            # One rate after another: sounds of one column mostly share theirs.
            for rate in dict.fromkeys(rates):
                chosen = [value if mine == rate else None for value, mine in zip(batch, rates, strict=True)]
                found = kind_features(self.kind, chosen, rate)
                for name, numbers in found.items():
                    if rate == rates[0]:
                        columns[name].append(numbers)
                    else:
                        columns[name][-1] = np.where(np.isnan(numbers), columns[name][-1], numbers)
            batch.clear()
            rates.clear()

        held_bytes = 0
        for array, rate in cells(held):
            batch.append(self._scaled(array))
            rates.append(rate or self.rate_hz)
            held_bytes += 0 if array is None else array.nbytes
            if len(batch) == _LARGE_BATCH or held_bytes >= _LARGE_BATCH_BYTES:
                measure()
                held_bytes = 0
        measure()
        for name, parts in columns.items():
            yield name, np.concatenate(parts) if parts else np.empty(0)

    def _scaled(self, array: NDArray[Any] | None) -> NDArray[Any] | None:
        if array is None or self.full_scale is None or array.dtype.itemsize < _PLAIN_BYTES:
            return array
        return array.astype(np.float64) / self.full_scale


def _full_scale(kind: str, some: list[NDArray[Any]]) -> float | None:
    """Of numbers in types wider than any camera or microphone makes."""
    wide = [one for one in some if one.dtype.itemsize >= _PLAIN_BYTES and one.size]
    if kind == "embedding" or not wide:
        return None
    top = float(max(np.nanmax(np.abs(one)) for one in wide))
    steps = {"image": (2.0, 255.0, 65_535.0), "audio": (8.0, 32_768.0, 2.0**31)}[kind]
    if all(one.dtype.kind == "f" for one in wide) and not top > steps[0]:
        return 1.0
    return steps[1] if top <= steps[1] else steps[2]


@dataclass(frozen=True, slots=True)
class Kinds:
    """How the columns of a reference are measured that no bins fit; fitted once, applied to any rows."""

    large: Mapping[str, Large]
    texts: Mapping[str, Texts]
    own: OwnColumns
    time: str | None
    moments: Mapping[str, Written]
    numbers: Mapping[str, NumberText] = field(default_factory=dict)
    """Columns of text that hold numbers."""
    of_rows: frozenset[str] = frozenset()
    """Moments that are the row's own time once more: only how far they lie from it says anything."""

    @classmethod
    def fit(
        cls,
        table: pa.Table,
        *,
        apart: Collection[str] = (),
        time: str | None = None,
        own: OwnColumns | None = None,
        kinds: Mapping[str, str] | None = None,
        rate_hz: float = RATE_HZ,
        every: int = 1,
        texts_of: Callable[[str], Iterable[str | None]] | None = None,
        time_us: NDArray[np.int64] | None = None,
    ) -> Kinds:
        """From the rows of a reference.

        Args:
            table: the reference, or a sample of it.
            apart: columns that are answers or truth.
            time: column of the time of each row, left as it is.
            own: by name, what makes a column.
            kinds: kinds that are said rather than found out.
            rate_hz: of sounds that do not bring their rate along.
            every: rows of which the words are looked at, as in `Texts`.
            texts_of: what gives the texts of a column whose words are learned; None: those of the table.
            time_us: the time of each row, if it is known here.

        Raises:
            MonitorError: a kind is said of no column, or there is no such kind.
        """
        said = dict(kinds or {})
        for name, kind in said.items():
            if name not in table.column_names or kind not in SAID_KINDS:
                raise MonitorError(
                    "a kind is said of a column that cannot be",
                    where=f"kinds[{name!r}]",
                    expected=", ".join(SAID_KINDS) + ", of a column of the reference",
                    received=kind if name in table.column_names else "no such column",
                )
        large, moments = {}, {}
        for column in table.schema:
            if column.name in apart or column.name == time:
                continue
            held = table.column(column.name)
            found = said.get(column.name) or kind_of(held)
            if found in MEASURED_KINDS:
                large[column.name] = Large.fit(str(found), held, rate_hz)
            elif found is None and _is_moment(column.type):
                moments[column.name] = Written("iso")
        left = [name for name in table.column_names if name not in {*apart, *large, *said, time}]
        moments |= written_moments(table.select(left))
        texts_of_numbers = {}
        for name in left:
            way = (
                NumberText.of_reference(table.column(name))
                if is_text(table.schema.field(name).type)
                else None
            )
            if way is not None and name not in moments:
                texts_of_numbers[name] = way
        left = [name for name in left if name not in {*moments, *texts_of_numbers}]
        free = [*free_texts(table.select(left)), *(name for name, kind in said.items() if kind == "text")]
        texts = {}
        for name in free:
            learned = table.column(name).to_pylist() if texts_of is None else texts_of(name)
            texts[name] = Texts.learn(learned, every)
        same = {
            name for name, way in moments.items() if _is_of_rows(way.timestamps(table.column(name)), time_us)
        }
        return cls(large, texts, own or {}, time, moments, texts_of_numbers, frozenset(same))

    @property
    def plain(self) -> bool:
        """Whether every column is judged as it is."""
        return not (self.large or self.texts or self.own or self.moments or self.numbers)

    def apply(
        self,
        table: pa.Table,
        time_us: NDArray[np.int64] | None,
        *,
        reference: bool,
        numbers: NDArray[np.int64] | None = None,
    ) -> pa.Table:
        """The table with numbers in the place of what no bins fit, and with the columns of your own.

        Args:
            table: any rows.
            time_us: the time of each; None: moments have no age.
            reference: whether they are those that the words were taken from.
            numbers: of the rows in their file, where not all texts are looked at.

        Raises:
            MonitorError: a column of your own fails or has another length.
        """
        import pyarrow as pa

        if self.plain:
            return table
        names, columns = [], []
        for column in table.schema:
            held = table.column(column.name)
            parts: Iterator[tuple[str, Any]] | None = None
            if column.name in self.numbers and is_text(column.type):
                held = self.numbers[column.name].read(held)
            if column.name in self.moments and (_is_moment(column.type) or is_text(column.type)):
                moments = self.moments[column.name].timestamps(held)
                parts = _of_moments(moments, time_us, hours=_has_hours(column.type))
                if column.name in self.of_rows:
                    parts = (one for one in parts if one[0] == AGE)
            elif column.name in self.texts:
                parts = self.texts[column.name].parts(held, numbers, own=reference)
            elif column.name in self.large:
                parts = self.large[column.name].parts(held)
            if parts is None:
                names.append(column.name)
                columns.append(held)
                continue
            for what, values in parts:
                names.append(f"{column.name}: {what}")
                columns.append(pa.array(values) if isinstance(values, np.ndarray) else values)
        return self._with_own(table, pa.table(columns, names=names))

    def _with_own(self, table: pa.Table, result: pa.Table) -> pa.Table:
        import pyarrow as pa

        for name, make in self.own.items():
            if name in result.column_names:
                raise MonitorError(
                    "a column of your own has the name of another column",
                    where=name,
                    next_step="Name it otherwise",
                )
            try:
                result = result.append_column(name, pa.array(np.asarray(make(table))))
            except Exception as error:
                raise MonitorError(
                    "a column of your own cannot be made",
                    where=name,
                    expected=f"an array of {table.num_rows} numbers or texts",
                    received=f"{type(error).__name__}: {error}",
                ) from error
        return result

    def sources(self, names: Sequence[str], held: Sequence[str]) -> list[str]:
        """The columns that must be read so that these can be made."""
        if self.own:
            return list(held)  # what a function looks at is not known
        apart = {*self.large, *self.texts, *self.moments}
        needed = {name for name in apart if any(one.startswith(f"{name}: ") for one in names)}
        return [name for name in held if name in needed or name in names]


def _is_moment(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _is_of_rows(held: pa.ChunkedArray, time_us: NDArray[np.int64] | None) -> bool:
    """Whether nearly all lie within a day of the row's time."""
    import pyarrow as pa

    if time_us is None or not len(held) or held.null_count:
        return False
    apart = np.abs(time_us - flat_array(held.cast(pa.int64()), np.int64))
    return bool(np.quantile(apart, _NEARLY_ALL) <= DAY_US)


def _has_hours(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return not pa.types.is_date(kind)


def _of_moments(
    held: pa.ChunkedArray, time_us: NDArray[np.int64] | None, *, hours: bool
) -> Iterator[tuple[str, Any]]:
    """Hour of the day and day of the week in UTC, and the age in days at the time of the row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if hours:
        yield "hour", pc.hour(held)
    yield "weekday", pc.day_of_week(held)
    if time_us is not None:
        age = pc.subtract(pa.array(time_us), held.cast(pa.int64()))
        yield AGE, pc.divide(age.cast(pa.float64()), float(DAY_US))

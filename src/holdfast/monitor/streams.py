"""Many rows judged in bounded memory: a sample for the bins, one pass for the counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.columns import column_values, counted_values
from holdfast.monitor.features import Feature
from holdfast.monitor.holes import of_whole_windows
from holdfast.monitor.profiling import Measures, ProfileAdder, WindowProfile
from holdfast.monitor.reference import PAIR_ROWS, ReferenceModel, merged, paired_columns
from holdfast.monitor.row_sources import FileRows
from holdfast.monitor.row_stream import RowStream
from holdfast.monitor.rows import Rows
from holdfast.monitor.windows import RightlyDated, Stretch, cut, first_day
from holdfast.stats import Numbers, NumericBins, compiled_counting, fisher_variance

if TYPE_CHECKING:
    import pyarrow as pa

    from holdfast.spec import WindowSize

_Part = TypeVar("_Part")
_AHEAD: Final = 2
"""Batches that a thread reads while one is counted. Reading takes almost as long as counting and hardly
needs the interpreter; two threads that count hinder each other there. The first batch of a row group takes as
long as the next four: with one ahead, a tenth of the time went by in waiting for it."""
_FITTERS: Final = 2
"""Threads that fit columns on the sample."""
LARGE_ROWS: Final = 200_000
"""Smaller files are read whole: their bins are then exact."""
LARGE_BYTES: Final = 1 << 28
"""Or so many bytes,"""
LARGE_VALUE_BYTES: Final = 1 << 26
"""or so many of texts, images and the like, unpacked."""


@dataclass(frozen=True, slots=True)
class WindowsOfRows:
    """Which window each of many rows falls into; they need not be in the order of time."""

    stretches: Sequence[Stretch]
    starts: NDArray[np.int64] = field(repr=False)
    time_us: NDArray[np.int64] | None = field(repr=False)
    """Of each row in their order; None: windows are by row number."""
    timed: bool = False
    """Whether the bounds of the windows are times."""
    strays: str = ""
    """Rows that a wrong clock dated, which no window holds, in words."""
    gap: str = ""
    """Where no row lies for longer than all others cover, in words."""
    unfinished: str = ""
    """Windows of the current rows that are not whole, in words."""

    @classmethod
    def cut(
        cls,
        source: RowStream,
        time_us: NDArray[np.int64] | None,
        size: WindowSize,
        min_rows: int,
        *,
        current: bool,
        own_time_us: NDArray[np.int64] | None = None,
    ) -> WindowsOfRows:
        """The windows of many rows.

        Args:
            source: of the rows.
            time_us: of each of its rows, rising for windows of so many rows; None: there are none.
            size: of a window.
            min_rows: of a window.
            current: whether windows that are not whole are left out.
            own_time_us: then, of the reference's rows.
        """
        if time_us is not None and size.duration is not None:
            length_us = size.duration.microseconds
            ordered = np.sort(time_us)
            dated = RightlyDated.of(ordered, length_us, min_rows)
            ordered = ordered[dated.rows]
            begin = first_day(ordered, length_us) if len(ordered) else 0
            unfinished = ""
            if current:
                own = None if own_time_us is None else np.sort(own_time_us)
                kept, unfinished = of_whole_windows(ordered, size, begin, own)
                ordered = ordered[kept]
            stretches = cut(len(ordered), ordered, size, min_rows=min_rows, begin_us=begin)
            starts = np.array([start for start, _, _ in stretches], dtype=np.int64)
            return cls(
                stretches,
                starts,
                time_us,
                timed=True,
                strays=dated.strays,
                gap=dated.gap,
                unfinished=unfinished,
            )
        stretches = cut(source.rows, time_us, size, min_rows=min_rows)
        starts = np.array([part.start for _, _, part in stretches], dtype=np.int64)
        return cls(stretches, starts, None, timed=time_us is not None)

    @property
    def leaves_out(self) -> bool:
        """Whether some rows are in no window."""
        return bool(self.strays or self.unfinished)

    def of(self, first: int, rows: int) -> NDArray[np.intp]:
        """For the rows from `first` on; -1 for those in none."""
        if self.time_us is None:
            last = int(np.searchsorted(self.starts, first + rows - 1, side="right"))
            begin = int(np.searchsorted(self.starts, first, side="right")) - 1
            bounds = np.concatenate([[first], self.starts[begin + 1 : last], [first + rows]])
            return np.repeat(np.arange(begin, last), np.diff(bounds))
        at = self.time_us[first : first + rows]
        found: NDArray[np.intp] = np.searchsorted(self.starts, at, side="right") - 1
        if self.leaves_out:
            ends = np.array([end for _, end, _ in self.stretches], dtype=np.int64)
            found[at >= ends[found]] = -1
        return found


def open_streams(reference: Any, current: Any) -> tuple[RowStream, RowStream] | None:
    """Both as streams, if both are paths to Parquet files and one is large; None otherwise."""
    from pyarrow import ArrowException

    paths = []
    for source in (reference, current):
        if not isinstance(source, str | Path) or Path(source).suffix.lower() not in {".parquet", ".pq"}:
            return None
        paths.append(Path(source))
    try:
        old, new = (RowStream(FileRows.open(path)) for path in paths)
    except (OSError, ArrowException):
        # Whatever is wrong with a file is said by the reader of whole tables.
        return None
    names = [one.source.schema.names for one in (old, new)]
    if any(len(set(some)) < len(some) for some in names):
        return None
    many = max(old.rows, new.rows) >= LARGE_ROWS
    many |= max(path.stat().st_size for path in paths) >= LARGE_BYTES
    long = max(one.rows * sum(one.source.long_bytes.values()) for one in (old, new)) >= LARGE_VALUE_BYTES
    return (old, new) if many or long else None


@dataclass(frozen=True, slots=True)
class SampledReference:
    """What is fitted on a sample of the reference, before every row is counted."""

    features: dict[str, Feature]
    paired: tuple[str, ...]
    pair_variance: NDArray[np.float64] | None = field(repr=False)
    outputs: frozenset[str]

    @classmethod
    def fit(
        cls, source: RowStream, sample: pa.Table, names: Sequence[str], outputs: Collection[str]
    ) -> SampledReference:
        """Bins, normal scores and the noise of correlations, of some columns of a sample."""
        step = max(1, sample.num_rows // PAIR_ROWS)

        def fitted(name: str) -> tuple[Feature, NDArray[np.intp]]:
            values = column_values(sample, name)
            one = Feature.fit(name, values)
            if isinstance(one.bins, NumericBins):
                low, high = source.source.extremes(name) or (np.inf, -np.inf)
                edges = (min(low, one.bins.edges[0]), *one.bins.edges[1:])
                one = replace(one, bins=NumericBins(edges, max(high, one.bins.maximum)))
            return one, one.index(values[::step])

        with ThreadPoolExecutor(_FITTERS) as threads:
            found = dict(zip(names, threads.map(fitted, names), strict=True))
        features = {name: one for name, (one, _) in found.items()}
        paired = paired_columns(features, outputs)
        scores = [features[name].functionals[found[name][1], 0] for name in paired]
        variance = fisher_variance(np.stack(scores, axis=1)) if len(paired) > 1 else None
        return cls(features, paired, variance, frozenset(outputs))

    @property
    def measures(self) -> Measures:
        """What is measured of a window's rows."""
        return Measures("none", self.features, None, self.paired)

    @property
    def of_sample(self) -> Measures | None:
        """The same for rows of the sample; None where it is the same."""
        among = {name: one.of_reference for name, one in self.features.items()}
        if all(one is self.features[name] for name, one in among.items()):
            return None
        return Measures("none", among, None, self.paired)

    def counted(self, own: Sequence[WindowProfile], *, timed: bool) -> ReferenceModel:
        """The reference, with the counts of all its rows.

        Args:
            own: the profiles of its windows.
            timed: whether their bounds are times.
        """
        whole = merged(own)
        final = {name: replace(one, counts=whole.counts[name]) for name, one in self.features.items()}
        return ReferenceModel(
            "none", final, None, own, whole, self.paired, self.pair_variance, timed, self.outputs
        )


def _read_ahead(parts: Iterator[_Part]) -> Iterator[_Part]:
    """The same parts, each made by a thread while those before it are used.

    That thread lets them go, too: the allocator keeps for itself what another one gives back, some 30 MB.
    """

    def read(used: list[_Part]) -> _Part | None:
        used.clear()
        return next(parts, None)

    with ThreadPoolExecutor(1) as reader:
        waiting = deque(reader.submit(read, []) for _ in range(_AHEAD))
        used: list[_Part] = []
        while (part := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(read, used))
            used = [part]
            yield part


def profile_stream(
    measures: Measures, source: RowStream, windows: WindowsOfRows, of_sample: Measures | None = None
) -> list[WindowProfile]:
    """The profiles of the windows of many rows, in one pass over them.

    Args:
        measures: what is measured of each row.
        source: of the rows.
        windows: of them.
        of_sample: of the reference: what is measured of the rows of its sample instead.
    """
    bounds = [(start, end) for start, end, _ in windows.stretches]
    adder = ProfileAdder(measures, bounds)
    apart = None if of_sample is None else ProfileAdder(of_sample, bounds)
    names = list(measures.features)
    lie = source.source.as_they_lie(names) if source.kinds is None else {}

    def parts() -> Iterator[tuple[ProfileAdder, Rows, NDArray[np.intp]]]:
        first = 0
        for batch in source.batches([name for name in names if name not in lie]):
            stop = first + batch.num_rows
            held = {
                name: lie[name].rows(first, stop) if name in lie else counted_values(batch, name)
                for name in names
            }
            lying = {name: some for name, some in held.items() if isinstance(some, Numbers)}
            made = {name: some for name, some in held.items() if not isinstance(some, Numbers)}
            rows = Rows(made, lying=lying)
            window = windows.of(first, batch.num_rows)
            cuts = [(slice(None), False)] if apart is None else source.by_sample(first, batch.num_rows)
            for some, inside in cuts:
                of_rows, at = (rows, window) if apart is None else (rows.take(some), window[some])
                if windows.leaves_out:
                    of_rows, at = of_rows.take(at >= 0), at[at >= 0]
                yield apart if apart is not None and inside else adder, of_rows, at
            first += batch.num_rows

    # What lies in memory is made by the thread that counts it: each table has one.
    for counter, rows, window in parts() if source.source.in_memory else _read_ahead(parts()):
        counter.add(rows, window)
    if apart is not None:
        adder.include(apart)
    return list(adder.finish())


def profile_both(
    fitted: SampledReference, old: tuple[RowStream, WindowsOfRows], new: tuple[RowStream, WindowsOfRows]
) -> tuple[list[WindowProfile], list[WindowProfile]]:
    """The profiles of the windows of the reference and of the current rows.

    Where both lie in memory and are counted by the compiled pass, each by a thread, which then hardly needs
    the interpreter. Files have a thread each that reads, and two files at once would take twice the memory.
    """

    def of_reference() -> list[WindowProfile]:
        return profile_stream(fitted.measures, *old, fitted.of_sample)

    def of_current() -> list[WindowProfile]:
        return profile_stream(fitted.measures, *new)

    if compiled_counting() is None or not all(stream.source.in_memory for stream, _ in (old, new)):
        return of_reference(), of_current()
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(of_current)
        return of_reference(), waiting.result()

"""Windows of the prediction log: those that have closed, as profiles, and rows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from holdfast.clock import Clock
from holdfast.monitor.columns import flat_array
from holdfast.monitor.counted_windows import CountedWindows
from holdfast.monitor.explaining import LARGEST_SAMPLE
from holdfast.monitor.label_arrivals import Arrivals
from holdfast.monitor.log_rows import PREDICTION, SCORE, Translation
from holdfast.monitor.profiling import Measures, ProfileAdder, WindowProfile
from holdfast.monitor.rows import Rows
from holdfast.monitor.windows import cut_counted, describe_strays, without_strays
from holdfast.prediction_log import PredictionLog
from holdfast.privacy import SEALED, Sealer
from holdfast.spec import Deployment

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTION_ID: Final = "prediction_id"
_ASKED_ROWS: Final = 200_000
"""Rows of which it is asked when their labels came, ..."""
_READ_ROWS: Final = 10_000_000
"""... drawn from so many: some seconds of reading ids."""
_HASHES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class NewWindows:
    """What the log holds beyond the stored profiles."""

    profiles: list[WindowProfile]
    watermark_us: int
    rows: int
    """Of the version, in open windows too."""
    strays: str
    """Rows that a wrong clock dated, in words."""
    apart: int
    """Windows, from the first on, whose end no two rows of one time straddle: they can be told by time."""


class LogWindows:
    """The windows of one version in the prediction log of a deployment.

    Args:
        deployment: its checklist says how windows are cut.
        clock: says which windows are closed, unless `[predictions] time_field` makes the newest prediction's
            time the clock.
        sealer: opens encrypted inputs; without it they count as missing.
        version: whose rows are read.
        translation: of those rows.
    """

    def __init__(
        self,
        deployment: Deployment,
        clock: Clock,
        sealer: Sealer | None,
        version: str,
        translation: Translation,
    ) -> None:
        self._deployment = deployment
        self._clock = clock
        self._sealer = sealer
        self.version = version
        self.translation = translation
        self._log = PredictionLog(deployment)

    def closed(self, measures: Measures, since_us: int | None) -> NewWindows:
        """Of closed windows from `since_us` on, batch by batch: in memory that the rows do not fill."""
        settings = self._deployment.checklist.monitoring
        if settings.window.duration is None:
            return self._of_counted_windows(measures, since_us)
        length_us = settings.window.duration.microseconds
        numbers, counts, newest_us = self._windows_with_rows(since_us, length_us)
        strays = ""
        by_time_field = bool(self._deployment.checklist.predictions.time_field)
        watermark_us = self._clock.now_us()
        if by_time_field:
            # Callers date the rows: one wrong clock must not close windows that are still open.
            low, high = without_strays(numbers, counts, min_rows=settings.min_rows)
            strays = describe_strays(numbers, counts, (low, high), length_us)
            numbers, counts = numbers[low:high], counts[low:high]
            last = int(numbers[-1]) if len(numbers) else None
            watermark_us = (since_us or 0) if last is None else newest_us[last]
        # The window in which the watermark stands is open; a watermark on its last instant closes it.
        closed = (watermark_us + 1 - settings.lateness.microseconds) // length_us
        ready = numbers < closed
        stretches = cut_counted(numbers[ready], counts[ready], length_us, min_rows=settings.min_rows)
        total = int(counts.sum())
        if not stretches:
            return NewWindows([], watermark_us, total, strays, 0)
        adder = ProfileAdder(measures, [(start, end) for start, end, _ in stretches])
        starts = np.array([start for start, _, _ in stretches], dtype=np.int64)
        low_us, high_us = stretches[0][0], stretches[-1][1]
        for rows in self.rows_between(low_us, high_us):
            if rows.time_us is not None and len(rows.time_us):
                adder.add(rows, np.searchsorted(starts, rows.time_us, side="right") - 1)
        return NewWindows(list(adder.finish()), watermark_us, total, strays, len(stretches))

    def rows_between(self, since_us: int, until_us: int) -> Iterator[Rows]:
        """All rows of a stretch, batch by batch."""
        for batch in self._log.joined(since_us, until_us, self._columns()):
            yield self.translation.log(self._opened(_table(batch)))

    def arrivals(self, windows: Sequence[WindowProfile], now_us: int) -> Arrivals | None:
        """When labels came, of at most about 200 000 rows; None where no row has a label.

        Costs one pass over ids and times of the newest ten million rows or so, and one over all labels.
        """
        since_newest = np.cumsum([window.rows for window in reversed(windows)])
        first = max(len(windows) - int(np.searchsorted(since_newest, _READ_ROWS)) - 1, 0)
        some = windows[first:]
        if not any(window.labelled for window in some):
            return None
        import pyarrow as pa

        held = self._log.schema().names
        share = min(1.0, _ASKED_ROWS / sum(window.rows for window in some))
        columns = ", ".join(name for name in (PREDICTION, SCORE) if name in held)
        found = self._log.query(
            f"SELECT {columns}, y, epoch_us(time) AS time, epoch_us(observed_at) AS observed_at FROM joined "  # noqa: S608 - fixed names, numbers, a version of the registry
            f"WHERE time >= make_timestamptz({some[0].start}) AND time < make_timestamptz({some[-1].end}) "
            # Hashed twice: DuckDB joins by the hash, and rows drawn by that fill one corner of its table.
            f"AND hash(hash(prediction_id)) % {_HASHES} < {round(share * _HASHES)}"
            + (f" AND model_version = '{self.version}'" if "model_version" in held else "")
        ).read_all()
        answers = self.translation.answers(found)
        truth, score = answers.truth_and_score
        if not len(truth) or not len(score):
            return None
        time_us = flat_array(found.column("time").cast(pa.int64()), np.int64)
        observed_us = found.column("observed_at").cast(pa.float64()).fill_null(float("nan"))
        ends = np.array([window.end for window in windows], dtype=np.int64)
        number = np.searchsorted(ends, time_us, side="right")
        return Arrivals(
            window=number,
            age_us=(now_us - ends[number]).astype(np.float64),
            delay_us=np.maximum(flat_array(observed_us, np.float64) - ends[number], 0.0),
            score=score,
            truth=truth,
            share=share,
        )

    def _windows_with_rows(
        self, since_us: int | None, length_us: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[int, int]]:
        """Numbers of the windows that hold rows of the version, how many, and each window's newest time."""
        held: dict[int, int] = {}
        newest_us: dict[int, int] = {}
        for times in self._times(since_us):
            found, first, counts = np.unique(times // length_us, return_index=True, return_counts=True)
            for number, at, count in zip(found.tolist(), first.tolist(), counts.tolist(), strict=True):
                held[number] = held.get(number, 0) + count
                last_us = int(times[at + count - 1])
                newest_us[number] = max(newest_us.get(number, last_us), last_us)
        numbers = np.array(sorted(held), dtype=np.int64)
        return numbers, np.array([held[number] for number in numbers.tolist()], dtype=np.int64), newest_us

    def _of_counted_windows(self, measures: Measures, since_us: int | None) -> NewWindows:
        """Windows of so many rows: the times of all rows since then say where each ends."""
        settings = self._deployment.checklist.monitoring
        times = np.concatenate([np.empty(0, dtype=np.int64), *self._times(since_us)])
        watermark_us = self._clock.now_us()
        if self._deployment.checklist.predictions.time_field:
            watermark_us = int(times.max()) if len(times) else since_us or 0
        windows = CountedWindows.cut(times, settings.window)
        stretches = windows.stretches
        if not stretches:
            return NewWindows([], watermark_us, len(times), "", 0)
        adder = ProfileAdder(measures, [(start, end) for start, end, _ in stretches])
        for rows in self.rows_between(stretches[0][0], stretches[-1][1]):
            if rows.time_us is not None and len(rows.time_us):
                number = windows.of(rows.time_us)
                adder.add(rows.take(number >= 0), number[number >= 0])
        return NewWindows(list(adder.finish()), watermark_us, len(times), "", windows.apart)

    def _times(self, since_us: int | None) -> Iterator[NDArray[np.int64]]:
        """Of the version's rows, batch by batch, rising in each."""
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = [name for name in ("time", "model_version") if name in self._log.schema().names]
        for batch in self._log.predictions(since_us, None, columns):
            chosen = _table(batch)
            if "model_version" in columns:
                chosen = chosen.filter(pc.equal(chosen.column("model_version"), self.version))
            yield np.sort(flat_array(chosen.column("time").cast(pa.int64()), np.int64))

    def _columns(self) -> list[str]:
        present = self._log.schema().names
        columns = self.translation.log_columns(present)
        if self._sealer is not None:
            sealed = (PREDICTION_ID, "subject", f"context_{SEALED}")
            columns += [name for name in sealed if name in present and name not in columns]
        return columns

    def _opened(self, table: pa.Table) -> pa.Table:
        """The version's rows, sealed inputs opened where that is allowed."""
        import pyarrow.compute as pc

        if self._sealer is not None:
            table = self._sealer.open_table(table)
        if "model_version" in table.column_names:
            table = table.filter(pc.equal(table.column("model_version"), self.version))
        return table

    def sample(self, since_us: int, until_us: int, expected: int) -> Rows:
        """About twice the rows that are looked at, drawn batch by batch: the stretch may be a year."""
        import pyarrow as pa

        columns = self._columns()
        if PREDICTION_ID not in columns:
            columns.append(PREDICTION_ID)
        share = min(1.0, 2 * LARGEST_SAMPLE / max(expected, 1))
        kept = []
        reader = self._log.joined(since_us, until_us, columns)
        for batch in reader:
            chosen = pa.Table.from_batches([batch])
            if share < 1.0:
                # By the id, so that every run draws the same rows.
                drawn = [
                    crc32(one.encode()) < share * 2**32 for one in batch.column(PREDICTION_ID).to_pylist()
                ]
                chosen = chosen.filter(pa.array(drawn, pa.bool_()))
            kept.append(self._opened(chosen))
        table = pa.concat_tables(kept) if kept else self._opened(reader.schema.empty_table())
        return self.translation.log(table.sort_by(PREDICTION_ID))


def _table(batch: pa.RecordBatch) -> pa.Table:
    """A table of one batch."""
    import pyarrow as pa

    return pa.Table.from_batches([batch])

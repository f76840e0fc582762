"""Spooled records into the tables: read, committed with their offsets, and only then deleted.

The steps and their order are those of `keeper`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from holdfast.prediction_log import proof
from holdfast.prediction_log.arrow_rows import label_table, prediction_tables
from holdfast.prediction_log.errors import LogFormatError
from holdfast.prediction_log.large_keeping import Contents
from holdfast.prediction_log.large_shared import SharedContents
from holdfast.prediction_log.log_tables import LogTables
from holdfast.prediction_log.retaining import RetentionReport
from holdfast.prediction_log.scanning import OpenSegment, SegmentSummary, summarise
from holdfast.prediction_log.schema import fit
from holdfast.prediction_log.segments import SegmentRef
from holdfast.prediction_log.spooled import Batch, Progress, read_segment, size_bytes
from holdfast.prediction_log.upkeep import ledger_rows, note_ranges

_log: Final = logging.getLogger("holdfast.keeper")


@dataclass(slots=True)
class Tally:
    """What a pass has done so far."""

    predictions: int = 0
    labels: int = 0
    commits: int = 0
    segments_deleted: int = 0
    torn_records: int = 0
    retention: RetentionReport | None = None
    labels_refused: int = 0
    erasures: int = 0
    kept_apart: dict[tuple[str, str], None] = field(default_factory=dict)
    unreadable: dict[str, None] = field(default_factory=dict)


class Committer:
    """Takes the records of a spool into the tables. Believes what it has read of them; see `Keeper`.

    Args:
        tables: of the log.
        contents: the large inputs of this machine.
        shared: those on an object store, where the tables are on one.
        batch_bytes: most spool bytes that `read` takes.
        on_step: called after each named step.
    """

    def __init__(
        self,
        tables: LogTables,
        contents: Contents,
        shared: SharedContents | None,
        batch_bytes: int,
        on_step: Callable[[str], object],
    ) -> None:
        self._tables = tables
        self._contents = contents
        self._shared = shared
        self._batch_bytes = batch_bytes
        self._step = on_step
        self._progress: dict[str, Progress] = {}

    def spooled_bytes(self, segments: list[SegmentRef]) -> int:
        """Of the segments what is not committed yet."""
        return sum(size_bytes(ref) - self._progress_of(ref.name).offset for ref in segments)

    def read(self, segments: list[SegmentRef], tally: Tally) -> Batch:
        """Complete frames behind each segment's committed offset, at most `batch_bytes` of them."""
        batch = Batch()
        for ref in segments:
            left = self._batch_bytes - batch.bytes
            if left <= 0:
                break
            progress = self._progress_of(ref.name)
            if progress.finished or ref.name in tally.unreadable:
                continue
            with contextlib.suppress(FileNotFoundError), OpenSegment(ref) as segment:
                try:
                    read_segment(segment, progress, left, batch)
                except LogFormatError as error:
                    _log.error("left alone: %s", error)
                    tally.unreadable[ref.name] = None
        tally.torn_records += batch.torn_records
        return batch

    def commit(self, batch: Batch, tally: Tally) -> None:
        """Rows and labels into their tables, each with the new offsets in the same commit."""
        if batch.predictions:
            rows = self._without_erased_subjects(self._fitted_predictions(batch, tally))
            offsets = {segment: batch.read_to[segment] for segment in sorted(batch.prediction_segments)}
            if self._shared is None:
                self._contents.note(rows)
            elif self._shared.upload(rows):
                self._step("large inputs uploaded")
            self._tables.predictions.append(rows, offsets)
            tally.commits += 1
            tally.predictions += rows.num_rows
            self._step("predictions committed")
        if batch.labels:
            rows = self._without_erased(label_table(batch.labels), tally)
            offsets = {segment: batch.read_to[segment] for segment in sorted(batch.label_segments)}
            self._tables.labels.append(rows, offsets)
            tally.commits += 1
            tally.labels += rows.num_rows
            self._step("labels committed")
        for segment, offset in batch.read_to.items():
            progress = self._progress[segment]
            progress.offset = offset
            progress.finished = segment in batch.finished

    def delete_finished(self, segments: list[SegmentRef], tally: Tally) -> None:
        """Segments of which everything is committed, and safely on the disk."""
        finished = [
            ref for ref in segments if ref.name in self._progress and self._progress[ref.name].finished
        ]
        unnoted: list[SegmentSummary] = []
        for ref in finished:
            if self._tables.ledger.committed(ref.name) is None:
                with contextlib.suppress(FileNotFoundError), OpenSegment(ref) as segment:
                    unnoted.append(summarise(segment))
        if unnoted:
            self._tables.ledger.append(ledger_rows(unnoted), {summary.ref.name: 1 for summary in unnoted})
            tally.commits += 1
            self._step("ledger committed")
        if finished:
            if self._shared is None:
                self._contents.sync()
            for table in self._tables.all:
                table.sync()
            self._step("tables synced")
        for ref in finished:
            ref.path.unlink(missing_ok=True)
            del self._progress[ref.name]
            tally.segments_deleted += 1
            self._step("segment deleted")

    def _progress_of(self, segment: str) -> Progress:
        progress = self._progress.get(segment)
        if progress is None:
            predictions_to = self._tables.predictions.committed(segment) or 0
            labels_to = self._tables.labels.committed(segment) or 0
            progress = Progress(min(predictions_to, labels_to), predictions_to, labels_to)
            self._progress[segment] = progress
        return progress

    def _without_erased(self, labels: pa.Table, tally: Tally) -> pa.Table:
        """The labels but for those of erased predictions, which are counted and go no further."""
        if not len(self._tables.erased_ids):
            return labels
        refused = pa.array(self._tables.erased_ids.mask(labels["prediction_id"].to_pylist()))
        found = proof.ranges_by_replica(labels.filter(refused).to_batches())
        tally.labels_refused += note_ranges(found, "refused labels", self._tables.ledger)
        if found:
            self._step("refused labels noted")
        return labels.filter(pc.invert(refused))

    def _without_erased_subjects(self, rows: pa.Table) -> pa.Table:
        """The rows but for those of subjects that were erased on another machine after they were spooled."""
        if self._shared is None or not len(self._tables.erased_ids) or "subject" not in rows.column_names:
            return rows
        times = rows["logged_at"].cast(pa.int64()).to_pylist()
        gone = pa.array(map(self._tables.erased_ids.covers, rows["subject"].to_pylist(), times), pa.bool_())
        note_ranges(proof.ranges_by_replica(rows.filter(gone).to_batches()), "erased", self._tables.ledger)
        return rows.filter(pc.invert(gone))

    def _fitted_predictions(self, batch: Batch, tally: Tally) -> pa.Table:
        schema = self._tables.predictions.schema
        fitted_tables = []
        for table in prediction_tables(batch.predictions):
            fitted = fit(table, schema)
            for name, home in fitted.kept_apart:
                if home not in schema.names:
                    _log.warning("values of %s are of another type than those stored: see %s", name, home)
            schema = pa.unify_schemas([schema, fitted.table.schema])
            fitted_tables.append(fitted.table)
            tally.kept_apart.update(dict.fromkeys(fitted.kept_apart))
        return pa.concat_tables(fitted_tables, promote_options="default")

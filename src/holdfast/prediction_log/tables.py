"""Delta tables of the log: opened, appended to with application transactions, kept small."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)

from holdfast.prediction_log.datasets import dataset_of
from holdfast.prediction_log.disk import SyncedFiles

_CONFIGURATION: Final = {
    # The keeper commits about once a second: an hour of small commits is enough for readers
    # that began before.
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
    "delta.checkpointInterval": "100",
}
_LOG_RETENTION: Final = "delta.logRetentionDuration"
_PLAIN: Final = ColumnProperties(dictionary_enabled=False)
_REWRITING: Final = WriterProperties(
    compression="SNAPPY",
    # Dictionaries of values that hardly repeat double the time of a rewrite and save nothing.
    column_properties=dict.fromkeys(("prediction_id", "time", "logged_at", "sequence", "score"), _PLAIN),
    default_column_properties=ColumnProperties(statistics_enabled="CHUNK"),
)
_KEEP_REMOVED_FILES_HOURS: Final = 1
"""A reader that began before a compaction has this long to finish."""
SMALL_FILE_BYTES: Final = 8 * 1024 * 1024
LARGE_FILE_BYTES: Final = 128 * 1024 * 1024


class LogTable:
    """One table as the keeper sees it: a snapshot that its own commits move forward.

    A commit fails if another process has moved one of the same segments since the snapshot was taken, so two
    keepers cannot both append the same records, with or without a lease.
    """

    def __init__(self, folder: Path, delta: DeltaTable) -> None:
        self._delta = delta
        self._folder = folder
        self._files = (
            SyncedFiles(folder),
            SyncedFiles(folder / "_delta_log", changing=frozenset({"_last_checkpoint"})),
        )
        self.schema: pa.Schema = pa.schema(delta.schema().to_arrow())

    @classmethod
    def open_or_create(cls, folder: Path, schema: pa.Schema) -> Self:
        """The table in this folder; an empty one is made if there is none."""
        if not DeltaTable.is_deltatable(str(folder)):
            DeltaTable.create(str(folder), schema, mode="ignore", configuration=_CONFIGURATION)
        return cls(folder, DeltaTable(str(folder)))

    def committed(self, segment: str) -> int | None:
        """Offset in the segment up to which the table holds its records; None: nothing yet."""
        version: int | None = self._delta.transaction_version(segment)
        return version

    def append(self, rows: pa.Table, offsets: Mapping[str, int]) -> None:
        """Append the rows and move the segments' offsets, in one commit."""
        properties = CommitProperties(
            app_transactions=[Transaction(segment, offset) for segment, offset in offsets.items()]
        )
        write_deltalake(
            self._delta,
            rows,
            mode="append",
            schema_mode="merge",
            commit_properties=properties,
            writer_properties=WriterProperties(compression="SNAPPY"),
        )
        if any(name not in self.schema.names for name in rows.column_names):
            self.schema = pa.schema(self._delta.schema().to_arrow())

    def delete(self, predicate: str) -> None:
        """Remove the rows for which the SQL predicate holds; rewrites the files that have such rows.

        Written as a replacement of these rows by none. The library's own delete gives text columns a type in
        the file (`string_view`) on which pyarrow, and DuckDB through it, cannot filter.
        """
        self.replace(predicate, self.schema.empty_table())

    def replace(self, predicate: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Put these rows in the place of those for which the predicate holds; it must hold for them too."""
        write_deltalake(
            self._delta, rows, mode="overwrite", predicate=predicate, writer_properties=_REWRITING
        )

    @property
    def size_bytes(self) -> int:
        """Of the files of the newest version."""
        sizes = pa.table(self._delta.get_add_actions())["size_bytes"]
        return int(pc.sum(sizes).as_py() or 0)

    @property
    def version(self) -> int:
        """Number of commits, from 0."""
        return int(self._delta.version())

    def compact(self, target_bytes: int) -> None:
        """Merge files smaller than this into files of about this size. Rewrites at most that much twice."""
        self._delta.optimize.compact(target_size=target_bytes, max_concurrent_tasks=1)

    def checkpoint(self) -> None:
        """Write the state as one file and drop log entries older than it that nobody reads any more."""
        self._delta.create_checkpoint()
        self._delta.cleanup_metadata()

    def vacuum(self, *, keep_hours: int = _KEEP_REMOVED_FILES_HOURS) -> int:
        """Delete files that no snapshot needs, also those of keepers that died; returns how many."""
        removed: list[str] = self._delta.vacuum(
            retention_hours=keep_hours, enforce_retention_duration=False, dry_run=False, full=True
        )
        return len(removed)

    def forget_history(self) -> int:
        """Delete all that only older versions need, their commits and statistics too; returns the data files.

        Afterwards no file holds a value that the newest version does not, and the table cannot be read as of
        an earlier moment. A reader that began before may fail and must open the table again.
        """
        removed = self.vacuum(keep_hours=0)
        self._delta.alter.set_table_properties({_LOG_RETENTION: "interval 0 seconds"})
        self.checkpoint()
        self._delta.alter.set_table_properties({_LOG_RETENTION: _CONFIGURATION[_LOG_RETENTION]})
        self.checkpoint()
        return removed

    @property
    def id(self) -> str:
        """Random, given when the table was made."""
        return str(self._delta.metadata().id)

    def sync(self) -> None:
        """Return once all that was committed is on the disk; the Delta library leaves that to the kernel."""
        for files in self._files:
            files.sync()

    def dataset(self) -> Any:
        """The snapshot as a pyarrow data set."""
        return dataset_of(self._delta, self._folder)

"""Delta tables of the log: opened, appended to with application transactions, kept small."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
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
from deltalake.exceptions import CommitFailedError

from holdfast.clock import Clock
from holdfast.prediction_log.disk import SyncedFiles
from holdfast.prediction_log.errors import TableBusyError
from holdfast.prediction_log.mending import note_synced
from holdfast.prediction_log.places import TablePlace, reaching

_CONFIGURATION: Final = {
    # The keeper commits about once a second: an hour of small commits is enough for readers
    # that began before.
    "delta.logRetentionDuration": "interval 1 hours",
    "delta.deletedFileRetentionDuration": "interval 1 hours",
    "delta.checkpointInterval": "100",
}
_LOG_RETENTION: Final = "delta.logRetentionDuration"
_REWRITE: Final = "rewrite"
"""The application transaction by which machines take turns."""
_LONGEST_REWRITE_MS: Final = 600_000
_PLAIN: Final = ColumnProperties(dictionary_enabled=False)
_HARDLY_REPEATED: Final = ("prediction_id", "time", "logged_at", "sequence", "score")
_REWRITING: Final = WriterProperties(
    compression="SNAPPY",
    # Dictionaries of values that hardly repeat double the time of a rewrite and save nothing.
    column_properties=dict.fromkeys(_HARDLY_REPEATED, _PLAIN),
    default_column_properties=ColumnProperties(statistics_enabled="CHUNK"),
)
_KEEP_REMOVED_FILES_HOURS: Final = 1
"""A reader that began before a compaction has this long to finish."""
SMALL_FILE_BYTES: Final = 8 * 1024 * 1024
LARGE_FILE_BYTES: Final = 128 * 1024 * 1024


def _appending(schema: pa.Schema) -> WriterProperties:
    """How rows are appended: dictionaries of texts that repeat, and of nothing else.

    To try dictionaries of numbers takes three times as long as to write them. Compaction does try, once per
    row and off the path of what is new.
    """
    texts = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) and field.name not in _HARDLY_REPEATED
    ]
    return WriterProperties(
        compression="SNAPPY",
        default_column_properties=ColumnProperties(dictionary_enabled=False, statistics_enabled="CHUNK"),
        column_properties=dict.fromkeys(
            texts, ColumnProperties(dictionary_enabled=True, statistics_enabled="CHUNK")
        ),
    )


class LogTable:
    """One table as the keeper sees it: a snapshot that its own commits move forward.

    A commit fails if another process has moved one of the same segments since the snapshot was taken, so two
    keepers cannot both append the same records, with or without a lease.
    """

    def __init__(self, place: TablePlace, delta: DeltaTable, clock: Clock) -> None:
        self._clock = clock
        self._delta = delta
        self._place = place
        self._files: tuple[SyncedFiles, ...] = ()
        if place.folder is not None:
            self._files = (
                SyncedFiles(place.folder),
                SyncedFiles(place.folder / "_delta_log", changing=frozenset({"_last_checkpoint"})),
            )
        self.schema: pa.Schema = pa.schema(delta.schema().to_arrow())

    @classmethod
    def open_or_create(cls, place: TablePlace, schema: pa.Schema, clock: Clock) -> Self:
        """The table in this place; an empty one is made if there is none. The clock is for taking turns."""
        if not place.exists():
            place.create(schema, _CONFIGURATION)
        return cls(place, place.open(), clock)

    def refresh(self) -> None:
        """Move the snapshot to the newest version, whoever made it."""
        with reaching(self._place.url):
            self._delta.update_incremental()
        self.schema = pa.schema(self._delta.schema().to_arrow())

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
            writer_properties=_appending(rows.schema),
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
        """Put these rows in the place of those for which the predicate holds; it must hold for them too.

        Raises:
            TableBusyError: on an object store, others have committed since the snapshot, or are rewriting.
        """
        seen = self.version
        with self._turn_to_rewrite():
            if self._place.folder is None and self.version != seen + 1:
                raise TableBusyError("another machine has committed meanwhile", where=self._place.url)
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
        with self._turn_to_rewrite():
            self._delta.optimize.compact(
                target_size=target_bytes, max_concurrent_tasks=1, writer_properties=_REWRITING
            )

    @contextlib.contextmanager
    def _turn_to_rewrite(self) -> Iterator[None]:
        """Keep other machines from putting files in the place of others meanwhile; alone if it is a folder.

        The Delta library lets two compactions of the same files both commit, and every row is there twice. So
        a turn is taken first, by a commit of an application transaction, of which it lets only one through.
        Its number is twice the time in milliseconds, one more when it is given back; who died with it
        loses it after ten minutes.

        Raises:
            TableBusyError: another machine has the turn, or took it at this moment.
        """
        if self._place.folder is not None:
            yield
            return
        self.refresh()
        now_ms = self._clock.now_us() // 1000
        held = self._delta.transaction_version(_REWRITE) or 1
        if held % 2 == 0 and now_ms < held // 2 + _LONGEST_REWRITE_MS:
            raise TableBusyError("another machine is rewriting files of the table", where=self._place.url)
        turn = 2 * max(now_ms, held // 2 + 1)
        try:
            self.append(self.schema.empty_table(), {_REWRITE: turn})
        except CommitFailedError as error:
            raise TableBusyError("another machine was faster", where=self._place.url) from error
        try:
            yield
        finally:
            self.append(self.schema.empty_table(), {_REWRITE: turn + 1})

    def checkpoint(self) -> None:
        """Write the state as one file and drop log entries older than it that nobody reads any more."""
        self._delta.create_checkpoint()
        self.sync()
        self._delta.cleanup_metadata()

    def vacuum(self, *, keep_hours: int = _KEEP_REMOVED_FILES_HOURS, also_unknown: bool = True) -> int:
        """Delete files that no snapshot needs; returns how many.

        Args:
            keep_hours: age from which a file is deleted.
            also_unknown: those too that no version of the table names: of keepers that died.
        """
        self.sync()  # a loss of power must not bring a version back whose files are gone
        removed: list[str] = self._delta.vacuum(
            retention_hours=keep_hours, enforce_retention_duration=False, dry_run=False, full=also_unknown
        )
        return len(removed)

    def forget_history(self) -> int:
        """Delete all that only older versions need, their commits and statistics too; returns the data files.

        Afterwards no file holds a value that the newest version does not, and the table cannot be read as of
        an earlier moment. A reader that began before may fail and must open the table again. On an object
        store, files that a keeper uploaded and never committed go when they are an hour old.
        """
        if self._place.folder is None:
            # A file that no version knows may be one that another machine is about to commit.
            removed = self.vacuum(keep_hours=0, also_unknown=False) + self.vacuum()
        else:
            removed = self.vacuum(keep_hours=0)
        self._delta.alter.set_table_properties({_LOG_RETENTION: "interval 0 seconds"})
        self.checkpoint()
        self._delta.alter.set_table_properties({_LOG_RETENTION: _CONFIGURATION[_LOG_RETENTION]})
        self.checkpoint()
        self.sync()
        return removed

    @property
    def id(self) -> str:
        """Random, given when the table was made."""
        return str(self._delta.metadata().id)

    def sync(self) -> None:
        """Return once all that was committed is on the disk; the Delta library leaves that to the kernel.

        An object store has it on its disks when it has answered.
        """
        for files in self._files:
            files.sync()
        if self._place.folder is not None:
            note_synced(self._place.folder, self.version)

    def dataset(self) -> Any:
        """The snapshot as a pyarrow data set."""
        return self._place.dataset(self._delta)

"""The keeper: moves spooled records into the tables exactly once, and keeps the tables small.

What happens, in this order, and is safe to stop after any step:

1. `read`: complete frames behind each segment's committed offset, at most `batch_bytes` of them.
2. `large inputs uploaded`: those that the rows name, where the tables are on an object store.
3. `predictions committed`: their rows and the segments' new offsets enter the table in one commit. Whoever
   reads the segment again starts behind that offset.
4. `labels committed`: the same for the table of labels, which has its own offsets.
5. `ledger committed`: the counters of segments that are finished (writer gone, all committed).
6. `tables synced`: their files, and the large inputs that they name, are on the disk, so that a loss of
   power cannot take rows whose segment is gone.
7. `segment deleted`: only then, one after another.

Now and then: those of `retaining` and `erasing`, `large inputs removed`, `compacted`, `checkpointed`,
`vacuumed`.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Final

import msgspec
from deltalake.exceptions import CommitFailedError

from holdfast.clock import Clock
from holdfast.prediction_log.account import Account, Accountant
from holdfast.prediction_log.committing import Committer, Tally
from holdfast.prediction_log.erasing import Eraser, ErasureRequest, pending_requests
from holdfast.prediction_log.errors import TableBusyError
from holdfast.prediction_log.folders import (
    retention_file,
    retention_request,
    spool_folder,
)
from holdfast.prediction_log.large_keeping import Contents
from holdfast.prediction_log.large_shared import ORPHAN_S, SharedContents
from holdfast.prediction_log.lease import Lease
from holdfast.prediction_log.log_tables import LogTables
from holdfast.prediction_log.mending import mend
from holdfast.prediction_log.places import Log, LogPlace
from holdfast.prediction_log.retaining import Retention, RetentionReport, retain, write_report
from holdfast.prediction_log.segments import list_segments, remove_abandoned
from holdfast.prediction_log.staging import finish_abandoned, spoil_runs
from holdfast.prediction_log.tables import LARGE_FILE_BYTES, SMALL_FILE_BYTES, LogTable
from holdfast.spec import Deployment

_log: Final = logging.getLogger("holdfast.keeper")
_LONGEST_PAUSE_S: Final = 30.0
_RETENTION_EVERY_S: Final = 3600.0
_ROUNDS_BETWEEN_LARGE: Final = 20
_LOOK_EVERY_S: Final = 30.0
"""How often an idle keeper looks for what other machines have committed, erasures above all."""
_TRIES_BESIDE_OTHERS: Final = 20
_BETWEEN_TRIES_S: Final = 0.25
"""Of one erasure, while keepers of other machines commit to the same tables."""


def _ignore(_: object) -> None:
    pass


class KeeperReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass did."""

    lease: bool
    """Whether this keeper had the lease; if not, another one is at work and nothing was done."""
    predictions: int = 0
    """Rows committed."""
    labels: int = 0
    commits: int = 0
    segments_deleted: int = 0
    torn_records: int = 0
    """Damaged stretches met in this pass; each is one record that was being written when its writer died."""
    expired: int = 0
    """Predictions removed because they are no longer kept."""
    retention: RetentionReport | None = None
    """What was removed, if it was looked at in this pass: at the first and once an hour."""
    labels_refused: int = 0
    """Labels that came for an erased prediction."""
    erasures: int = 0
    """Requests to erase that were carried out."""
    kept_apart: tuple[tuple[str, str], ...] = ()
    """Columns whose values have another type than the stored ones: their name, and where they went."""
    unreadable: tuple[str, ...] = ()
    """Segments left alone because a version of holdfast unknown to this one wrote them."""


class Keeper:
    """Commits one log's spool to its tables. Only one works at a time; others find the lease taken.

    Args:
        log: the deployment, whose checklist gives interval and retention; or the log's folder alone.
        clock: for retention and pauses.
        batch_bytes: most spool bytes in one commit; bounds the memory (about 25 times as much).
        interval_s: pause between two passes of `run`; None: the checklist's, or 1.
        retention_days: days a row is kept after it was logged; None: the checklist's, or for ever.
        upkeep_commits: commits of a table between two rounds of compaction, checkpoint and vacuum. Every
            twentieth round merges large files, so each row is rewritten a few times only.
        retains: look at the retention in the first pass and once an hour; if not, only when it is asked for.
        on_step: called after each named step, for tests that stop there.
        on_account: called by `run` with each account of the log, at most every five seconds.
        on_failure: called by `run` after each pass that failed with the number of those in a row and the
            error, and with 0 and None after the first that went well again.
    """

    def __init__(
        self,
        log: Log,
        clock: Clock,
        *,
        batch_bytes: int = 8 * 1024 * 1024,
        interval_s: float | None = None,
        retention_days: int | None = None,
        upkeep_commits: int = 50,
        retains: bool = True,
        on_step: Callable[[str], None] | None = None,
        on_account: Callable[[Account], object] | None = None,
        on_failure: Callable[[int, Exception | None], object] | None = None,
    ) -> None:
        self._on_failure = on_failure
        self._failed_passes = 0
        self._place = LogPlace.of(log)
        self._log_folder = self._place.folder
        self._clock = clock
        self._batch_bytes = batch_bytes
        self._interval_s = 1.0 if interval_s is None else interval_s
        self._retention = Retention() if not isinstance(log, Deployment) else Retention.of(log)
        if retention_days is not None:
            self._retention = msgspec.structs.replace(self._retention, days=retention_days)
        if isinstance(log, Deployment):
            settings = log.checklist.logging
            self._interval_s = settings.commit_interval.seconds if interval_s is None else interval_s
        self._upkeep_commits = upkeep_commits
        self._step = on_step or _ignore
        self._lease = Lease(self._log_folder)
        self._accountant = Accountant(self._place, clock, on_account)
        self._contents = Contents(self._log_folder, clock)
        self._shared = SharedContents(self._place, clock) if self._place.is_shared else None
        self._opened: tuple[LogTables, Committer] | None = None
        self._retention_due_s = clock.monotonic_s() if retains else math.inf
        self._look_due_s = clock.monotonic_s()

    def run_once(self) -> KeeperReport:
        """Commit what is in the spool now, then let go of the lease (unless `run` holds it).

        Raises:
            deltalake.exceptions.DeltaError, OSError: a commit failed; nothing is lost, the next pass takes
            it up.
        """
        held_before = self._lease.held
        if not self._lease.acquire():
            return KeeperReport(lease=False)
        try:
            return self._pass()
        except BaseException:
            self._forget()
            raise
        finally:
            if not held_before:
                self._lease.release()
                self._forget()

    def run(self, stop: threading.Event, on_report: Callable[[KeeperReport], None] | None = None) -> None:
        """Work until `stop` is set, then commit what is left; while another keeper has the lease, wait.

        A failed pass (disk full, a table being repaired) is logged and tried again after a growing pause, at
        most 30 s: the spool holds everything meanwhile.
        """
        pause_s = self._interval_s
        told = False
        try:
            while True:
                stopping = stop.is_set()
                try:
                    if self._lease.acquire():
                        (on_report or _ignore)(self.run_once())
                        self._accountant.take_if_due()
                        self._note_failure(None)
                    elif not told:
                        told = True
                        _log.warning("another keeper is at work on this log; this one waits until it ends")
                    pause_s = self._interval_s
                except Exception as error:
                    self._note_failure(error)
                    _log.exception("a keeper pass failed; trying again in %.1f s", pause_s)
                    if stopping:
                        raise
                    pause_s = min(2 * max(pause_s, 0.1), _LONGEST_PAUSE_S)
                if stopping:
                    return
                stop.wait(pause_s)
        finally:
            self._lease.release()
            self._forget()

    def _note_failure(self, error: Exception | None) -> None:
        before, self._failed_passes = self._failed_passes, 0 if error is None else self._failed_passes + 1
        if self._on_failure is not None and (before or error is not None):
            self._on_failure(self._failed_passes, error)

    def _forget(self) -> None:
        """Believe nothing that was not just read from the tables."""
        self._opened = None

    def _pass(self) -> KeeperReport:
        opened_now = self._opened is None
        tables, committer = self._open()
        versions = [table.version for table in tables.all]
        tally = Tally()
        # Before the spool is looked at: what was spooled before a request is in the tables when it is met.
        requests = [
            request
            for request in pending_requests(self._log_folder)
            # One whose rows are about to be published waits for the next pass, which finds them in the spool.
            if spoil_runs(self._log_folder, request.is_meant)
        ]
        retention_wanted = (
            retention_request(self._log_folder).exists() or self._clock.monotonic_s() >= self._retention_due_s
        )
        seen_ns = 0
        tidies = self._shared is not None and self._shared.tidy_is_due()
        if (requests or retention_wanted or tidies) and self._contents.exist():
            try:
                seen_ns = self._contents.moment()
            except TableBusyError:
                if requests or retention_wanted:
                    raise
        finish_abandoned(self._log_folder)
        spool = spool_folder(self._log_folder)
        remove_abandoned(spool)
        segments = list_segments(spool)
        # What is there now, no more: writers that are faster must not keep a pass from ending.
        left = committer.spooled_bytes(segments)
        tables.erased_ids.publish()
        erased_elsewhere = False
        if self._place.is_shared and (
            left > 0 or requests or retention_wanted or self._clock.monotonic_s() >= self._look_due_s
        ):
            erased_elsewhere = tables.refresh() or (opened_now and len(tables.erased_ids) > 0)
            self._look_due_s = self._clock.monotonic_s() + _LOOK_EVERY_S
            tables.erased_ids.publish()
            versions = [table.version for table in tables.all]
        while True:
            batch = committer.read(segments, tally)
            self._step("read")
            committer.commit(batch, tally)
            committer.delete_finished(segments, tally)
            # Within the pass: behind a long backlog each commit would cost more than the one before.
            versions = [
                self._upkeep(table, version) for table, version in zip(tables.all, versions, strict=True)
            ]
            left -= batch.bytes
            if left <= 0 or batch.bytes < self._batch_bytes:
                break
        if erased_elsewhere:
            Eraser(self._log_folder, tables, self._clock, self._step, is_shared=True).blank_spool()
        self._erase(requests, tables, tally, seen_ns)
        if self._shared is not None and seen_ns and not tally.unreadable:
            if erased_elsewhere:
                self._contents.remove_unnamed(tables.predictions.dataset(), seen_ns)
            self._shared.tidy(self._contents, seen_ns)
        if retention_wanted:
            self._retain(tables, tally, seen_ns)
            retention_request(self._log_folder).unlink(missing_ok=True)
            self._retention_due_s = self._clock.monotonic_s() + _RETENTION_EVERY_S
            for table, version in zip(tables.all, versions, strict=True):
                self._upkeep(table, version)
        return KeeperReport(
            lease=True,
            predictions=tally.predictions,
            labels=tally.labels,
            commits=tally.commits,
            segments_deleted=tally.segments_deleted,
            torn_records=tally.torn_records,
            expired=0 if tally.retention is None else tally.retention.predictions,
            retention=tally.retention,
            labels_refused=tally.labels_refused,
            erasures=tally.erasures,
            kept_apart=tuple(tally.kept_apart),
            unreadable=tuple(tally.unreadable),
        )

    def _open(self) -> tuple[LogTables, Committer]:
        if self._opened is None:
            for place in self._place.all_tables:
                if place.folder is not None:
                    mend(place.folder)
            tables = LogTables.open(self._place, self._clock)
            committer = Committer(tables, self._contents, self._shared, self._batch_bytes, self._step)
            self._opened = tables, committer
        return self._opened

    def _remove_contents(
        self, tables: LogTables, tally: Tally, seen_ns: int, *, orphan_s: float = 0.0
    ) -> tuple[int, int]:
        """Remove large inputs that no row names; none while a segment is unreadable, which may name some.

        On an object store only those that are as old as `orphan_s`.
        """
        if tally.unreadable:
            return 0, 0
        removed = 0, 0
        if seen_ns:
            removed = self._contents.remove_unnamed(tables.predictions.dataset(), seen_ns)
            self._step("large inputs removed")
        return removed if self._shared is None else self._shared.remove_unnamed(older_than_s=orphan_s)

    def _erase(self, requests: list[ErasureRequest], tables: LogTables, tally: Tally, seen_ns: int) -> None:
        if not requests:
            return
        eraser = Eraser(
            self._log_folder,
            tables,
            self._clock,
            self._step,
            is_shared=self._place.is_shared,
            remove_contents=lambda: self._remove_contents(tables, tally, seen_ns)[0],
        )
        for request in requests:
            for left in reversed(range(_TRIES_BESIDE_OTHERS)):
                try:
                    eraser.carry_out(request)
                    break
                except (TableBusyError, CommitFailedError):  # of another machine: begin again with its rows
                    if not self._place.is_shared or not left:
                        raise
                    self._clock.sleep_s(_BETWEEN_TRIES_S)
                    tables.refresh()
            tally.erasures += 1

    def _retain(self, tables: LogTables, tally: Tally, seen_ns: int) -> None:
        tally.retention = retain(
            tables,
            self._retention,
            self._clock.now_us(),
            self._step,
            sizes=(self._shared or self._contents).sizes() if seen_ns or self._shared else {},
            remove_contents=lambda: self._remove_contents(tables, tally, seen_ns, orphan_s=ORPHAN_S),
        )
        write_report(retention_file(self._log_folder), tally.retention)

    def _upkeep(self, table: LogTable, version_before: int) -> int:
        """Tidy up whenever a table's version passes a multiple, so it also happens over many short passes.

        Returns:
            The table's version up to which this is done.
        """
        if table.version // self._upkeep_commits == version_before // self._upkeep_commits:
            return table.version
        rare = self._upkeep_commits * _ROUNDS_BETWEEN_LARGE
        large = table.version // rare != version_before // rare
        try:
            table.compact(LARGE_FILE_BYTES if large else SMALL_FILE_BYTES)
        except TableBusyError:
            return table.version  # another machine tidies up
        self._step("compacted")
        table.checkpoint()
        self._step("checkpointed")
        table.vacuum()
        self._step("vacuumed")
        return table.version

"""One pass of the keeper: what is asked for, the spool into the tables, erasures, retention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from deltalake.exceptions import CommitFailedError

from holdfast.clock import Clock
from holdfast.prediction_log.committing import Committer, Tally
from holdfast.prediction_log.erasing import Eraser, ErasureRequest, pending_requests
from holdfast.prediction_log.errors import TableBusyError
from holdfast.prediction_log.folders import retention_file, retention_request, spool_folder
from holdfast.prediction_log.large_keeping import Contents
from holdfast.prediction_log.large_shared import ORPHAN_S, SharedContents
from holdfast.prediction_log.log_tables import LogTables
from holdfast.prediction_log.places import LogPlace
from holdfast.prediction_log.retaining import Retention, RetentionReport, retain, write_report
from holdfast.prediction_log.segments import list_segments, remove_abandoned
from holdfast.prediction_log.staging import finish_abandoned, spoil_runs
from holdfast.prediction_log.tables import LARGE_FILE_BYTES, SMALL_FILE_BYTES, LogTable

_ROUNDS_BETWEEN_LARGE: Final = 20
_TRIES_BESIDE_OTHERS: Final = 20
_BETWEEN_TRIES_S: Final = 0.25
"""Of one erasure, while keepers of other machines commit to the same tables."""


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


@dataclass(frozen=True, slots=True)
class Means:
    """What a pass works with; the same from pass to pass while its keeper has the lease."""

    place: LogPlace
    clock: Clock
    tables: LogTables
    committer: Committer
    contents: Contents
    """Large inputs of this machine."""
    shared: SharedContents | None
    """Those on an object store, where the tables are on one."""
    retention: Retention
    batch_bytes: int
    upkeep_commits: int
    step: Callable[[str], None]
    """Called after each named step."""


@dataclass(slots=True)
class KeeperPass:
    """One pass; see `keeper` for its steps and their order."""

    means: Means
    retains: bool
    """Whether the hour has come to look at the retention."""
    looks: bool
    """Whether it is time to look for what other machines have committed."""
    opened_now: bool
    """Whether the tables were opened for this pass."""
    tally: Tally = field(default_factory=Tally)
    requests: Sequence[ErasureRequest] = ()
    looked: bool = False
    """Whether it did look for what other machines have committed."""
    _seen_ns: int = 0
    """Large inputs that were there by then are all that may be removed; 0: none."""

    def run(self) -> KeeperReport:
        """All of it.

        Raises:
            deltalake.exceptions.DeltaError, OSError: a commit failed; nothing is lost, the next pass takes
            it up.
        """
        means, tables = self.means, self.means.tables
        versions = [table.version for table in tables.all]
        self._take_requests()
        finish_abandoned(means.place.folder)
        spool = spool_folder(means.place.folder)
        remove_abandoned(spool)
        segments = list_segments(spool)
        # What is there now, no more: writers that are faster must not keep a pass from ending.
        left = means.committer.spooled_bytes(segments)
        tables.erased_ids.publish()
        erased_elsewhere = False
        if means.place.is_shared and (left > 0 or self.requests or self.retains or self.looks):
            erased_elsewhere = tables.refresh() or (self.opened_now and len(tables.erased_ids) > 0)
            self.looked = True
            tables.erased_ids.publish()
            versions = [table.version for table in tables.all]
        while True:
            batch = means.committer.read(segments, self.tally)
            means.step("read")
            means.committer.commit(batch, self.tally)
            means.committer.delete_finished(segments, self.tally)
            # Within the pass: behind a long backlog each commit would cost more than the one before.
            versions = self._upkeep(versions)
            left -= batch.bytes
            if left <= 0 or batch.bytes < means.batch_bytes:
                break
        if erased_elsewhere:
            self._eraser().blank_spool()
        self._erase()
        if means.shared is not None and self._seen_ns and not self.tally.unreadable:
            if erased_elsewhere:
                means.contents.remove_unnamed(tables.predictions.dataset(), self._seen_ns)
            means.shared.tidy(means.contents, self._seen_ns)
        if self.retains:
            self._retain()
            retention_request(means.place.folder).unlink(missing_ok=True)
            self._upkeep(versions)
        return self._report()

    def _take_requests(self) -> None:
        """What is asked for.

        Before the spool is looked at: what was spooled before a request is in the tables when it is met.
        """
        folder, contents, shared = self.means.place.folder, self.means.contents, self.means.shared
        self.requests = [
            request
            for request in pending_requests(folder)
            # One whose rows are about to be published waits for the next pass, which finds them in the spool.
            if spoil_runs(folder, request.is_meant)
        ]
        self.retains = self.retains or retention_request(folder).exists()
        tidies = shared is not None and shared.tidy_is_due()
        if (self.requests or self.retains or tidies) and contents.exist():
            try:
                self._seen_ns = contents.moment()
            except TableBusyError:
                if self.requests or self.retains:
                    raise

    def _report(self) -> KeeperReport:
        tally = self.tally
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

    def _remove_contents(self, *, orphan_s: float = 0.0) -> tuple[int, int]:
        """Remove large inputs that no row names; none while a segment is unreadable, which may name some.

        On an object store only those that are as old as `orphan_s`.
        """
        if self.tally.unreadable:
            return 0, 0
        removed = 0, 0
        if self._seen_ns:
            removed = self.means.contents.remove_unnamed(
                self.means.tables.predictions.dataset(), self._seen_ns
            )
            self.means.step("large inputs removed")
        shared = self.means.shared
        return removed if shared is None else shared.remove_unnamed(older_than_s=orphan_s)

    def _eraser(self) -> Eraser:
        return Eraser(
            self.means.place.folder,
            self.means.tables,
            self.means.clock,
            self.means.step,
            is_shared=self.means.place.is_shared,
            remove_contents=lambda: self._remove_contents()[0],
        )

    def _erase(self) -> None:
        if not self.requests:
            return
        eraser = self._eraser()
        for request in self.requests:
            for left in reversed(range(_TRIES_BESIDE_OTHERS)):
                try:
                    eraser.carry_out(request)
                    break
                except (TableBusyError, CommitFailedError):  # of another machine: begin again with its rows
                    if not self.means.place.is_shared or not left:
                        raise
                    self.means.clock.sleep_s(_BETWEEN_TRIES_S)
                    self.means.tables.refresh()
            self.tally.erasures += 1

    def _retain(self) -> None:
        means = self.means
        self.tally.retention = retain(
            means.tables,
            means.retention,
            means.clock.now_us(),
            means.step,
            sizes=(means.shared or means.contents).sizes() if self._seen_ns or means.shared else {},
            remove_contents=lambda: self._remove_contents(orphan_s=ORPHAN_S),
        )
        write_report(retention_file(means.place.folder), self.tally.retention)

    def _upkeep(self, versions: Sequence[int]) -> list[int]:
        """Tidy up tables, and tell their versions up to which that is done."""
        return [
            self._upkeep_of(table, version)
            for table, version in zip(self.means.tables.all, versions, strict=True)
        ]

    def _upkeep_of(self, table: LogTable, version_before: int) -> int:
        """Tidy up whenever a table's version passes a multiple, so it also happens over many short passes."""
        commits, step = self.means.upkeep_commits, self.means.step
        if table.version // commits == version_before // commits:
            return table.version
        rare = commits * _ROUNDS_BETWEEN_LARGE
        large = table.version // rare != version_before // rare
        try:
            table.compact(LARGE_FILE_BYTES if large else SMALL_FILE_BYTES)
        except TableBusyError:
            return table.version  # another machine tidies up
        step("compacted")
        table.checkpoint()
        step("checkpointed")
        table.vacuum()
        step("vacuumed")
        return table.version

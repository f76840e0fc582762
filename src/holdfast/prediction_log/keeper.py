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

from holdfast.clock import Clock
from holdfast.prediction_log.account import Account, Accountant
from holdfast.prediction_log.committing import Committer
from holdfast.prediction_log.keeper_pass import KeeperPass, KeeperReport, Means
from holdfast.prediction_log.large_keeping import Contents
from holdfast.prediction_log.large_shared import SharedContents
from holdfast.prediction_log.lease import Lease
from holdfast.prediction_log.log_tables import LogTables
from holdfast.prediction_log.mending import mend
from holdfast.prediction_log.places import Log, LogPlace
from holdfast.prediction_log.retaining import Retention
from holdfast.spec import Deployment

_log: Final = logging.getLogger("holdfast.keeper")
_LONGEST_PAUSE_S: Final = 30.0
_RETENTION_EVERY_S: Final = 3600.0
_LOOK_EVERY_S: Final = 30.0
"""How often an idle keeper looks for what other machines have committed, erasures above all."""


def _ignore(_: object) -> None:
    pass


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
        self._means: Means | None = None
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
        self._means = None

    def _pass(self) -> KeeperReport:
        opened_now = self._means is None
        now_s = self._clock.monotonic_s()
        one = KeeperPass(
            self._open(),
            retains=now_s >= self._retention_due_s,
            looks=now_s >= self._look_due_s,
            opened_now=opened_now,
        )
        report = one.run()
        if one.looked:
            self._look_due_s = self._clock.monotonic_s() + _LOOK_EVERY_S
        if one.retains:
            self._retention_due_s = self._clock.monotonic_s() + _RETENTION_EVERY_S
        return report

    def _open(self) -> Means:
        if self._means is None:
            for place in self._place.all_tables:
                if place.folder is not None:
                    mend(place.folder)
            tables = LogTables.open(self._place, self._clock)
            committer = Committer(tables, self._contents, self._shared, self._batch_bytes, self._step)
            self._means = Means(
                place=self._place,
                clock=self._clock,
                tables=tables,
                committer=committer,
                contents=self._contents,
                shared=self._shared,
                retention=self._retention,
                batch_bytes=self._batch_bytes,
                upkeep_commits=self._upkeep_commits,
                step=self._step,
            )
        return self._means

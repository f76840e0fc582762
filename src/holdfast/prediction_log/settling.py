"""Settling: making sure that what was asked of the keeper is done, by it or by this process."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from holdfast.clock import Clock
from holdfast.prediction_log.erasing import ErasureReport, read_report, write_request
from holdfast.prediction_log.errors import KeeperBehindError, PredictionLogError
from holdfast.prediction_log.folders import (
    erasures_folder,
    retention_file,
    retention_request,
    spool_folder,
)
from holdfast.prediction_log.keeper import Keeper
from holdfast.prediction_log.keeper_pass import KeeperReport
from holdfast.prediction_log.large_keeping import Contents
from holdfast.prediction_log.large_shared import SharedContents
from holdfast.prediction_log.log_tables import LogTables
from holdfast.prediction_log.places import Log, LogPlace
from holdfast.prediction_log.retaining import Retention, RetentionReport, foresee
from holdfast.prediction_log.scanning import OpenSegment, SegmentSummary, summarise
from holdfast.prediction_log.schema import LABELS, PREDICTIONS
from holdfast.prediction_log.segments import list_segments
from holdfast.prediction_log.tables import LogTable
from holdfast.spec import Deployment

_POLL_S: Final = 0.05


def settle(log: Log, clock: Clock, *, timeout_s: float = 30.0) -> KeeperReport:
    """Return once every record spooled before the call is in the tables.

    Commits them itself if no keeper is alive; otherwise waits until the one that is has committed them.

    Raises:
        KeeperBehindError: it had not within `timeout_s`.
    """
    place = LogPlace.of(log)
    wanted = _summaries(place.folder)
    deadline_s = clock.monotonic_s() + timeout_s
    while True:
        report = Keeper(log, clock, retains=False).run_once()
        if report.lease or not _missing(wanted, place, clock):
            return report
        if clock.monotonic_s() >= deadline_s:
            raise KeeperBehindError(
                "the running keeper has not committed everything that is in the spool",
                where=str(spool_folder(place.folder)),
                expected=f"within {timeout_s:g} s",
                next_step="Look at the keeper's output: is its disk full?",
            )
        clock.sleep_s(_POLL_S)


def erase(
    log: Log,
    clock: Clock,
    *,
    subjects: Sequence[str] = (),
    prediction_ids: Sequence[str] = (),
    timeout_s: float = 600.0,
) -> ErasureReport:
    """Erase predictions with their labels from tables, all their versions and spool; returns once it is done.

    Done by this process, or by the keeper that is alive. Rows that are logged after the call are not touched;
    labels that come later for an erased prediction are refused and counted. Takes about 5 s per million rows
    of the files that hold such rows.

    Args:
        log: the deployment, or the log's folder.
        clock: for the report and for waiting.
        subjects: as they stand in the column `subject`: pseudonyms.
        prediction_ids: further predictions, whosoever they are.
        timeout_s: how long to wait for a keeper that is alive.

    Raises:
        PredictionLogError: nobody and nothing is named.
        KeeperBehindError: the keeper that is alive had not done it in time. The request stands: it is carried
            out by that keeper or the next.
    """
    if not subjects and not prediction_ids:
        raise PredictionLogError("nothing to erase", expected="a subject or a prediction id")
    log_folder = LogPlace.of(log).folder
    request = write_request(log_folder, clock, subjects, prediction_ids)
    deadline_s = clock.monotonic_s() + timeout_s
    while True:
        Keeper(log, clock, retains=False).run_once()
        report = read_report(log_folder, request.request_id)
        if report is not None:
            return report
        if clock.monotonic_s() >= deadline_s:
            raise KeeperBehindError(
                "the running keeper has not carried out the erasure; the request stands",
                where=str(erasures_folder(log_folder)),
                expected=f"within {timeout_s:g} s",
                next_step="Look at the keeper's output; `holdfast keep --once` carries it out if it is gone",
            )
        clock.sleep_s(_POLL_S)


def retain_now(log: Deployment, clock: Clock, *, timeout_s: float = 600.0) -> RetentionReport:
    """Remove what the checklist no longer keeps, now; by this process, or by the keeper that is alive.

    Raises:
        KeeperBehindError: the keeper that is alive had not done it in time; it will.
    """
    log_folder = LogPlace.of(log).folder
    log_folder.mkdir(parents=True, exist_ok=True)
    retention_request(log_folder).touch()
    deadline_s = clock.monotonic_s() + timeout_s
    while True:
        report = Keeper(log, clock, retains=False).run_once()
        if report.retention is not None:
            return report.retention
        if not retention_request(log_folder).exists():
            return msgspec.json.decode(retention_file(log_folder).read_bytes(), type=RetentionReport)
        if clock.monotonic_s() >= deadline_s:
            raise KeeperBehindError(
                "the running keeper has not looked at the retention yet; it will",
                where=str(log_folder),
                expected=f"within {timeout_s:g} s",
                next_step="Look at the keeper's output",
            )
        clock.sleep_s(_POLL_S)


def foresee_retention(log: Deployment, clock: Clock) -> RetentionReport:
    """What `retain_now` would remove of the rows that are in the tables; removes nothing."""
    place = LogPlace.of(log)
    contents = Contents(place.folder, clock)
    if place.is_shared:
        sizes = SharedContents(place, clock).sizes()
    else:
        sizes = contents.sizes() if contents.exist() else {}
    return foresee(LogTables.open(place, clock), Retention.of(log), clock.now_us(), sizes=sizes)


def _summaries(log_folder: Path) -> list[SegmentSummary]:
    found = []
    for ref in list_segments(spool_folder(log_folder)):
        with contextlib.suppress(FileNotFoundError), OpenSegment(ref) as segment:
            found.append(summarise(segment))
    return found


def _missing(wanted: list[SegmentSummary], place: LogPlace, clock: Clock) -> list[SegmentSummary]:
    """Segments of which a record that was seen is neither in the tables nor gone with its segment."""
    waiting = [summary for summary in wanted if summary.ref.path.exists()]
    if not waiting:
        return []
    predictions = LogTable.open_or_create(place.predictions, PREDICTIONS, clock)
    labels = LogTable.open_or_create(place.labels, LABELS, clock)
    return [
        summary
        for summary in waiting
        if (summary.rows and (predictions.committed(summary.ref.name) or 0) < summary.rows[-1][0])
        or (summary.labels and (labels.committed(summary.ref.name) or 0) < summary.labels[-1][0])
    ]

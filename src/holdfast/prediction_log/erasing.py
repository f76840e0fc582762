"""Erasing what is held about a subject: from the tables and all their versions, and from the spool.

A request is a file, so it outlives whoever made it; the keeper, which alone commits, carries it out. Every
step may be repeated, so a request that was interrupted is carried out again from its beginning:

1. a table that is being scored and has such rows is begun again (`staging`), and everything spooled so far is
   committed;
2. `erased ids noted`: hashes of the predictions' ids, to refuse labels that come later;
3. `erased rows noted`: in the ledger, so that the rows stay accounted for;
4. `labels erased`, then `predictions erased`: from the newest version of the tables;
5. `history erased`: older versions, statistics in the Delta log, and files left by killed keepers;
6. `large inputs removed`: those that no row names any more;
7. `spool erased`: records in segments whose writer lives;
8. `erasure reported`: the report takes the place of the request.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.dataset as pds

from holdfast.clock import Clock
from holdfast.files import sync_file
from holdfast.prediction_log.blocks import LabelBlock, PredictionBlock
from holdfast.prediction_log.errors import LogFormatError
from holdfast.prediction_log.folders import erasures_folder, spool_folder
from holdfast.prediction_log.log_tables import LogTables
from holdfast.prediction_log.scanning import OpenSegment
from holdfast.prediction_log.segments import list_segments
from holdfast.prediction_log.tombstones import blank_records
from holdfast.prediction_log.upkeep import note_removed

_IDS_PER_DELETE: Final = 10_000
"""Ids in one predicate: bounds the text of the query, not the work."""


class ErasureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to forget. The repr shows no value."""

    request_id: str
    requested_at_us: int
    subjects: tuple[str, ...]
    """As they stand in the log: pseudonyms."""
    prediction_ids: tuple[str, ...] = ()
    found_predictions: int = 0
    """What an attempt that was interrupted had found."""
    found_labels: int = 0
    model_versions: tuple[str, ...] = ()

    def is_meant(self, block: PredictionBlock) -> bool:
        """Whether a row of the block is to be forgotten."""
        return not (
            set(self.subjects).isdisjoint(block.subject or ())
            and set(self.prediction_ids).isdisjoint(block.prediction_ids)
        )

    def __repr__(self) -> str:
        return f"ErasureRequest(request_id={self.request_id!r})"


class ErasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased; names nobody."""

    request_id: str
    requested_at_us: int
    done_at_us: int
    predictions: int
    labels: int
    """Labels of these predictions, every revision."""
    spool_records: int
    """Records overwritten in segments that are still being written."""
    large_inputs: int = 0
    """Contents removed since no row names them any more."""
    files_removed: int
    """Data files of the tables that held, or had held, such rows, and orphans of killed keepers."""
    model_versions: tuple[str, ...]
    """Versions that had answered the erased predictions."""
    unreadable: tuple[str, ...]
    """Segments that a newer holdfast wrote: they were not searched, and may still hold such rows."""


def write_request(
    log_folder: Path, clock: Clock, subjects: Sequence[str], prediction_ids: Sequence[str]
) -> ErasureRequest:
    """Enter a request; from now on it is carried out, whatever dies."""
    request = ErasureRequest(
        request_id=secrets.token_hex(8),
        requested_at_us=clock.now_us(),
        subjects=tuple(dict.fromkeys(subjects)),
        prediction_ids=tuple(dict.fromkeys(prediction_ids)),
    )
    folder = erasures_folder(log_folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write(_request_path(log_folder, request.request_id), msgspec.json.encode(request))
    return request


def pending_requests(log_folder: Path) -> list[ErasureRequest]:
    """Requests that are not carried out yet, oldest first."""
    found = []
    for path in sorted(erasures_folder(log_folder).glob("*.request")):
        with contextlib.suppress(FileNotFoundError):
            found.append(msgspec.json.decode(path.read_bytes(), type=ErasureRequest))
    return sorted(found, key=lambda request: request.requested_at_us)


def read_report(log_folder: Path, request_id: str) -> ErasureReport | None:
    """The report of a request, or None as long as it is not carried out."""
    try:
        content = (erasures_folder(log_folder) / f"{request_id}.done").read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(content, type=ErasureReport)


class Eraser:
    """Carries out requests with the tables of the keeper that has the lease.

    Everything that was spooled before must be in the tables already.

    Args:
        log_folder: with spool and requests.
        tables: of the log.
        clock: for the report.
        on_step: called after each step.
        is_shared: keepers of other machines commit to the same tables; they learn whom to forget from there.
        remove_contents: removes the large inputs that no row of the tables names; returns how many.
    """

    def __init__(
        self,
        log_folder: Path,
        tables: LogTables,
        clock: Clock,
        on_step: Callable[[str], None],
        *,
        is_shared: bool = False,
        remove_contents: Callable[[], int] = lambda: 0,
    ) -> None:
        self._remove_contents = remove_contents
        self._is_shared = is_shared
        self._log_folder = log_folder
        self._tables = tables
        self._clock = clock
        self._step = on_step

    def carry_out(self, request: ErasureRequest) -> ErasureReport:
        """Erase; returns when no file of the log holds the rows any more."""
        meant = _filter(request)
        found = self._tables.predictions.dataset().to_table(["prediction_id", "model_version"], filter=meant)
        ids = sorted({*found["prediction_id"].to_pylist(), *request.prediction_ids} - {None})
        request = self._keep_found(request, found, ids)
        self._tables.erased_ids.add(ids, self._clock.now_us())
        if self._is_shared:
            self._tables.erased_ids.add_subjects(request.subjects, request.requested_at_us)
        self._tables.erased_ids.publish()
        self._step("erased ids noted")
        of_ids = pds.field("prediction_id").isin(pa.array(ids, pa.string()))
        has_labels = note_removed(self._tables.labels, of_ids, "erased labels", self._tables.ledger)
        note_removed(self._tables.predictions, meant, "erased", self._tables.ledger)
        self._step("erased rows noted")
        if has_labels:
            for chunk in _chunks(ids):
                self._tables.labels.delete(_sql_in("prediction_id", chunk))
        self._step("labels erased")
        # Last: as long as they are there, a second attempt finds the ids again.
        if found.num_rows:
            for predicate in _predicates(request):
                self._tables.predictions.delete(predicate)
        self._step("predictions erased")
        files_removed = self._tables.predictions.forget_history() + self._tables.labels.forget_history()
        self._step("history erased")
        large_inputs = self._remove_contents()
        spool_records, unreadable = self.blank_spool(frozenset(request.subjects))
        self._step("spool erased")
        report = ErasureReport(
            request_id=request.request_id,
            requested_at_us=request.requested_at_us,
            done_at_us=self._clock.now_us(),
            predictions=request.found_predictions,
            labels=request.found_labels,
            spool_records=spool_records,
            large_inputs=large_inputs,
            files_removed=files_removed,
            model_versions=request.model_versions,
            unreadable=tuple(unreadable),
        )
        self._finish(report)
        self._step("erasure reported")
        return report

    def _keep_found(self, request: ErasureRequest, found: pa.Table, ids: Sequence[str]) -> ErasureRequest:
        """The request with what it is about to remove, on the disk: rows go in one commit, all or none."""
        labels = self._tables.labels.dataset().count_rows(
            filter=pds.field("prediction_id").isin(pa.array(ids, pa.string()))
        )
        versions = {*request.model_versions, *found["model_version"].unique().to_pylist()}
        request = msgspec.structs.replace(
            request,
            found_predictions=max(request.found_predictions, found.num_rows),
            found_labels=max(request.found_labels, labels),
            model_versions=tuple(sorted(versions)),
        )
        _write(_request_path(self._log_folder, request.request_id), msgspec.json.encode(request))
        return request

    def blank_spool(self, subjects: frozenset[str] = frozenset()) -> tuple[int, list[str]]:
        """Overwrite committed records about these subjects, and about all that the tables know as erased.

        Returns:
            Records overwritten, and segments that a newer holdfast wrote.
        """
        erased = self._tables.erased_ids

        def is_meant(block: PredictionBlock | LabelBlock) -> bool:
            if isinstance(block, PredictionBlock):
                if not subjects.isdisjoint(block.subject or ()):
                    return True
                if self._is_shared and any(
                    erased.covers(one, block.logged_at_us) for one in block.subject or ()
                ):
                    return True
            return any(name in erased for name in block.prediction_ids)

        blanked, unreadable = 0, []
        for ref in list_segments(spool_folder(self._log_folder)):
            predictions_to = self._tables.predictions.committed(ref.name) or 0
            labels_to = self._tables.labels.committed(ref.name) or 0
            with contextlib.suppress(FileNotFoundError), OpenSegment(ref) as segment:
                try:
                    blanked += blank_records(segment, predictions_to, labels_to, is_meant)
                except LogFormatError:
                    unreadable.append(ref.name)
        return blanked, unreadable

    def _finish(self, report: ErasureReport) -> None:
        folder = erasures_folder(self._log_folder)
        _write(folder / f"{report.request_id}.done", msgspec.json.encode(report))
        _request_path(self._log_folder, report.request_id).unlink(missing_ok=True)
        sync_file(folder)


def _request_path(log_folder: Path, request_id: str) -> Path:
    return erasures_folder(log_folder) / f"{request_id}.request"


def _write(path: Path, content: bytes) -> None:
    """The file, whole or not at all, and on the disk; readable by its owner only."""
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_file(path.parent)


def _filter(request: ErasureRequest) -> Any:
    return pds.field("subject").isin(pa.array(request.subjects, pa.string())) | pds.field(
        "prediction_id"
    ).isin(pa.array(request.prediction_ids, pa.string()))


def _predicates(request: ErasureRequest) -> Iterator[str]:
    for chunk in _chunks(request.subjects):
        yield _sql_in("subject", chunk)
    for chunk in _chunks(request.prediction_ids):
        yield _sql_in("prediction_id", chunk)


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _IDS_PER_DELETE):
        yield values[start : start + _IDS_PER_DELETE]


def _sql_in(column: str, values: Sequence[str]) -> str:
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"

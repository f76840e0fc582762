"""The ledger: what became of every row served, and the proof.

Each replica numbers the rows that it writes from 0 without a gap, and carries its counters in every frame.
So for each replica: served = stored + sampled out + dropped by its own count, and every sequence number
below its count of stored rows must be found once: in the table, in the spool, or in a range that retention
removed.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
import pyarrow as pa

from holdfast.prediction_log import proof
from holdfast.prediction_log.blocks import Counters
from holdfast.prediction_log.errors import LogFormatError
from holdfast.prediction_log.folders import spool_folder
from holdfast.prediction_log.known_ranges import KnownRanges, batches
from holdfast.prediction_log.large_keeping import ContentCheck, LargeFault, names_in
from holdfast.prediction_log.large_shared import check_shared
from holdfast.prediction_log.places import Log, LogPlace, TablePlace
from holdfast.prediction_log.querying import connect
from holdfast.prediction_log.scanning import OpenSegment, SegmentSummary, summarise
from holdfast.prediction_log.schema import REMOVALS, TableName
from holdfast.prediction_log.segments import list_segments

_LISTED: Final = 100
"""Holes and duplicates named in a report; all are counted."""


class Hole(msgspec.Struct, frozen=True):
    """A stretch of one replica's sequence numbers."""

    table: TableName
    replica: str
    first: int
    last: int
    """Inclusive."""

    @property
    def rows(self) -> int:
        """How many."""
        return self.last - self.first + 1


class ReplicaLedger(msgspec.Struct, frozen=True, kw_only=True):
    """The account of one process start. Counts are rows."""

    replica: str
    served: int
    stored: int
    """In the table, or removed from it by retention or erasure."""
    spooled: int
    """In the spool and not in the table yet."""
    sampled_out: int
    dropped: int
    unaccounted: int
    """served - stored - spooled - sampled_out - dropped; negative when rows are there twice."""
    expired: int
    """Of the stored rows, those that retention removed."""
    erased: int
    """Of the stored rows, those that were erased on request."""
    labels_refused: int
    """Labels that came for an erased prediction and were not stored."""
    alive: bool
    """Whether the process can still write."""


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The account of all process starts together."""

    served: int
    stored: int
    spooled: int
    sampled_out: int
    dropped: int
    unaccounted: int
    expired: int
    erased: int
    labels_refused: int
    torn_records: int
    """Records that were being written when their writer died: not yet answered, so not served."""
    replicas: tuple[ReplicaLedger, ...]

    @property
    def coverage(self) -> float:
        """Share of the rows served that can still be read; 1 when nothing was served."""
        readable = self.stored + self.spooled - self.expired - self.erased
        return readable / self.served if self.served else 1.0


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the proof found. Lists name at most 100; the counts beside them are complete."""

    ok: bool
    """No hole, no row twice, nothing unaccounted, nothing unreadable, no large input gone or changed. Ids
    that callers gave to several rows do not make it false."""
    holes: tuple[Hole, ...]
    """Rows and labels that were written and are nowhere."""
    missing_rows: int
    repeated: tuple[Hole, ...]
    """Rows and labels that are there more than once."""
    repeated_rows: int
    duplicate_ids: tuple[tuple[str, int], ...]
    """Prediction ids of several rows, and how many."""
    duplicate_id_count: int
    torn_records: int
    torn_bytes: int
    unreadable: tuple[str, ...]
    """Segments written by a version of holdfast unknown to this one."""
    large_inputs: int
    """Large inputs that rows name; each was read whole."""
    large_faults: tuple[LargeFault, ...]
    """Of these, the ones that are gone or are not what they were."""
    large_fault_count: int
    ledger: Ledger


@dataclass(slots=True)
class _Account:
    """One replica: what it says it wrote, and where its numbers were found."""

    counters: Counters = field(default_factory=Counters)
    alive: bool = False
    spooled: dict[TableName, list[proof.Range]] = field(
        default_factory=lambda: {"predictions": [], "labels": []}
    )
    removed: dict[str, list[proof.Range]] = field(default_factory=lambda: {name: [] for name in REMOVALS})
    """By the entry's name: numbers that are no longer in a table, or never entered it, and why."""
    found: dict[TableName, list[proof.Range]] = field(
        default_factory=lambda: {"predictions": [], "labels": []}
    )

    def written(self, table: TableName) -> int:
        return self.counters.stored if table == "predictions" else self.counters.labels

    def holes(self, table: TableName) -> list[proof.Range]:
        gone = [one for name, of in REMOVALS.items() if of == table for one in self.removed[name]]
        return proof.missing([*self.found[table], *self.spooled[table], *gone], self.written(table))

    def repeated(self, table: TableName) -> list[proof.Range]:
        return proof.repeated([*self.found[table], *self.spooled[table]])

    def balance(self, replica: str) -> ReplicaLedger:
        counters = self.counters
        # A range is noted before its rows are removed: what is still found has not been removed yet.
        erased = proof.without(proof.union(self.removed["erased"]), proof.union(self.found["predictions"]))
        here = proof.union([*self.found["predictions"], *erased])
        expired = proof.without(proof.union(self.removed["expired"]), here)
        stored = proof.total(self.found["predictions"]) + proof.total(erased) + proof.total(expired)
        spooled = proof.total(self.spooled["predictions"])
        return ReplicaLedger(
            replica=replica,
            served=counters.served,
            stored=stored,
            spooled=spooled,
            sampled_out=counters.sampled_out,
            dropped=counters.dropped,
            unaccounted=counters.served - stored - spooled - counters.sampled_out - counters.dropped,
            expired=proof.total(expired),
            erased=proof.total(erased),
            labels_refused=proof.total(proof.union(self.removed["refused labels"])),
            alive=self.alive,
        )


class _Reading:
    """One consistent look at a log while it is in use.

    The order matters: spool first, then the ledger table, then the tables. A record seen in the spool whose
    segment has moved past it in the later snapshot is in the table; a segment that vanished is in the ledger
    table; and rows written after the look at the spool are cut off by the counters seen there.
    """

    def __init__(self, place: LogPlace, known: dict[TableName, KnownRanges] | None = None) -> None:
        self.place = place
        self.known = known
        self.accounts: dict[str, _Account] = defaultdict(_Account)
        self.torn_records = 0
        self.torn_bytes = 0
        self.unreadable: list[str] = []
        summaries = self._read_spool()
        self._read_ledger_table({summary.ref.name for summary in summaries})
        self._read_table("predictions", place.predictions, summaries)
        self._read_table("labels", place.labels, summaries)

    def _read_spool(self) -> list[SegmentSummary]:
        summaries = []
        for ref in list_segments(spool_folder(self.place.folder)):
            with contextlib.suppress(FileNotFoundError), OpenSegment(ref) as segment:
                try:
                    summary = summarise(segment)
                except LogFormatError:
                    self.unreadable.append(ref.name)
                    continue
                summaries.append(summary)
                account = self.accounts[ref.replica]
                account.counters = account.counters.latest(summary.counters)
                account.alive |= summary.closed == "open"
                self.torn_records += len(summary.torn)
                self.torn_bytes += summary.torn_bytes
        return summaries

    def _read_ledger_table(self, in_spool: set[str]) -> None:
        for row in _batches(self.place.ledger, None):
            for entry in row.to_pylist():
                account = self.accounts[entry["replica"]]
                if entry["entry"] != "segment":
                    account.removed[entry["entry"]].append((entry["first_sequence"], entry["next_sequence"]))
                    continue
                names = ("served", "stored", "sampled_out", "dropped", "labels")
                account.counters = account.counters.latest(Counters(*(entry[name] for name in names)))
                if f"{entry['replica']}-{entry['number']:08d}" not in in_spool:
                    self.torn_records += entry["torn_records"]
                    self.torn_bytes += entry["torn_bytes"]

    def _read_table(self, table: TableName, place: TablePlace, summaries: list[SegmentSummary]) -> None:
        began = set(self.accounts)
        delta = place.open() if place.exists() else None
        found: dict[str, list[proof.Range]] = {}
        if delta is not None and self.known is None:
            found = proof.ranges_by_replica(batches(delta, place))
        elif delta is not None and self.known is not None:
            found = self.known.setdefault(table, KnownRanges()).of(delta, place)
        for replica, parts in found.items():
            account = self.accounts[replica]
            if replica not in began:  # it began after the look at the spool: its rows are all that is known
                seen = max(after for _, after in parts)
                account.counters = account.counters.latest(
                    Counters(served=seen, stored=seen) if table == "predictions" else Counters(labels=seen)
                )
            account.found[table] = proof.below(parts, account.written(table))
        for summary in summaries:
            committed = (None if delta is None else delta.transaction_version(summary.ref.name)) or 0
            frames = summary.rows if table == "predictions" else summary.labels
            waiting = [(first, after) for end, first, after in frames if end > committed]
            self.accounts[summary.ref.replica].spooled[table] += proof.joined(waiting)

    def ledger(self) -> Ledger:
        replicas = tuple(account.balance(name) for name, account in sorted(self.accounts.items()))
        return Ledger(
            served=sum(one.served for one in replicas),
            stored=sum(one.stored for one in replicas),
            spooled=sum(one.spooled for one in replicas),
            sampled_out=sum(one.sampled_out for one in replicas),
            dropped=sum(one.dropped for one in replicas),
            unaccounted=sum(one.unaccounted for one in replicas),
            expired=sum(one.expired for one in replicas),
            erased=sum(one.erased for one in replicas),
            labels_refused=sum(one.labels_refused for one in replicas),
            torn_records=self.torn_records,
            replicas=replicas,
        )


def _batches(place: TablePlace, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    if place.exists():
        yield from place.dataset(place.open()).to_batches(columns=columns)


def read_ledger(log: Log, known: dict[TableName, KnownRanges] | None = None) -> Ledger:
    """The account as of now. Reads two columns of the tables: about a second for 10 million rows.

    Args:
        log: whose.
        known: of earlier calls for the same log, and filled for later ones: only new files are read.
    """
    return _Reading(LogPlace.of(log), known).ledger()


def verify_log(log: Log) -> VerifyReport:
    """Prove the ledger: look for every sequence number, at every id, and into every large input."""
    place = LogPlace.of(log)
    reading = _Reading(place)
    ledger = reading.ledger()
    holes: list[Hole] = []
    twice: list[Hole] = []
    tables: tuple[TableName, ...] = ("predictions", "labels")
    for replica, account in sorted(reading.accounts.items()):
        for table in tables:
            holes += [Hole(table, replica, first, after - 1) for first, after in account.holes(table)]
            twice += [Hole(table, replica, first, after - 1) for first, after in account.repeated(table)]
    ids = _duplicate_ids(place.predictions)
    contents = _check_contents(place)
    return VerifyReport(
        ok=not holes
        and not twice
        and not reading.unreadable
        and not contents.faults
        and all(one.unaccounted == 0 for one in ledger.replicas),
        holes=tuple(holes[:_LISTED]),
        missing_rows=sum(hole.rows for hole in holes),
        repeated=tuple(twice[:_LISTED]),
        repeated_rows=sum(hole.rows for hole in twice),
        duplicate_ids=tuple(ids[:_LISTED]),
        duplicate_id_count=len(ids),
        torn_records=reading.torn_records,
        torn_bytes=reading.torn_bytes,
        unreadable=tuple(reading.unreadable),
        large_inputs=contents.checked,
        large_faults=contents.faults[:_LISTED],
        large_fault_count=len(contents.faults),
        ledger=ledger,
    )


def _check_contents(place: LogPlace) -> ContentCheck:
    """Of rows in the table; one that a keeper removed meanwhile is no longer named."""
    if not place.predictions.exists():
        return ContentCheck.of(place.folder, set())
    named = _names_now(place)
    if place.is_shared:
        checked_bytes, faults = check_shared(place, named)
        check = ContentCheck(checked=len(named), checked_bytes=checked_bytes, faults=faults)
    else:
        check = ContentCheck.of(place.folder, named)
    if not check.faults:
        return check
    still = _names_now(place)
    faults = tuple(fault for fault in check.faults if bytes.fromhex(fault.digest) in still)
    return msgspec.structs.replace(check, faults=faults)


def _names_now(place: LogPlace) -> set[bytes]:
    return names_in(place.predictions.dataset(place.predictions.open()))


def _duplicate_ids(place: TablePlace) -> list[tuple[str, int]]:
    """Ids of several rows, copies aside. Hashes first, so memory is 8 bytes per row and not the id."""
    if not place.exists():
        return []
    with connect() as connection:
        connection.register("predictions", place.dataset(place.open()))
        connection.execute(
            "CREATE TEMP TABLE suspects AS SELECT hash(prediction_id) AS h FROM predictions "
            "WHERE arm IS DISTINCT FROM 'shadow' GROUP BY h HAVING count(*) > 1"
        )
        rows: list[tuple[str, int]] = connection.execute(
            "SELECT prediction_id, count(*) AS n FROM predictions "
            "WHERE hash(prediction_id) IN (SELECT h FROM suspects) AND arm IS DISTINCT FROM 'shadow' "
            "GROUP BY prediction_id HAVING n > 1 ORDER BY n DESC, prediction_id"
        ).fetchall()
    return rows

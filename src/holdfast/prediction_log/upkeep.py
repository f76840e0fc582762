"""What the ledger table is told before records disappear: counters of segments, ranges of expired rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from holdfast.prediction_log import proof
from holdfast.prediction_log.scanning import SegmentSummary
from holdfast.prediction_log.schema import LEDGER
from holdfast.prediction_log.tables import LogTable


def ledger_rows(summaries: Iterable[SegmentSummary]) -> pa.Table:
    """One row per segment that is about to be deleted."""
    rows: list[dict[str, Any]] = []
    for summary in summaries:
        counters = summary.counters
        rows.append(
            {
                "entry": "segment",
                "replica": summary.ref.replica,
                "number": summary.ref.number,
                "deployment": summary.deployment,
                "opened_at": summary.opened_at_us,
                "served": counters.served,
                "stored": counters.stored,
                "sampled_out": counters.sampled_out,
                "dropped": counters.dropped,
                "labels": counters.labels,
                "torn_records": len(summary.torn),
                "torn_bytes": summary.torn_bytes,
                "closed": summary.closed,
                "first_sequence": min((first for _, first, _ in summary.rows), default=None),
                "next_sequence": max((after for _, _, after in summary.rows), default=None),
            }
        )
    return pa.Table.from_pylist(rows, schema=LEDGER)


def note_removed(table: LogTable, rows_meant: Any, entry: str, ledger: LogTable) -> int:
    """Enter the sequence numbers of rows that are about to be removed in the ledger; returns the rows.

    Noting a range twice is harmless: whoever reads takes the union.

    Args:
        table: that holds the rows now.
        rows_meant: a pyarrow filter expression.
        entry: one of `REMOVALS`.
        ledger: takes the note.
    """
    found = table.dataset().to_batches(columns=["replica", "sequence"], filter=rows_meant)
    return note_ranges(proof.ranges_by_replica(found), entry, ledger)


def note_ranges(found: Mapping[str, Sequence[proof.Range]], entry: str, ledger: LogTable) -> int:
    """Enter these sequence numbers of each replica in the ledger; returns how many."""
    rows: list[dict[str, Any]] = [
        {"entry": entry, "replica": replica, "first_sequence": first, "next_sequence": after}
        for replica, parts in found.items()
        for first, after in parts
    ]
    if rows:
        ledger.append(pa.Table.from_pylist(rows, schema=LEDGER), {})
        ledger.sync()  # before the rows go, or never enter a table
    return proof.total((row["first_sequence"], row["next_sequence"]) for row in rows)

"""A state of the log that can be read again later, whatever was compacted or vacuumed in between.

Rows are named by what never changes of them: their replica and sequence number. A version of the Delta table
would be gone with the next vacuum.
"""

from __future__ import annotations

import msgspec

from holdfast.prediction_log.reading import PredictionLog
from holdfast.prediction_log.schema import TableName


class TableState(msgspec.Struct, frozen=True, kw_only=True):
    """One table."""

    version: int | None
    """Of the Delta table; None where there is none yet. For people: rows are not read by it."""
    rows: int
    newest: dict[str, int]
    """Last sequence number of each replica."""

    def condition(self, table: str = "") -> str:
        """The rows that were there, as SQL over the columns `replica` and `sequence`.

        Args:
            table: before the columns' names, with its dot.
        """
        if not self.newest:
            return "false"
        known = ", ".join(
            "('" + replica.replace("'", "''") + f"', {int(sequence)})"
            for replica, sequence in sorted(self.newest.items())
        )
        return (
            f"EXISTS (SELECT 1 FROM (VALUES {known}) AS seen(replica, newest) "  # noqa: S608 - quoted above
            f"WHERE seen.replica = {table}replica AND {table}sequence <= seen.newest)"
        )


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the log held. Rows that were removed since, by retention or erasure, do not come back."""

    predictions: TableState
    labels: TableState


def read_snapshot(log: PredictionLog) -> Snapshot:
    """The state of now. Records still in the spool are not in it: see `settle`."""
    return Snapshot(predictions=_state(log, "predictions"), labels=_state(log, "labels"))


def _state(log: PredictionLog, table: TableName) -> TableState:
    place = log.place.predictions if table == "predictions" else log.place.labels
    query = f"SELECT replica, max(sequence) AS newest, count(*) AS rows FROM {table} GROUP BY replica"  # noqa: S608 - one of two names
    found = log.query(query).read_all().to_pylist()
    version = place.open().version() if place.exists() else None
    return TableState(
        version=version,
        rows=sum(row["rows"] for row in found),
        newest={row["replica"]: row["newest"] for row in found},
    )

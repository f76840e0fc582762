"""The tables of one log together, as the keeper that has the lease sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from holdfast.clock import Clock
from holdfast.prediction_log.erased_ids import ErasedIds
from holdfast.prediction_log.places import LogPlace
from holdfast.prediction_log.schema import LABELS, LEDGER, PREDICTIONS
from holdfast.prediction_log.tables import LogTable


@dataclass(slots=True)
class LogTables:
    """Snapshots that the keeper's own commits move forward."""

    predictions: LogTable
    labels: LogTable
    ledger: LogTable
    erased_ids: ErasedIds

    @classmethod
    def open(cls, place: LogPlace, clock: Clock) -> Self:
        """The tables of this log; those that are missing are made."""
        return cls(
            LogTable.open_or_create(place.predictions, PREDICTIONS, clock),
            LogTable.open_or_create(place.labels, LABELS, clock),
            LogTable.open_or_create(place.ledger, LEDGER, clock),
            ErasedIds(place, clock),
        )

    def refresh(self) -> bool:
        """See what keepers of other machines have committed; whether there were erasures among it."""
        for table in self.all:
            table.refresh()
        return self.erased_ids.refresh()

    @property
    def all(self) -> tuple[LogTable, LogTable, LogTable]:
        """Those that the keeper commits to in each pass."""
        return self.predictions, self.labels, self.ledger

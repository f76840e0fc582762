"""The tables of one log together, as the keeper that has the lease sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from holdfast.prediction_log.erased_ids import ErasedIds
from holdfast.prediction_log.folders import labels_folder, ledger_folder, predictions_folder
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
    def open(cls, log_folder: Path) -> Self:
        """The tables of this log; those that are missing are made."""
        return cls(
            LogTable.open_or_create(predictions_folder(log_folder), PREDICTIONS),
            LogTable.open_or_create(labels_folder(log_folder), LABELS),
            LogTable.open_or_create(ledger_folder(log_folder), LEDGER),
            ErasedIds(log_folder),
        )

    @property
    def all(self) -> tuple[LogTable, LogTable, LogTable]:
        """Those that the keeper commits to in each pass."""
        return self.predictions, self.labels, self.ledger

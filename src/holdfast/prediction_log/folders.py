"""Where the parts of a log lie."""

from __future__ import annotations

from pathlib import Path

from holdfast.prediction_log.segments import spool_folder
from holdfast.spec import Deployment

__all__ = [
    "account_file",
    "erased_folder",
    "erasures_folder",
    "labels_folder",
    "ledger_folder",
    "log_folder_of",
    "predictions_folder",
    "retention_file",
    "retention_request",
    "spool_folder",
]


def log_folder_of(log: Deployment | Path) -> Path:
    """The log's folder, of a deployment or given itself."""
    return log.log_folder if isinstance(log, Deployment) else log


def predictions_folder(log_folder: Path) -> Path:
    """The Delta table of predictions."""
    return log_folder / "predictions"


def labels_folder(log_folder: Path) -> Path:
    """The Delta table of labels."""
    return log_folder / "labels"


def ledger_folder(log_folder: Path) -> Path:
    """The Delta table of counters of segments that are no longer in the spool."""
    return log_folder / "ledger"


def erased_folder(log_folder: Path) -> Path:
    """The Delta table of hashes of erased ids; absent until the first erasure."""
    return log_folder / "erased"


def erasures_folder(log_folder: Path) -> Path:
    """Requests to erase that are not carried out yet, and the reports of those that are."""
    return log_folder / "erasures"


def retention_file(log_folder: Path) -> Path:
    """The report of the last retention."""
    return log_folder / "retention.json"


def retention_request(log_folder: Path) -> Path:
    """Present when somebody wants retention to be looked at now."""
    return log_folder / "retention.request"


def account_file(log_folder: Path) -> Path:
    """The account of the log as the keeper last saw it."""
    return log_folder / "account.json"

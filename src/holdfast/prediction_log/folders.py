"""Where the parts of a log lie in its folder; the tables' place is in `places`."""

from __future__ import annotations

from pathlib import Path

from holdfast.prediction_log.segments import spool_folder

__all__ = [
    "account_file",
    "erasures_folder",
    "retention_file",
    "retention_request",
    "spool_folder",
]


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

"""The prediction log: spool, keeper, tables, labels, ledger.

Importing this room costs what a serving worker needs, no more: whatever reads tables loads its libraries on
first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.prediction_log.errors import (
    ErasedPredictionError,
    KeeperBehindError,
    LogFormatError,
    LogFullError,
    PredictionLogError,
    SpoiledRunError,
)
from holdfast.prediction_log.ids import new_prediction_ids
from holdfast.prediction_log.label_door import LabelDoor
from holdfast.prediction_log.labels import Label, is_number, label_text
from holdfast.prediction_log.large_store import LARGE, large_folder, large_path
from holdfast.prediction_log.sampling import is_sampled
from holdfast.prediction_log.spool import SpoolWriter
from holdfast.prediction_log.staging import StagedRun, finish_abandoned

if TYPE_CHECKING:
    from holdfast.prediction_log.account import Account, read_account
    from holdfast.prediction_log.byte_search import Found, search_bytes
    from holdfast.prediction_log.erased_ids import ErasedIds
    from holdfast.prediction_log.erasing import ErasureReport
    from holdfast.prediction_log.keeper import Keeper
    from holdfast.prediction_log.keeper_pass import KeeperReport
    from holdfast.prediction_log.label_coverage import LabelReport, label_report
    from holdfast.prediction_log.label_file import LabelFileReport, add_label_file
    from holdfast.prediction_log.large_keeping import LargeFault
    from holdfast.prediction_log.ledger import Hole, Ledger, ReplicaLedger, VerifyReport
    from holdfast.prediction_log.querying import DEFAULT_MEMORY_MB
    from holdfast.prediction_log.reading import Counts, NamedLargeInput, PredictionLog
    from holdfast.prediction_log.retaining import RetentionReport
    from holdfast.prediction_log.settling import erase, foresee_retention, retain_now, settle
    from holdfast.prediction_log.snapshots import Snapshot, TableState, read_snapshot

_LOADED_ON_FIRST_USE = {
    "Account": "account",
    "Counts": "reading",
    "DEFAULT_MEMORY_MB": "querying",
    "ErasedIds": "erased_ids",
    "ErasureReport": "erasing",
    "Found": "byte_search",
    "Hole": "ledger",
    "Keeper": "keeper",
    "KeeperReport": "keeper_pass",
    "LabelFileReport": "label_file",
    "LabelReport": "label_coverage",
    "add_label_file": "label_file",
    "Ledger": "ledger",
    "NamedLargeInput": "reading",
    "PredictionLog": "reading",
    "ReplicaLedger": "ledger",
    "VerifyReport": "ledger",
    "erase": "settling",
    "foresee_retention": "settling",
    "LargeFault": "large_keeping",
    "label_report": "label_coverage",
    "RetentionReport": "retaining",
    "Snapshot": "snapshots",
    "TableState": "snapshots",
    "read_account": "account",
    "read_snapshot": "snapshots",
    "retain_now": "settling",
    "search_bytes": "byte_search",
    "settle": "settling",
}

__all__ = [
    "DEFAULT_MEMORY_MB",
    "LARGE",
    "Account",
    "Counts",
    "ErasedIds",
    "ErasedPredictionError",
    "ErasureReport",
    "Found",
    "Hole",
    "Keeper",
    "KeeperBehindError",
    "KeeperReport",
    "Label",
    "LabelDoor",
    "LabelFileReport",
    "LabelReport",
    "LargeFault",
    "Ledger",
    "LogFormatError",
    "LogFullError",
    "NamedLargeInput",
    "PredictionLog",
    "PredictionLogError",
    "ReplicaLedger",
    "RetentionReport",
    "Snapshot",
    "SpoiledRunError",
    "SpoolWriter",
    "StagedRun",
    "TableState",
    "VerifyReport",
    "add_label_file",
    "erase",
    "finish_abandoned",
    "foresee_retention",
    "is_number",
    "is_sampled",
    "label_report",
    "label_text",
    "large_folder",
    "large_path",
    "new_prediction_ids",
    "read_account",
    "read_snapshot",
    "retain_now",
    "search_bytes",
    "settle",
]


def __getattr__(name: str) -> Any:
    module = _LOADED_ON_FIRST_USE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)

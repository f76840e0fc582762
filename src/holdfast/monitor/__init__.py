"""Log and tables in, diagnosis out: windows, profiles, evidence, verdict."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.monitor.diagnosis import (
        Coverage,
        Diagnosis,
        FeatureFinding,
        Onset,
        QualityChange,
        WindowEvidence,
    )
    from holdfast.monitor.errors import MonitorError
    from holdfast.monitor.frames import diagnose
    from holdfast.monitor.history import ColumnHistory, History, read_history
    from holdfast.monitor.service import Monitor
    from holdfast.monitor.slice_history import (
        SliceHistory,
        SliceSummary,
        read_slice,
        read_slices,
    )

_HOMES = {
    "ColumnHistory": "history",
    "History": "history",
    "Coverage": "diagnosis",
    "Diagnosis": "diagnosis",
    "FeatureFinding": "diagnosis",
    "Monitor": "service",
    "MonitorError": "errors",
    "Onset": "diagnosis",
    "QualityChange": "diagnosis",
    "WindowEvidence": "diagnosis",
    "diagnose": "frames",
    "SliceHistory": "slice_history",
    "SliceSummary": "slice_history",
    "read_history": "history",
    "read_slice": "slice_history",
    "read_slices": "slice_history",
}

__all__ = [
    "ColumnHistory",
    "Coverage",
    "Diagnosis",
    "FeatureFinding",
    "History",
    "Monitor",
    "MonitorError",
    "Onset",
    "QualityChange",
    "SliceHistory",
    "SliceSummary",
    "WindowEvidence",
    "diagnose",
    "read_history",
    "read_slice",
    "read_slices",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast.monitor' has no attribute {name!r}")
    return getattr(import_module(f"holdfast.monitor.{_HOMES[name]}"), name)

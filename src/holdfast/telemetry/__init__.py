"""The service's own metrics: counted in the worker, summed over workers off the path of a request."""

from holdfast.telemetry.access import AccessLog, Note
from holdfast.telemetry.counts import LATENCY_EDGES_S, CopyCounts, Histogram, RouteCounts, ServiceCounts
from holdfast.telemetry.snapshots import read_all, retire, write_snapshot
from holdfast.telemetry.traces import Traces

__all__ = [
    "LATENCY_EDGES_S",
    "AccessLog",
    "CopyCounts",
    "Histogram",
    "Note",
    "RouteCounts",
    "ServiceCounts",
    "Traces",
    "read_all",
    "retire",
    "write_snapshot",
]

"""The service's own metrics, summed over workers off the path of a request, and what its processes write."""

from holdfast.telemetry.access import AccessLog, Note
from holdfast.telemetry.counts import (
    LATENCY_EDGES_S,
    CopyCounts,
    Histogram,
    LogCounts,
    RouteCounts,
    ServiceCounts,
)
from holdfast.telemetry.failures import FailureFormatter, log_to_stderr
from holdfast.telemetry.snapshots import read_all, retire, write_snapshot
from holdfast.telemetry.trace_context import (
    TRACEPARENT_BYTES,
    TRACEPARENT_FORM,
    read_traceparent,
    read_tracestate,
)
from holdfast.telemetry.traces import Traces

__all__ = [
    "LATENCY_EDGES_S",
    "TRACEPARENT_BYTES",
    "TRACEPARENT_FORM",
    "AccessLog",
    "CopyCounts",
    "FailureFormatter",
    "Histogram",
    "LogCounts",
    "Note",
    "RouteCounts",
    "ServiceCounts",
    "Traces",
    "log_to_stderr",
    "read_all",
    "read_traceparent",
    "read_tracestate",
    "retire",
    "write_snapshot",
]

"""The service's own metrics: counted in the worker, summed over workers off the path of a request."""

from holdfast.telemetry.counts import Histogram, RouteCounts, ServiceCounts
from holdfast.telemetry.snapshots import read_all, retire, write_snapshot

__all__ = ["Histogram", "RouteCounts", "ServiceCounts", "read_all", "retire", "write_snapshot"]

"""How the service does: rates and latencies from the counts of all workers."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

import msgspec

from holdfast.telemetry import LATENCY_EDGES_S, ServiceCounts
from holdfast.ui.facts import Facts

_WINDOW_S: Final = 10.0
"""Rates are those of the last ten seconds, once somebody has looked for so long."""
_PREDICT: Final = "/predict"
_LEAST_S: Final = 0.9
_MOST_SAMPLES: Final = 64


class VersionTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What one version answered since the service started."""

    version: str
    rows: int
    share: float
    failures: int


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """The service as of now."""

    queries: int
    """Requests for predictions since the service started."""
    rows: int
    queries_per_s: float
    window_s: float
    """That rates and latencies are taken over."""
    since_start: bool
    """Whether that is all of the time since the start."""
    p50_s: float | None
    """Upper end of the bucket that holds the quantile; None without requests."""
    p99_s: float | None
    errors: int
    """Answers of 5xx, in the same time."""
    error_share: float
    refused: int
    """Answers of 4xx, in the same time."""
    queued_rows: int
    open_connections: int
    ready: bool
    champion: str
    versions: tuple[VersionTraffic, ...]


class _Sample(msgspec.Struct):
    at_s: float
    statuses: dict[int, int]
    latency: list[int]


class TrafficWatch:
    """Remembers the counts of the last seconds, as long as somebody looks."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._samples: deque[_Sample] = deque(maxlen=_MOST_SAMPLES)
        self._lock = threading.Lock()

    def look(self) -> Traffic | None:
        """The traffic; None where no service runs."""
        running = self._facts.running()
        if running is None:
            return None
        counts = self._facts.counts()
        clock = self._facts.clock
        now = _sample(counts, clock.monotonic_s())
        with self._lock:
            while self._samples and now.at_s - self._samples[0].at_s > _WINDOW_S:
                self._samples.popleft()
            before = self._samples[0] if self._samples else None
            if not self._samples or now.at_s - self._samples[-1].at_s > _LEAST_S / 2:
                self._samples.append(now)
        # Counts that went back are those of a service that was started again meanwhile.
        usable = before is not None and now.at_s - before.at_s >= _LEAST_S and _grew(before, now)
        uptime_s = max((clock.now_us() - running.since_us) / 1e6, 0.001)
        return _traffic(counts, now, before if usable else None, uptime_s)


def _grew(before: _Sample, now: _Sample) -> bool:
    return all(now.statuses.get(status, 0) >= count for status, count in before.statuses.items())


def _sample(counts: ServiceCounts, at_s: float) -> _Sample:
    statuses: dict[int, int] = {}
    latency = [0] * (len(LATENCY_EDGES_S) + 1)
    for route in counts.all_routes():
        if not route.version and route.route != _PREDICT:
            continue  # asked for no prediction
        for status, count in route.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
        latency = [a + b for a, b in zip(latency, route.latency_s.counts, strict=True)]
    return _Sample(at_s, statuses, latency)


def _traffic(counts: ServiceCounts, now: _Sample, before: _Sample | None, uptime_s: float) -> Traffic:
    window_s = uptime_s if before is None else now.at_s - before.at_s
    old_statuses = {} if before is None else before.statuses
    old_latency = [0] * len(now.latency) if before is None else before.latency
    statuses = {status: count - old_statuses.get(status, 0) for status, count in now.statuses.items()}
    latency = [a - b for a, b in zip(now.latency, old_latency, strict=True)]
    total = sum(statuses.values())
    errors = sum(count for status, count in statuses.items() if status >= 500)
    rows = sum(one.rows for one in counts.versions.values())
    return Traffic(
        queries=sum(now.statuses.values()),
        rows=rows,
        queries_per_s=total / window_s,
        window_s=window_s,
        since_start=before is None,
        p50_s=_quantile(latency, 0.5),
        p99_s=_quantile(latency, 0.99),
        errors=errors,
        error_share=errors / total if total else 0.0,
        refused=sum(count for status, count in statuses.items() if 400 <= status < 500),
        queued_rows=counts.queued_rows,
        open_connections=counts.open_connections,
        ready=counts.ready,
        champion=counts.champion,
        versions=tuple(
            VersionTraffic(
                version=one.version,
                rows=one.rows,
                share=one.rows / rows if rows else 0.0,
                failures=one.failures,
            )
            for one in sorted(counts.versions.values(), key=lambda one: -one.rows)
        ),
    )


def _quantile(latency: list[int], share: float) -> float | None:
    total = sum(latency)
    passed = 0
    for count, edge in zip(latency, (*LATENCY_EDGES_S, float("inf")), strict=True):
        passed += count
        if total and passed >= share * total:
            return edge
    return None

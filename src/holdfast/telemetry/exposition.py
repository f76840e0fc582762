"""Counts as Prometheus text: base units in the names, `_total` on counters, labels model and version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.telemetry.counts import Histogram, ServiceCounts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class LogAccount(Protocol):
    """What the log's keeper last found, over all process starts."""

    @property
    def unaccounted(self) -> int:
        """Served rows of which nothing is known."""

    @property
    def coverage(self) -> float:
        """Share of the rows served that can still be read."""

    @property
    def torn_records(self) -> int:
        """Records whose writer died while writing them."""

    @property
    def labels_refused(self) -> int:
        """Labels for an erased prediction that the keeper refused."""

    @property
    def at_us(self) -> int:
        """When, in microseconds since the epoch."""


class Shown(msgspec.Struct):
    """What `/metrics` says of one deployment."""

    model: str
    """The deployment's name."""
    counts: ServiceCounts
    """Of all workers."""
    workers: int
    """That the service was started with."""
    spool_segments: int = 0
    """Files that the keeper has not yet moved into the table, and deleted."""
    spool_bytes: int = 0
    """Their size."""
    account: LogAccount | None = None
    """Of the log, if there is one."""


def exposition(shown: Sequence[Shown]) -> bytes:
    """The text of `/metrics`, each family once for all deployments."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counts(shown))
    registry.register(_Accounts([(one.model, one.account) for one in shown if one.account is not None]))
    return generate_latest(registry)


class _Accounts(Collector):
    def __init__(self, accounts: Sequence[tuple[str, LogAccount]]) -> None:
        self._accounts = accounts

    def collect(self) -> Iterable[Metric]:
        if not self._accounts:
            return
        values: tuple[tuple[str, str, Callable[[LogAccount], float]], ...] = (
            (
                "unaccounted_rows",
                "Served rows of which nothing is known; anything but 0 is an alarm.",
                lambda account: account.unaccounted,
            ),
            (
                "coverage_ratio",
                "Share of the rows served that the log can show.",
                lambda account: account.coverage,
            ),
            (
                "torn_records",
                "Records whose writer died while writing them; never acknowledged.",
                lambda account: account.torn_records,
            ),
            (
                "labels_refused",
                "Labels that came for an erased prediction.",
                lambda account: account.labels_refused,
            ),
            (
                "account_timestamp_seconds",
                "When the keeper last took the account.",
                lambda account: account.at_us / 1e6,
            ),
        )
        for name, text, value in values:
            gauge = GaugeMetricFamily(f"holdfast_log_{name}", text, labels=["model"])
            for model, account in self._accounts:
                gauge.add_metric([model], value(account))
            yield gauge


class _Counts(Collector):
    def __init__(self, shown: Sequence[Shown]) -> None:
        self._shown = shown

    def collect(self) -> Iterable[Metric]:
        yield from self._requests()
        yield from self._runs()
        yield from self._copies()
        yield from self._log()
        yield from self._gauges()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "holdfast_requests", "Answered requests.", labels=["model", "version", "route", "status"]
        )
        latency = HistogramMetricFamily(
            "holdfast_request_duration_seconds",
            "From the last byte of a request until the answers of its batch are on their way.",
            labels=["model", "version", "route"],
        )
        refusals = CounterMetricFamily(
            "holdfast_refusals", "Requests refused to protect the others.", labels=["model", "reason"]
        )
        for one in self._shown:
            for route in one.counts.all_routes():
                for status, number in sorted(route.statuses.items()):
                    requests.add_metric([one.model, route.version, route.route, str(status)], number)
                _add(latency, [one.model, route.version, route.route], route.latency_s)
            for reason, number in sorted(one.counts.refusals.items()):
                refusals.add_metric([one.model, reason], number)
        yield from (requests, latency, refusals)

    def _runs(self) -> Iterator[Metric]:
        labels = ["model", "version"]
        rows = CounterMetricFamily("holdfast_rows", "Rows answered by the model.", labels=labels)
        failures = CounterMetricFamily(
            "holdfast_model_failures", "Requests on which the model failed.", labels=labels
        )
        batch = HistogramMetricFamily("holdfast_batch_rows", "Rows per run of the model.", labels=labels)
        run = HistogramMetricFamily(
            "holdfast_run_duration_seconds", "Time of one run of the model.", labels=labels
        )
        queue, record, encode = (
            HistogramMetricFamily(name, text, labels=labels)
            for name, text in (
                ("holdfast_queue_duration_seconds", "From a request's arrival to the start of its batch."),
                ("holdfast_record_duration_seconds", "Time to write one batch to the log."),
                ("holdfast_encode_duration_seconds", "Time to write the answers of one batch."),
            )
        )
        for one in self._shown:
            for counts in one.counts.versions.values():
                values = [one.model, counts.version]
                rows.add_metric(values, counts.rows)
                failures.add_metric(values, counts.failures)
                _add(batch, values, counts.batch_rows)
                _add(run, values, counts.run_s)
                _add(queue, values, counts.queue_s)
                _add(record, values, counts.record_s)
                _add(encode, values, counts.encode_s)
        yield from (rows, failures, batch, run, queue, record, encode)

    def _copies(self) -> Iterator[Metric]:
        copies = CounterMetricFamily(
            "holdfast_shadow_rows",
            "Rows copied to a challenger, by what became of them; nobody sees its answers.",
            labels=["model", "version", "outcome"],
        )
        for one in self._shown:
            for copied in one.counts.copies.values():
                for outcome in ("copied", "dropped", "answered", "failed"):
                    copies.add_metric([one.model, copied.version, outcome], getattr(copied, outcome))
        if copies.samples:
            yield copies

    def _log(self) -> Iterator[Metric]:
        rows = CounterMetricFamily(
            "holdfast_log_rows",
            "Rows that reached the log writer, by what became of them; served is their sum.",
            labels=["model", "outcome"],
        )
        labels = CounterMetricFamily("holdfast_labels", "Labels accepted.", labels=["model"])
        refused = CounterMetricFamily(
            "holdfast_labels_refused", "Labels turned away, by the reason.", labels=["model", "reason"]
        )
        large = CounterMetricFamily(
            "holdfast_large_inputs",
            "Large inputs that reached the log: stored beside its tables, or there already.",
            labels=["model", "outcome"],
        )
        large_bytes = CounterMetricFamily(
            "holdfast_large_input_bytes", "Bytes of the large inputs stored.", labels=["model"]
        )
        lost = CounterMetricFamily(
            "holdfast_access_log_lost", "Requests without a line in the access log.", labels=["model"]
        )
        unsynced = CounterMetricFamily(
            "holdfast_log_unsynced",
            "Flushes that the disk refused although answers had to be on it; they left all the same.",
            labels=["model"],
        )
        for one in self._shown:
            log = one.counts.log
            for outcome in ("served", "stored", "sampled_out", "dropped"):
                rows.add_metric([one.model, outcome], getattr(log, outcome))
            labels.add_metric([one.model], log.labels)
            refused.add_metric([one.model, "erased"], log.labels_refused)
            refused.add_metric([one.model, "unfit"], log.labels_unfit)
            large.add_metric([one.model, "stored"], log.large_stored)
            large.add_metric([one.model, "repeated"], log.large_repeated)
            large_bytes.add_metric([one.model], log.large_bytes)
            lost.add_metric([one.model], one.counts.access_lost)
            unsynced.add_metric([one.model], log.unsynced)
        yield from (rows, labels, refused, large, large_bytes, lost, unsynced)

    def _gauges(self) -> Iterator[Metric]:
        gauges = {
            name: GaugeMetricFamily(f"holdfast_{name}", text, labels=["model"])
            for name, text in (
                ("queue_rows", "Rows waiting for a run."),
                ("spool_segments", "Spool files that are not yet in the table."),
                ("spool_bytes", "Their size."),
                ("open_connections", "Open connections of the service."),
                ("workers", "Worker processes the service was started with."),
                ("ready", "1 if the champion is loaded and warm."),
            )
        }
        champion = GaugeMetricFamily(
            "holdfast_champion", "1 for the version that answers.", labels=["model", "version"]
        )
        memory = GaugeMetricFamily(
            "holdfast_version_memory_bytes",
            "By which all workers together grew when they loaded the version.",
            labels=["model", "version"],
        )
        for one in self._shown:
            counts = one.counts
            for name, value in (
                ("queue_rows", counts.queued_rows),
                ("spool_segments", one.spool_segments),
                ("spool_bytes", one.spool_bytes),
                ("open_connections", counts.open_connections),
                ("workers", one.workers),
                ("ready", int(counts.ready)),
            ):
                gauges[name].add_metric([one.model], value)
            if counts.champion:
                champion.add_metric([one.model, counts.champion], 1)
            for version, size_bytes in sorted(counts.memory_bytes.items()):
                memory.add_metric([one.model, version], size_bytes)
        yield from (*gauges.values(), champion, memory)


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    buckets, running = [], 0
    for edge, count in zip((*histogram.edges, float("inf")), histogram.counts, strict=True):
        running += count
        buckets.append(("+Inf" if edge == float("inf") else f"{edge:g}", running))
    family.add_metric(labels, buckets, histogram.total)

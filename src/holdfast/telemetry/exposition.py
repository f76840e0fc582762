"""Counts as Prometheus text: base units in the names, `_total` on counters, labels model and version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

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


def exposition(
    model: str,
    counts: ServiceCounts,
    *,
    workers: int,
    spool_segments: int = 0,
    spool_bytes: int = 0,
    account: LogAccount | None = None,
) -> bytes:
    """The text of `/metrics` for one deployment.

    Args:
        model: the deployment's name.
        counts: of all workers.
        workers: that the service was started with.
        spool_segments: files that the keeper has not yet moved into the table, and deleted.
        spool_bytes: their size.
        account: of the log, if there is one.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counts(model, counts, workers, spool_segments, spool_bytes))
    if account is not None:
        registry.register(_Account(model, account))
    return generate_latest(registry)


class _Account(Collector):
    def __init__(self, model: str, account: LogAccount) -> None:
        self._model = model
        self._account = account

    def collect(self) -> Iterable[Metric]:
        account = self._account
        for name, text, value in (
            (
                "unaccounted_rows",
                "Served rows of which nothing is known; anything but 0 is an alarm.",
                account.unaccounted,
            ),
            ("coverage_ratio", "Share of the rows served that the log can show.", account.coverage),
            (
                "torn_records",
                "Records whose writer died while writing them; never acknowledged.",
                account.torn_records,
            ),
            ("labels_refused", "Labels that came for an erased prediction.", account.labels_refused),
            ("account_timestamp_seconds", "When the keeper last took the account.", account.at_us / 1e6),
        ):
            gauge = GaugeMetricFamily(f"holdfast_log_{name}", text, labels=["model"])
            gauge.add_metric([self._model], value)
            yield gauge


class _Counts(Collector):
    def __init__(
        self, model: str, counts: ServiceCounts, workers: int, spool_segments: int, spool_bytes: int
    ) -> None:
        self._model = model
        self._counts = counts
        self._workers = workers
        self._spool_segments = spool_segments
        self._spool_bytes = spool_bytes

    def collect(self) -> Iterable[Metric]:
        yield from self._requests()
        yield from self._runs()
        yield from self._log()
        yield from self._gauges()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "holdfast_requests", "Answered requests.", labels=["model", "version", "route", "status"]
        )
        latency = HistogramMetricFamily(
            "holdfast_request_duration_seconds",
            "From the last byte of a request to its answer being ready.",
            labels=["model", "version", "route"],
        )
        for route in self._counts.routes.values():
            for status, number in sorted(route.statuses.items()):
                requests.add_metric([self._model, route.version, route.route, str(status)], number)
            _add(latency, [self._model, route.version, route.route], route.latency_s)
        yield requests
        yield latency
        refusals = CounterMetricFamily(
            "holdfast_refusals", "Requests refused to protect the others.", labels=["model", "reason"]
        )
        for reason, number in sorted(self._counts.refusals.items()):
            refusals.add_metric([self._model, reason], number)
        yield refusals

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
        for counts in self._counts.versions.values():
            values = [self._model, counts.version]
            rows.add_metric(values, counts.rows)
            failures.add_metric(values, counts.failures)
            _add(batch, values, counts.batch_rows)
            _add(run, values, counts.run_s)
            _add(queue, values, counts.queue_s)
            _add(record, values, counts.record_s)
            _add(encode, values, counts.encode_s)
        yield from (rows, failures, batch, run, queue, record, encode)
        copies = CounterMetricFamily(
            "holdfast_shadow_rows",
            "Rows copied to a challenger, by what became of them; nobody sees its answers.",
            labels=["model", "version", "outcome"],
        )
        for one in self._counts.copies.values():
            for outcome in ("copied", "dropped", "answered", "failed"):
                copies.add_metric([self._model, one.version, outcome], getattr(one, outcome))
        if self._counts.copies:
            yield copies

    def _log(self) -> Iterator[Metric]:
        rows = CounterMetricFamily(
            "holdfast_log_rows",
            "Rows that reached the log writer, by what became of them; served is their sum.",
            labels=["model", "outcome"],
        )
        log = self._counts.log
        for outcome in ("served", "stored", "sampled_out", "dropped"):
            rows.add_metric([self._model, outcome], getattr(log, outcome))
        yield rows
        labels = CounterMetricFamily("holdfast_labels", "Labels accepted.", labels=["model"])
        labels.add_metric([self._model], log.labels)
        yield labels
        refused = CounterMetricFamily(
            "holdfast_labels_refused", "Labels turned away, by the reason.", labels=["model", "reason"]
        )
        refused.add_metric([self._model, "erased"], log.labels_refused)
        yield refused
        lost = CounterMetricFamily(
            "holdfast_access_log_lost", "Requests without a line in the access log.", labels=["model"]
        )
        lost.add_metric([self._model], self._counts.access_lost)
        yield lost

    def _gauges(self) -> Iterator[Metric]:
        for name, text, value in (
            ("holdfast_queue_rows", "Rows waiting for a run.", self._counts.queued_rows),
            ("holdfast_spool_segments", "Spool files that are not yet in the table.", self._spool_segments),
            ("holdfast_spool_bytes", "Their size.", self._spool_bytes),
            ("holdfast_open_connections", "Open connections.", self._counts.open_connections),
            ("holdfast_workers", "Worker processes the service was started with.", self._workers),
            ("holdfast_ready", "1 if the champion is loaded and warm.", int(self._counts.ready)),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            gauge.add_metric([self._model], value)
            yield gauge
        champion = GaugeMetricFamily(
            "holdfast_champion", "1 for the version that answers.", labels=["model", "version"]
        )
        if self._counts.champion:
            champion.add_metric([self._model, self._counts.champion], 1)
        yield champion


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    buckets, running = [], 0
    for edge, count in zip((*histogram.edges, float("inf")), histogram.counts, strict=True):
        running += count
        buckets.append(("+Inf" if edge == float("inf") else f"{edge:g}", running))
    family.add_metric(labels, buckets, histogram.total)

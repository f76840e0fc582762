"""Requests in the batcher, by the way in which they are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError
from holdfast.infer import AnsweredBatch, Job
from holdfast.serve.calls import Call
from holdfast.telemetry import RouteCounts

if TYPE_CHECKING:
    from holdfast.serve.service import Endpoint, Service
    from holdfast.serve.sink import Sink


class HttpJob(Job):
    """One HTTP request: its answer goes to a sink and is counted under its route."""

    __slots__ = ("counts", "endpoint", "service", "sink")

    service: Service
    endpoint: Endpoint
    counts: RouteCounts
    sink: Sink

    def failed(self, error: HoldfastError) -> None:
        """See `Job.failed`."""
        self.service.count_error(self.counts, error, self.arrived_s, self.sink, self.rows)
        if not self.cancelled:
            self.sink.refuse(error)


class PredictJob(HttpJob):
    """Of `POST /predict`."""

    __slots__ = ("alone",)

    alone: bool
    """Answered by one object, not by a list."""

    def answered(self, batch: AnsweredBatch, start: int) -> None:
        """See `Job.answered`."""
        rows = self.endpoint.rows
        self.sink.respond(rows.one(batch, start) if self.alone else rows.many(batch, start, self.rows))


class CallJob(HttpJob):
    """Of any other protocol, whose call encodes the answer."""

    __slots__ = ("call",)

    call: Call

    def answered(self, batch: AnsweredBatch, start: int) -> None:
        """See `Job.answered`."""
        body, json_bytes = self.call.encode(batch, start)
        self.sink.respond(body, json_bytes)

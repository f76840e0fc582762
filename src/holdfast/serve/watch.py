"""Access log and traces of one worker: told of each answered request, where the checklist asks for either."""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.serve.caller import ANYONE, Caller
from holdfast.serve.sink import Sink
from holdfast.telemetry import AccessLog, Note, RouteCounts, ServiceCounts, Traces, read_tracestate

if TYPE_CHECKING:
    from holdfast.serve.jobs import HttpJob

WRITE_S: Final = 0.25
LAST_WRITE_S: Final = 2.0
_SAMPLED: Final = b"13579bdf"
"""Last digit of a traceparent whose caller wants the trace."""


class Watch:
    """Hands requests on.

    Args:
        access: None: no access log.
        traces: None: no traces.
        counts: of this worker; learns of lost lines.
    """

    def __init__(self, access: AccessLog | None, traces: Traces | None, counts: ServiceCounts) -> None:
        self._access = access
        self._traces = traces
        self._counts = counts
        self._untraced = sys.maxsize if traces is None else traces.until_next()
        """Requests without a traceparent until one is traced."""

    def answering(self, jobs: list[HttpJob], batch_rows: int) -> None:
        """Requests that are about to be answered: those to be traced get a sink that does it.

        Args:
            jobs: of one batch.
            batch_rows: of it.
        """
        traces = self._traces
        if traces is None:
            return
        callers = [job.sink.caller for job in jobs]
        count = len(callers)
        traced: list[HttpJob] = []
        if callers.count(ANYONE) == count:  # as nearly always: only those that chance has found are looked at
            if self._untraced >= count:
                self._untraced -= count
                return
            now_s = time.monotonic()
            at = self._untraced
            while at < count:
                if traces.begins(now_s):
                    traced.append(jobs[at])
                at += 1 + traces.until_next()
            self._untraced = at - count
        else:
            now_s = time.monotonic()
            traced += [
                job
                for job, caller in zip(jobs, callers, strict=True)
                if self._is_traced(traces, caller, now_s)
            ]
        for job in traced:
            job.sink = TracedSink(
                job.sink, traces, job.counts, job.arrived_s, job.rows, batch_rows=batch_rows
            )

    def _is_traced(self, traces: Traces, caller: Caller, now_s: float) -> bool:
        if caller.traceparent:
            return caller.traceparent[-1] in _SAMPLED
        if self._untraced:
            self._untraced -= 1
            return False
        self._untraced = traces.until_next()
        return traces.begins(now_s)

    def answered(
        self,
        route: RouteCounts,
        jobs: list[HttpJob],
        arrived_s: list[float],
        answered_s: float,
        *,
        single: bool,
    ) -> None:
        """Requests that were answered together.

        Args:
            route: where they were counted, all of them.
            jobs: at least one.
            arrived_s: of each, when its last byte came.
            answered_s: monotonic time, like the others.
            single: each has one row.
        """
        if self._access is None:
            return
        request_ids = trace_ids = None
        callers = [job.sink.caller for job in jobs]
        if callers.count(ANYONE) < len(callers):
            request_ids = [caller.request_id for caller in callers]
            trace_ids = [caller.traceparent[3:35] for caller in callers]
        rows = None if single else [job.rows for job in jobs]
        # What waits to be written is packed: objects would take the room in which the next ones are made.
        arrived = array("d", arrived_s)
        self._access.add(Note(answered_s, route, 200, "POST", arrived, rows, request_ids, trace_ids))

    def request(
        self,
        route: RouteCounts,
        status: int,
        answered_s: float,
        seconds: float,
        sink: Sink,
        *,
        method: str = "POST",
        rows: int = 0,
    ) -> None:
        """One request that was answered alone, whose answer is ready and not yet sent.

        Args:
            route: where it was counted.
            status: of HTTP.
            answered_s: monotonic time.
            seconds: since its last byte.
            sink: with its caller; learns the trace's header.
            method: of HTTP.
            rows: of the request.
        """
        caller = sink.caller
        trace_id = caller.traceparent[3:35]
        if self._traces is not None and self._is_traced(self._traces, caller, answered_s):
            made = _trace(self._traces, route, sink, status=status, seconds=seconds, method=method, rows=rows)
            trace_id = made[3:35]
        if self._access is not None:
            began_s = answered_s - seconds
            ids = (caller.request_id,), (trace_id,)
            self._access.add(Note(answered_s, route, status, method, (began_s,), (rows,), *ids))

    async def follow(self) -> None:
        """Write the access log, a few times a second, until cancelled."""
        while self._access is not None:
            await asyncio.to_thread(self._access.write)
            self._counts.access_lost = self._access.lost
            await asyncio.sleep(WRITE_S)

    async def close(self) -> None:
        """Write and send what waits; whoever takes it has a moment."""
        last = [
            asyncio.to_thread(end)
            for end in (
                self._access.write if self._access else None,
                self._traces.close if self._traces else None,
            )
            if end
        ]
        if last:
            await asyncio.wait([asyncio.create_task(one) for one in last], timeout=LAST_WRITE_S)


class TracedSink(Sink):
    """Records the request in a trace when its answer is ready, and sends it on with the trace's header."""

    __slots__ = ("_arrived_s", "_batch_rows", "_route", "_rows", "_sink", "_traces")

    def __init__(
        self, sink: Sink, traces: Traces, route: RouteCounts, arrived_s: float, rows: int, *, batch_rows: int
    ) -> None:
        super().__init__(sink.caller)
        self._sink = sink
        self._traces = traces
        self._route = route
        self._arrived_s = arrived_s
        self._rows = rows
        self._batch_rows = batch_rows

    def add_header(self, line: bytes) -> None:
        """See `Sink.add_header`."""
        self._sink.add_header(line)

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:
        """See `Sink.respond`."""
        seconds = time.monotonic() - self._arrived_s
        made = _trace(
            self._traces,
            self._route,
            self,
            status=200,
            seconds=seconds,
            method="POST",
            rows=self._rows,
            batch_rows=self._batch_rows,
        )
        self.caller = msgspec.structs.replace(self.caller, traceparent=made)  # as it stands in the access log
        self._sink.respond(body, json_bytes)

    def refuse(self, error: HoldfastError) -> None:
        """See `Sink.refuse`."""
        self._sink.refuse(error)


def _trace(
    traces: Traces,
    route: RouteCounts,
    sink: Sink,
    *,
    status: int,
    seconds: float,
    method: str,
    rows: int,
    batch_rows: int = 0,
) -> bytes:
    """Record a request; the traceparent that names it, which the answer carries too."""
    caller = sink.caller
    attributes: dict[str, str | int | float] = {
        "holdfast.rows": rows,
        "holdfast.model_version": route.version,
    }
    if batch_rows:
        attributes["holdfast.batch_rows"] = batch_rows
    if caller.request_id:
        attributes["http.request.header.x-request-id"] = caller.request_id.decode()
    state = read_tracestate(caller.tracestate) if caller.tracestate else []
    made = traces.request(
        f"{method} {route.route}",
        caller.traceparent,
        state,
        ended_ns=time.time_ns(),
        seconds=seconds,
        status=status,
        attributes=attributes,
    )
    sink.add_header(b"traceparent: %b\r\n" % made)
    if state:
        told = ",".join(f"{key}={value}" for key, value in state)
        sink.add_header(b"tracestate: %b\r\n" % told.encode())
    return made

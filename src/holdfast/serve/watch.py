"""Access log and traces of one worker: told of each answered request, where the checklist asks for either."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.clock import Clock
from holdfast.telemetry import Access, AccessLog, PlainAccess, RouteCounts, ServiceCounts, Traces

if TYPE_CHECKING:
    from holdfast.serve.service import Sink

WRITE_S = 0.25
LAST_WRITE_S = 2.0


class Watch:
    """Hands requests on.

    Args:
        access: None: no access log.
        traces: None: no traces.
        counts: of this worker; learns of lost lines.
        clock: wall time of the entries.
    """

    def __init__(
        self, access: AccessLog | None, traces: Traces | None, counts: ServiceCounts, clock: Clock
    ) -> None:
        self._access = access
        self._traces = traces
        self._note = None if access is None else access.add_plain
        self._counts = counts
        self._clock = clock

    def request(
        self,
        route: RouteCounts,
        status: int,
        seconds: float,
        sink: Sink,
        *,
        method: str = "POST",
        rows: int = 0,
        batch_rows: int = 0,
    ) -> None:
        """One request whose answer is ready and not yet sent.

        Args:
            route: where it was counted.
            status: of HTTP.
            seconds: since its last byte.
            sink: with its caller; learns the trace's header.
            method: of HTTP.
            rows: of the request.
            batch_rows: of the run that answered it; 0: none did.
        """
        now_us = self._clock.now_us()
        caller = sink.caller
        traces, note = self._traces, self._note
        traceparent = caller.traceparent
        if traces is None or not traces.wanted(traceparent):  # the usual case
            if note is not None:
                request_id = caller.request_id
                name, version, trace_id = route.route, route.version, traceparent[3:35]
                noted = (now_us, method, name, status, seconds, rows, version, request_id, trace_id)
                if request_id and (b'"' in request_id or b"\\" in request_id):
                    self._note_in_full(noted)
                else:
                    note(noted)
            return
        attributes: dict[str, str | int | float] = {
            "holdfast.rows": rows,
            "holdfast.model_version": route.version,
        }
        if batch_rows:
            attributes["holdfast.batch_rows"] = batch_rows
        if caller.request_id:
            attributes["http.request.header.x-request-id"] = caller.request_id.decode()
        made = traces.request(
            f"{method} {route.route}",
            traceparent,
            ended_ns=now_us * 1000,
            seconds=seconds,
            status=status,
            attributes=attributes,
        )
        sink.add_header(b"traceparent: %b\r\n" % made)
        name, version, request_id, trace_id = route.route, route.version, caller.request_id, made[3:35]
        self._note_in_full((now_us, method, name, status, seconds, rows, version, request_id, trace_id))

    def _note_in_full(self, noted: PlainAccess) -> None:
        if self._access is not None:
            answered_us, method, route, status, seconds, rows, version, request_id, trace_id = noted
            trace = trace_id.decode()
            self._access.add(
                Access(answered_us, method, route, status, seconds, rows, version, request_id, trace)
            )

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

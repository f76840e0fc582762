"""Access log and traces of one worker: told of each answered request, where the checklist asks for either."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from holdfast.telemetry import AccessLog, RouteCounts, ServiceCounts, Traces

if TYPE_CHECKING:
    from holdfast.serve.service import Sink

WRITE_S: Final = 0.25
LAST_WRITE_S: Final = 2.0
_SAMPLED: Final = 1
"""Of a traceparent's flags."""


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

    def request(  # noqa: PLR0917 - by place, as every request comes here
        self,
        route: RouteCounts,
        status: int,
        answered_s: float,
        seconds: float,
        sink: Sink,
        method: str = "POST",
        rows: int = 0,
        batch_rows: int = 0,
    ) -> None:
        """One request whose answer is ready and not yet sent.

        Args:
            route: where it was counted.
            status: of HTTP.
            answered_s: monotonic time.
            seconds: since its last byte.
            sink: with its caller; learns the trace's header.
            method: of HTTP.
            rows: of the request.
            batch_rows: of the run that answered it; 0: none did.
        """
        caller = sink.caller
        traceparent = caller.traceparent
        trace_id = b""
        if traceparent:
            trace_id = traceparent[3:35]
            if self._traces is not None and int(traceparent[-2:], 16) & _SAMPLED:
                trace_id = self._trace(self._traces, route, status, seconds, sink, method, rows, batch_rows)
        elif self._untraced:
            self._untraced -= 1
        elif self._traces is not None:
            self._untraced = self._traces.until_next()
            if self._traces.begins(answered_s):
                trace_id = self._trace(self._traces, route, status, seconds, sink, method, rows, batch_rows)
        if self._access is not None:
            self._access.add((answered_s, seconds, rows, route, status, method, caller.request_id, trace_id))

    @staticmethod
    def _trace(  # noqa: PLR0917 - what `request` was told
        traces: Traces,
        route: RouteCounts,
        status: int,
        seconds: float,
        sink: Sink,
        method: str,
        rows: int,
        batch_rows: int,
    ) -> bytes:
        """Record a request; the id of its trace."""
        caller = sink.caller
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
            caller.traceparent,
            ended_ns=time.time_ns(),
            seconds=seconds,
            status=status,
            attributes=attributes,
        )
        sink.add_header(b"traceparent: %b\r\n" % made)
        return made[3:35]

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

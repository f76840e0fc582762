"""OpenTelemetry spans of requests, when asked for; needs the extra `opentelemetry`.

Which requests are traced is decided before the SDK is asked, so the others cost one comparison. Where
spans go is OpenTelemetry's own to say: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_RESOURCE_ATTRIBUTES` and their
like. Spans leave in the background, in batches, and are dropped by the SDK when nobody takes them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from holdfast.errors import MissingExtraError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

_AHEAD_S: Final = 0.01
"""How far traces of one batch may run ahead of their rate."""


class Traces:
    """Makes one server span per traced request.

    Args:
        service: name of the deployment, `service.name`.
        instance: of the worker, `service.instance.id`.
        fraction: share of requests without a traceparent that begin a trace.
        per_s: of those, at most so many in a second.
        chance: numbers from 0 up to 1, which decide that.
        exporter: takes the spans; None: OTLP over HTTP.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        service: str,
        instance: str,
        *,
        fraction: float,
        per_s: float,
        chance: Callable[[], float],
        exporter: SpanExporter | None = None,
    ) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import SpanProcessor
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter()
        except ImportError as error:
            raise MissingExtraError("opentelemetry", "opentelemetry") from error
        self._resource = Resource.create({"service.name": service, "service.instance.id": instance})
        # Sampling is done here, and exactly once: whatever reaches the SDK is wanted.
        self._processor: SpanProcessor = BatchSpanProcessor(exporter)
        self._scope = InstrumentationScope("holdfast")
        self._ids = RandomIdGenerator()
        self._fraction = fraction
        self._apart_s = 1.0 / per_s
        self._next_s = -math.inf
        self._chance = chance

    def until_next(self) -> int:
        """How many requests without a traceparent pass until one begins a trace, drawn by chance.

        One draw for each that is traced, in the place of one for each request: their number is geometric.
        """
        if self._fraction >= 1.0:
            return 0
        if self._fraction <= 0.0:
            return sys.maxsize
        return min(int(math.log(1.0 - self._chance()) / math.log1p(-self._fraction)), sys.maxsize)

    def begins(self, answered_s: float) -> bool:
        """Whether the request that chance has found begins a trace: not when too many did of late.

        Args:
            answered_s: monotonic time, the same for all of a batch.
        """
        if self._next_s > answered_s + _AHEAD_S:
            return False
        self._next_s = max(self._next_s, answered_s) + self._apart_s
        return True

    def request(
        self,
        name: str,
        traceparent: bytes,
        tracestate: Sequence[tuple[str, str]] = (),
        *,
        ended_ns: int,
        seconds: float,
        status: int,
        attributes: Mapping[str, str | int | float],
    ) -> bytes:
        """Record one answered request; the traceparent that names its span.

        Args:
            name: method and route.
            traceparent: of the caller, valid; b"" begins a trace.
            tracestate: of the caller, valid; goes on with the trace.
            ended_ns: wall time of the end, nanoseconds since the epoch.
            seconds: from the last byte of the request to its answer being ready.
            status: of HTTP.
            attributes: beside those of every HTTP server.
        """
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
        from opentelemetry.trace.status import Status, StatusCode

        parent = None
        state = TraceState(tracestate) if tracestate else None
        if traceparent:
            _, of_trace, of_span, flags = traceparent.decode().split("-")
            given = TraceFlags(int(flags, 16))
            parent = SpanContext(
                int(of_trace, 16), int(of_span, 16), is_remote=True, trace_flags=given, trace_state=state
            )
        trace_id = self._ids.generate_trace_id() if parent is None else parent.trace_id
        span_id = self._ids.generate_span_id()
        method, _, route = name.partition(" ")
        sampled = TraceFlags(TraceFlags.SAMPLED)
        # Made as it is when it has ended: one that lives takes the SDK several times as long.
        span = ReadableSpan(
            name,
            SpanContext(trace_id, span_id, is_remote=False, trace_flags=sampled, trace_state=state),
            parent,
            self._resource,
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                **attributes,
            },
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if status >= 500 else StatusCode.UNSET),
            start_time=ended_ns - round(seconds * 1e9),
            end_time=ended_ns,
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)
        return f"00-{trace_id:032x}-{span_id:016x}-01".encode()

    def close(self) -> None:
        """Send what waits, for some seconds at most."""
        self._processor.shutdown()

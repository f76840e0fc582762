"""What the access log says of a request: as it is noted, and as it is written."""

from __future__ import annotations

import msgspec


class Access(msgspec.Struct, frozen=True, gc=False):
    """One answered request, as it is noted: what can be worked out later is."""

    answered_us: int
    """Microseconds since the epoch."""
    method: str
    route: str
    status: int
    seconds: float
    """From the last byte of the request to its answer being ready."""
    rows: int
    model_version: str
    request_id: bytes = b""
    trace_id: str = ""


PlainAccess = tuple[int, str, str, int, float, int, str, bytes, bytes]
"""The same in the same order, with the trace's id as bytes; neither id holds a quote or a backslash."""


class AccessLine(msgspec.Struct, gc=False):
    """One line, field by field."""

    time: str
    model: str
    route: str
    status: int
    duration_ms: float
    rows: int
    model_version: str
    request_id: str
    trace_id: str

"""What the headers of a request say of its caller, beside the rows: patience, request id, trace.

- `x-request-timeout-ms`: how long the caller will wait, in milliseconds. Envoy and Istio say the same in
  `x-envoy-expected-rq-timeout-ms`; where both stand the shorter counts. It shortens the service's own
  deadline, `[speed] deadline_ms`, and never lengthens it.
- `x-request-id`: kept: it comes back with the answer and stands in the access log.
- `traceparent` and `tracestate`: W3C Trace Context.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from holdfast.serve.errors import RequestError
from holdfast.telemetry import read_traceparent

REQUEST_ID: Final = b"x-request-id"
TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"
TIMEOUTS: Final = (b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms")
CALLER_HEADERS: Final = frozenset({REQUEST_ID, TRACEPARENT, TRACESTATE, *TIMEOUTS})
READABLE_ID_FORM: Final = rb"[\x21-\x7e]{1,200}"
_READABLE_ID: Final = re.compile(READABLE_ID_FORM).fullmatch
_MILLISECONDS: Final = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,6})?").fullmatch


class Caller(msgspec.Struct, frozen=True, gc=False):
    """One request's caller."""

    patience_s: float | None = None
    """None: as long as the service's own deadline."""
    request_id: bytes = b""
    traceparent: bytes = b""
    """Its first four fields, which are those of version 00."""
    tracestate: bytes = b""
    """As it came beside a traceparent, read by nobody yet."""

    @property
    def headers(self) -> bytes:
        """Lines that belong in the answer's head."""
        return b"x-request-id: %b\r\n" % self.request_id if self.request_id else b""


ANYONE: Final = Caller()
"""Says nothing of itself."""


def read_caller(headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """The caller of a request with these headers (names in small letters).

    A request id or a traceparent that is malformed is not kept, and no tracestate without a traceparent; W3C
    asks for that.

    Raises:
        RequestError: a timeout is no number of milliseconds.
    """
    patience_s: float | None = None
    request_id = traceparent = tracestate = b""
    for name, given in headers:
        value = given.rstrip(b" \t")  # no part of it, and the parser leaves it there
        if name == REQUEST_ID:
            request_id = value if _READABLE_ID(value) else b""
        elif name == TRACEPARENT:
            traceparent = read_traceparent(value)
        elif name == TRACESTATE:
            tracestate = b"%b,%b" % (tracestate, value) if tracestate else value
        elif name in TIMEOUTS:
            if not _MILLISECONDS(value):
                raise RequestError("not a timeout", where=name.decode(), expected="milliseconds, such as 250")
            given_s = float(value) / 1000
            patience_s = given_s if patience_s is None else min(patience_s, given_s)
    return Caller(patience_s, request_id, traceparent, tracestate if traceparent else b"")


def caller_of_refused(headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """The caller of a request that is refused whatever it says of its patience; names as they came."""
    kept = [(name.lower(), value) for name, value in headers]
    return read_caller([(name, value) for name, value in kept if name not in TIMEOUTS])

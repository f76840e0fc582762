"""What the headers of a request say of its caller, beside the rows: patience, request id, trace.

- `x-request-timeout-ms`: how long the caller will wait, in milliseconds. Envoy and Istio say the same in
  `x-envoy-expected-rq-timeout-ms`; where both stand the shorter counts. It shortens the service's own
  deadline, `[speed] deadline_ms`, and never lengthens it.
- `x-request-id`: kept: it comes back with the answer and stands in the access log.
- `traceparent`: W3C Trace Context, version 00.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from holdfast.serve.errors import RequestError

REQUEST_ID: Final = b"x-request-id"
TRACEPARENT: Final = b"traceparent"
TIMEOUTS: Final = (b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms")
CALLER_HEADERS: Final = frozenset({REQUEST_ID, TRACEPARENT, *TIMEOUTS})
READABLE_ID_FORM: Final = rb"[\x21-\x7e]{1,200}"
TRACEPARENT_FORM: Final = rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_READABLE_ID: Final = re.compile(READABLE_ID_FORM).fullmatch
_TRACEPARENT: Final = re.compile(TRACEPARENT_FORM).fullmatch
_MILLISECONDS: Final = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,6})?").fullmatch


class Caller(msgspec.Struct, frozen=True, gc=False):
    """One request's caller."""

    patience_s: float | None = None
    """None: as long as the service's own deadline."""
    request_id: bytes = b""
    traceparent: bytes = b""

    @property
    def headers(self) -> bytes:
        """Lines that belong in the answer's head."""
        return b"x-request-id: %b\r\n" % self.request_id if self.request_id else b""


def is_traceparent(value: bytes) -> bool:
    """Whether it is one of version 00."""
    return _TRACEPARENT(value) is not None


ANYONE: Final = Caller()
"""Says nothing of itself."""


def read_caller(headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """The caller of a request with these headers (names in small letters).

    A request id or a traceparent that is malformed is not kept; W3C asks for that.

    Raises:
        RequestError: a timeout is no number of milliseconds.
    """
    patience_s: float | None = None
    request_id = traceparent = b""
    for name, given in headers:
        value = given.rstrip(b" \t")  # no part of it, and the parser leaves it there
        if name == REQUEST_ID:
            request_id = value if _READABLE_ID(value) else b""
        elif name == TRACEPARENT:
            traceparent = value if is_traceparent(value) else b""
        elif name in TIMEOUTS:
            if not _MILLISECONDS(value):
                raise RequestError("not a timeout", where=name.decode(), expected="milliseconds, such as 250")
            given_s = float(value) / 1000
            patience_s = given_s if patience_s is None else min(patience_s, given_s)
    return Caller(patience_s, request_id, traceparent)


def caller_of_refused(headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """The caller of a request that is refused whatever it says of its patience; names as they came."""
    kept = [(name.lower(), value) for name, value in headers]
    return read_caller([(name, value) for name, value in kept if name in {REQUEST_ID, TRACEPARENT}])

"""The access log: one JSON line per request, written off the path of any request.

A request costs one append to a bounded queue; lines are made and written elsewhere, a few times a second.
Each write is one system call of whole lines and of at most 4096 bytes, so that the lines of several workers
on one pipe never mix.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final

import msgspec

from holdfast.clock import iso_utc

MOST_WAITING: Final = 100_000
"""Requests that wait to be written, about 30 MB; what comes then is counted and not written."""
_PIECE_BYTES: Final = 4096
"""POSIX's least PIPE_BUF is 512, Linux's is 4096: what one write to a pipe puts there in one piece."""
_LINES_AT_ONCE: Final = 64
"""Encoded together; between two such groups, others may run."""
_MOST_NAMES: Final = 1000
_NUMBERS: Final = b'"duration_ms":%.3f,"rows":%d,'


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


PlainAccess = tuple[int, str, str, int, float, int, str]
"""The first fields of an `Access`, up to the model's version."""


class _Line(msgspec.Struct, gc=False):
    time: str
    model: str
    route: str
    status: int
    duration_ms: float
    rows: int
    model_version: str
    request_id: str
    trace_id: str


class AccessLog:
    """Takes requests in one thread and writes them in another.

    Args:
        fd: where the lines go; stays open.
        model: name of the deployment.
        most_waiting: bound of the queue.
    """

    def __init__(self, fd: int, model: str = "", most_waiting: int = MOST_WAITING) -> None:
        self.lost = 0
        """Requests without a line: the queue was full, or the file refused."""
        self._fd = fd
        self._model = model
        self._most_waiting = most_waiting
        self._waiting: deque[Access | PlainAccess] = deque()
        self._encode = msgspec.json.Encoder().encode
        self._forms: dict[tuple[str, str, int, str], bytes] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._second = -1
        self._second_text = ""
        self._second_bytes = b""

    def add(self, access: Access) -> None:
        """Queue one request's line."""
        if len(self._waiting) < self._most_waiting:
            self._waiting.append(access)
        else:
            self.lost += 1

    def add_plain(self, noted: PlainAccess) -> None:
        """The same for a request that has neither an id of its caller's nor a trace, as most have."""
        if len(self._waiting) < self._most_waiting:
            self._waiting.append(noted)
        else:
            self.lost += 1

    def write(self) -> None:
        """Write what waits. Blocks as long as the file does; a file that refuses costs only its lines."""
        waiting = self._waiting
        left = len(waiting)  # what comes meanwhile is the next call's
        while left:
            count = min(left, _LINES_AT_ONCE)
            left -= count
            group = [waiting.popleft() for _ in range(count)]
            self._write(
                b"".join(
                    [self._encoded(one) if isinstance(one, Access) else self._plain(one) for one in group]
                )
            )

    def _plain(self, noted: PlainAccess) -> bytes:
        answered_us, method, route, status, seconds, rows, version = noted
        form = self._forms.get((method, route, status, version))
        if form is None:
            form = self._form(method, route, status, version)
        second, fraction_us = divmod(answered_us, 1_000_000)
        if second != self._second:
            self._begin_second(second)
        return form % (self._second_bytes, fraction_us, seconds * 1000, rows)

    def _form(self, method: str, route: str, status: int, version: str) -> bytes:
        """The line of such requests, with the places of what differs between them."""
        line = self._encode(
            _Line(
                "TIME", self._model, f"{method} {route}", status, 0.0, 0, version, request_id="", trace_id=""
            )
        ).replace(b"%", b"%%")
        line = line.replace(b'"TIME"', b'"%b.%06dZ"', 1).replace(b'"duration_ms":0.0,"rows":0,', _NUMBERS, 1)
        form = line + b"\n"
        if len(self._forms) < _MOST_NAMES:
            self._forms[method, route, status, version] = form
        return form

    def _begin_second(self, second: int) -> None:
        self._second, self._second_text = second, iso_utc(second * 1_000_000)[:19]
        self._second_bytes = self._second_text.encode()

    def _encoded(self, one: Access) -> bytes:
        return self._encode(self._line(one)) + b"\n"

    def _line(self, one: Access) -> _Line:
        second, fraction_us = divmod(one.answered_us, 1_000_000)
        if second != self._second:
            self._begin_second(second)
        method, route = one.method, one.route
        name = self._names.get((method, route))
        if name is None:
            name = f"{method} {route}"
            if len(self._names) < _MOST_NAMES:
                self._names[method, route] = name
        return _Line(
            f"{self._second_text}.{fraction_us:06d}Z",
            self._model,
            name,
            one.status,
            int(one.seconds * 1e6 + 0.5) / 1000,
            one.rows,
            one.model_version,
            one.request_id.decode("ascii", "replace") if one.request_id else "",
            one.trace_id,
        )

    def _write(self, lines: bytes) -> None:
        """Write lines in pieces that each fit in one system call."""
        at, end = 0, len(lines)
        while at < end:
            stop = end
            if end - at > _PIECE_BYTES:
                stop = lines.rfind(b"\n", at, at + _PIECE_BYTES) + 1 or lines.index(b"\n", at) + 1
            piece = lines[at:stop]
            at = stop
            try:
                while piece:
                    piece = piece[os.write(self._fd, piece) :]
            except OSError:
                self.lost += piece.count(b"\n")

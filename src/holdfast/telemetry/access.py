"""The access log: one JSON line per request, written off the path of any request.

A request costs one append to a bounded queue; lines are made and written elsewhere, a few times a second.
Each write is one system call of whole lines and of at most 4096 bytes, so that the lines of several workers
on one pipe never mix.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, Final

import msgspec

from holdfast.clock import iso_utc
from holdfast.telemetry.access_lines import Access, AccessLine, PlainAccess

MOST_WAITING: Final = 100_000
"""Requests that wait to be written, about 30 MB; what comes then is counted and not written."""
_PIECE_BYTES: Final = 4096
"""POSIX's least PIPE_BUF is 512, Linux's is 4096: what one write to a pipe puts there in one piece."""
_LINES_AT_ONCE: Final = 64
"""Encoded together; between two such groups, others may run."""
_MOST_NAMES: Final = 1000
_PLACES: Final = 6
"""In the format of a line."""
_NUMBERS: Final = b'"duration_ms":%.3f,"rows":%d,'
_IDS: Final = b'"request_id":"%b","trace_id":"%b"}'


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
        """The same for a request whose ids stand in a line as they are, as nearly all do."""
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
            self._write(self._encoded([waiting.popleft() for _ in range(count)]))

    def _encoded(self, group: list[Access | PlainAccess]) -> bytes:
        """The lines of a group; those that differ in numbers and ids alone are written by one format."""
        parts: list[bytes] = []
        form = b""
        form_of: tuple[str, str, int, str] | None = None
        values: list[Any] = []
        second_us = self._second * 1_000_000
        second_text = self._second_bytes
        for noted in group:
            if isinstance(noted, Access):
                if values:
                    parts.append(form * (len(values) // _PLACES) % tuple(values))
                    values = []
                parts.append(self._encode(self._line(noted)) + b"\n")
                second_us, second_text = self._second * 1_000_000, self._second_bytes
                continue
            answered_us, method, route, status, seconds, rows, version, request_id, trace_id = noted
            same = (method, route, status, version)
            if same != form_of:
                if values:
                    parts.append(form * (len(values) // _PLACES) % tuple(values))
                    values = []
                form_of = same
                form = self._forms.get(same) or self._form(method, route, status, version)
            fraction_us = answered_us - second_us
            if not 0 <= fraction_us < 1_000_000:
                self._begin_second(answered_us // 1_000_000)
                second_us, second_text = self._second * 1_000_000, self._second_bytes
                fraction_us = answered_us - second_us
            values += (second_text, fraction_us, seconds * 1000.0, rows, request_id, trace_id)
        if values:
            parts.append(form * (len(values) // _PLACES) % tuple(values))
        return b"".join(parts)

    def _form(self, method: str, route: str, status: int, version: str) -> bytes:
        """The line of such requests, with the places of what differs between them."""
        line = self._encode(
            AccessLine(
                "TIME", self._model, f"{method} {route}", status, 0.0, 0, version, request_id="", trace_id=""
            )
        ).replace(b"%", b"%%")
        line = line.replace(b'"TIME"', b'"%b.%06dZ"', 1).replace(b'"duration_ms":0.0,"rows":0,', _NUMBERS, 1)
        form = line.removesuffix(b'"request_id":"","trace_id":""}') + _IDS + b"\n"
        if len(self._forms) < _MOST_NAMES:
            self._forms[method, route, status, version] = form
        return form

    def _begin_second(self, second: int) -> None:
        self._second, self._second_text = second, iso_utc(second * 1_000_000)[:19]
        self._second_bytes = self._second_text.encode()

    def _line(self, one: Access) -> AccessLine:
        second, fraction_us = divmod(one.answered_us, 1_000_000)
        if second != self._second:
            self._begin_second(second)
        method, route = one.method, one.route
        name = self._names.get((method, route))
        if name is None:
            name = f"{method} {route}"
            if len(self._names) < _MOST_NAMES:
                self._names[method, route] = name
        return AccessLine(
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

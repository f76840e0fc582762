"""The access log: one JSON line per request, written off the path of any request.

A request costs one append to a bounded queue; lines are made and written elsewhere, a few times a second.
Each write is one system call of whole lines, and of at most 4096 bytes where it is not to a file, so that the
lines of several workers on one pipe never mix.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from typing import Any, Final

import msgspec

from holdfast.clock import Clock, iso_utc
from holdfast.telemetry.counts import RouteCounts

MOST_WAITING: Final = 100_000
"""Requests that wait to be written, about 30 MB; what comes then is counted and not written."""
_PIECE_BYTES: Final = 4096
"""POSIX's least PIPE_BUF is 512, Linux's is 4096: what one write to a pipe puts there in one piece."""
_FILE_PIECE_BYTES: Final = 1 << 16
"""Of one write to a file, which the system takes whole. After each, the thread waits for the interpreter."""
_LINES_AT_ONCE: Final = 256
"""Made together; between two such groups, others may run."""
_MOST_FORMS: Final = 1000
_NUMBERS: Final = b'"duration_ms":%.3f,"rows":%d,'
_IDS: Final = b'"request_id":"%b","trace_id":"%b"}'
_PLACES: Final = 6
"""In the format of a line."""

Note = tuple[float, float, int, RouteCounts, int, str, bytes, bytes]
"""One answered request: when, in seconds of the monotonic clock; seconds since its last byte; rows; its route
and version; status; method; request id, of readable ASCII; trace id."""


class AccessLog:
    """Takes requests in one thread and writes them in another.

    Args:
        fd: where the lines go; stays open.
        clock: turns the times of requests into wall time.
        model: name of the deployment.
        most_waiting: bound of the queue.
    """

    def __init__(self, fd: int, clock: Clock, model: str = "", most_waiting: int = MOST_WAITING) -> None:
        self.lost = 0
        """Requests without a line: the queue was full, or the file refused."""
        self._fd = fd
        self._clock = clock
        self._model = model
        self._most_waiting = most_waiting
        self._waiting: deque[Note] = deque()
        self._piece_bytes = _FILE_PIECE_BYTES if _is_file(fd) else _PIECE_BYTES
        self._forms: dict[tuple[str, str, int, str], bytes] = {}

    def add(self, note: Note) -> None:
        """Queue one request's line."""
        if len(self._waiting) < self._most_waiting:
            self._waiting.append(note)
        else:
            self.lost += 1

    def write(self) -> None:
        """Write what waits. Blocks as long as the file does; a file that refuses costs only its lines."""
        # Requests are told apart by the clock that never jumps; what the other one says of it is asked here.
        epoch_us = self._clock.now_us() - self._clock.monotonic_s() * 1e6
        waiting = self._waiting
        left = len(waiting)  # what comes meanwhile is the next call's
        while left:
            count = min(left, _LINES_AT_ONCE)
            left -= count
            self._write(self._lines([waiting.popleft() for _ in range(count)], epoch_us))

    def _lines(self, notes: list[Note], epoch_us: float) -> bytes:
        """The lines of a group; those that differ in numbers and ids alone, as most do, by one format."""
        times, seconds, rows, routes, statuses, methods, request_ids, trace_ids = zip(*notes, strict=True)
        route, status, method, count = routes[0], statuses[0], methods[0], len(notes)
        second = (times[0] * 1e6 + epoch_us) // 1e6
        second_us = second * 1e6 - epoch_us  # by the clock of the notes
        fractions_us = [one * 1e6 - second_us for one in times]
        if count == 1:
            fractions_us = [min(max(fractions_us[0], 0.0), 999_999.0)]  # the sum was rounded
        elif not (
            all(one is route for one in routes)
            and statuses.count(status) == methods.count(method) == count
            and min(fractions_us) >= 0.0
            and max(fractions_us) < 1e6
        ):
            half = count // 2
            return self._lines(notes[:half], epoch_us) + self._lines(notes[half:], epoch_us)
        if any(request_ids):
            request_ids = tuple(map(_written, request_ids))
        values: list[Any] = [iso_utc(int(second * 1e6))[:19].encode()] * (_PLACES * count)
        values[1::_PLACES] = fractions_us
        values[2::_PLACES] = [one * 1e3 for one in seconds]
        values[3::_PLACES] = rows
        values[4::_PLACES] = request_ids
        values[5::_PLACES] = trace_ids
        return self._form(method, route, status) * count % tuple(values)

    def _form(self, method: str, route: RouteCounts, status: int) -> bytes:
        """The line of such requests, with the places of what differs between them."""
        key = (method, route.route, status, route.version)
        form = self._forms.get(key)
        if form is None:
            line = _Line(
                "TIME", self._model, f"{method} {route.route}", status, 0.0, 0, route.version, "", ""
            )
            form = msgspec.json.encode(line).replace(b"%", b"%%")
            form = form.replace(b'"TIME"', b'"%b.%06dZ"', 1)
            form = form.replace(b'"duration_ms":0.0,"rows":0,', _NUMBERS, 1)
            form = form.removesuffix(b'"request_id":"","trace_id":""}') + _IDS + b"\n"
            if len(self._forms) < _MOST_FORMS:
                self._forms[key] = form
        return form

    def _write(self, lines: bytes) -> None:
        """Write lines in pieces that each fit in one system call."""
        at, end = 0, len(lines)
        while at < end:
            stop = end
            if end - at > self._piece_bytes:
                stop = lines.rfind(b"\n", at, at + self._piece_bytes) + 1 or lines.index(b"\n", at) + 1
            piece = lines[at:stop]
            at = stop
            try:
                while piece:
                    piece = piece[os.write(self._fd, piece) :]
            except OSError:
                self.lost += piece.count(b"\n")


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


def _written(request_id: bytes) -> bytes:
    """As it stands in JSON."""
    if b'"' in request_id or b"\\" in request_id:
        return request_id.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return request_id


def _is_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False

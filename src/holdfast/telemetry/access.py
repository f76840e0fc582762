"""The access log: one JSON line per request, written off the path of any request.

A request costs one append to a bounded queue; lines are made and written elsewhere, a few times a second.
Each write is one system call of whole lines and of at most 4096 bytes, so that the lines of several workers
on one pipe never mix.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final, NamedTuple

import msgspec

from holdfast.clock import iso_utc

MOST_WAITING: Final = 100_000
"""Requests that wait to be written, about 30 MB; what comes then is counted and not written."""
_PIECE_BYTES: Final = 4096
"""POSIX's least PIPE_BUF is 512, Linux's is 4096: what one write to a pipe puts there in one piece."""


class Access(NamedTuple):
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
        self._waiting: deque[Access] = deque()
        self._encode = msgspec.json.Encoder().encode
        self._second = -1
        self._second_text = ""

    def add(self, access: Access) -> None:
        """Queue one request's line."""
        if len(self._waiting) < self._most_waiting:
            self._waiting.append(access)
        else:
            self.lost += 1

    def write(self) -> None:
        """Write what waits. Blocks as long as the file does; a file that refuses costs only its lines."""
        piece: list[bytes] = []
        size = 0
        for _ in range(len(self._waiting)):  # what comes meanwhile is the next call's
            line = self._line(self._waiting.popleft())
            if size + len(line) > _PIECE_BYTES:
                self._write(piece)
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        self._write(piece)

    def _line(self, one: Access) -> bytes:
        second, fraction_us = divmod(one.answered_us, 1_000_000)
        if second != self._second:
            self._second, self._second_text = second, iso_utc(second * 1_000_000)[:19]
        line = _Line(
            f"{self._second_text}.{fraction_us:06d}Z",
            self._model,
            f"{one.method} {one.route}",
            one.status,
            round(one.seconds * 1000, 3),
            one.rows,
            one.model_version,
            one.request_id.decode("ascii", "replace"),
            one.trace_id,
        )
        return self._encode(line) + b"\n"

    def _write(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.lost += data.count(b"\n")

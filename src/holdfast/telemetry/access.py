"""The access log: one JSON line per request, written off the path of any request.

A request costs one append to a bounded queue; lines are made and written elsewhere, a few times a second.
Each write is one system call of whole lines and of at most 4096 bytes, so that the lines of several workers
on one pipe never mix.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import Final

import msgspec

from holdfast.clock import iso_utc

MOST_WAITING: Final = 100_000
"""Requests that wait to be written, about 30 MB; what comes then is counted and not written."""
_PIECE_BYTES: Final = 4096
"""POSIX's least PIPE_BUF is 512, Linux's is 4096: what one write to a pipe puts there in one piece."""


class Access(msgspec.Struct, gc=False):
    """One answered request."""

    time: int | str
    """When it was answered: microseconds since the epoch, ISO 8601 in the line."""
    route: str
    status: int
    duration_ms: float
    """From the last byte of the request to its answer being ready."""
    rows: int
    model_version: str
    request_id: str = ""
    trace_id: str = ""


class AccessLog:
    """Takes requests in one thread and writes them in another.

    Args:
        fd: where the lines go; stays open.
        most_waiting: bound of the queue.
    """

    def __init__(self, fd: int, most_waiting: int = MOST_WAITING) -> None:
        self.lost = 0
        """Requests without a line: the queue was full, or the file refused."""
        self._fd = fd
        self._most_waiting = most_waiting
        self._waiting: deque[Access] = deque()
        self._encode = msgspec.json.Encoder().encode

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
        with contextlib.suppress(IndexError):
            while True:
                access = self._waiting.popleft()
                access.time = iso_utc(int(access.time))
                line = self._encode(access) + b"\n"
                if size + len(line) > _PIECE_BYTES:
                    self._write(piece)
                    piece, size = [], 0
                piece.append(line)
                size += len(line)
        self._write(piece)

    def _write(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.lost += data.count(b"\n")

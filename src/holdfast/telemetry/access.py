"""The access log: one JSON line per request, written off the path of any request.

Requests that were answered together are noted together, by one append to a bounded queue; lines are made and
written elsewhere, a few times a second. Each write is one system call of whole lines, and of at most 4096
bytes where it is not to a file, so that the lines of several workers on one pipe never mix.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.clock import Clock, iso_utc
from holdfast.telemetry.counts import RouteCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_WAITING: Final = 100_000
"""Requests that wait to be written, at most about 30 MB; what comes then is counted and not written."""
_PIECE_BYTES: Final = 4096
"""POSIX's least PIPE_BUF is 512, Linux's is 4096: what one write to a pipe puts there in one piece."""
_FILE_PIECE_BYTES: Final = 1 << 18
"""Of one write to a file, which the system takes whole. After each, the thread waits for the interpreter."""
_LINES_AT_ONCE: Final = 512
"""Made together, in some 0.1 ms; between two such groups, others may run."""
_MOST_FORMS: Final = 1000
_USUAL_US: Final = 1 << 13
"""Shorter times than this are ready as text."""
_US_PER_S: Final = 1_000_000


class Note(msgspec.Struct, frozen=True, gc=False):
    """Requests that were answered together, by one version under one route, with one status."""

    answered_s: float
    """When, by the monotonic clock."""
    route: RouteCounts
    """Route and version."""
    status: int
    """Of HTTP."""
    method: str
    arrived_s: Sequence[float]
    """Of each request, when its last byte came, by the same clock."""
    rows: Sequence[int] | None = None
    """Of each request; None: one."""
    request_ids: Sequence[bytes] | None = None
    """Of each request, readable ASCII, b"" where it has none; None: nowhere."""
    trace_ids: Sequence[bytes] | None = None
    """The same of traces."""


class AccessLog:
    """Takes requests in one thread and writes them in another.

    Args:
        fd: where the lines go; stays open.
        clock: turns the times of requests into wall time.
        model: name of the deployment.
        most_waiting: bound of the queue.
    """

    def __init__(self, fd: int, clock: Clock, model: str = "", most_waiting: int = MOST_WAITING) -> None:
        import numpy as np  # the supervisor, which counts too, needs none

        self._fd = fd
        self._clock = clock
        self._model = msgspec.json.encode(model).replace(b"%", b"%%")
        self._most_waiting = most_waiting
        self._waiting: deque[Note] = deque()
        # Each is changed by one thread only.
        self._taken = self._refused = 0
        self._made = self._unwritten = 0
        self._piece_bytes = _FILE_PIECE_BYTES if _is_file(fd) else _PIECE_BYTES
        self._forms: dict[Any, bytes] = {}
        self._ready: NDArray[np.bytes_] = np.array([b"%d.%03d" % divmod(us, 1000) for us in range(_USUAL_US)])
        """Short times as text."""
        self._second = 0
        self._second_text = b""

    @property
    def lost(self) -> int:
        """Requests without a line: the queue was full, or the file refused."""
        return self._refused + self._unwritten

    def add(self, note: Note) -> None:
        """Queue the lines of a note, all of them or none."""
        count = len(note.arrived_s)
        if self._taken - self._made + count <= self._most_waiting:
            self._taken += count
            self._waiting.append(note)
        else:
            self._refused += count

    def write(self) -> None:
        """Write what waits. Blocks as long as the file does; a file that refuses costs only its lines."""
        # Requests are told apart by the clock that never jumps; what the other one says of it is asked here.
        epoch_us = self._clock.now_us() - self._clock.monotonic_s() * 1e6
        waiting = self._waiting
        left = len(waiting)  # what comes meanwhile is the next call's
        while left:
            notes: list[Note] = []
            count = 0
            while left and count < _LINES_AT_ONCE:
                notes.append(waiting.popleft())
                count += len(notes[-1].arrived_s)
                left -= 1
            self._write(self._lines(notes, epoch_us))
            self._made += count

    def _lines(self, notes: Sequence[Note], epoch_us: float) -> bytes:
        """One line for each request of the notes."""
        times = self._durations(notes)
        pieces: list[bytes] = []
        at = 0
        for note in notes:
            count = len(note.arrived_s)
            columns: list[Sequence[bytes]] = [times[at : at + count]]
            at += count
            if note.rows is not None:
                columns.append([b"%d" % rows for rows in note.rows])
            if note.request_ids is not None:
                columns.append(_written(note.request_ids))
            if note.trace_ids is not None:
                columns.append(note.trace_ids)
            width = len(columns)
            values = [b""] * (width * count)
            for place, column in enumerate(columns):
                values[place::width] = column
            line = b'{"time":"%b%b' % (self._time(note.answered_s, epoch_us), self._form(note))
            pieces.append(line * count % tuple(values))
        return b"".join(pieces)

    def _durations(self, notes: Sequence[Note]) -> list[bytes]:
        """Milliseconds of each request, as text."""
        import numpy as np

        arrived = np.concatenate([np.asarray(note.arrived_s, np.float64) for note in notes])
        answered = np.repeat([note.answered_s for note in notes], [len(note.arrived_s) for note in notes])
        waited_us = np.maximum((answered - arrived) * 1e6 + 0.5, 0.0).astype(np.int64)
        ready = self._ready
        texts: list[bytes] = ready[np.minimum(waited_us, len(ready) - 1)].tolist()
        for place in np.flatnonzero(waited_us >= len(ready)):
            texts[place] = b"%d.%03d" % divmod(int(waited_us[place]), 1000)
        return texts

    def _time(self, answered_s: float, epoch_us: float) -> bytes:
        """In UTC, with microseconds."""
        second, us = divmod(int(answered_s * 1e6 + epoch_us), _US_PER_S)
        if second != self._second:
            self._second, self._second_text = second, iso_utc(second * _US_PER_S)[:20].encode()
        return b"%b%06dZ" % (self._second_text, us)

    def _form(self, note: Note) -> bytes:
        """The note's lines behind their time, with a place for whatever differs between them."""
        route = note.route
        single, unnamed, untraced = note.rows is None, note.request_ids is None, note.trace_ids is None
        key = (note.method, route.route, note.status, route.version, single, unnamed, untraced)
        form = self._forms.get(key)
        if form is None:
            name, version = (
                msgspec.json.encode(text).replace(b"%", b"%%")
                for text in (f"{note.method} {route.route}", route.version)
            )
            form = b'","model":%b,"route":%b,"status":%d' % (self._model, name, note.status)
            form += b',"duration_ms":%%b,"rows":%b,"model_version":%b' % (b"1" if single else b"%b", version)
            form += b',"request_id":"%b","trace_id":"%b"}\n' % (
                b"" if unnamed else b"%b",
                b"" if untraced else b"%b",
            )
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
                self._unwritten += piece.count(b"\n")


def _written(request_ids: Sequence[bytes]) -> Sequence[bytes]:
    """As they stand in JSON."""
    together = b"".join(request_ids)
    if b'"' in together or b"\\" in together:
        return [one.replace(b"\\", b"\\\\").replace(b'"', b'\\"') for one in request_ids]
    return request_ids


def _is_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False

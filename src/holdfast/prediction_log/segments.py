"""Segments: the files of the spool, and who may delete them.

A segment is `spool/<replica>-<number, 8 digits>.spool`. Its writer holds an exclusive `flock` on it as long
as it may write; the kernel lets go of it when the process dies, however it dies. So whoever gets the lock
knows that nothing more will come. A segment appears under its name only once it is locked and has its
header.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from holdfast.prediction_log.blocks import ENCODER, Counters, Header
from holdfast.prediction_log.frames import HEADER_BYTES, checksum_seed, seal

_SEGMENT_SUFFIX: Final = ".spool"
_OPENING_SUFFIX: Final = ".opening"
OPENING_TRIES: Final = 5
"""A keeper looks once a pass, so one that comes in between does so once."""
_SEGMENT_NAME: Final = re.compile(r"(?P<replica>.+)-(?P<number>\d{8})")


def spool_folder(log_folder: Path) -> Path:
    """Where the segments of a log lie."""
    return log_folder / "spool"


def new_replica_id(replica: str) -> str:
    """An id that no other process start has: the given name, made fit for a file name, and 48 random bits."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", replica)[:64] or "replica"
    return f"{plain}-{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True, order=True)
class SegmentRef:
    """A segment by its name."""

    replica: str
    number: int
    path: Path
    name: str
    """The id under which its progress stands in the tables; the file's name without its suffix."""


def list_segments(spool: Path) -> list[SegmentRef]:
    """Every segment that is ready to be read, in the order in which each replica wrote them."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in spool.iterdir():
            parts = _SEGMENT_NAME.fullmatch(path.stem)
            if path.suffix == _SEGMENT_SUFFIX and parts is not None:
                found.append(SegmentRef(parts["replica"], int(parts["number"]), path, path.stem))
    return sorted(found)


def writer_is_gone(segment_fd: int) -> bool:
    """Whether nothing more will be written to this segment."""
    return _lock(segment_fd, fcntl.LOCK_SH)


def remove_abandoned(spool: Path) -> int:
    """Delete segments whose writer died before it had given them their name; returns how many."""
    removed = 0
    with contextlib.suppress(FileNotFoundError):
        for path in spool.iterdir():
            if path.suffix != _OPENING_SUFFIX:
                continue
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDONLY)
                try:
                    if writer_is_gone(fd):
                        path.unlink()
                        removed += 1
                finally:
                    os.close(fd)
    return removed


class SegmentFile:
    """A segment that this process writes.

    Raises:
        OSError: from the constructor and `append`, when the disk refuses. After a failed `append` the segment
            ends where it ended before, or is `broken`.
    """

    def __init__(self, fd: int, path: Path, header: Header) -> None:
        self.fd = fd
        self.path = path
        self.seed = checksum_seed(path.stem)
        self.size_bytes = 0
        self.broken = False
        """Whether its end may hold part of a frame; nothing may be appended any more."""
        self._header = header
        self._header_fd = -1

    @classmethod
    def create(cls, spool: Path, header: Header) -> Self:
        """Begin a new segment, locked, with its header written."""
        for _ in range(OPENING_TRIES - 1):
            # Refused or gone where a keeper came before the lock, and took us for a writer that is dead.
            with contextlib.suppress(BlockingIOError, FileNotFoundError):
                return cls._create(spool, header)
        return cls._create(spool, header)

    @classmethod
    def _create(cls, spool: Path, header: Header) -> Self:
        path = spool / f"{header.replica}-{header.number:08d}{_SEGMENT_SUFFIX}"
        opening = path.with_suffix(_OPENING_SUFFIX)
        fd = os.open(opening, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment = cls(fd, path, header)
            segment.append(segment._render_header(header))
            opening.rename(path)
        except BaseException:
            os.close(fd)
            opening.unlink(missing_ok=True)
            raise
        return segment

    def append(self, frame: bytearray) -> None:
        """Write one sealed frame, whole or not at all."""
        size = len(frame)
        try:
            written = os.write(self.fd, frame)
            while written < size:  # the disk took part of it; the next call says why
                written += os.write(self.fd, bytes(frame[written:]))
        except OSError:
            self._cut_back()
            raise
        self.size_bytes += size

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self.fd, self.size_bytes)
        except OSError:
            self.broken = True

    def rewrite_header(self, counters: Counters) -> None:
        """Put newer counters in the header, in place: needs no space, so it works on a full disk."""
        if self._header_fd < 0:
            self._header_fd = os.open(self.path, os.O_WRONLY)
        os.pwrite(self._header_fd, self._render_header(header_with(self._header, counters)), 0)

    def _render_header(self, header: Header) -> bytearray:
        frame = bytearray(HEADER_BYTES)
        ENCODER.encode_into(header, frame, HEADER_BYTES)
        seal(frame, "H", self.seed)
        return frame

    def close(self) -> None:
        """Let go of the file and its lock. It may be deleted from now on."""
        if self._header_fd >= 0:
            os.close(self._header_fd)
            self._header_fd = -1
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def header_with(header: Header, counters: Counters) -> Header:
    """The same header with these counters."""
    return Header(
        header.deployment, header.replica, header.number, header.opened_at_us, counters.to_fixed_bytes()
    )


def _lock(fd: int, mode: int) -> bool:
    try:
        fcntl.flock(fd, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

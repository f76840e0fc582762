"""What the keeper does with large inputs: bring them to the disk, find what no row names, remove it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from holdfast.clock import Clock
from holdfast.files import sync_file
from holdfast.prediction_log.errors import TableBusyError
from holdfast.prediction_log.large_store import (
    GATE_FILE,
    LARGE,
    LOCK_FILE,
    PARTIAL_SUFFIX,
    PLAIN_SUFFIX,
    SEALED_SUFFIX,
    large_folder,
    large_path,
    sync_contents,
)

_CHUNK_BYTES: Final = 1 << 20
_REMOVED_AT_ONCE: Final = 64
"""Files removed while writers wait: some milliseconds."""
_TRIES: Final = 400
_BETWEEN_TRIES_S: Final = 0.0005
"""Writers wait meanwhile, so for a fifth of a second at most."""
_ABANDONED_AFTER_NS: Final = 3_600_000_000_000
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class LargeFault(msgspec.Struct, frozen=True):
    """A large input that a row names and that is not what it was."""

    digest: str
    fault: str
    """"missing" or "changed"."""


class Contents:
    """The large inputs of one log, for the process that has the lease.

    Args:
        log_folder: of the log.
        clock: for waiting.
    """

    def __init__(self, log_folder: Path, clock: Clock) -> None:
        self._folder = large_folder(log_folder)
        self._clock = clock
        self._unsynced: set[str] = set()
        self._synced_all = False

    def exist(self) -> bool:
        """Whether there ever was one."""
        return self._folder.is_dir()

    def moment(self) -> int:
        """A moment in the time of these files: who used one before it has spooled the row that names it.

        Take it before the spool is read; what is used later is not removed.

        Raises:
            TableBusyError: a writer holds on to the lock.
        """
        self._clock.sleep_s(0.01)  # beyond the step of the clock of file systems
        with self._alone() as lock:
            os.utime(lock)
            return os.fstat(lock).st_mtime_ns

    def remove_unnamed(self, predictions: Any, before_ns: int) -> tuple[int, int]:
        """Remove the contents that no row names and nobody used from `before_ns` on.

        Args:
            predictions: the table as a pyarrow data set, with every row that was spooled before the moment.
            before_ns: from `moment`.

        Returns:
            Files removed, and their bytes.
        """
        named = names_in(predictions)
        doomed: list[Path] = []
        for path, stat in self._files():
            if path.suffix == PARTIAL_SUFFIX:
                if stat.st_mtime_ns < before_ns - _ABANDONED_AFTER_NS:
                    path.unlink(missing_ok=True)
            elif stat.st_mtime_ns < before_ns and _as_key(path.stem) not in named:
                doomed.append(path)
        return self._remove(doomed, before_ns)

    def unused_since(self, before_ns: int) -> list[Path]:
        """Contents that nobody has used from then on."""
        return [
            path
            for path, stat in self._files()
            if path.suffix != PARTIAL_SUFFIX and stat.st_mtime_ns < before_ns
        ]

    def remove(self, doomed: Sequence[Path], before_ns: int) -> int:
        """Remove those of them that nobody has used from `before_ns` on; returns how many.

        Raises:
            TableBusyError: a writer holds on to the lock.
        """
        return self._remove(doomed, before_ns)[0]

    def _remove(self, doomed: Sequence[Path], before_ns: int) -> tuple[int, int]:
        removed = removed_bytes = 0
        for start in range(0, len(doomed), _REMOVED_AT_ONCE):
            with self._alone():
                for path in doomed[start : start + _REMOVED_AT_ONCE]:
                    with contextlib.suppress(FileNotFoundError):
                        stat = path.stat()
                        if stat.st_mtime_ns < before_ns:
                            path.unlink()
                            removed += 1
                            removed_bytes += stat.st_size
        for folder in {path.parent for path in doomed}:
            sync_file(folder)
        return removed, removed_bytes

    def note(self, rows: pa.Table) -> None:
        """These rows are committed: `sync` is to see to the contents that they name."""
        for column in large_columns(rows.schema):
            self._unsynced.update(one for one in pc.unique(rows[column]).to_pylist() if one is not None)

    def sync(self) -> None:
        """Bring the contents of committed rows to the disk.

        The first time, all that the system has to write, since a keeper that died may have left some.
        """
        if not self.exist():
            return
        if not self._synced_all:
            os.sync()
            self._synced_all = True
        else:
            found = (large_path(self._folder, digest) for digest in self._unsynced)
            sync_contents(path for path in found if path is not None)
        self._unsynced.clear()

    def sizes(self) -> dict[str, int]:
        """Bytes by content hash."""
        return {path.stem: stat.st_size for path, stat in self._files() if path.suffix != PARTIAL_SUFFIX}

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder in sorted(self._folder.glob("??")):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith((PLAIN_SUFFIX, SEALED_SUFFIX, PARTIAL_SUFFIX)):
                        with contextlib.suppress(FileNotFoundError):
                            yield Path(entry.path), entry.stat()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """While no writer is between a content and its row."""
        gate = os.open(self._folder / GATE_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        lock = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take(gate)
            self._take(lock)
            yield lock
        finally:
            os.close(lock)
            os.close(gate)

    def _take(self, fd: int) -> None:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if not left:
                    raise TableBusyError(
                        "a writer of large inputs holds on to their lock",
                        where=str(self._folder),
                        next_step="Nothing is lost; the next pass tries again. Is a worker stopped?",
                    ) from error
                self._clock.sleep_s(_BETWEEN_TRIES_S)
            else:
                return


def large_columns(schema: pa.Schema) -> list[str]:
    """Columns that hold content hashes."""
    return [
        column.name for column in schema if column.name.startswith(LARGE) and pa.types.is_string(column.type)
    ]


def names_in(predictions: Any, rows_meant: Any = None) -> set[bytes]:
    """The contents that rows name, 32 bytes each."""
    columns = large_columns(predictions.schema)
    named: set[bytes] = set()
    if columns:
        for batch in predictions.to_batches(columns=columns, filter=rows_meant):
            for column in columns:
                named.update(
                    _as_key(digest) for digest in pc.unique(batch[column]).to_pylist() if digest is not None
                )
    return named


def _as_key(digest: str) -> bytes:
    return bytes.fromhex(digest) if _DIGEST.fullmatch(digest) else digest.encode()


class ContentCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the contents that rows name."""

    checked: int
    checked_bytes: int
    faults: tuple[LargeFault, ...]

    @classmethod
    def of(cls, log_folder: Path, named: set[bytes]) -> Self:
        """Read every content that is named and compare its hash: as fast as the disk, or 1 to 2 GB/s."""
        folder = large_folder(log_folder)
        faults: list[LargeFault] = []
        checked_bytes = 0
        for digest in sorted(key.hex() for key in named):
            path = large_path(folder, digest)
            try:
                found, size_bytes = ("", 0) if path is None else _hash_of(path)
            except FileNotFoundError:
                found, size_bytes = "", 0
            checked_bytes += size_bytes
            if found != digest:
                faults.append(LargeFault(digest, "changed" if found else "missing"))
        return cls(checked=len(named), checked_bytes=checked_bytes, faults=tuple(faults))


def _hash_of(path: Path) -> tuple[str, int]:
    hashed, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hashed.update(chunk)
            size_bytes += len(chunk)
    return hashed.hexdigest(), size_bytes

"""Large inputs beside the tables: one file per content, named by the SHA-256 of its bytes.

Workers write them, each before the row that names it; the keeper removes those that no row names any more.
The two meet in one lock file: a writer holds it, shared, from the moment it writes or renews a file until the
row is in the spool; whoever removes files holds it alone. Before it a writer passes a gate, a second lock
that it gives back at once: closed, it keeps new writers out until those inside are done, so that many writers
do not keep the remover out for ever. A file's time of change is when it was last used.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from holdfast.files import sync_file
from holdfast.privacy import LargeColumn

LARGE: Final = "large_"
"""Before the name of the column that holds the content hash: `large_<input>`."""
PLAIN_SUFFIX: Final = ".npy"
SEALED_SUFFIX: Final = ".sealed"
LOCK_FILE: Final = ".lock"
GATE_FILE: Final = ".gate"
PARTIAL_SUFFIX: Final = ".partial"


def large_folder(log_folder: Path) -> Path:
    """Where the files lie, in folders named by the first two digits of the hash."""
    return log_folder / "large_inputs"


def large_path(folder: Path, digest: str) -> Path | None:
    """The file with this content hash, or None."""
    for suffix in (PLAIN_SUFFIX, SEALED_SUFFIX):
        path = folder / digest[:2] / f"{digest}{suffix}"
        if path.exists():
            return path
    return None


class LargeWriter:
    """Writes contents for one replica; not for several threads at once.

    Args:
        log_folder: of the log.
        replica: its name is unique, so no other writes the same partial file.
        synced: keep what is to be brought to the disk for `take_unsynced`.
    """

    def __init__(self, log_folder: Path, replica: str, *, synced: bool) -> None:
        self._folder = large_folder(log_folder)
        self._replica = replica
        self._synced = synced
        self._unsynced: dict[Path, None] = {}
        self._lock = self._gate = -1
        self.stored = 0
        """Contents written."""
        self.repeated = 0
        """Contents that were there already."""
        self.stored_bytes = 0

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """Until the row that names them is in the spool, no content is removed."""
        if self._lock < 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
            self._gate = os.open(self._folder / GATE_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._gate, fcntl.LOCK_SH)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def put_all(
        self, columns: Mapping[str, LargeColumn], chosen: Sequence[bool]
    ) -> dict[str, list[str | None]]:
        """Content hashes by column of the table; None for the rows that are not chosen.

        Raises:
            OSError: a content cannot be written; those before it stay until nobody names them.
        """
        return {
            f"{LARGE}{name}": [
                self.put(column.parts(row), is_sealed=column.is_sealed) if wanted else None
                for row, wanted in enumerate(chosen)
            ]
            for name, column in columns.items()
        }

    def put(self, parts: Sequence[bytes | memoryview], *, is_sealed: bool) -> str:
        """Write one content unless it is there; returns its hash. Call it inside `using`.

        Raises:
            OSError: it cannot be written, and is not there under its name.
        """
        hashed = hashlib.sha256()
        for part in parts:
            hashed.update(part)
        digest = hashed.hexdigest()
        folder = self._folder / digest[:2]
        path = folder / f"{digest}{SEALED_SUFFIX if is_sealed else PLAIN_SUFFIX}"
        try:
            os.utime(path)
            self.repeated += 1
        except FileNotFoundError:
            self._write(folder, path, parts)
        if self._synced:  # a repeated one may be another writer's, and not on the disk yet
            self._unsynced[path] = None
        return digest

    def _write(self, folder: Path, path: Path, parts: Sequence[bytes | memoryview]) -> None:
        partial = folder / f"{self._replica}{PARTIAL_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            fd = os.open(partial, flags, 0o600)
        except FileNotFoundError:
            folder.mkdir(exist_ok=True)
            fd = os.open(partial, flags, 0o600)
        size_bytes = sum(map(len, parts))
        try:
            try:
                if os.writev(fd, parts) != size_bytes:
                    _write_slowly(fd, parts, size_bytes)
            finally:
                os.close(fd)
            partial.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        self.stored += 1
        self.stored_bytes += size_bytes

    def take_unsynced(self) -> list[Path]:
        """Files that are to be brought to the disk before the rows that name them count as there."""
        taken, self._unsynced = list(self._unsynced), {}
        return taken

    def close(self) -> None:
        """Give the lock file back; a later call opens it again."""
        if self._lock >= 0:
            os.close(self._lock)
            os.close(self._gate)
            self._lock = self._gate = -1


def sync_contents(files: Iterable[Path]) -> None:
    """Bring contents to the disk, with the folders that hold their names up to the log's."""
    folders: dict[Path, None] = {}
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            sync_file(path)
        folders |= dict.fromkeys(path.parents[:3])
    for folder in folders:
        sync_file(folder)


def _write_slowly(fd: int, parts: Iterable[bytes | memoryview], size_bytes: int) -> None:
    """Again from the beginning, piece by piece: the kernel takes at most 2 GB, or less when disks fill."""
    os.lseek(fd, 0, os.SEEK_SET)
    for part in parts:
        left = memoryview(part)
        while left:
            taken = os.write(fd, left)
            if not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left = left[taken:]
    os.ftruncate(fd, size_bytes)

"""The lease: at most one keeper at a time commits to a log."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Lease:
    """An exclusive `flock` on `keeper.lock`; the kernel gives it back when its holder dies."""

    def __init__(self, log_folder: Path) -> None:
        self._path = log_folder / "keeper.lock"
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._fd >= 0

    def acquire(self) -> bool:
        """Take it if nobody has it; returns whether it is held now."""
        if self._fd >= 0:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Give it back; idle if it is not held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

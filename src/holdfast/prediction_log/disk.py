"""Making files survive the loss of power."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from holdfast.files import sync_file


class SyncedFiles:
    """Brings the files of one folder to the disk, each once. They must be files that never change.

    Args:
        folder: need not exist yet.
        changing: names of files that do change and are synced each time.
    """

    def __init__(self, folder: Path, changing: frozenset[str] = frozenset()) -> None:
        self._folder = folder
        self._changing = changing
        self._done: set[str] = set()

    def sync(self) -> None:
        """Return once everything in the folder now is on the disk, the folder itself included."""
        with os.scandir(self._folder) as entries:
            names = {entry.name for entry in entries if entry.is_file()}
        for name in sorted(names - self._done | names & self._changing):
            with contextlib.suppress(FileNotFoundError):  # replaced or cleaned up meanwhile
                sync_file(self._folder / name)
        sync_file(self._folder)
        self._done = names

"""A disk that loses what was not brought to it, to see what a loss of power leaves.

After a loss a file holds the bytes it had when it was last synced, and of what was written since any
prefix, perhaps followed by zeros; a folder holds the names that it had when it was last synced, and of those
that came or went since any. That is what POSIX promises, and all of it; and one thing more, which every file
system with a journal keeps: a file that was renamed has its old name or its new one.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from random import Random

import pytest


class PowerDisk:
    """Watches syncs of files and folders under one folder, which itself is on the disk from the start."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._contents: dict[int, bytes] = {}
        self._names: dict[str, dict[str, int]] = {}
        self._held: dict[int, int] = {}
        """Open files, so that the number of none of them is given to another."""
        self._renamed: dict[int, bool] = {}
        """Whether a file that was renamed has its new name after the loss."""
        for name in ("fsync", "fdatasync"):
            real = getattr(os, name)

            def synced(fd: int, real=real) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
                real(fd)
                self._note(fd)

            patch.setattr(os, name, synced)
        patch.setattr(os, "sync", self._note_all)
        self._note_folder(root)

    def _note(self, fd: int) -> None:
        status = os.fstat(fd)
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if not path.is_relative_to(self._root):
            return
        if stat.S_ISDIR(status.st_mode):
            self._note_folder(path)
        else:
            self._contents[status.st_ino] = (
                os.pread(fd, status.st_size, 0) if _is_readable(fd) else path.read_bytes()
            )
            if status.st_ino not in self._held:
                self._held[status.st_ino] = os.dup(fd)

    def _note_all(self) -> None:
        """Everything is brought to the disk, as by `sync`."""
        for path in [self._root, *self._root.rglob("*")]:
            fd = os.open(path, os.O_RDONLY)
            try:
                self._note(fd)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Let go of the files."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def _note_folder(self, path: Path) -> None:
        self._names[str(path)] = {one.name: one.stat(follow_symlinks=False).st_ino for one in path.iterdir()}

    def after_a_loss(self, target: Path, random: Random) -> Path:
        """What is there when the power is back."""
        self._renamed = {number: random.random() < 0.5 for number in self._gone() & self._come()}
        self._restore(self._root, target, random)
        return target

    def _gone(self) -> set[int]:
        """Files without the name that they had on the disk."""
        return {
            number
            for folder, kept in self._names.items()
            for name, number in kept.items()
            if not Path(folder, name).exists() or Path(folder, name).stat().st_ino != number
        }

    def _come(self) -> set[int]:
        """Files with a name that is not on the disk."""
        return {
            path.stat().st_ino
            for path in self._root.rglob("*")
            if self._names.get(str(path.parent), {}).get(path.name) != path.stat().st_ino
        }

    def _restore(self, folder: Path, target: Path, random: Random) -> None:
        """The folder as it may be found; it need not be there any more."""
        target.mkdir()
        kept = self._names.get(str(folder), {})
        now = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
        for name, path in now.items():
            number = path.stat().st_ino
            if kept.get(name) != number and not self._renamed.get(number, random.random() < 0.5):
                continue
            if path.is_dir():
                self._restore(path, target / name, random)
                continue
            written = path.read_bytes()
            held = self._contents.get(number, b"")
            cut = random.randint(len(held), max(len(held), len(written)))
            zeros = bytes(random.choice([0, len(written) - cut]) if len(written) > cut else 0)
            (target / name).write_bytes(held + written[len(held) : cut] + zeros)
        for name, number in kept.items():  # their removal may not have reached the disk
            is_gone = name not in now or now[name].stat().st_ino != number
            if not is_gone or (target / name).exists() or self._renamed.get(number, random.random() < 0.5):
                continue
            if number in self._contents:
                (target / name).write_bytes(self._contents[number])
            elif str(folder / name) in self._names:
                self._restore(folder / name, target / name, random)


def _is_readable(fd: int) -> bool:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY

"""A control group of version 2 for the service, where this process may make one.

The kernel lets a group have either processes or children with controllers, but for the root. So where the
controller is not yet passed on, this process first moves into a child of its own group, if it is alone there,
and back at the end: `systemd-run --user --scope -p Delegate=yes holdfast check` gives it such a group.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A group for the service, and what was changed for it."""

    group: Path
    moved: Path | None
    """The child that this process moved into; None: it stayed where it was."""
    controller: str

    def remove(self) -> None:
        """Put everything back; the processes of the group must have ended."""
        with contextlib.suppress(OSError):
            self.group.rmdir()
        if self.moved is not None:
            _move_back(self.group.parent, self.moved, self.controller)


def make_place(cgroups: Path, own: str, controller: str = "memory") -> Place | None:
    """A group with that controller, or None where that is not permitted.

    Args:
        cgroups: where cgroup 2 is mounted.
        own: the text of `/proc/self/cgroup`.
        controller: that the group must have.
    """
    path = next((line[3:] for line in own.splitlines() if line.startswith("0::")), None)
    if path is None:
        return None
    parent = cgroups / path.lstrip("/")
    moved = None
    try:
        if controller not in _words(parent / "cgroup.controllers"):
            return None
        if controller not in _words(parent / "cgroup.subtree_control"):
            moved = _make_room(parent, controller)
            if moved is None:
                return None
        group = parent / f"holdfast-check-{os.getpid()}"
        group.mkdir()
    except OSError:
        if moved is not None:
            _move_back(parent, moved, controller)
        return None
    return Place(group, moved, controller)


def _words(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").split()


def _make_room(parent: Path, controller: str) -> Path | None:
    """Pass the controller on to children, from a child of our own; None where others are in the group."""
    if _words(parent / "cgroup.procs") != [str(os.getpid())]:
        return None
    inside = parent / f"holdfast-self-{os.getpid()}"
    inside.mkdir()
    try:
        (inside / "cgroup.procs").write_text(str(os.getpid()))
        (parent / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError:
        _move_back(parent, inside, controller)
        return None
    return inside


def _move_back(parent: Path, inside: Path, controller: str) -> None:
    for file, text in (
        (parent / "cgroup.subtree_control", f"-{controller}"),
        (parent / "cgroup.procs", str(os.getpid())),
    ):
        with contextlib.suppress(OSError):
            file.write_text(text)
    with contextlib.suppress(OSError):
        inside.rmdir()

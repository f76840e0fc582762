"""Units of assignment that were counted already, kept from table to table.

The test of the arms' ratio takes each unit once: the same patients come again every night, and would
otherwise count as new evidence each time. What is kept are keyed hashes, which whoever has the registry can
join with a person; so they go with the share of the rollout that needs them, and when a subject is erased.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from holdfast.registry import Rollout

MOST_UNITS: Final = 200_000
"""Units that are counted at one share; later ones are assigned all the same. 1.6 MB on disk."""
_UNITS: Final = "units.npy"
_HIDDEN: Final = "units.npy.part"
_CLOSED: Final = "units.closed"
"""Whom the units were is forgotten: to count on would take the same ones twice."""


class SeenUnits:
    """Places of units at one share of a rollout.

    Args:
        folder: of that share; need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places = _read(folder)
        self._new: set[int] = set()
        self._closed = (folder / _CLOSED).exists()

    def add(self, place: int) -> bool:
        """Whether the unit at that place is new and counts."""
        if self._closed or place in self._places or len(self._places) >= MOST_UNITS:
            return False
        self._places.add(place)
        self._new.add(place)
        return True

    def write(self) -> None:
        """Keep what was added; nothing is written where nothing was counted.

        What others have added or forgotten since stays so.
        """
        if not self._new:
            return
        with _locked(self._folder):
            if not (self._folder / _CLOSED).exists():
                _replace(self._folder, _read(self._folder) | self._new)


def forget_units(folder: Path, places: Iterable[int] | None) -> int:
    """Forget units at one share of a rollout; returns how many.

    Args:
        folder: of that share; need not exist.
        places: of these units; None: of all, and no more are counted at this share.
    """
    if not folder.is_dir():
        return 0
    with _locked(folder):
        (folder / _HIDDEN).unlink(missing_ok=True)  # of a run that was killed while it wrote
        held = _read(folder)
        if places is None:
            if held:
                (folder / _CLOSED).touch()
                (folder / _UNITS).unlink()
            return len(held)
        meant = held & set(places)
        if meant:
            _replace(folder, held - meant)
        return len(meant)


def keep_units_of(scored: Path, rollout: Rollout | None) -> None:
    """Remove all units but those of the open rollout's present share: no other can meet them again.

    Args:
        scored: where tables are counted, a folder for each rollout with one for each share.
        rollout: that is open, if any.
    """
    needed = None if rollout is None else share_folder(scored, rollout.number, rollout.share)
    for path in (*scored.glob(f"*/*/{_UNITS}"), *scored.glob(f"*/*/{_HIDDEN}")):
        if path.parent != needed:
            with _locked(path.parent):
                path.unlink(missing_ok=True)


def share_folder(scored: Path, rollout: int, share: float) -> Path:
    """What was counted at one share of a rollout."""
    return scored / str(rollout) / f"{share:g}"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _read(folder: Path) -> set[int]:
    try:
        found: list[int] = np.load(folder / _UNITS, allow_pickle=False).tolist()
    except FileNotFoundError:
        return set()
    return set(found)


def _replace(folder: Path, places: set[int]) -> None:
    """The file as a whole; under the lock, so that one hidden name is enough and a kill leaves one file."""
    hidden = folder / _HIDDEN
    with hidden.open("wb") as file:
        np.save(file, np.array(sorted(places), dtype=np.uint64))
        file.flush()
        os.fsync(file.fileno())
    hidden.replace(folder / _UNITS)

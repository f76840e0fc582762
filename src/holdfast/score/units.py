"""Units of assignment that were counted already, kept from table to table.

The test of the arms' ratio takes each unit once: the same patients come again every night, and would
otherwise count as new evidence each time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np

MOST_UNITS: Final = 200_000
"""Units that are counted at one share; later ones are assigned all the same. 1.6 MB on disk."""


class SeenUnits:
    """Places of units at one share of a rollout.

    Args:
        folder: of that share; need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "units.npy"
        self._places: set[int] = set()
        if self._path.exists():
            self._places = set(np.load(self._path, allow_pickle=False).tolist())

    def add(self, place: int) -> bool:
        """Whether the unit at that place is new and counts."""
        if place in self._places or len(self._places) >= MOST_UNITS:
            return False
        self._places.add(place)
        return True

    def write(self) -> None:
        """Replace the file as a whole; nothing is written where nothing was counted."""
        if not self._places:
            return
        hidden = self._path.with_suffix(f".{os.getpid()}.part")
        with hidden.open("wb") as file:
            np.save(file, np.array(sorted(self._places), dtype=np.uint64))
        hidden.replace(self._path)

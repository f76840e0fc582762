"""Which arm a unit belongs to: a keyed hash, so that everybody who has the key agrees without asking."""

from __future__ import annotations

import hashlib
from typing import Final

_HASH_END: Final = 1 << 64


def place_of(key: bytes, unit: str) -> int:
    """Where a unit lies between 0 and 2**64 - 1: its keyed BLAKE2b hash."""
    digest = hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8, key=key)
    return int.from_bytes(digest.digest(), "big")


def is_below(place: int, share: float) -> bool:
    """Whether that place belongs to the challenger at this share of the units.

    A unit assigned at one share is assigned at every larger one.
    """
    return place < share * _HASH_END

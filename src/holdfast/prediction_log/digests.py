"""The hash by which an erased prediction is known."""

from __future__ import annotations

import hashlib
from typing import Final

DIGEST_BYTES: Final = 16


def digest_of(key: bytes, prediction_id: str) -> bytes:
    """BLAKE2b with 128 bits, keyed, so equal ids in two logs have two hashes."""
    text = prediction_id.encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES, key=key).digest()

"""The seal of an audit entry: a hash over itself and the one before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

GENESIS: Final = "0" * 64
"""What stands as the hash before the first entry."""
_canonical = msgspec.json.Encoder(order="sorted").encode


def entry_hash(entry: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of all fields but the hash, as JSON with sorted keys and no spaces."""
    return hashlib.sha256(_canonical({name: entry[name] for name in entry if name != "hash"})).hexdigest()

"""W3C Trace Context, level 1: how `traceparent` and `tracestate` are read.

A `traceparent` of a version to come is read by its first four fields, as the recommendation asks, and goes on
as version 00.
"""

from __future__ import annotations

import re
from typing import Final

_FIELDS: Final = rb"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
TRACEPARENT_FORM: Final = rb"(?:00-%b|(?!00|ff)[0-9a-f]{2}-%b(?:-[!-~]*)?)" % (_FIELDS, _FIELDS)
TRACEPARENT_BYTES: Final = 55
"""Of the first four fields."""
LARGEST_TRACESTATE_BYTES: Final = 512
"""That go on; the recommendation asks for at least so many."""
_LARGEST_READ_BYTES: Final = 4096
_MOST_MEMBERS: Final = 32
_traceparent: Final = re.compile(TRACEPARENT_FORM).fullmatch
_member: Final = re.compile(
    r"([a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=([ -+\--<>-~]{0,255}[!-+\--<>-~])"
).fullmatch


def read_traceparent(value: bytes) -> bytes:
    """The first four fields; b"" where the value is malformed."""
    return value[:TRACEPARENT_BYTES] if _traceparent(value) else b""


def read_tracestate(value: bytes) -> list[tuple[str, str]]:
    """Keys and values of what goes on; none where the value is malformed.

    Args:
        value: of all lines of that name, joined by commas.
    """
    if len(value) > _LARGEST_READ_BYTES:
        return []
    texts = [one.strip(" \t") for one in value.decode("latin-1").split(",")]
    members: dict[str, str] = {}
    size_bytes = -1  # no comma before the first
    for text in texts:
        if not text:
            continue
        found = _member(text)
        if found is None or found[1] in members or len(members) == _MOST_MEMBERS:
            return []
        members[found[1]] = found[2]
    kept: list[tuple[str, str]] = []
    for key, given in members.items():  # the newest come first, and go on as far as there is room
        size_bytes += len(key) + len(given) + 2
        if size_bytes > LARGEST_TRACESTATE_BYTES:
            break
        kept.append((key, given))
    return kept

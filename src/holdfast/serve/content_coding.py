"""Content codings of HTTP bodies (RFC 9110, 8.4 and 12.5.3): which are read and written, and the work itself.

`gzip` may have several members (RFC 1952). `deflate` is a zlib stream (RFC 1950); one without zlib's head, as
some clients send it, is read too. The work comes in pieces, so that others can be served between them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, Literal

from holdfast.infer import MalformedBodyError
from holdfast.serve.errors import ContentCodingError, too_large
from holdfast.serve.slices import Work

Coding = Literal["", "gzip", "deflate"]
"""What a body is compressed with; "": not at all."""
CODINGS: Final[dict[bytes, Coding]] = {b"gzip": "gzip", b"x-gzip": "gzip", b"deflate": "deflate"}
READ: Final = "gzip, deflate"
"""As `Accept-Encoding` says it."""
COMPRESSED_FROM_BYTES: Final = 16 * 1024
"""Smaller answers go out as they are: ten segments leave in the first round trip (RFC 6928), so that less
would come no sooner."""
_LEVEL: Final = 1
"""Of zlib: a fifth of the time of level 6 at most, for a tenth more bytes (docs/adr/0064)."""
_READ_BYTES: Final = 16 * 1024
_MADE_BYTES: Final = 64 * 1024
"""Of one piece; each takes well below a millisecond."""
_MOST_MEMBERS: Final = 4096
"""Of a gzip body: each costs a microsecond and may hold nothing."""
_WINDOW: Final = {"gzip": 31, "deflate": 15}
"""As zlib numbers its formats."""
_RAW: Final = -15


def coding_of_body(values: Sequence[bytes]) -> Coding:
    """The coding that the `Content-Encoding` lines of a request name.

    Raises:
        ContentCodingError: one that is not read, or several.
    """
    named = [one.strip().lower() for value in values for one in value.split(b",")]
    named = [one for one in named if one not in {b"", b"identity"}]
    if not named:
        return ""
    coding = CODINGS.get(named[0])
    if coding is None or len(named) > 1:
        raise ContentCodingError(
            "the body comes in a content coding that is not read",
            where="Content-Encoding",
            expected=f"one of {READ}, or none",
            received=repr(b", ".join(named)[:60])[1:],
        )
    return coding


def coding_for_answer(values: Sequence[bytes]) -> Coding:
    """The coding that a caller with these `Accept-Encoding` lines likes best; "": a plain answer."""
    liked: dict[bytes, float] = {}
    for one in (one for value in values for one in value.split(b",")):
        name, *parameters = (part.strip().lower() for part in one.split(b";"))
        liked[b"gzip" if name == b"x-gzip" else name] = _weight(parameters)
    others = liked.get(b"*", 0.0)
    best: Coding = ""
    most = liked.get(b"identity", 0.0)
    for name, coding in CODINGS.items():
        if name == b"x-gzip":
            continue
        weight = liked.get(name, others)
        if weight and (weight > most or (weight == most and not best)):
            best, most = coding, weight
    return best


def _weight(parameters: Sequence[bytes]) -> float:
    for one in parameters:
        if one.startswith(b"q="):
            try:
                return min(max(float(one[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def inflating(body: bytes, coding: Coding, limit_bytes: int) -> Work:
    """The plain body, piece by piece; never more than one byte over the limit is made.

    Raises:
        BodyTooLargeError: it is longer than the limit.
        MalformedBodyError: it is damaged, ends early, or something follows it.
    """
    view = memoryview(body)
    parts: list[bytes] = []
    size = at = members = 0
    form = _WINDOW[coding]
    if coding == "deflate" and not _has_zlib_head(body):
        form = _RAW
    while True:
        stream = zlib.decompressobj(form)
        while not stream.eof:
            given: bytes | memoryview = stream.unconsumed_tail
            if not given:
                given = view[at : at + _READ_BYTES]
                at += len(given)
            try:
                part = stream.decompress(given, min(_MADE_BYTES, limit_bytes - size + 1))
            except zlib.error as error:
                raise _unreadable("is damaged", coding, str(error).rpartition(": ")[2]) from None
            if not part and not given and not stream.eof:
                raise _unreadable("ends before it is complete", coding, f"{len(body)} bytes")
            size += len(part)
            if size > limit_bytes:
                raise too_large(limit_bytes)
            parts.append(part)
            yield
        at -= len(stream.unused_data)
        members += 1
        if at == len(body):
            return b"".join(parts)
        if coding != "gzip":
            raise _unreadable("is followed by something else", coding, f"{len(body) - at} bytes more")
        if members == _MOST_MEMBERS:
            raise _unreadable("has too many members", coding, f"more than {_MOST_MEMBERS}")


def _has_zlib_head(body: bytes) -> bool:
    """Whether the first two bytes are zlib's (RFC 1950, 2.2): no encoder begins a bare stream with these."""
    return len(body) < 2 or (body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0)


def _unreadable(what: str, coding: Coding, received: str) -> MalformedBodyError:
    return MalformedBodyError(
        f"the compressed body {what}",
        where="Content-Encoding",
        expected=f"a whole {coding} body and nothing else",
        received=received,
    )


def compressing(body: bytes, coding: Coding) -> Work:
    """The body in this coding, piece by piece."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[coding])
    view = memoryview(body)
    parts = []
    for at in range(0, len(body), _MADE_BYTES):
        parts.append(stream.compress(view[at : at + _MADE_BYTES]))
        yield
    parts.append(stream.flush())
    return b"".join(parts)

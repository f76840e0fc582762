"""Frames: how records lie in a spool segment so that damage is always seen and never spreads.

    offset  size  field
    0       2     magic, bytes 0xF5 0x48
    2       1     format version, 1
    3       1     kind: H header, P predictions, L labels, C close
    4       4     length of the payload in bytes, unsigned little endian, never 0
    8       4     CRC-32 of bytes 2..8 and the payload, started from the CRC-32 of the segment's name
    12      ...   payload, MessagePack

Starting the checksum from the segment's name means that bytes inside a record that look like a frame (a
caller can send any text) do not pass for one when the frame around them is damaged.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

FORMAT_VERSION: Final = 1
MAGIC: Final = b"\xf5H"
HEADER_BYTES: Final = 12
MAX_PAYLOAD_BYTES: Final = 1 << 30

_HEADER: Final = struct.Struct("<2sBBII")
_CHECKED: Final = struct.Struct("<BBI")
"""What the checksum covers of it."""
_CRC: Final = struct.Struct("<I")
_CRC_AT: Final = 8


def checksum_seed(segment: str) -> int:
    """Where the checksums of this segment's frames start."""
    return zlib.crc32(segment.encode())


def seal(frame: bytearray, kind: str, seed: int) -> None:
    """Fill in the first 12 bytes of a frame whose payload stands behind them."""
    length = len(frame) - HEADER_BYTES
    if not 0 < length <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"a payload of 1 to {MAX_PAYLOAD_BYTES} bytes, not {length}")
    checked = checked_start(kind, length)
    with memoryview(frame) as view, view[HEADER_BYTES:] as payload:
        crc = zlib.crc32(payload, zlib.crc32(checked, seed))
    _HEADER.pack_into(frame, 0, MAGIC, FORMAT_VERSION, ord(kind), length, crc)


def checked_start(kind: str, length: int) -> bytes:
    """What the checksum covers before the payload."""
    return _CHECKED.pack(FORMAT_VERSION, ord(kind), length)


def seal_again(frame: bytearray, payload: memoryview, start: bytes, seed: int) -> None:
    """Renew the checksum of a sealed frame whose payload has other content of the same length.

    Args:
        frame: the whole.
        payload: a view of its payload.
        start: `checked_start` of it.
        seed: of the segment to which it goes now.
    """
    _CRC.pack_into(frame, _CRC_AT, zlib.crc32(payload, zlib.crc32(start, seed)))


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One complete, checked frame."""

    kind: str
    version: int
    """Of the format; whoever reads the payload must refuse versions and kinds that it does not know."""
    start: int
    """Offset in the segment."""
    end: int
    payload: memoryview


class Damage(msgspec.Struct, frozen=True, gc=False):
    """Bytes between two frames, or behind the last, that are no complete frame."""

    start: int
    end: int


class Incomplete(msgspec.Struct, frozen=True, gc=False):
    """The bytes end here before the frame does: more may follow."""

    start: int
    needed_bytes: int
    """From `start`, as far as is known."""


def read_frames(
    data: bytes | memoryview, seed: int, *, base: int = 0, at_end: bool
) -> Iterator[Frame | Damage | Incomplete]:
    """Walk over a piece of a segment. No frame that fails its checksum is ever returned.

    After damage, the walk goes on at the next complete frame, so a record is lost only if its own bytes are
    damaged.

    Args:
        data: bytes of the segment that begin at a frame's start.
        seed: `checksum_seed` of the segment.
        base: offset of `data` in the segment.
        at_end: no byte will follow, so what is incomplete is damaged. Otherwise the walk ends with an
            `Incomplete` where it must be taken up again.
    """
    view = memoryview(data)
    size = len(view)
    at = 0
    while at < size:
        end = _frame_end(view, at, seed)
        if end > 0:
            yield Frame(chr(view[at + 3]), view[at + 2], base + at, base + end, view[at + HEADER_BYTES : end])
            at = end
            continue
        found = _next_frame(view, at + 1, seed)
        if found < 0:
            if at_end:
                yield Damage(base + at, base + size)
            else:
                yield Incomplete(base + at, -end)
            return
        yield Damage(base + at, base + found)
        at = found


def _frame_end(view: memoryview, at: int, seed: int) -> int:
    """End of the complete frame at this place; else 0, or minus the bytes it would need if it is cut off."""
    if len(view) - at < HEADER_BYTES:
        return -HEADER_BYTES
    magic, version, _, length, crc = _HEADER.unpack_from(view, at)
    if magic != MAGIC or version == 0 or not 0 < length <= MAX_PAYLOAD_BYTES:
        return 0
    end: int = at + HEADER_BYTES + length
    if end > len(view):
        return at - end
    if zlib.crc32(view[at + HEADER_BYTES : end], zlib.crc32(view[at + 2 : at + 8], seed)) != crc:
        return 0
    return end


def _next_frame(view: memoryview, start: int, seed: int) -> int:
    """Where the next complete frame begins, or -1."""
    data = bytes(view[start:])
    at = data.find(MAGIC)
    while at >= 0:
        if _frame_end(view, start + at, seed) > 0:
            return start + at
        at = data.find(MAGIC, at + 1)
    return -1

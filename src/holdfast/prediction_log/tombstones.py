"""Tombstones: blanking records in a segment that a living writer still appends to.

A segment of a dead writer is deleted once it is committed. One whose writer lives cannot be, so a record in
it is overwritten in place by one of the same length that keeps the counters and has no rows. Only records
that are in the tables already are ever overwritten; the writer, which only appends, notices nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from holdfast.prediction_log.blocks import ENCODER, LabelBlock, PredictionBlock
from holdfast.prediction_log.frames import HEADER_BYTES, Damage, checksum_seed, seal
from holdfast.prediction_log.scanning import OpenSegment, decode

_PADDING_HEAD: Final = 5
"""Bytes of a MessagePack `bin 32` before its content."""


def blank_records(
    segment: OpenSegment,
    predictions_to: int,
    labels_to: int,
    is_meant: Callable[[PredictionBlock | LabelBlock], bool],
) -> int:
    """Overwrite the records that are meant, of each kind before its offset; returns how many.

    Bytes that are no whole record (a torn one may hold anything) become zeros.
    """
    seed = checksum_seed(segment.ref.name)
    changes: list[tuple[int, bytes]] = []
    for found in segment.frames(0):
        if isinstance(found, Damage):
            if found.start > 0 and found.end <= max(predictions_to, labels_to):
                changes.append((found.start, bytes(found.end - found.start)))
            continue
        payload = decode(found, segment.ref.name)
        if not isinstance(payload, PredictionBlock | LabelBlock) or not payload.rows:
            continue
        committed_to = predictions_to if isinstance(payload, PredictionBlock) else labels_to
        if found.end <= committed_to and is_meant(payload):
            changes.append((found.start, _tombstone(payload, found.end - found.start, seed)))
    if changes:
        _overwrite(segment.ref.path, changes)
    return len(changes)


def _overwrite(path: Path, changes: list[tuple[int, bytes]]) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        for start, content in changes:
            os.pwrite(fd, content, start)
        os.fsync(fd)
    finally:
        os.close(fd)


def _tombstone(block: PredictionBlock | LabelBlock, size_bytes: int, seed: int) -> bytes:
    """A valid frame of this size, with the block's counters and no rows.

    Its payload has one field more than the format knows, which readers pass over: the padding. There is
    always room for it, since the time of logging alone takes 9 bytes in the record and 1 in its tombstone.
    """
    kind = "P" if isinstance(block, PredictionBlock) else "L"
    blank = _without_rows(block)
    fields = [ENCODER.encode(value) for value in blank]
    head = b"\xdc" + (len(fields) + 1).to_bytes(2, "big")  # MessagePack array 16
    body = b"".join([head, *fields])
    padding_bytes = size_bytes - HEADER_BYTES - len(body) - _PADDING_HEAD
    if padding_bytes < 0:
        raise ValueError(f"a record of {size_bytes} bytes is too small to be blanked")
    frame = bytearray(HEADER_BYTES)
    frame += body + b"\xc6" + padding_bytes.to_bytes(4, "big") + bytes(padding_bytes)
    seal(frame, kind, seed)
    return bytes(frame)


def _without_rows(block: PredictionBlock | LabelBlock) -> tuple[object, ...]:
    if isinstance(block, LabelBlock):
        return msgspec.structs.astuple(LabelBlock(block.counters, 0, 0, [], [], []))
    layout = msgspec.Raw(ENCODER.encode([]))
    return msgspec.structs.astuple(
        PredictionBlock(block.counters, 0, 0, "", "", "", 1.0, None, layout, [], [], [], None, None, [])
    )

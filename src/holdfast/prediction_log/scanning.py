"""Reading segments: complete frames, torn records, and a summary of what a segment holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

import msgspec

from holdfast.prediction_log.blocks import BlockHead, Close, Counters, Header, LabelBlock, PredictionBlock
from holdfast.prediction_log.errors import LogFormatError
from holdfast.prediction_log.frames import (
    FORMAT_VERSION,
    Damage,
    Frame,
    Incomplete,
    checksum_seed,
    read_frames,
)
from holdfast.prediction_log.segments import SegmentRef, writer_is_gone

_CHUNK_BYTES: Final = 4 * 1024 * 1024
_HEADER_TRIES: Final = 5

_HEADER_DECODER: Final = msgspec.msgpack.Decoder(Header)
_PREDICTIONS_DECODER: Final = msgspec.msgpack.Decoder(PredictionBlock)
_LABELS_DECODER: Final = msgspec.msgpack.Decoder(LabelBlock)
_HEAD_DECODER: Final = msgspec.msgpack.Decoder(BlockHead)
_CLOSE_DECODER: Final = msgspec.msgpack.Decoder(Close)

Payload = Header | PredictionBlock | LabelBlock | Close


def decode(frame: Frame, where: str) -> Payload:
    """The payload of a checked frame.

    Raises:
        LogFormatError: the frame has a format version or a kind that this version of holdfast does not know.
    """
    if frame.version == FORMAT_VERSION:
        if frame.kind == "P":
            return _PREDICTIONS_DECODER.decode(frame.payload)
        if frame.kind == "L":
            return _LABELS_DECODER.decode(frame.payload)
        if frame.kind == "H":
            return _HEADER_DECODER.decode(frame.payload)
        if frame.kind == "C":
            return _CLOSE_DECODER.decode(frame.payload)
    raise LogFormatError(
        f"a record of log format {frame.version}, kind {frame.kind!r}",
        where=f"{where} at byte {frame.start}",
        expected=f"format {FORMAT_VERSION}",
        next_step="Read it with the version of holdfast that wrote it, or a newer one; nothing was deleted",
    )


@dataclass(slots=True)
class OpenSegment:
    """A segment open for reading. Use as a context manager."""

    ref: SegmentRef
    fd: int = -1
    writer_gone: bool = False
    """Determined before `size_bytes`: if true, the size is final."""
    size_bytes: int = 0

    def __enter__(self) -> Self:
        self.fd = os.open(self.ref.path, os.O_RDONLY)
        self.writer_gone = writer_is_gone(self.fd)
        self.size_bytes = os.fstat(self.fd).st_size
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def frames(self, start: int, budget_bytes: int | None = None) -> Iterator[Frame | Damage]:
        """Complete frames and damage from this offset on, at most about `budget_bytes` of them.

        Ends early where a live writer has not finished a frame. Frames are valid until the next is asked for.
        """
        seed = checksum_seed(self.ref.name)
        at, chunk_bytes = start, _CHUNK_BYTES
        stop = self.size_bytes if budget_bytes is None else min(self.size_bytes, start + budget_bytes)
        while at < stop:
            data = os.pread(self.fd, min(chunk_bytes, self.size_bytes - at), at)
            if not data:  # cut back by its writer
                return
            reaches_end = at + len(data) >= self.size_bytes
            chunk_bytes = _CHUNK_BYTES
            begun_at = at
            for found in read_frames(data, seed, base=at, at_end=reaches_end and self.writer_gone):
                if isinstance(found, Incomplete):
                    if reaches_end:
                        return
                    chunk_bytes = max(
                        _CHUNK_BYTES, found.needed_bytes, 2 * len(data) if at == begun_at else 0
                    )
                    break
                yield found
                at = found.end
                if at >= stop:
                    return


@dataclass(slots=True)
class SegmentSummary:
    """What a segment says of itself and what it was found to hold."""

    ref: SegmentRef
    deployment: str = ""
    opened_at_us: int = 0
    counters: Counters = field(default_factory=Counters)
    """The newest reading in the segment."""
    closed: str = "killed"
    """"open" (its writer lives), "rotated", "ended", or "killed" (no closing frame)."""
    torn: list[Damage] = field(default_factory=list)
    rows: list[tuple[int, int, int]] = field(default_factory=list)
    """Of each prediction frame: its end offset, first sequence number, and the number after its last."""
    labels: list[tuple[int, int, int]] = field(default_factory=list)
    """The same of each label frame."""

    @property
    def torn_bytes(self) -> int:
        """Bytes in torn records."""
        return sum(damage.end - damage.start for damage in self.torn)


def summarise(segment: OpenSegment) -> SegmentSummary:
    """Read the whole segment.

    Raises:
        LogFormatError: part of it was written by an unknown version.
    """
    summary = SegmentSummary(segment.ref)
    header = read_header(segment)
    if header is not None:
        summary.deployment = header.deployment
        summary.opened_at_us = header.opened_at_us
        summary.counters = Counters.from_fixed_bytes(header.counters)
    elif segment.writer_gone:
        summary.torn.append(Damage(0, 0))
    if not segment.writer_gone:
        summary.closed = "open"
    newest = summary.counters
    for found in segment.frames(0):
        if isinstance(found, Damage):
            if found.start > 0:
                summary.torn.append(found)
            continue
        if found.kind == "P" and found.version == FORMAT_VERSION:
            head = _HEAD_DECODER.decode(found.payload)
            newest = head.counters
            summary.rows.append((found.end, newest.stored - head.rows, newest.stored))
        elif found.kind == "L" and found.version == FORMAT_VERSION:
            head = _HEAD_DECODER.decode(found.payload)
            newest = head.counters
            summary.labels.append((found.end, newest.labels - head.rows, newest.labels))
        else:
            payload = decode(found, segment.ref.name)
            if isinstance(payload, Close):
                newest = payload.counters
                if segment.writer_gone:
                    summary.closed = "ended" if payload.ended else "rotated"
    summary.counters = summary.counters.latest(newest)
    return summary


def read_header(segment: OpenSegment) -> Header | None:
    """The header, or None if it is damaged. A live writer may be rewriting it: then it is read again."""
    seed = checksum_seed(segment.ref.name)
    for _ in range(_HEADER_TRIES):
        data = os.pread(segment.fd, 4096, 0)
        first = next(iter(read_frames(data, seed, at_end=False)), None)
        if isinstance(first, Frame) and first.kind == "H":
            header = decode(first, segment.ref.name)
            return header if isinstance(header, Header) else None
    return None

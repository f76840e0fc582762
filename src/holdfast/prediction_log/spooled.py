"""What lies in the spool behind what the tables have: read in pieces that are committed as one."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.prediction_log.blocks import LabelBlock, PredictionBlock
from holdfast.prediction_log.frames import Damage
from holdfast.prediction_log.scanning import OpenSegment, decode
from holdfast.prediction_log.segments import SegmentRef


@dataclass(slots=True)
class Progress:
    """How far one segment has come. All before `offset` is in the tables."""

    offset: int
    predictions_to: int
    labels_to: int
    finished: bool = False


@dataclass(slots=True)
class Batch:
    """Blocks read but not committed, and how far each segment was read."""

    predictions: list[tuple[str, PredictionBlock]] = field(default_factory=list)
    labels: list[tuple[str, LabelBlock]] = field(default_factory=list)
    prediction_segments: set[str] = field(default_factory=set)
    label_segments: set[str] = field(default_factory=set)
    read_to: dict[str, int] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    torn_records: int = 0
    bytes: int = 0


def size_bytes(ref: SegmentRef) -> int:
    """Of the segment's file; 0 when it is gone."""
    try:
        return ref.path.stat().st_size
    except FileNotFoundError:
        return 0


def read_segment(segment: OpenSegment, progress: Progress, budget_bytes: int, batch: Batch) -> None:
    """Add what lies behind the segment's offset to the batch; nothing of it if a part is unreadable."""
    name, replica = segment.ref.name, segment.ref.replica
    predictions: list[tuple[str, PredictionBlock]] = []
    labels: list[tuple[str, LabelBlock]] = []
    read_to, torn = progress.offset, 0
    for found in segment.frames(progress.offset, budget_bytes):
        read_to = found.end
        if isinstance(found, Damage):
            torn += found.start > 0
            continue
        payload = decode(found, name)
        if isinstance(payload, PredictionBlock) and found.end > progress.predictions_to:
            predictions.append((replica, payload))
        elif isinstance(payload, LabelBlock) and found.end > progress.labels_to:
            labels.append((replica, payload))
    batch.torn_records += torn
    batch.bytes += read_to - progress.offset
    batch.read_to[name] = read_to
    if predictions:
        batch.predictions += predictions
        batch.prediction_segments.add(name)
    if labels:
        batch.labels += labels
        batch.label_segments.add(name)
    if segment.writer_gone and read_to >= segment.size_bytes:
        batch.finished.add(name)

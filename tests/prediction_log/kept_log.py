"""A log with a few segments in its spool, and what must stand in its tables once they are moved."""

from __future__ import annotations

import zlib
from pathlib import Path

from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.prediction_log import Label, PredictionLog, SpoolWriter
from holdfast.prediction_log.segments import SegmentRef


def fill(log_folder: Path, *, close: bool = True, prefix: str = "p") -> SpoolWriter:
    """A few segments of one replica with 30 predictions and 3 labels."""
    writer = new_writer(log_folder, segment_bytes=600)
    for part in range(3):
        writer.append(redacted(ids_of(f"{prefix}{part}", 10)))
        writer.append_labels([Label(f"{prefix}{part}-00000", part, T0_US)])
    if close:
        writer.close()
    return writer


def make_of_a_later_format(ref: SegmentRef) -> None:
    """Give the segment's first record a version that this release does not know."""
    data = bytearray(ref.path.read_bytes())
    data[2] = 9
    length = int.from_bytes(data[4:8], "little")
    crc = zlib.crc32(data[12 : 12 + length], zlib.crc32(data[2:8], zlib.crc32(ref.name.encode())))
    data[8:12] = crc.to_bytes(4, "little")
    ref.path.write_bytes(data)


def stored_ids(log_folder: Path) -> list[str]:
    rows = PredictionLog(log_folder).predictions(columns=["prediction_id"]).read_all()
    ids: list[str] = rows["prediction_id"].to_pylist()
    return sorted(ids)


EVERY_ID = sorted(name for part in range(3) for name in ids_of(f"p{part}", 10))


def assert_all_there_once(log_folder: Path) -> None:
    log = PredictionLog(log_folder)
    assert stored_ids(log_folder) == EVERY_ID
    assert log.labels(history=True).read_all().num_rows == 3
    verified = log.verify()
    assert verified.ok, verified
    assert verified.ledger.served == 30

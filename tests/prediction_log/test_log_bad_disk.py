"""A disk that refuses: what is lost is counted, nothing else is lost, and it goes on by itself."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from log_records import T0_US, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Label, LogFullError, PredictionLogError
from holdfast.prediction_log.blocks import Close, PredictionBlock
from holdfast.prediction_log.exporting import ExportFormat, export_batches
from holdfast.prediction_log.frames import Frame
from holdfast.prediction_log.scanning import OpenSegment, Payload, decode, summarise
from holdfast.prediction_log.segments import list_segments, spool_folder


def spooled(log_folder: Path) -> list[Payload]:
    found: list[Payload] = []
    for ref in list_segments(spool_folder(log_folder)):
        with OpenSegment(ref) as segment:
            found += [decode(one, ref.name) for one in segment.frames(0) if isinstance(one, Frame)]
    return found


def stored_ids(log_folder: Path) -> list[str]:
    return [
        name for one in spooled(log_folder) if isinstance(one, PredictionBlock) for name in one.prediction_ids
    ]


class BadDisk:
    """Takes only so many bytes, as a disk does, then fails with this error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
        self.room: int | None = None
        self.cut_works = True
        self._error = error
        self._write, self._truncate = os.write, os.ftruncate
        monkeypatch.setattr("holdfast.prediction_log.segments.os.write", self.write)
        monkeypatch.setattr("holdfast.prediction_log.segments.os.ftruncate", self.truncate)

    def write(self, fd: int, data: Any) -> int:
        if self.room is None:
            return self._write(fd, data)
        if self.room == 0:
            raise OSError(self._error, os.strerror(self._error))
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return self._write(fd, part)

    def truncate(self, fd: int, size: int) -> None:
        if not self.cut_works:
            raise OSError(errno.EIO, "no")
        self._truncate(fd, size)


@pytest.fixture(params=[errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=["ENOSPC", "EIO", "EDQUOT"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> BadDisk:
    return BadDisk(monkeypatch, request.param)


@pytest.mark.parametrize("room", [0, 1, 13, 100])
def test_a_write_that_fails_half_way_is_taken_back_and_counted(
    tmp_path: Path, disk: BadDisk, room: int
) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["before"]))
    disk.room = room
    writer.append(redacted(["lost-1", "lost-2"]))
    disk.room = None
    writer.append(redacted(["after"]))
    writer.close()
    assert stored_ids(tmp_path) == ["before", "after"]
    assert (writer.served, writer.stored, writer.dropped) == (4, 2, 2)
    (ref,) = list_segments(spool_folder(tmp_path))
    with OpenSegment(ref) as segment:
        summary = summarise(segment)
    assert summary.torn == []
    assert summary.counters == writer.counters


def test_a_half_written_record_that_cannot_be_taken_back_ends_the_segment(
    tmp_path: Path, disk: BadDisk
) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(tmp_path, clock)
    writer.append(redacted(["before"]))
    disk.room, disk.cut_works = 50, False
    writer.append(redacted(["lost"]))
    disk.room = None
    writer.append(redacted(["after"]))
    assert stored_ids(tmp_path) == ["before", "after"]
    assert (writer.served, writer.stored, writer.dropped) == (3, 2, 1)
    assert len(list_segments(spool_folder(tmp_path))) == 2


def test_refusing_raises_and_counts_nothing_as_served(tmp_path: Path, disk: BadDisk) -> None:
    writer = new_writer(tmp_path, on_full="refuse")
    disk.room = 5
    with pytest.raises(LogFullError, match="cannot be written") as caught:
        writer.append(redacted(["a", "b"]))
    assert isinstance(caught.value.__cause__, OSError)
    disk.room = None
    writer.append(redacted(["c"]))
    assert (writer.served, writer.stored, writer.dropped, writer.refused) == (1, 1, 0, 2)
    assert stored_ids(tmp_path) == ["c"]


@pytest.mark.parametrize("on_full", ["answer", "refuse"])
def test_labels_are_never_dropped_in_silence(tmp_path: Path, disk: BadDisk, on_full: Any) -> None:
    writer = new_writer(tmp_path, on_full=on_full)
    disk.room = 5
    with pytest.raises(LogFullError):
        writer.append_labels([Label("a", 1, T0_US)])
    assert writer.labels == 0


def test_drops_are_counted_in_the_file_while_the_disk_is_still_full(tmp_path: Path, disk: BadDisk) -> None:
    writer = new_writer(tmp_path)
    disk.room = 0
    writer.append(redacted(["lost"]))
    (ref,) = list_segments(spool_folder(tmp_path))
    with OpenSegment(ref) as segment:
        assert summarise(segment).counters == writer.counters
    assert writer.dropped == 1


def test_a_segment_grows_past_its_size_while_no_other_can_be_opened(tmp_path: Path, disk: BadDisk) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(tmp_path, clock, segment_bytes=10)
    spool_folder(tmp_path).chmod(0o500)
    refuses = os.access(spool_folder(tmp_path), os.W_OK)  # root may write anyway
    for name in ("a", "b", "c"):
        writer.append(redacted([name]))
    spool_folder(tmp_path).chmod(0o700)
    clock.advance_s(1)
    writer.append(redacted(["d"]))
    assert stored_ids(tmp_path) == ["a", "b", "c", "d"]
    assert refuses or len(list_segments(spool_folder(tmp_path))) == 2


def test_a_writer_begun_on_a_full_disk_goes_on_by_itself_when_there_is_space(
    tmp_path: Path, disk: BadDisk
) -> None:
    clock = ManualClock(T0_US)
    disk.room = 0
    writer = new_writer(tmp_path, clock)
    writer.append(redacted(["lost"]))
    disk.room = None
    clock.advance_s(1)
    writer.append(redacted(["kept"]))
    writer.close()
    assert stored_ids(tmp_path) == ["kept"]
    assert [one.name for one in spool_folder(tmp_path).iterdir() if one.suffix != ".spool"] == []
    close = spooled(tmp_path)[-1]
    assert isinstance(close, Close)
    assert close.counters == writer.counters
    assert (writer.served, writer.dropped) == (2, 1)


def test_a_folder_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(PredictionLogError, match="cannot be written"):
        new_writer(tmp_path / "log")


FILE_SIZE_LIMIT = """
import json, resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from log_records import ids_of, new_writer, redacted
from holdfast.clock import SystemClock
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = new_writer(Path(sys.argv[1]), SystemClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
acknowledged = []
for part in range(100):
    before = writer.stored
    writer.append(redacted(ids_of(f"part{part}", 2)))
    if writer.stored > before:
        acknowledged += ids_of(f"part{part}", 2)
    if part == 60:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.close()
counters = [writer.served, writer.stored, writer.sampled_out, writer.dropped]
print(json.dumps({"acknowledged": acknowledged, "counters": counters}))
"""


def test_a_real_limit_of_the_kernel_loses_only_what_was_counted(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILE_SIZE_LIMIT, str(tmp_path), str(Path(__file__).parent)],
        check=True,
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout)
    served, stored, sampled_out, dropped = told["counters"]
    assert stored_ids(tmp_path) == told["acknowledged"]
    assert served == 200 == stored + sampled_out + dropped
    assert 0 < dropped < 200


@pytest.mark.parametrize("kind", get_args(ExportFormat))
def test_an_export_for_which_there_is_no_room_names_its_file_and_leaves_nothing(
    tmp_path: Path, kind: ExportFormat
) -> None:
    batch = pa.record_batch({"x": np.random.default_rng(0).random(5_000)})
    target = tmp_path / f"out.{kind}"
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, unlimited[1]))
    try:
        with pytest.raises(OSError, match="too large") as refused:
            export_batches(pa.RecordBatchReader.from_batches(batch.schema, [batch]), target, kind)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert refused.value.filename == str(target)
    assert list(tmp_path.iterdir()) == []

"""A disk that is really full: a small tmpfs, filled to the last byte, then given space again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, Label, LogFullError, PredictionLog


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this container may not mount a tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """A file that leaves not one byte free."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    assert shutil.disk_usage(disk).free == 0
    return filler


def test_the_service_answers_counts_the_loss_and_goes_on_by_itself(small_disk: Path) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(small_disk / "log", clock)
    writer.append(redacted(ids_of("before", 20)))
    filler = fill(small_disk)
    part = 0
    while not writer.dropped:  # the page that the segment has begun still takes some
        writer.append(redacted(ids_of(f"full{part}", 20)))
        part += 1
    with pytest.raises(LogFullError):
        writer.append_labels([Label("before-00000", 1, T0_US)] * 200)
    with pytest.raises(OSError, match=r"No space|os error 28"):
        Keeper(small_disk / "log", clock).run_once()
    filler.unlink()
    writer.append(redacted(ids_of("after", 20)))
    writer.append_labels([Label("before-00000", 1, T0_US)])
    writer.close()
    Keeper(small_disk / "log", clock).run_once()
    log = PredictionLog(small_disk / "log")
    stored = set(log.predictions(columns=["prediction_id"]).read_all()["prediction_id"].to_pylist())
    assert {*ids_of("before", 20), *ids_of("after", 20)} <= stored
    assert len(stored) == writer.stored
    report = log.verify()
    assert report.ok, report
    assert (report.ledger.dropped, report.ledger.served) == (writer.dropped, writer.served)
    assert report.torn_records == 0


def test_the_service_refuses_and_goes_on_by_itself(small_disk: Path) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(small_disk / "log", clock, on_full="refuse")
    writer.append(redacted(ids_of("before", 20)))
    filler = fill(small_disk)
    errors: list[LogFullError] = []
    while not errors:  # the page that the segment has begun still takes some
        try:
            writer.append(redacted(ids_of(f"full{writer.served}", 20)))
        except LogFullError as error:
            errors.append(error)
    assert "No space" in str(errors[0])
    assert writer.refused == 20
    filler.unlink()
    writer.append(redacted(ids_of("after", 20)))
    writer.close()
    Keeper(small_disk / "log", clock).run_once()
    log = PredictionLog(small_disk / "log")
    assert log.count().predictions == writer.served == writer.stored
    report = log.verify()
    assert report.ok, report
    assert report.ledger.dropped == 0

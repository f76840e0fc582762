"""What a pass reports: each record once, in however many commits, and wherever the pass before died."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from deltalake import DeltaTable
from kept_log import fill
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, Label, PredictionLog, erase
from holdfast.prediction_log.segments import list_segments, spool_folder


class StoppedError(BaseException):
    """Thrown in at a step."""


def torn_segments(log_folder: Path, segments: int) -> None:
    """As many writers, each of which died while it wrote its second record."""
    for number in range(segments):
        writer = new_writer(log_folder, replica=f"worker-{number}")
        writer.append(redacted(ids_of(f"p{number}", 2)))
        writer.append(redacted(ids_of(f"q{number}", 2)))
        ref = next(one for one in list_segments(spool_folder(log_folder)) if one.replica == writer.replica)
        writer._segment.close()  # type: ignore[union-attr]  # as the kernel does when the process dies
        os.truncate(ref.path, ref.path.stat().st_size - 7)


def test_rows_labels_and_torn_records_are_counted_over_all_commits_of_a_pass(tmp_path: Path) -> None:
    fill(tmp_path)
    torn_segments(tmp_path, 2)
    segments = len(list_segments(spool_folder(tmp_path)))
    report = Keeper(tmp_path, ManualClock(T0_US), batch_bytes=1).run_once()
    assert (report.predictions, report.labels, report.torn_records) == (34, 3, 2)
    assert report.segments_deleted == segments > 2


def test_bytes_of_torn_records_are_counted_over_all_segments(tmp_path: Path) -> None:
    for segments in (1, 2):
        torn_segments(tmp_path / str(segments), segments)
    one, two = (PredictionLog(tmp_path / str(segments)).verify().torn_bytes for segments in (1, 2))
    assert two == 2 * one > 0


def test_the_ledger_says_which_rows_a_segment_held(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    for part in range(3):
        writer.append(redacted(ids_of(f"p{part}", 10)))
    writer.close()
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    (row,) = DeltaTable(tmp_path / "ledger").to_pyarrow_table().to_pylist()
    assert (row["first_sequence"], row["next_sequence"], row["torn_bytes"]) == (0, 30, 0)


def test_refused_labels_are_counted_over_all_commits_of_a_pass(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["one", "two", "three"]))
    erase(tmp_path, ManualClock(T0_US), prediction_ids=["one", "two"])
    for name in ("one", "two", "three"):
        writer.append_labels([Label(name, 1, T0_US)])
    writer.close()
    report = Keeper(tmp_path, ManualClock(T0_US), batch_bytes=1).run_once()
    assert (report.labels_refused, report.labels) == (2, 1)


@pytest.mark.parametrize("step", ["ledger committed", "tables synced"])
def test_a_segment_whose_keeper_died_before_it_was_deleted_is_in_the_ledger_once(
    tmp_path: Path, step: str
) -> None:
    torn_segments(tmp_path, 1)

    def on_step(named: str) -> None:
        if named == step:
            raise StoppedError

    with pytest.raises(StoppedError):
        Keeper(tmp_path, ManualClock(T0_US), on_step=on_step).run_once()
    assert PredictionLog(tmp_path).verify().torn_records == 1  # it lies in the spool and in the ledger
    report = Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert (report.segments_deleted, report.predictions, report.commits) == (1, 0, 0)
    assert DeltaTable(tmp_path / "ledger").to_pyarrow_table().num_rows == 1
    assert PredictionLog(tmp_path).verify().torn_records == 1

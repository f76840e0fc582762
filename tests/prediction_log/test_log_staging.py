"""Staged rows enter the log all together or not at all, wherever their writer dies."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import PredictionLog, StagedRun, settle
from holdfast.prediction_log.staging import finish_abandoned, staged_folder

CLOCK = ManualClock(T0_US)


def run_of(log_folder: Path, hidden: Path) -> StagedRun:
    """A run with some segments and large inputs, and its hidden target."""
    run = StagedRun(log_folder)
    writer = new_writer(run.folder, CLOCK, replica="score", segment_bytes=500)
    for part in range(4):
        photo = np.full((2, 3, 30, 30), part % 2, np.float32)
        writer.append(redacted(ids_of(f"p{part}", 2), large={"photo": photo}))
    writer.close()
    hidden.write_text("rows")
    return run


def die(run: StagedRun) -> None:
    """As when the process is killed: the kernel gives the lock back, and nothing is tidied up."""
    os.close(run._lock)
    run._lock = -1


def logged(log_folder: Path) -> int:
    settle(log_folder, CLOCK)
    log = PredictionLog(log_folder)
    verified = log.verify()
    assert verified.ok, verified
    assert not verified.duplicate_ids
    assert verified.ledger.served == log.count().predictions
    return log.count().predictions


def test_published_rows_are_in_the_log_and_nothing_is_left_behind(tmp_path: Path) -> None:
    hidden = tmp_path / ".target.partial"
    run = run_of(tmp_path / "log", hidden)
    run.promise(hidden)
    assert logged(tmp_path / "log") == 0
    hidden.rename(tmp_path / "target")
    run.publish()
    assert logged(tmp_path / "log") == 8
    assert list(staged_folder(tmp_path / "log").iterdir()) == []
    assert len(list((tmp_path / "log" / "large_inputs").glob("??/*.npy"))) == 2


def test_a_run_that_died_before_its_target_appeared_leaves_nothing(tmp_path: Path) -> None:
    hidden = tmp_path / ".target.partial"
    for promised in (False, True):
        run = run_of(tmp_path / "log", hidden)
        if promised:
            run.promise(hidden)
        die(run)
        assert logged(tmp_path / "log") == 0
        assert hidden.exists() != promised
        assert list(staged_folder(tmp_path / "log").iterdir()) == []


def test_a_run_that_died_after_its_target_appeared_is_published_by_the_next_keeper(tmp_path: Path) -> None:
    hidden = tmp_path / ".target.partial"
    run = run_of(tmp_path / "log", hidden)
    run.promise(hidden)
    hidden.rename(tmp_path / "target")
    die(run)
    assert logged(tmp_path / "log") == 8
    assert logged(tmp_path / "log") == 8


@pytest.mark.parametrize("moves", range(1, 7))
def test_a_publication_that_died_half_way_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    hidden = tmp_path / ".target.partial"
    run = run_of(tmp_path / "log", hidden)
    run.promise(hidden)
    hidden.rename(tmp_path / "target")
    left = [moves]
    real_rename, real_replace = Path.rename, Path.replace

    def counted(real: object) -> object:
        def move(self: Path, target: Path) -> Path:
            if not left[0]:
                raise SystemExit
            left[0] -= 1
            return real(self, target)  # type: ignore[operator,no-any-return]

        return move

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted(real_rename))
        patch.setattr(Path, "replace", counted(real_replace))
        try:
            run.publish()
        except SystemExit:
            die(run)
    assert logged(tmp_path / "log") == 8


def test_a_run_that_is_under_way_is_left_alone(tmp_path: Path) -> None:
    hidden = tmp_path / ".target.partial"
    run = run_of(tmp_path / "log", hidden)
    assert finish_abandoned(tmp_path / "log") == (0, 0)
    run.promise(hidden)
    assert finish_abandoned(tmp_path / "log") == (0, 0)
    run.discard()
    run.discard()
    assert logged(tmp_path / "log") == 0

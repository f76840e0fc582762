"""Staged rows enter the log all together or not at all, wherever their writer dies."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, PredictionLog, SpoiledRunError, StagedRun, erase, settle
from holdfast.prediction_log.byte_search import search_bytes
from holdfast.prediction_log.erasing import read_report, write_request
from holdfast.prediction_log.staging import finish_abandoned, staged_folder
from holdfast.privacy import Redactor, subject_pseudonym
from holdfast.spec.checklist import Privacy

CLOCK = ManualClock(T0_US)
KEY = b"a pseudonym key of many bytes"


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


def test_published_contents_are_as_young_as_new_ones_and_half_written_ones_stay_out(tmp_path: Path) -> None:
    """A keeper that began to look for contents that no row names must not take them for old ones."""
    hidden = tmp_path / ".target.partial"
    run = run_of(tmp_path / "log", hidden)
    contents = list((run.folder / "large_inputs").glob("??/*.npy"))
    for path in contents:
        os.utime(path, (0, 0))
    (contents[0].parent / "killed.partial").write_bytes(b"half")
    run.promise(hidden)
    hidden.rename(tmp_path / "target")
    run.publish()
    published = list((tmp_path / "log" / "large_inputs").glob("??/*"))
    assert sorted(path.name for path in published) == sorted(path.name for path in contents)
    assert min(path.stat().st_mtime for path in published) > 0


def test_a_run_that_is_just_being_opened_is_nobodys_to_remove(tmp_path: Path) -> None:
    opening = staged_folder(tmp_path) / "0011aabbccdd.opening"
    opening.mkdir(parents=True)
    with (opening / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert finish_abandoned(tmp_path) == (0, 0)
        assert opening.is_dir()


DIES_WHILE_OPENING = """
import fcntl, os, signal, sys
from pathlib import Path
from holdfast.prediction_log import StagedRun

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

for owner, step in ((os, "open"), (fcntl, "flock"), (Path, "rename")):
    if os.fork() == 0:
        setattr(owner, step, kill)
        StagedRun(Path(sys.argv[1]))
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGKILL
"""


def test_a_writer_killed_while_it_opened_its_run_leaves_nothing_for_long(tmp_path: Path) -> None:
    """Before there is a lock in its folder, before it holds it, and before the folder has its name."""
    subprocess.run([sys.executable, "-c", DIES_WHILE_OPENING, str(tmp_path)], check=True)
    left = sorted(path.suffix for path in staged_folder(tmp_path).iterdir())
    assert left == [".opening"] * 3
    Keeper(tmp_path, CLOCK).run_once()
    assert list(staged_folder(tmp_path).iterdir()) == []


@pytest.mark.parametrize("owner_step", [(os, "open"), (fcntl, "flock")], ids=["no lock", "not locked"])
def test_a_keeper_that_comes_while_a_run_is_opened_takes_nothing_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner_step: tuple[Any, str]
) -> None:
    owner, step = owner_step
    real = getattr(owner, step)

    def meets_a_keeper(*arguments: Any) -> Any:
        monkeypatch.setattr(owner, step, real)
        assert finish_abandoned(tmp_path) == (0, 0)
        return real(*arguments)

    monkeypatch.setattr(owner, step, meets_a_keeper)
    run = StagedRun(tmp_path)
    assert list(staged_folder(tmp_path).iterdir()) == [run.folder]
    assert finish_abandoned(tmp_path) == (0, 0)
    die(run)
    assert finish_abandoned(tmp_path) == (0, 1)


def test_runs_whose_writers_died_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    for number in range(5):
        hidden = tmp_path / f".target-{number}.partial"
        run = run_of(tmp_path / "log", hidden)
        if number < 3:
            run.promise(hidden)
            hidden.unlink()
        die(run)
    assert finish_abandoned(tmp_path / "log") == (3, 2)


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


def test_a_keeper_in_another_folder_finds_the_hidden_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hidden = Path(".target.partial")
    run = run_of(tmp_path / "log", hidden)
    run.promise(hidden)
    die(run)
    monkeypatch.chdir("/")
    assert finish_abandoned(tmp_path / "log") == (0, 1)
    assert not (tmp_path / hidden).exists()


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

    def counted(real: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def move(self: Path, target: Path) -> Path:
            if not left[0]:
                raise SystemExit
            left[0] -= 1
            return real(self, target)

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


def subjects_run(log_folder: Path, *subjects: str) -> StagedRun:
    """A run with one record of these subjects, its writer closed."""
    run = StagedRun(log_folder)
    writer = new_writer(run.folder, CLOCK, replica="score")
    writer.append(
        redacted(
            ids_of("p", len(subjects)),
            redactor=Redactor(Privacy(subject_field="who"), KEY),
            context={"who": list(subjects)},
            large={"photo": np.ones((len(subjects), 3, 30, 30), np.float32)},
        )
    )
    writer.close()
    return run


def test_an_erasure_spoils_the_run_that_has_rows_of_the_subject_and_no_other(tmp_path: Path) -> None:
    log_folder, hidden = tmp_path / "log", tmp_path / ".target.partial"
    with_ann, without = subjects_run(log_folder, "bob", "ann"), subjects_run(log_folder, "bob", "eve")
    ann = subject_pseudonym(KEY, "ann")
    erase(log_folder, CLOCK, subjects=[ann])
    assert not search_bytes(log_folder, [ann])
    with pytest.raises(SpoiledRunError, match="run the same command again"):
        with_ann.promise(hidden)
    with_ann.discard()
    hidden.write_text("rows")
    without.promise(hidden)
    hidden.rename(tmp_path / "target")
    without.publish()
    assert logged(log_folder) == 2
    assert list(staged_folder(log_folder).iterdir()) == []


def test_a_spoiled_run_whose_writer_died_is_thrown_away(tmp_path: Path) -> None:
    run = subjects_run(tmp_path / "log", "ann")
    erase(tmp_path / "log", CLOCK, subjects=[subject_pseudonym(KEY, "ann")])
    die(run)
    assert logged(tmp_path / "log") == 0
    assert list(staged_folder(tmp_path / "log").iterdir()) == []


def test_an_erasure_waits_for_a_run_that_has_promised_and_erases_it_when_it_is_published(
    tmp_path: Path,
) -> None:
    log_folder, hidden = tmp_path / "log", tmp_path / ".target.partial"
    run = subjects_run(log_folder, "bob", "ann")
    hidden.write_text("rows")
    run.promise(hidden)
    ann = subject_pseudonym(KEY, "ann")
    request = write_request(log_folder, CLOCK, [ann], [])
    assert Keeper(log_folder, CLOCK).run_once().erasures == 0
    hidden.rename(tmp_path / "target")
    run.publish()
    assert Keeper(log_folder, CLOCK).run_once().erasures == 1
    report = read_report(log_folder, request.request_id)
    assert report is not None
    assert report.predictions == 1
    assert not search_bytes(log_folder, [ann])
    log = PredictionLog(log_folder)
    assert log.verify().ok
    assert log.count().predictions == 1


def test_a_writer_goes_on_in_a_spoiled_run_until_it_promises(tmp_path: Path) -> None:
    log_folder = tmp_path / "log"
    run = StagedRun(log_folder)
    writer = new_writer(run.folder, CLOCK, replica="score", segment_bytes=500)
    redactor = Redactor(Privacy(subject_field="who"), KEY)
    photo = np.ones((1, 3, 30, 30), np.float32)
    for part in range(6):
        writer.append(
            redacted([f"p{part}"], redactor=redactor, context={"who": ["ann"]}, large={"photo": photo})
        )
        if part == 2:
            erase(log_folder, CLOCK, subjects=[subject_pseudonym(KEY, "ann")])
    assert (writer.stored, writer.dropped) == (6, 0)
    writer.close()
    with pytest.raises(SpoiledRunError):
        run.promise(tmp_path / "hidden")
    run.discard()
    assert logged(log_folder) == 0

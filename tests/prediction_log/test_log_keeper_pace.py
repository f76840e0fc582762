"""How much a pass takes, when it ends, and how long the keeper waits between two."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kept_log import assert_all_there_once, fill
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, PredictionLog
from holdfast.prediction_log.scanning import OpenSegment, summarise
from holdfast.prediction_log.segments import list_segments, spool_folder
from holdfast.prediction_log.tables import LARGE_FILE_BYTES, SMALL_FILE_BYTES, LogTable


class Stop(threading.Event):
    """Set after so many waits, and notes how long each would have been."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self._waits = waits
        self.pauses_s: list[float] = []

    def is_set(self) -> bool:
        return len(self.pauses_s) >= self._waits

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses_s.append(timeout or 0.0)
        return self.is_set()


def test_a_commit_takes_no_more_than_its_bytes_from_all_segments_together(tmp_path: Path) -> None:
    for number in range(4):
        writer = new_writer(tmp_path, replica=f"worker-{number}")
        writer.append(redacted(ids_of(f"p{number}", 2)))
        writer.close()
    size_bytes = list_segments(spool_folder(tmp_path))[0].path.stat().st_size
    for batch_bytes, commits in ((1, 4), (2 * size_bytes, 2)):
        log_folder = tmp_path / str(batch_bytes)
        spool_folder(log_folder).mkdir(parents=True)
        for ref in list_segments(spool_folder(tmp_path)):
            (spool_folder(log_folder) / ref.path.name).write_bytes(ref.path.read_bytes())
        steps: list[str] = []
        Keeper(log_folder, ManualClock(T0_US), batch_bytes=batch_bytes, on_step=steps.append).run_once()
        assert steps.count("predictions committed") == commits
        assert PredictionLog(log_folder).count().predictions == 8


def test_a_pass_ends_though_its_writer_is_as_fast(tmp_path: Path) -> None:
    """Also where its segment holds many rows that were committed before."""
    writer = new_writer(tmp_path)
    later: Iterator[int] = iter(())

    def on_step(step: str) -> None:
        if step == "predictions committed" and (number := next(later, None)) is not None:
            writer.append(redacted([f"later-{number}"]))

    keeper = Keeper(tmp_path, ManualClock(T0_US), batch_bytes=1, on_step=on_step)
    assert keeper._lease.acquire()  # as while it runs: what it knows lives on from pass to pass
    for before in (0, 500):
        writer.append(redacted(ids_of("before", before)))
        keeper.run_once()
        writer.append(redacted(["first"]))
        later = iter(range(20))
        assert keeper.run_once().predictions < 5
        later = iter(())
    keeper._lease.release()


def test_a_keeper_that_stays_remembers_nothing_of_segments_that_are_gone(tmp_path: Path) -> None:
    fill(tmp_path)
    keeper = Keeper(tmp_path, ManualClock(T0_US))
    assert keeper._lease.acquire()  # as while it runs: what it knows lives on from pass to pass
    assert keeper.run_once().segments_deleted > 1
    assert keeper._means is not None
    assert keeper._means.committer._progress == {}
    keeper._lease.release()


def test_a_batch_that_is_exactly_full_is_not_the_last(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"]))
    writer.append(redacted(["b"]))
    writer.close()
    (ref,) = list_segments(spool_folder(tmp_path))
    with OpenSegment(ref) as segment:
        first_end = summarise(segment).rows[0][0]
    assert Keeper(tmp_path, ManualClock(T0_US), batch_bytes=first_end).run_once().predictions == 2


def test_a_header_that_was_being_written_is_no_lost_record(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"]))
    (ref,) = list_segments(spool_folder(tmp_path))
    writer._segment.close()  # type: ignore[union-attr]  # as the kernel does when the process dies
    os.truncate(ref.path, 10)
    report = Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert (report.torn_records, report.segments_deleted) == (0, 1)


def test_pauses_double_up_to_half_a_minute_while_passes_fail_and_are_short_again_after(
    tmp_path: Path,
) -> None:
    failures = iter(range(6))

    def on_step(step: str) -> None:
        if step == "read" and next(failures, None) is not None:
            raise OSError("no space")

    stop = Stop(waits=8)
    Keeper(tmp_path, ManualClock(T0_US), interval_s=1.0, on_step=on_step).run(stop)
    assert stop.pauses_s == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 1.0, 1.0]


def test_failures_in_a_row_are_told_and_the_first_pass_that_goes_well_again(tmp_path: Path) -> None:
    fails = iter([False, True, True, False, False])

    def on_step(step: str) -> None:
        if step == "read" and next(fails, False):
            raise OSError("no space")

    told: list[tuple[int, str]] = []
    Keeper(
        tmp_path,
        ManualClock(T0_US),
        on_step=on_step,
        on_failure=lambda number, error: told.append((number, str(error))),
    ).run(Stop(waits=4))
    assert told == [(1, "no space"), (2, "no space"), (0, "None")]


@pytest.mark.parametrize("step", ["predictions committed", "labels committed"])
def test_a_pass_that_failed_between_two_commits_is_no_reason_to_commit_a_row_again(
    tmp_path: Path, step: str
) -> None:
    fill(tmp_path)
    failures = iter([OSError("no space")])

    def on_step(named: str) -> None:
        if named == step and (error := next(failures, None)) is not None:
            raise error

    Keeper(tmp_path, ManualClock(T0_US), on_step=on_step).run(Stop(waits=2))
    assert next(failures, None) is None
    assert_all_there_once(tmp_path)


def test_a_last_pass_that_fails_is_not_taken_for_the_end_of_the_work(tmp_path: Path) -> None:
    def on_step(step: str) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        Keeper(tmp_path, ManualClock(T0_US), on_step=on_step).run(Stop(waits=0))


def test_what_came_during_the_pass_in_which_it_was_told_to_stop_is_committed(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    stop = Stop(waits=1)

    def on_report(_: object) -> None:
        if not stop.pauses_s:
            stop.pauses_s.append(0.0)
            writer.append(redacted(["late"]))

    Keeper(tmp_path, ManualClock(T0_US)).run(stop, on_report)
    assert PredictionLog(tmp_path).count().predictions == 1


def test_every_twentieth_round_merges_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets: list[int] = []
    monkeypatch.setattr(LogTable, "compact", lambda _, target_bytes: targets.append(target_bytes))
    writer = new_writer(tmp_path)
    for number in range(41):
        writer.append(redacted([f"p{number}"]))
    Keeper(tmp_path, ManualClock(T0_US), batch_bytes=1, upkeep_commits=1).run_once()
    assert [number for number, target in enumerate(targets) if target == LARGE_FILE_BYTES] == [19, 39]
    assert targets.count(SMALL_FILE_BYTES) == 39

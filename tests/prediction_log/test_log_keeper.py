"""The keeper: every spooled record enters the tables once, wherever it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from deltalake import DeltaTable
from kept_log import EVERY_ID, assert_all_there_once, fill, make_of_a_later_format, stored_ids
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import Keeper, KeeperReport, Label, PredictionLog
from holdfast.prediction_log.segments import list_segments, spool_folder
from holdfast.spec import Deployment

STEPS = [
    "read",
    "predictions committed",
    "labels committed",
    "ledger committed",
    "tables synced",
    "segment deleted",
    "expired rows noted",
    "predictions expired",
    "labels expired",
    "compacted",
    "checkpointed",
    "vacuumed",
]


def test_one_pass_moves_everything_and_empties_the_spool(tmp_path: Path) -> None:
    fill(tmp_path)
    report = Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert (report.lease, report.predictions, report.labels) == (True, 30, 3)
    assert list_segments(spool_folder(tmp_path)) == []
    assert_all_there_once(tmp_path)


def test_a_second_pass_does_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    keeper = Keeper(tmp_path, ManualClock(T0_US))
    keeper.run_once()
    version = DeltaTable(tmp_path / "predictions").version()
    assert keeper.run_once() == KeeperReport(lease=True)
    assert DeltaTable(tmp_path / "predictions").version() == version


def test_rows_of_a_living_writer_are_committed_and_its_segment_is_kept(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    keeper = Keeper(tmp_path, ManualClock(T0_US))
    for part in range(3):
        writer.append(redacted(ids_of(f"p{part}", 10)))
        writer.append_labels([Label(f"p{part}-00000", part, T0_US)])
        assert keeper.run_once().predictions == 10
        assert len(list_segments(spool_folder(tmp_path))) == 1
    assert_all_there_once(tmp_path)
    writer.close()
    assert keeper.run_once().segments_deleted == 1
    assert_all_there_once(tmp_path)


def test_many_small_batches_give_the_same_as_one(tmp_path: Path) -> None:
    fill(tmp_path)
    report = Keeper(tmp_path, ManualClock(T0_US), batch_bytes=1).run_once()
    assert report.commits > 6
    assert_all_there_once(tmp_path)


class StoppedError(BaseException):
    """Thrown in at a step."""


def stop_at(wanted: str, occurrence: int = 1) -> Callable[[str], None]:
    left = [occurrence]

    def on_step(step: str) -> None:
        if step == wanted:
            left[0] -= 1
            if left[0] == 0:
                raise StoppedError(step)

    return on_step


@pytest.mark.parametrize("batch_bytes", [400, 1_000_000])
@pytest.mark.parametrize("step", STEPS)
def test_stopped_after_any_step_the_next_keeper_ends_with_every_row_once(
    tmp_path: Path, step: str, batch_bytes: int
) -> None:
    clock = ManualClock(T0_US)
    old = new_writer(tmp_path, clock, replica="old")
    old.append(redacted(ids_of("old", 5)))
    old.append_labels([Label("old-00000", 1, T0_US)])
    old.close()
    Keeper(tmp_path, clock, retention_days=1).run_once()
    clock.advance_s(2 * 86_400)
    writer = new_writer(tmp_path, clock, segment_bytes=600)
    for part in range(3):
        writer.append(redacted(ids_of(f"p{part}", 10)))
        writer.append_labels([Label(f"p{part}-00000", part, T0_US)])
    writer.close()

    def keeper(on_step: Callable[[str], None] | None = None) -> Keeper:
        return Keeper(
            tmp_path, clock, batch_bytes=batch_bytes, retention_days=1, upkeep_commits=1, on_step=on_step
        )

    stops = 0
    for occurrence in range(1, 20):
        try:
            keeper(stop_at(step, occurrence)).run_once()
            break
        except StoppedError:
            stops += 1
            assert PredictionLog(tmp_path).verify().ok
    assert stops >= 1
    assert stored_ids(tmp_path) == EVERY_ID
    verified = PredictionLog(tmp_path).verify()
    assert verified.ok, verified
    assert (verified.ledger.served, verified.ledger.stored, verified.ledger.expired) == (35, 35, 5)
    assert PredictionLog(tmp_path).labels(history=True).read_all().num_rows == 3
    assert list_segments(spool_folder(tmp_path)) == []


KILLED_KEEPER = """
import os, signal, sys
from pathlib import Path
from holdfast.clock import SystemClock
from holdfast.prediction_log import Keeper
def on_step(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
Keeper(Path(sys.argv[1]), SystemClock(), upkeep_commits=1, on_step=on_step).run_once()
"""


@pytest.mark.parametrize("step", ["read", "predictions committed", "ledger committed", "segment deleted"])
def test_a_keeper_killed_after_a_step_leaves_every_row_to_the_next(tmp_path: Path, step: str) -> None:
    fill(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED_KEEPER, str(tmp_path), step], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Keeper(tmp_path, SystemClock()).run_once().lease
    assert_all_there_once(tmp_path)


def test_a_failed_commit_leaves_the_keeper_usable(tmp_path: Path) -> None:
    fill(tmp_path)
    failing = [True]

    def on_step(step: str) -> None:
        if step == "predictions committed" and failing.pop():
            failing.append(False)
            raise OSError("disk full")

    keeper = Keeper(tmp_path, ManualClock(T0_US), on_step=on_step)
    with pytest.raises(OSError, match="disk full"):
        keeper.run_once()
    keeper.run_once()
    assert_all_there_once(tmp_path)


def test_every_file_of_the_tables_is_on_the_disk_before_a_segment_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    needed: list[set[Path]] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        synced.add(Path(f"/proc/self/fd/{fd}").readlink())

    def on_step(step: str) -> None:
        if step == "tables synced":
            tables = [tmp_path / "predictions", tmp_path / "labels", tmp_path / "ledger"]
            needed.append({path for table in tables for path in [table, *table.rglob("*")]})
            assert needed[-1] <= synced

    monkeypatch.setattr("holdfast.prediction_log.disk.os.fsync", fsync)
    keeper = Keeper(tmp_path, ManualClock(T0_US), on_step=on_step, upkeep_commits=2)
    for prefix in "pqr":
        fill(tmp_path, prefix=prefix)
        keeper.run_once()
    assert len(needed) == 3


# Segments


def test_a_torn_tail_of_a_dead_writer_is_counted_and_the_rest_kept(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    for part in range(3):
        writer.append(redacted(ids_of(f"p{part}", 10)))
    (ref,) = list_segments(spool_folder(tmp_path))
    writer._segment.close()  # type: ignore[union-attr]  # as the kernel does when the process dies
    os.truncate(ref.path, ref.path.stat().st_size - 7)
    report = Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert report.torn_records == 1
    assert report.segments_deleted == 1
    assert stored_ids(tmp_path) == EVERY_ID[:20]
    verified = PredictionLog(tmp_path).verify()
    assert verified.torn_records == 1
    assert verified.torn_bytes > 0
    assert verified.ok  # a record that was torn had not been answered


def test_a_half_written_record_of_a_living_writer_is_waited_for(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["first"]))
    (ref,) = list_segments(spool_folder(tmp_path))
    before = ref.path.read_bytes()
    writer.append(redacted(["second"]))
    whole = ref.path.read_bytes()
    keeper = Keeper(tmp_path, ManualClock(T0_US))
    for cut in range(len(before) + 1, len(whole), 20):
        ref.path.write_bytes(whole[:cut])  # in place: the writer's lock stays
        report = keeper.run_once()
        assert report.torn_records == 0
        assert stored_ids(tmp_path) == ["first"]
    ref.path.write_bytes(whole)
    keeper.run_once()
    assert stored_ids(tmp_path) == ["first", "second"]


def test_damage_in_the_middle_costs_one_record_and_is_named(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    for part in range(3):
        writer.append(redacted(ids_of(f"p{part}", 10)))
    writer.close()
    (ref,) = list_segments(spool_folder(tmp_path))
    data = bytearray(ref.path.read_bytes())
    data[len(data) // 2] ^= 0x40
    ref.path.write_bytes(data)
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    verified = PredictionLog(tmp_path).verify()
    assert not verified.ok
    assert [(hole.table, hole.replica, hole.first, hole.last) for hole in verified.holes] == [
        ("predictions", writer.replica, 10, 19)
    ]
    assert verified.missing_rows == 10 == verified.ledger.unaccounted
    assert verified.torn_records == 1


def test_a_segment_of_a_later_format_is_left_alone_and_named(tmp_path: Path) -> None:
    fill(tmp_path, close=True)
    ref = list_segments(spool_folder(tmp_path))[0]
    make_of_a_later_format(ref)
    report = Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert report.unreadable == (ref.name,)
    assert ref.path.exists()
    assert PredictionLog(tmp_path).verify().unreadable == (ref.name,)
    assert report.predictions > 0  # the other segments are not held up


def test_what_a_writer_left_while_opening_is_removed(tmp_path: Path) -> None:
    spool_folder(tmp_path).mkdir(parents=True)
    (spool_folder(tmp_path) / "worker-0-0011aabbccdd-00000000.opening").write_bytes(b"half")
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert list(spool_folder(tmp_path).iterdir()) == []


def test_other_files_in_the_spool_are_not_touched(tmp_path: Path) -> None:
    spool_folder(tmp_path).mkdir(parents=True)
    note = spool_folder(tmp_path) / "README"
    note.write_text("mine")
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert note.read_text() == "mine"


# Upkeep


def test_upkeep_keeps_the_table_in_few_files_and_loses_nothing(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    keeper = Keeper(tmp_path, ManualClock(T0_US), upkeep_commits=10)
    for part in range(30):
        writer.append(redacted(ids_of(f"p{part}", 2)))
        keeper.run_once()
    delta = DeltaTable(tmp_path / "predictions")
    assert len(delta.file_uris()) <= 10
    assert len(stored_ids(tmp_path)) == 60
    assert list((tmp_path / "predictions" / "_delta_log").glob("*.checkpoint.parquet"))


def test_upkeep_removes_what_a_keeper_wrote_that_died_before_it_could_commit(tmp_path: Path) -> None:
    fill(tmp_path)
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    stray = tmp_path / "predictions" / "part-of-nothing.parquet"
    stray.write_bytes(b"rows")
    os.utime(stray, (0, 0))
    fill(tmp_path, prefix="q")
    Keeper(tmp_path, ManualClock(T0_US), upkeep_commits=1).run_once()
    assert not stray.exists()


def test_a_long_backlog_is_tidied_up_within_the_pass(tmp_path: Path) -> None:
    steps: list[str] = []
    fill(tmp_path)
    Keeper(tmp_path, ManualClock(T0_US), batch_bytes=1, upkeep_commits=2, on_step=steps.append).run_once()
    last_commit = len(steps) - 1 - steps[::-1].index("predictions committed")
    assert "vacuumed" in steps[:last_commit]
    assert_all_there_once(tmp_path)


def test_a_reader_that_began_before_compaction_can_finish(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    keeper = Keeper(tmp_path, ManualClock(T0_US), upkeep_commits=5)
    for part in range(4):
        writer.append(redacted(ids_of(f"p{part}", 2)))
        keeper.run_once()
    reader = PredictionLog(tmp_path).predictions()
    for part in range(4, 12):
        writer.append(redacted(ids_of(f"p{part}", 2)))
        keeper.run_once()
    assert reader.read_all().num_rows == 8


def test_rows_older_than_the_retention_go_and_stay_accounted_for(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(tmp_path, clock)
    keeper = Keeper(tmp_path, clock, retention_days=30)
    writer.append(redacted(ids_of("old", 5)))
    writer.append_labels([Label("old-00000", 1, T0_US)])
    keeper.run_once()
    clock.advance_s(31 * 86_400)
    writer.append(redacted(ids_of("new", 3)))
    report = keeper.run_once()
    assert report.expired == 5
    assert stored_ids(tmp_path) == ids_of("new", 3)
    log = PredictionLog(tmp_path)
    assert log.labels(history=True).read_all().num_rows == 0
    verified = log.verify()
    assert verified.ok, verified
    assert (verified.ledger.served, verified.ledger.stored, verified.ledger.expired) == (8, 8, 5)


def test_retention_goes_by_the_time_of_logging_not_by_the_time_of_the_prediction(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["replayed"], times_us=[0]))
    Keeper(tmp_path, ManualClock(T0_US), retention_days=1).run_once()
    assert stored_ids(tmp_path) == ["replayed"]


# Running


def test_run_works_until_it_is_told_to_stop_and_then_commits_the_rest(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, SystemClock())
    stop, seen = threading.Event(), threading.Event()
    reports: list[KeeperReport] = []

    def on_report(report: KeeperReport) -> None:
        reports.append(report)
        if report.predictions:
            seen.set()

    keeper = Keeper(tmp_path, SystemClock(), interval_s=0.02)
    thread = threading.Thread(target=keeper.run, args=(stop, on_report))
    thread.start()
    writer.append(redacted(["a"]))
    assert seen.wait(10)
    assert not Keeper(tmp_path, SystemClock()).run_once().lease
    writer.append(redacted(["b"]))
    stop.set()
    thread.join(10)
    assert stored_ids(tmp_path) == ["a", "b"]
    assert Keeper(tmp_path, SystemClock()).run_once().lease


def test_run_goes_on_after_a_pass_that_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path)
    stop = threading.Event()
    failures = [1, 2]

    def on_step(step: str) -> None:
        if step == "read" and failures:
            failures.pop()
            raise OSError("no space")

    keeper = Keeper(tmp_path, SystemClock(), interval_s=0.01, on_step=on_step)
    keeper.run(stop, lambda _: stop.set())
    assert caplog.text.count("a keeper pass failed") == 2
    assert_all_there_once(tmp_path)


def test_the_checklist_gives_interval_and_retention(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text(
        '[model]\nname = "fraud"\n[logging]\nretention_days = 3\ncommit_interval = "250ms"\n'
    )
    keeper = Keeper(Deployment.open(tmp_path, {}), ManualClock(T0_US))
    assert keeper._interval_s == 0.25
    assert keeper._retention.days == 3


def test_reports_are_plain_data(tmp_path: Path) -> None:
    report = Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert msgspec.json.decode(msgspec.json.encode(report), type=KeeperReport) == report


def test_the_ledger_table_holds_one_entry_per_segment(tmp_path: Path) -> None:
    writer = fill(tmp_path)
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    rows = DeltaTable(tmp_path / "ledger").to_pyarrow_table().sort_by("number").to_pylist()
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert {row["replica"] for row in rows} == {writer.replica}
    assert [row["closed"] for row in rows] == ["rotated"] * (len(rows) - 1) + ["ended"]
    assert rows[-1]["served"] == 30

"""Reading: labels join their predictions, whenever and however often they come."""

from __future__ import annotations

import csv
import json
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow.fs as pfs
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import (
    Counts,
    Keeper,
    KeeperBehindError,
    Label,
    PredictionLog,
    PredictionLogError,
    label_text,
    settle,
)
from holdfast.prediction_log.lease import Lease
from holdfast.prediction_log.places import TablePlace
from holdfast.prediction_log.schema import PREDICTIONS
from holdfast.prediction_log.tables import LogTable


def keep(log_folder: Path) -> None:
    Keeper(log_folder, ManualClock(T0_US)).run_once()


def answers(log_folder: Path) -> dict[str, str | None]:
    rows = PredictionLog(log_folder).joined(columns=["prediction_id"]).read_all().to_pylist()
    return {row["prediction_id"]: row["y"] for row in rows}


def test_an_empty_log_reads_as_empty(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "nothing")
    assert log.predictions().read_all().num_rows == 0
    assert log.joined().read_all().num_rows == 0
    assert log.labels().read_all().num_rows == 0
    assert log.tail() == []
    assert log.count() == Counts(predictions=0, labels=0, label_revisions=0, labelled=0, unknown_labels=0)
    assert log.ledger().served == 0
    assert log.verify().ok


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1", "1"),
        (True, "true"),
        (0.25, "0.25"),
        ("fraud", "fraud"),
        (None, None),
        (float("nan"), None),
    ],
)
def test_equal_labels_have_equal_texts(tmp_path: Path, y: Any, text: str | None) -> None:
    assert label_text(y) == text
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"]))
    writer.append_labels([Label("a", y, T0_US)])
    keep(tmp_path)
    assert answers(tmp_path) == {"a": text}


def test_labels_may_come_before_late_twice_and_for_unknown_ids(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(tmp_path, clock)
    writer.append_labels([Label("early", 1, T0_US)])
    keep(tmp_path)
    writer.append(redacted(["early", "late", "never", "corrected", "taken-back"]))
    clock.advance_s(1)
    writer.append_labels(
        [
            Label("late", 0, T0_US + 9),
            Label("corrected", 0, T0_US + 1),
            Label("corrected", 1, T0_US + 2),
            Label("taken-back", 1, T0_US + 1),
            Label("unknown", 1, T0_US),
        ]
    )
    clock.advance_s(1)
    writer.append_labels([Label("taken-back", None, T0_US + 2)])
    keep(tmp_path)
    assert answers(tmp_path) == {
        "early": "1",
        "late": "0",
        "never": None,
        "corrected": "1",
        "taken-back": None,
    }
    log = PredictionLog(tmp_path)
    assert log.count() == Counts(predictions=5, labels=4, label_revisions=7, labelled=3, unknown_labels=1)
    assert log.labels().read_all().num_rows == 5
    assert log.labels(history=True).read_all().num_rows == 7


def test_a_label_sent_again_changes_nothing(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"]))
    for _ in range(3):
        writer.append_labels([Label("a", 1, T0_US)])
    keep(tmp_path)
    log = PredictionLog(tmp_path)
    assert answers(tmp_path) == {"a": "1"}
    assert log.joined().read_all().num_rows == 1
    assert log.count() == Counts(predictions=1, labels=1, label_revisions=3, labelled=1, unknown_labels=0)


def test_a_label_observed_later_wins_over_one_that_arrived_later(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(tmp_path, clock)
    writer.append(redacted(["a", "b"]))
    writer.append_labels([Label("a", "new", T0_US + 10), Label("b", "first", T0_US)])
    clock.advance_s(60)
    writer.append_labels([Label("a", "old", T0_US + 5), Label("b", "second", T0_US)])
    keep(tmp_path)
    assert answers(tmp_path) == {"a": "new", "b": "second"}


def test_of_two_labels_of_one_moment_the_one_sent_later_counts(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"]))
    writer.append_labels([Label("a", "first", T0_US), Label("a", "second", T0_US)])
    keep(tmp_path)
    assert answers(tmp_path) == {"a": "second"}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_the_last_revision_wins_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    clock = ManualClock(T0_US)
    writer = new_writer(folder, clock)
    writer.append(redacted(["a", "b"]))
    expected: dict[str, tuple[int, int]] = {}
    for name, y, observed in sent:
        clock.advance_s(1)
        writer.append_labels([Label(name, y, T0_US + observed)])
        if name not in expected or observed >= expected[name][0]:
            expected[name] = (observed, y)
    keep(folder)
    assert answers(folder) == {
        name: str(expected[name][1]) if name in expected else None for name in ("a", "b")
    }


def test_rows_of_one_id_given_twice_both_get_the_label_and_verify_names_the_id(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["mine", "mine", "other"]))
    writer.append_labels([Label("mine", 1, T0_US)])
    keep(tmp_path)
    log = PredictionLog(tmp_path)
    assert sorted(str(row["y"]) for row in log.joined().read_all().to_pylist()) == ["1", "1", "None"]
    assert log.count() == Counts(predictions=3, labels=1, label_revisions=1, labelled=2, unknown_labels=0)
    verified = log.verify()
    assert verified.duplicate_ids == (("mine", 2),)
    assert verified.ok


def test_times_bound_what_is_read(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("a", 10)))  # one microsecond apart
    keep(tmp_path)
    log = PredictionLog(tmp_path)
    for read in (log.predictions, log.joined):
        got = read(T0_US + 2, T0_US + 5, columns=["prediction_id"]).read_all()["prediction_id"].to_pylist()
        assert sorted(got) == ids_of("a", 3, start=2)


def test_only_labelled_rows_can_be_asked_for(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a", "b", "c"]))
    writer.append_labels([Label("b", 1, T0_US), Label("c", None, T0_US)])
    keep(tmp_path)
    rows = (
        PredictionLog(tmp_path).joined(columns=["prediction_id"], only_labelled=True).read_all().to_pylist()
    )
    assert [(row["prediction_id"], row["y"]) for row in rows] == [("b", "1")]


def test_an_unknown_column_is_an_error_with_the_nearest_one(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"]))
    keep(tmp_path)
    with pytest.raises(PredictionLogError, match="Did you mean 'input_amount'"):
        PredictionLog(tmp_path).predictions(columns=["input_amuont"])


def test_tail_gives_the_newest_rows_oldest_first(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(tmp_path, clock)
    for name in "abcd":
        clock.advance_s(1)
        writer.append(redacted([name]))
    keep(tmp_path)
    assert [row["prediction_id"] for row in PredictionLog(tmp_path).tail(2)] == ["c", "d"]


def test_rows_logged_in_one_moment_come_last_in_the_order_in_which_each_replica_wrote_them(
    tmp_path: Path,
) -> None:
    for replica in ("worker-0", "worker-1"):
        writer = new_writer(tmp_path, replica=replica)
        writer.append(redacted(ids_of(replica, 2)))
        writer.close()
    keep(tmp_path)
    newest = [row["prediction_id"] for row in PredictionLog(tmp_path).tail(3)]
    assert newest == ["worker-0-00001", *ids_of("worker-1", 2)]


def test_copies_are_not_counted_and_have_no_labels_of_their_own(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a", "b"]))
    writer.append(redacted(["a", "b"], arm="shadow"))
    writer.append_labels([Label("a", 1, T0_US)])
    keep(tmp_path)
    assert PredictionLog(tmp_path).count() == Counts(
        predictions=2, labels=1, label_revisions=1, labelled=1, unknown_labels=0
    )


def test_an_export_holds_every_row_with_its_label(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "log")
    writer.append(redacted(["a", "b"], inputs={"x": np.array([[1.0, 2.0], [3.0, 4.0]])}))
    writer.append_labels([Label("a", 1, T0_US)])
    keep(tmp_path / "log")
    log = PredictionLog(tmp_path / "log")
    for kind in ("parquet", "csv", "jsonl"):
        assert log.export(tmp_path / f"out.{kind}", kind) == 2
    from_parquet = pq.read_table(tmp_path / "out.parquet").to_pylist()
    with (tmp_path / "out.csv").open(newline="") as file:
        from_csv = list(csv.DictReader(file))
    from_jsonl = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for rows in (from_parquet, from_csv, from_jsonl):
        assert {row["prediction_id"]: row["y"] or None for row in rows} == {"a": "1", "b": None}
    assert from_csv[0]["input_x"] == "[1.0,2.0]"
    assert from_jsonl[0]["input_x"] == [1.0, 2.0]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "out.csv",
        "out.jsonl",
        "out.parquet",
    ]


def test_a_failed_export_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError("no space")

    monkeypatch.setattr("holdfast.prediction_log.exporting._write_jsonl", fail)
    with pytest.raises(OSError, match="no space"):
        PredictionLog(tmp_path / "log").export(tmp_path / "out.jsonl", "jsonl")
    assert list(tmp_path.iterdir()) == []


def test_the_tables_open_without_holdfast(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("a", 3)))
    writer.append_labels([Label("a-00000", 1, T0_US)])
    keep(tmp_path)
    frame = pl.read_delta(str(tmp_path / "predictions"))
    assert sorted(frame["prediction_id"]) == ids_of("a", 3)
    assert pl.read_delta(str(tmp_path / "labels")).height == 1
    files = str(tmp_path / "predictions" / "*.parquet")
    assert duckdb.read_parquet(files).count("*").fetchall() == [(3,)]


# Settling


def test_settle_commits_when_no_keeper_is_alive(tmp_path: Path) -> None:
    new_writer(tmp_path).append(redacted(["a"]))
    assert settle(tmp_path, SystemClock()).predictions == 1
    assert answers(tmp_path) == {"a": None}


def test_settle_waits_for_the_keeper_that_is_alive(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, SystemClock())
    stop = threading.Event()
    running = threading.Event()
    keeper = Keeper(tmp_path, SystemClock(), interval_s=0.05)
    thread = threading.Thread(target=keeper.run, args=(stop, lambda _: running.set()))
    thread.start()
    try:
        assert running.wait(10)
        for part in range(5):
            writer.append(redacted([f"p{part}"]))
            writer.append_labels([Label(f"p{part}", part, T0_US)])
            assert not settle(tmp_path, SystemClock(), timeout_s=10).lease
            assert answers(tmp_path) == {f"p{i}": str(i) for i in range(part + 1)}
    finally:
        stop.set()
        thread.join(10)


def test_settle_gives_up_on_a_keeper_that_does_nothing(tmp_path: Path) -> None:
    new_writer(tmp_path).append(redacted(["a"]))
    lease = Lease(tmp_path)
    assert lease.acquire()
    with pytest.raises(KeeperBehindError, match="within 1 s"):
        settle(tmp_path, ManualClock(T0_US), timeout_s=1)
    lease.release()
    assert settle(tmp_path, ManualClock(T0_US), timeout_s=1).predictions == 1


# The ledger


def test_the_ledger_balances_at_every_moment(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, sampling_fraction=0.5)
    log = PredictionLog(tmp_path)
    for part in range(6):
        writer.append(redacted(ids_of(f"p{part}", 20)))
        ledger = log.ledger()
        assert ledger.unaccounted == 0
        assert (ledger.served, ledger.sampled_out) == (writer.served, writer.sampled_out)
        assert ledger.stored + ledger.spooled == writer.stored
        assert ledger.replicas[0].alive
        if part % 2:
            keep(tmp_path)
            assert log.ledger().spooled == 0
            assert log.ledger().unaccounted == 0
    writer.close()
    assert not log.ledger().replicas[0].alive
    keep(tmp_path)
    ledger = log.ledger()
    assert (ledger.served, ledger.stored, ledger.unaccounted) == (120, writer.stored, 0)


def test_the_ledger_is_right_while_writers_and_keeper_work(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, SystemClock(), segment_bytes=3000)
    stop = threading.Event()

    def write() -> None:
        part = 0
        while not stop.is_set():
            writer.append(redacted(ids_of(f"p{part}", 3)))
            part += 1
            time.sleep(0.002)

    threads = [
        threading.Thread(target=write),
        threading.Thread(target=Keeper(tmp_path, SystemClock(), interval_s=0).run, args=(stop,)),
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            verified = PredictionLog(tmp_path).verify()
            assert verified.ok, verified
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_rows_missing_from_the_table_are_named(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("a", 10)))
    writer.append_labels([Label(f"a-{row:05d}", 1, T0_US) for row in range(4)])
    keep(tmp_path)
    DeltaTable(tmp_path / "predictions").delete("sequence IN (3, 4, 8)")
    DeltaTable(tmp_path / "labels").delete("sequence = 0")
    verified = PredictionLog(tmp_path).verify()
    assert not verified.ok
    assert [(hole.table, hole.first, hole.last, hole.rows) for hole in verified.holes] == [
        ("predictions", 3, 4, 2),
        ("predictions", 8, 8, 1),
        ("labels", 0, 0, 1),
    ]
    assert {hole.replica for hole in verified.holes} == {writer.replica}
    assert verified.missing_rows == 4
    assert verified.ledger.unaccounted == 3


def test_rows_that_are_there_twice_are_named(tmp_path: Path) -> None:
    from deltalake import DeltaTable, write_deltalake

    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("a", 10)))
    keep(tmp_path)
    folder = tmp_path / "predictions"
    rows = DeltaTable(folder).to_pyarrow_table().sort_by("sequence").slice(2, 3)
    write_deltalake(folder, rows, mode="append")
    verified = PredictionLog(tmp_path).verify()
    assert not verified.ok
    assert [(twice.first, twice.last) for twice in verified.repeated] == [(2, 4)]
    assert verified.repeated_rows == 3
    assert verified.duplicate_id_count == 3
    assert verified.ledger.unaccounted == -3


def test_arrow_reads_the_tables_without_the_interpreter_so_that_ending_while_it_reads_is_safe(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a folder, 100 %"
    table = LogTable.open_or_create(TablePlace(str(folder)), PREDICTIONS, ManualClock(T0_US))
    files = table.dataset().filesystem
    # With a PyFileSystem a reader thread needs the interpreter, and a process hung or crashed while it ended.
    assert isinstance(files, pfs.SubTreeFileSystem)
    assert isinstance(files.base_fs, pfs.LocalFileSystem)
    assert TablePlace(str(folder)).dataset(DeltaTable(str(folder))).count_rows() == 0


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "Café #1, 100 %"
    writer = new_writer(folder)
    writer.append(redacted(["a"]))
    writer.close()
    keep(folder)
    log = PredictionLog(folder)
    assert log.count().predictions == 1
    assert log.verify().ok

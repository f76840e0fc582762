"""Retention by age, by size and by class of a field; what it removes stays accounted for."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import Keeper, Label, PredictionLog, foresee_retention, retain_now, settle
from holdfast.prediction_log.folders import retention_request
from holdfast.prediction_log.retaining import _field_of
from holdfast.spec import Deployment

DAY_S = 86_400


def deployment(folder: Path, logging: str) -> Deployment:
    (folder / "holdfast.toml").write_text(
        '[model]\nname = "fraud"\n[privacy.fields]\nnote = "sensitive"\n"a__b" = "sensitive"\n'
        f"[logging]\n{logging}\n"
    )
    return Deployment.open(folder, {})


def write_day(log: Deployment, clock: ManualClock, day: int, n: int = 10) -> None:
    writer = new_writer(log.log_folder, clock)
    notes = [f"note {day} {row}" for row in range(n)]
    inputs = {"dose": np.arange(n, dtype=np.float64), "note": notes, "a__b": np.arange(n), "a": notes}
    writer.append(redacted(ids_of(f"d{day}", n), inputs=inputs, context={"note": notes}))
    writer.append_labels([Label(f"d{day}-00000", 1, clock.now_us())])
    writer.close()
    clock.advance_s(DAY_S)


def test_values_of_a_class_go_before_their_rows(tmp_path: Path) -> None:
    log = deployment(tmp_path, "class_retention_days = { sensitive = 2 }\nretention_days = 30")
    clock = ManualClock(T0_US)
    for day in range(4):
        write_day(log, clock, day)
    clock.advance_s(-1)  # the clock stands just before the fourth midnight
    settle(log, clock)
    foreseen = foresee_retention(log, clock)
    report = retain_now(log, clock)
    assert (foreseen.predictions, foreseen.values) == (0, report.values)
    assert report.predictions == 0
    assert report.values == {"input_note": 20, "input_a__b": 20, "context_note": 20}
    rows = PredictionLog(log).predictions().read_all().sort_by("prediction_id").to_pylist()
    assert len(rows) == 40
    for row in rows:
        gone = row["prediction_id"] < "d2"
        assert (row["input_note"] is None, row["context_note"] is None, row["input_a__b"] is None) == (
            gone,
        ) * 3
        assert row["input_dose"] == int(row["prediction_id"][-5:])
        assert row["input_a"].startswith("note")
    assert retain_now(log, clock).values == {}
    verified = PredictionLog(log).verify()
    assert verified.ok, verified


def test_beyond_the_largest_size_the_oldest_go_first(tmp_path: Path) -> None:
    log = deployment(tmp_path, "retention_days = 30")
    clock = ManualClock(T0_US)
    for day in range(10):
        write_day(log, clock, day, n=200)
        Keeper(log, clock).run_once()
    size = retain_now(log, clock).bytes_after
    log = deployment(tmp_path, f"retention_days = 30\nmax_gb = {size / 2e9:.9f}")
    foreseen = foresee_retention(log, clock)
    assert foreseen.bytes_after == foreseen.bytes_before == size
    report = retain_now(log, clock)
    assert (foreseen.reason, foreseen.predictions, foreseen.labels, foreseen.cutoff_us) == (
        "size", report.predictions, report.labels, report.cutoff_us,
    )  # fmt: skip
    assert report.reason == "size"
    assert report.bytes_after < report.bytes_before
    assert report.predictions == pytest.approx(1100, abs=200)
    left = PredictionLog(log).predictions(columns=["prediction_id"]).read_all()["prediction_id"].to_pylist()
    assert {name[:2] for name in left} == {f"d{day}" for day in range(10 - len(left) // 200, 10)}
    verified = PredictionLog(log).verify()
    assert verified.ok, verified
    assert verified.ledger.expired == report.predictions


def test_age_removes_rows_and_labels_and_says_so(tmp_path: Path) -> None:
    log = deployment(tmp_path, "retention_days = 2")
    clock = ManualClock(T0_US)
    for day in range(4):
        write_day(log, clock, day)
    clock.advance_s(-1)
    settle(log, clock)
    foreseen = foresee_retention(log, clock)
    assert PredictionLog(log).count().predictions == 40
    report = retain_now(log, clock)
    assert (report.reason, report.predictions, report.labels) == ("age", 20, 2)
    assert (foreseen.reason, foreseen.predictions, foreseen.labels) == ("age", 20, 2)
    assert PredictionLog(log).count().predictions == 20


def test_the_keeper_that_is_alive_does_it(tmp_path: Path) -> None:
    log = deployment(tmp_path, "retention_days = 1")
    write_day(log, ManualClock(T0_US), 0)
    stop = threading.Event()
    keeper = Keeper(log, SystemClock(), interval_s=0.02)
    keeper._retention_due_s = float("inf")
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        report = retain_now(log, SystemClock(), timeout_s=60)
    finally:
        stop.set()
        thread.join()
    assert report.predictions == 10
    assert not retention_request(log.log_folder).exists()  # or the next pass would look at every row again


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("input_note", "note"),
        ("context_note__string", "note"),
        ("input_note__double_2", "note"),
        ("input_x__list_float", "x"),
        ("input_a__b", "a__b"),
        ("score", None),
    ],
)
def test_columns_are_told_from_fields(column: str, field: str | None) -> None:
    assert _field_of(column) == field

"""Two keepers by mistake: with the lease one waits, and without it every row is still stored once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from kept_log import EVERY_ID, assert_all_there_once, fill, stored_ids
from log_records import T0_US

from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import Keeper, KeeperReport, PredictionLog
from holdfast.prediction_log.lease import Lease


def test_while_one_keeper_has_the_lease_another_does_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    second: list[KeeperReport] = []

    def on_step(step: str) -> None:
        if step == "read" and not second:
            second.append(Keeper(tmp_path, ManualClock(T0_US)).run_once())

    Keeper(tmp_path, ManualClock(T0_US), on_step=on_step).run_once()
    assert second == [KeeperReport(lease=False)]
    assert_all_there_once(tmp_path)


def test_a_keeper_that_waits_for_another_says_so_once_and_takes_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path)
    lease = Lease(tmp_path)
    assert lease.acquire()
    stop, took_over = threading.Event(), threading.Event()
    keeper = Keeper(tmp_path, SystemClock(), interval_s=0.01)
    thread = threading.Thread(target=keeper.run, args=(stop, lambda _: took_over.set()))
    thread.start()
    assert not took_over.wait(0.2)
    lease.release()
    assert took_over.wait(10)
    stop.set()
    thread.join(10)
    assert [record.message for record in caplog.records] == [
        "another keeper is at work on this log; this one waits until it ends"
    ]
    assert_all_there_once(tmp_path)


def test_two_keepers_without_a_lease_still_store_every_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.prediction_log.keeper.Lease.acquire", lambda _: True)
    fill(tmp_path)
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    fill(tmp_path, prefix="q")
    failures: list[Exception] = []
    both_have_read = threading.Barrier(2)

    def on_step(step: str) -> None:
        if step == "read":
            both_have_read.wait(10)

    def work() -> None:
        try:
            Keeper(tmp_path, ManualClock(T0_US), on_step=on_step).run_once()
        except Exception as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 1
    assert type(failures[0]).__name__ == "CommitFailedError"
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    expected = sorted(EVERY_ID + [name.replace("p", "q") for name in EVERY_ID])
    assert stored_ids(tmp_path) == expected
    assert PredictionLog(tmp_path).verify().ok

"""The keeper's account: in a file for metrics, and an alarm when rows are missing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from deltalake import DeltaTable
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, read_account
from holdfast.prediction_log.account import Accountant
from holdfast.prediction_log.places import LogPlace
from holdfast.telemetry import ServiceCounts
from holdfast.telemetry.exposition import Shown, exposition


def fill(folder: Path) -> None:
    writer = new_writer(folder, sampling_fraction=0.5)
    writer.append(redacted(ids_of("p", 100)))
    writer.close()
    Keeper(folder, ManualClock(T0_US)).run_once()


def test_the_account_says_what_the_ledger_proves(tmp_path: Path) -> None:
    assert read_account(tmp_path) is None
    fill(tmp_path)
    clock = ManualClock(T0_US)
    accountant = Accountant(LogPlace.of(tmp_path), clock)
    account = accountant.take_if_due()
    assert account is not None
    assert account == read_account(tmp_path)
    assert (account.served, account.stored + account.sampled_out, account.unaccounted) == (100, 100, 0)
    assert account.coverage == account.stored / 100
    assert accountant.take_if_due() is None
    clock.advance_s(61)
    assert accountant.take_if_due() is not None


def test_missing_rows_raise_the_alarm_once_and_stand_in_the_metrics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path)
    DeltaTable(str(tmp_path / "predictions")).delete("sequence < 7")
    clock = ManualClock(T0_US)
    accountant = Accountant(LogPlace.of(tmp_path), clock)
    with caplog.at_level(logging.ERROR, "holdfast.keeper"):
        for _ in range(2):
            account = accountant.take_if_due()
            clock.advance_s(120)
    assert account is not None
    assert account.unaccounted == 7
    assert [record.getMessage().split(" are")[0] for record in caplog.records] == ["7 rows"]
    text = exposition([Shown("fraud", ServiceCounts(), 1, account=account)]).decode()
    assert 'holdfast_log_unaccounted_rows{model="fraud"} 7.0' in text

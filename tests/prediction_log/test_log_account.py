"""The keeper's account: in a file for metrics, and an alarm when rows are missing."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, read_account
from holdfast.prediction_log.account import Accountant
from holdfast.prediction_log.known_ranges import KnownRanges
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


def test_rows_that_were_back_and_are_missing_again_raise_the_alarm_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path)
    table = DeltaTable(str(tmp_path / "predictions"))
    whole = table.version()
    table.delete("sequence < 7")
    clock = ManualClock(T0_US)
    accountant = Accountant(LogPlace.of(tmp_path), clock)
    with caplog.at_level(logging.ERROR, "holdfast.keeper"):
        for version, missing in ((whole + 1, 7), (whole, 0), (whole + 1, 7)):
            if table.version() != version:
                table.restore(version)
            account = accountant.take_if_due()
            assert account is not None
            assert account.unaccounted == missing
            clock.advance_s(120)
    assert len(caplog.records) == 2


def test_an_account_that_takes_long_is_taken_less_often(tmp_path: Path) -> None:
    """At most a fiftieth of the time goes into it."""
    fill(tmp_path)
    clock = ManualClock(T0_US)
    accountant = Accountant(LogPlace.of(tmp_path), clock, lambda _: clock.advance_s(1))
    accountant.take_if_due()
    clock.advance_s(49)
    assert accountant.take_if_due() is None
    clock.advance_s(1)
    assert accountant.take_if_due() is not None


def test_an_account_that_could_not_be_written_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    clock = ManualClock(T0_US)
    accountant = Accountant(LogPlace.of(tmp_path), clock)
    last = accountant.take_if_due()
    clock.advance_s(120)

    def no_room(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(OSError, match="No space"):
        accountant.take_if_due()
    assert last is not None
    assert read_account(tmp_path) == last


def test_a_file_is_read_for_one_account_and_believed_in_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "predictions"
    known = KnownRanges()
    place = LogPlace.of(tmp_path).predictions
    writer = new_writer(tmp_path)
    keeper = Keeper(tmp_path, ManualClock(T0_US))
    for number in range(3):
        writer.append(redacted(ids_of(f"p{number}-", 10)))
        keeper.run_once()
        assert known.of(place.open(), place) == {writer.replica: [(0, 10 * (number + 1))]}
        assert known.files_read == number + 1
    DeltaTable(str(folder)).optimize.compact()
    assert known.of(place.open(), place) == {writer.replica: [(0, 30)]}
    assert known.files_read == 4, "one file in the place of three"
    writer.close()


def test_a_file_that_was_changed_or_lost_is_noticed_though_it_was_read(tmp_path: Path) -> None:
    fill(tmp_path)
    clock = ManualClock(T0_US)
    accountant = Accountant(LogPlace.of(tmp_path), clock)
    before = accountant.take_if_due()
    assert before is not None
    assert before.unaccounted == 0
    (file,) = (tmp_path / "predictions").glob("*.parquet")
    rows = pq.read_table(file)
    pq.write_table(rows.slice(3), file)
    clock.advance_s(60)
    after = accountant.take_if_due()
    assert after is not None
    assert after.unaccounted == 3
    file.unlink()
    clock.advance_s(60)
    with pytest.raises(FileNotFoundError):
        accountant.take_if_due()

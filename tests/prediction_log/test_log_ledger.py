"""The account is right at every moment, also of what comes and goes while it is taken; what a proof names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from kept_log import fill, make_of_a_later_format
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, Label, PredictionLog, SpoolWriter, erase, proof
from holdfast.prediction_log import ledger as ledger_room
from holdfast.prediction_log.ledger import Ledger, read_ledger
from holdfast.prediction_log.segments import list_segments, spool_folder


def read_while(
    log_folder: Path, patch: pytest.MonkeyPatch, happens: Callable[[], object], *, after: tuple[Any, str]
) -> Ledger:
    """The account, during which something happens once, after this function was called for the first time."""
    owner, name = after
    real, waiting = getattr(owner, name), [happens]

    def step(*arguments: object) -> object:
        found = real(*arguments)
        while waiting:
            waiting.pop()()
        return found

    with patch.context() as context:
        context.setattr(owner, name, step)
        return read_ledger(log_folder)


def more(writer: SpoolWriter, log_folder: Path, *, closes: bool = False) -> Callable[[], object]:
    """Ten rows and a label come and are committed; perhaps their writer ends, and its segment goes."""

    def happens() -> None:
        writer.append(redacted(ids_of("later", 10)))
        writer.append_labels([Label("later-00000", 1, T0_US)])
        if closes:
            writer.close()
        Keeper(log_folder, ManualClock(T0_US)).run_once()

    return happens


@pytest.mark.parametrize("closes", [False, True])
def test_rows_that_come_after_the_look_at_the_spool_are_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closes: bool
) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("first", 5)))
    happens = more(writer, tmp_path, closes=closes)
    account = read_while(tmp_path, monkeypatch, happens, after=(ledger_room, "summarise"))
    # A segment that ended and went is known from the ledger, which is read next.
    assert (account.served, account.unaccounted) == (15 if closes else 5, 0)
    writer.close()


def test_a_segment_that_goes_while_the_tables_are_read_is_not_known_by_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("first", 5)))
    writer.append_labels([Label("first-00000", 1, T0_US)])
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    happens = more(writer, tmp_path, closes=True)
    account = read_while(tmp_path, monkeypatch, happens, after=(proof, "ranges_by_replica"))
    assert (account.served, account.unaccounted) == (5, 0)


def test_a_replica_that_began_after_the_look_is_known_by_the_last_of_its_rows(tmp_path: Path) -> None:
    fill(tmp_path)
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    shutil.rmtree(tmp_path / "ledger")  # as it was before the replica's first segment ended
    account = read_ledger(tmp_path)
    assert (account.served, account.stored, account.unaccounted) == (30, 30, 0)
    DeltaTable(tmp_path / "predictions").delete("sequence >= 10 AND sequence < 20")
    verified = PredictionLog(tmp_path).verify()
    assert (verified.ledger.served, verified.missing_rows, verified.ok) == (30, 10, False)


def test_erased_rows_cannot_be_read_and_the_coverage_says_so(tmp_path: Path) -> None:
    fill(tmp_path)
    erase(tmp_path, ManualClock(T0_US), prediction_ids=ids_of("p0", 3))
    account = read_ledger(tmp_path)
    assert (account.stored, account.erased, account.unaccounted) == (30, 3, 0)
    assert account.coverage == 27 / 30


def test_a_log_of_which_a_part_cannot_be_read_is_not_proven(tmp_path: Path) -> None:
    fill(tmp_path)
    last = list_segments(spool_folder(tmp_path))[-1]
    make_of_a_later_format(last)
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    verified = PredictionLog(tmp_path).verify()
    assert verified.unreadable == (last.name,)
    assert not verified.ok


class StoppedError(BaseException):
    """Thrown in at a step."""


def test_rows_that_were_to_expire_and_were_erased_instead_count_once(tmp_path: Path) -> None:
    fill(tmp_path)
    Keeper(tmp_path, ManualClock(T0_US)).run_once()

    def on_step(step: str) -> None:
        if step == "expired rows noted":
            raise StoppedError

    tomorrow = ManualClock(T0_US + 2 * 86_400_000_000)
    with pytest.raises(StoppedError):
        Keeper(tmp_path, tomorrow, retention_days=1, on_step=on_step).run_once()
    erase(tmp_path, tomorrow, prediction_ids=ids_of("p0", 3))
    account = read_ledger(tmp_path)
    assert (account.stored, account.erased, account.expired, account.unaccounted) == (30, 3, 0, 0)


def test_dropped_rows_are_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(fd: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    writer = new_writer(tmp_path)
    writer.append(redacted(["a"]))
    with monkeypatch.context() as patch:
        patch.setattr("holdfast.prediction_log.segments.os.write", no_room)
        writer.append(redacted(["b"]))
    writer.append(redacted(["c"]))
    writer.close()
    account = read_ledger(tmp_path)
    assert (account.served, account.spooled, account.dropped, account.unaccounted) == (3, 2, 1, 0)


def test_a_writer_whose_count_does_not_balance_is_not_proven(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.served = 1  # of which it says neither that it stored nor that it dropped it
    writer.append(redacted(["a"]))
    writer.close()
    verified = PredictionLog(tmp_path).verify()
    assert (verified.holes, verified.ledger.unaccounted) == ((), 1)
    assert not verified.ok


def test_a_proof_names_a_hundred_holes_and_counts_all(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("a", 250)))
    writer.close()
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    DeltaTable(tmp_path / "predictions").delete("sequence % 2 = 0")
    verified = PredictionLog(tmp_path).verify()
    assert (len(verified.holes), verified.missing_rows) == (100, 125)


def test_ids_of_several_rows_are_named_the_most_frequent_first_and_copies_do_not_count(
    tmp_path: Path,
) -> None:
    writer = new_writer(tmp_path)
    for ids in (["a", "b", "c"], ["a", "b"], ["b"]):
        writer.append(redacted(ids))
        writer.append(redacted(ids, arm="shadow"))
    writer.close()
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    verified = PredictionLog(tmp_path).verify()
    assert verified.duplicate_ids == (("b", 3), ("a", 2))
    assert verified.ok

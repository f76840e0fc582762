"""Lost rows and a keeper that cannot work reach people, once, and so does their end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from places import Hook, deployment, webhook

from holdfast.alerts import Alerting, LogAlarms
from holdfast.clock import ManualClock
from holdfast.prediction_log import Account, Keeper, SpoolWriter
from holdfast.registry import Registry, RegistryError

CALM = Account(
    at_us=1_780_000_000_000_000, served=10, stored=10, spooled=0, sampled_out=0, dropped=0, expired=0,
    erased=0, labels_refused=0, torn_records=0, unaccounted=0, coverage=1.0,
)  # fmt: skip


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as opened:
        yield opened


@pytest.fixture
def alarms(tmp_path: Path, hook: Hook) -> Iterator[LogAlarms]:
    clock = ManualClock(1_780_000_000_000_000)
    mine = deployment(tmp_path, f'webhooks = ["{hook.url}"]')
    with Registry.open(mine.registry_url, clock) as registry:
        alerting = Alerting.open(mine, registry, clock, {})
        yield LogAlarms(alerting, clock)


@contextmanager
def unwritable_registry(alarms: LogAlarms) -> Iterator[None]:
    """As on a full disk: no alarm can be written down meanwhile."""
    alerting = alarms._alerting
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object) -> bool:
            raise RegistryError("the registry cannot be written", received="database or disk is full")

        patch.setattr(alerting, "stands", refuse)
        patch.setattr(alerting, "ended", refuse)
        yield


def told(alarms: LogAlarms, hook: Hook) -> list[tuple[str, str]]:
    alarms._alerting.sender.send_due()
    return [(one["kind"], one["title"]) for one in hook.received]


def test_rows_dropped_since_the_last_account_are_told_and_old_losses_are_not(
    alarms: LogAlarms, hook: Hook
) -> None:
    for dropped in (5, 5, 9, 12):
        alarms.on_account(msgspec.structs.replace(CALM, dropped=dropped))
    assert told(alarms, hook) == [("alarm", "ward: 4 predictions could not be logged")]
    alarms.on_account(msgspec.structs.replace(CALM, dropped=12))
    assert [kind for kind, _ in told(alarms, hook)] == ["alarm", "resolved"]


def test_a_keeper_that_goes_on_failing_is_told_and_one_that_fails_once_is_not(
    alarms: LogAlarms, hook: Hook
) -> None:
    full = OSError(28, "No space left on device")
    for failed in (1, 2, 0, 1, 2, 3, 4):
        alarms.on_failure(failed, full if failed else None)
    assert told(alarms, hook) == []
    alarms.on_failure(5, full)
    alarms.on_failure(6, full)
    assert told(alarms, hook) == [("alarm", "ward: the keeper of the prediction log fails")]
    assert "No space left on device" in hook.received[0]["sentence"]
    alarms.on_failure(0, None)
    assert [kind for kind, _ in told(alarms, hook)] == ["alarm", "resolved"]


def test_the_keeper_says_how_often_it_failed_in_a_row(tmp_path: Path) -> None:
    clock = ManualClock(1_780_000_000_000_000)
    writer = SpoolWriter(tmp_path, deployment="ward", replica="w", clock=clock)
    writer.close()
    stop = threading.Event()
    news: list[tuple[int, str | None]] = []
    faults = [OSError(28, "No space left on device")] * 2

    def step(name: str) -> None:
        if name == "read" and faults:
            raise faults.pop()

    def on_failure(failed: int, error: Exception | None) -> None:
        news.append((failed, None if error is None else type(error).__name__))
        if failed == 0:
            stop.set()

    Keeper(tmp_path, clock, interval_s=0.01, on_step=step, on_failure=on_failure).run(stop)
    assert news == [(1, "OSError"), (2, "OSError"), (0, None)]


def test_rows_dropped_while_the_registry_could_not_be_written_are_told_by_the_next_account(
    alarms: LogAlarms, hook: Hook
) -> None:
    """A full disk drops rows and refuses the alarm alike."""
    alarms.on_account(CALM)
    with unwritable_registry(alarms):
        alarms.on_account(msgspec.structs.replace(CALM, dropped=7))
    assert told(alarms, hook) == []
    alarms.on_account(msgspec.structs.replace(CALM, dropped=7))
    assert told(alarms, hook) == [("alarm", "ward: 7 predictions could not be logged")]


def test_a_keeper_that_works_again_while_the_registry_could_not_be_written_ends_its_alarm_later(
    alarms: LogAlarms, hook: Hook
) -> None:
    for failed in range(1, 6):
        alarms.on_failure(failed, OSError(28, "No space left on device"))
    with unwritable_registry(alarms):
        alarms.on_failure(0, None)
    alarms.on_account(CALM)
    assert [kind for kind, _ in told(alarms, hook)] == ["alarm", "resolved"]


def test_the_alarm_of_a_keeper_that_was_started_again_ends_with_its_first_account(
    alarms: LogAlarms, hook: Hook
) -> None:
    for failed in range(1, 6):
        alarms.on_failure(failed, OSError(28, "No space left on device"))
    after_a_restart = LogAlarms(alarms._alerting, ManualClock(1_780_000_000_000_000))
    after_a_restart.on_account(CALM)
    assert [kind for kind, _ in told(alarms, hook)] == ["alarm", "resolved"]

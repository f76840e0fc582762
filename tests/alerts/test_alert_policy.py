"""Who is told of what, and when: decisions on a real outbox, without sending."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from places import deployment

from holdfast.alerts import Alerting, Finding
from holdfast.clock import ManualClock
from holdfast.registry import Registry

DAY_S = 86_400.0
MIDDAY_US = int(datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp() * 1_000_000)
HOOK = 'webhooks = ["http://127.0.0.1:9/x"]\n'
DRIFT = Finding(
    source="drift", topics=("data drift",), since="2026-06-30", severity="warning",
    title="data drift", sentence="Data drift, sudden, since 2026-06-30.", columns=("age",), version="1",
)  # fmt: skip


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_us=MIDDAY_US)


@pytest.fixture
def registry(tmp_path: Path, clock: ManualClock) -> Iterator[Registry]:
    with Registry.open(f"sqlite:///{tmp_path}/registry.db", clock) as opened:
        yield opened


def alerting(folder: Path, registry: Registry, clock: ManualClock, alerts: str = HOOK) -> Alerting:
    return Alerting.open(deployment(folder, alerts), registry, clock, {"MAIL": "json://127.0.0.1:9/y"})


def kinds(registry: Registry) -> list[str]:
    return [one.content["kind"] for one in reversed(registry.outbox.deliveries())]


def change(**values: Any) -> Finding:
    return msgspec.structs.replace(DRIFT, **values)


def test_a_standing_alarm_is_told_once_then_once_a_day(
    tmp_path: Path, registry: Registry, clock: ManualClock
) -> None:
    mine = alerting(tmp_path, registry, clock)
    assert mine.stands(DRIFT)
    for hour in range(1, 24):
        clock.advance_s(3600)
        # The estimate of the beginning moves from look to look: it is the same alarm all the same.
        assert not mine.stands(change(since=f"2026-06-30T{hour:02d}"))
    clock.advance_s(3600)
    assert mine.stands(DRIFT)
    assert kinds(registry) == ["alarm", "reminder"]
    assert {one.content["key"] for one in registry.outbox.deliveries()} == {"ward/drift/2026-06-30"}


def test_a_wider_alarm_is_told_at_once(tmp_path: Path, registry: Registry, clock: ManualClock) -> None:
    mine = alerting(tmp_path, registry, clock)
    assert mine.stands(DRIFT)
    assert mine.stands(change(topics=("data drift", "concept drift"), severity="critical"))
    assert mine.stands(change(topics=("data fault:age",), severity="critical"))
    assert mine.stands(change(topics=("data fault:dose",), severity="critical"))
    assert not mine.stands(DRIFT)
    assert not mine.stands(change(topics=("data fault:dose",), severity="critical"))
    assert kinds(registry) == ["alarm"] * 4


def test_the_end_is_told_once_and_only_of_what_was_told(
    tmp_path: Path, registry: Registry, clock: ManualClock
) -> None:
    mine = alerting(tmp_path, registry, clock)
    assert not mine.ended("drift", "All is well.")
    mine.stands(DRIFT)
    assert [one.key for one in registry.outbox.alarms(standing=True)] == ["ward/drift/2026-06-30"]
    assert not mine.ended("log", "Another source.")
    assert mine.ended("drift", "All is well.")
    assert not mine.ended("drift", "All is well.")
    assert kinds(registry) == ["alarm", "resolved"]
    assert registry.outbox.alarms(standing=True) == []


def test_an_alarm_that_returns_is_told_if_it_is_another_one(
    tmp_path: Path, registry: Registry, clock: ManualClock
) -> None:
    mine = alerting(tmp_path, registry, clock)
    mine.stands(DRIFT)
    mine.ended("drift", "All is well.")
    assert not mine.stands(DRIFT), "the same alarm within a day is no news"
    assert len(registry.outbox.alarms(standing=True)) == 1
    mine.ended("drift", "All is well.")
    assert mine.stands(change(since="2026-07-01"))


def test_snoozed_is_not_told_until_the_snooze_is_over(
    tmp_path: Path, registry: Registry, clock: ManualClock
) -> None:
    mine = alerting(tmp_path, registry, clock)
    until = {"text": "", "evidence": 1, "until_us": clock.now_us() + 7_200_000_000}
    registry.audit.add(actor="ann", action="diagnosis.snooze", target="1", detail=until)
    assert not mine.stands(DRIFT)
    assert mine.stands(change(source="log", topics=("log",), version=None)), "another source is not snoozed"
    assert mine.stands(change(version="2")), "another version is not snoozed"
    mine.ended("drift", "All is well.")
    clock.advance_s(7201)
    assert mine.stands(change(since="2026-07-01"))


def test_quiet_hours_hold_what_is_not_critical(
    tmp_path: Path, registry: Registry, clock: ManualClock
) -> None:
    night = HOOK + 'quiet_hours = "22:00-07:00"\ntime_zone = "Europe/Berlin"\n'
    mine = alerting(tmp_path, registry, clock, night)
    clock.advance_s(9 * 3600)  # 23:00 in Berlin
    mine.stands(DRIFT)
    mine.stands(change(source="log", topics=("log",), severity="critical", version=None))
    critical, warning = registry.outbox.deliveries()
    assert critical.due_at_us == clock.now_us()
    assert warning.due_at_us == int(datetime(2026, 7, 2, 5, tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("scope", "finding", "told"),
    [
        ('kinds = ["concept drift"]', {}, False),
        ('kinds = ["data drift"]', {}, True),
        ('kinds = ["data fault"]', {"topics": ("data fault:age",)}, True),
        ('columns = ["dose"]', {}, False),
        ('columns = ["dose", "age"]', {}, True),
        ('columns = ["dose"]', {"columns": ()}, True),
        ('columns = ["dose"]', {"topics": ("data fault:dose",), "columns": ("age",)}, True),
    ],
)
def test_only_what_is_in_scope_is_told(
    tmp_path: Path, registry: Registry, clock: ManualClock, scope: str, finding: dict[str, Any], *, told: bool
) -> None:
    assert alerting(tmp_path, registry, clock, HOOK + scope).stands(change(**finding)) is told


def test_a_pager_hears_of_critical_alarms_and_of_their_end(
    tmp_path: Path, registry: Registry, clock: ManualClock
) -> None:
    mine = alerting(tmp_path, registry, clock, HOOK + 'pagers = ["env:MAIL"]')
    mine.stands(DRIFT)
    assert [one.channel for one in registry.outbox.deliveries()] == ["webhooks[0] 127.0.0.1"]
    mine.stands(change(topics=("concept drift",), severity="critical"))
    mine.ended("drift", "All is well.")
    paged = [one.content["kind"] for one in registry.outbox.deliveries() if one.channel == "pagers[0] json"]
    assert paged == ["resolved", "alarm"]


def test_old_messages_are_cleared_away_and_waiting_ones_are_not(
    tmp_path: Path, registry: Registry, clock: ManualClock
) -> None:
    mine = alerting(tmp_path, registry, clock)
    mine.stands(DRIFT)
    (first,) = registry.outbox.deliveries()
    clock.advance_s(91 * DAY_S)
    mine.stands(DRIFT)
    assert len(registry.outbox.deliveries()) == 2
    registry.outbox.sent(first.number)
    clock.advance_s(DAY_S)
    mine.stands(DRIFT)
    assert first.number not in {one.number for one in registry.outbox.deliveries()}

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import ManualClock
from holdfast.registry import Registry, RegistryError, Rollout, UnknownVersionError


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_us=1_000_000)


@pytest.fixture
def registry(tmp_path: Path, clock: ManualClock) -> Iterator[Registry]:
    with Registry.open(f"sqlite:///{tmp_path}/registry.db", clock) as opened:
        for index in range(3):
            opened.add_version(
                name="fraud", sha256=f"{index:064x}", created_at_us=5, created_by="ann", metadata={}
            )
        opened.promote("1", reason="first", actor="ann")
        yield opened


def start(registry: Registry, challenger: str = "2", **changes: Any) -> Rollout:
    values: dict[str, Any] = {
        "kind": "update",
        "baseline": {},
        "assignment_key": b"k" * 16,
        "deadline_us": 10_000_000,
        "earliest_decision_us": 5_000_000,
        "reason": "retrained",
        "actor": "bob",
        "checklist_hash": "c",
        "report": {"found": 1.5},
    }
    return registry.rollouts.start(challenger, **{**values, **changes})


def test_a_rollout_starts_in_shadow_and_is_in_the_route_table(registry: Registry) -> None:
    before = registry.route().generation
    rollout = start(registry)
    route = registry.route()
    assert (rollout.phase, rollout.share, rollout.champion) == ("shadow", 0.0, "1")
    assert route.generation == before + 1
    assert route.challenger is not None
    assert (route.challenger.version, route.challenger.mode) == ("2", "shadow")
    assert [one.status for one in registry.versions()] == ["champion", "challenger", "registered"]


def test_the_assignment_key_is_in_no_repr_and_in_no_rollout(registry: Registry) -> None:
    rollout = start(registry)
    assert "kkk" not in repr(registry.route())
    assert "kkk" not in repr(rollout)


def test_a_newer_challenger_takes_the_place_of_an_open_one_in_one_step(registry: Registry) -> None:
    old = start(registry, "2")
    registry.rollouts.advance(old.number, 0.5, reason="healthy", actor="policy")
    before = registry.route().generation
    new = start(registry, "3", supersede=True, reason="newer")
    route = registry.route()
    assert route.generation == before + 1  # no worker sees a moment without a challenger
    assert route.challenger is not None
    assert (route.challenger.version, route.challenger.rollout) == ("3", new.number)
    ended = registry.rollouts.steps(old.number)[-1]
    assert (ended.action, ended.phase, ended.share) == ("stop", "stopped", 0.0)
    assert ended.reason == "superseded by version 3: newer"
    assert [one.action for one in registry.audit.entries()[-2:]] == ["rollout.stop", "rollout.start"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("2", {}), ("2", {})),  # the same challenger has its evidence to lose
        (("1", {"kind": "first", "baseline": {"kind": "constant", "answer": "no"}}), ("2", {})),
    ],
)
def test_what_cannot_be_superseded_stays_open(registry: Registry, first: Any, second: Any) -> None:
    old = start(registry, first[0], **first[1])
    with pytest.raises(RegistryError, match="under way"):
        start(registry, second[0], supersede=True, **second[1])
    now = registry.rollouts.open()
    assert now is not None
    assert now.number == old.number


def test_superseding_a_version_that_is_not_there_ends_nothing(registry: Registry) -> None:
    old = start(registry, "2")
    with pytest.raises(UnknownVersionError):
        start(registry, "9", supersede=True)
    now = registry.rollouts.open()
    assert now is not None
    assert now.number == old.number


def test_each_step_stands_in_the_audit_with_its_reason(registry: Registry, clock: ManualClock) -> None:
    rollout = start(registry, waived="no labels yet")
    clock.advance_s(1)
    registry.rollouts.advance(rollout.number, 0.1, reason="healthy", actor="policy")
    registry.rollouts.hold(rollout.number, reason="odd ratio", actor="policy")
    registry.rollouts.resume(rollout.number, reason="explained", actor="bob")
    ended = registry.rollouts.end(rollout.number, "rolled back", reason="worse", actor="policy")
    assert (ended.phase, ended.share, ended.ended_at_us) == ("rolled back", 0.0, 2_000_000)
    acts = [(one.action, one.detail.get("reason")) for one in registry.audit.entries()[-5:]]
    assert acts == [
        ("rollout.start", "retrained"),
        ("rollout.advance", "healthy"),
        ("rollout.hold", "odd ratio"),
        ("rollout.resume", "explained"),
        ("rollout.roll_back", "worse"),
    ]
    assert registry.audit.entries()[-5].detail["waived"] == "no labels yet"
    assert registry.audit.verify().ok
    steps = registry.rollouts.steps(rollout.number)
    assert [one.share for one in steps] == [0.0, 0.1, 0.1, 0.1, 0.0]
    assert registry.route().challenger is None


def test_a_hold_keeps_the_share_and_its_beginning(registry: Registry, clock: ManualClock) -> None:
    rollout = start(registry)
    registry.rollouts.advance(rollout.number, 0.1, reason="r", actor="a")
    clock.advance_s(3)
    held = registry.rollouts.hold(rollout.number, reason="r", actor="a")
    assert (held.share, held.held, held.phase_at_us) == (0.1, True, 1_000_000)


def test_two_rollouts_are_never_open_at_once(registry: Registry) -> None:
    start(registry)
    with pytest.raises(RegistryError, match="under way"):
        start(registry, "3")


def test_promoting_the_challenger_by_hand_ends_its_rollout_as_promoted(registry: Registry) -> None:
    rollout = start(registry)
    registry.promote("2", reason="sure", actor="bob")
    assert registry.rollouts.open() is None
    assert registry.rollouts.all()[0].phase == "promoted"
    assert registry.rollouts.steps(rollout.number)[-1].actor == "bob"


@pytest.mark.parametrize("change", ["promote", "rollback"])
def test_another_champion_stops_the_rollout(registry: Registry, change: str) -> None:
    registry.promote("3", reason="r", actor="a")
    start(registry)
    if change == "promote":
        registry.promote("1", reason="back", actor="a")
    else:
        registry.rollback(reason="back", actor="a")
    ended = registry.rollouts.all()[0]
    assert (ended.phase, ended.reason) == ("stopped", "the champion changed to version 1: back")


def test_an_ended_rollout_takes_no_step(registry: Registry) -> None:
    rollout = start(registry)
    registry.rollouts.end(rollout.number, "stopped", reason="r", actor="a")
    with pytest.raises(RegistryError, match="has ended"):
        registry.rollouts.advance(rollout.number, 0.1, reason="r", actor="a")


def test_the_champion_cannot_challenge_itself_and_a_stranger_cannot_at_all(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="nothing to compare"):
        start(registry, "1")
    with pytest.raises(UnknownVersionError, match="expected 1, 2, 3"):
        start(registry, "9")


def test_a_first_deployment_routes_no_copies(registry: Registry) -> None:
    rollout = start(registry, "1", kind="first", baseline={"kind": "constant", "answer": "no"})
    assert rollout.champion is None
    assert registry.route().challenger is None


def test_a_report_changes_neither_generation_nor_audit(registry: Registry) -> None:
    rollout = start(registry)
    before = (registry.route().generation, len(registry.audit.entries()))
    registry.rollouts.report(rollout.number, {"rows": 3}, {"since": 1})
    opened = registry.rollouts.open()
    assert opened is not None
    assert (opened.report, opened.memory) == ({"rows": 3}, {"since": 1})
    assert (registry.route().generation, len(registry.audit.entries())) == before


def test_a_registry_of_schema_2_gains_rollouts_and_its_triggers(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "old.db"
    Registry.open(f"sqlite:///{path}", clock).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            "DROP TABLE rollout_steps; DROP TABLE rollouts; UPDATE schema_version SET version = 2;"
        )
    with Registry.open(f"sqlite:///{path}", clock) as registry:
        for index in range(2):
            registry.add_version(
                name="fraud", sha256=f"{index:064x}", created_at_us=5, created_by="ann", metadata={}
            )
        registry.promote("1", reason="first", actor="ann")
        start(registry)
    with (
        closing(sqlite3.connect(path)) as connection,
        connection,
        pytest.raises(sqlite3.IntegrityError, match="only ever added"),
    ):
        connection.execute("DELETE FROM rollout_steps")

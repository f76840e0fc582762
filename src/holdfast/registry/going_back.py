"""Going back by hand: the challenger goes, or the champion before this one comes back."""

from __future__ import annotations

import sqlite3

import msgspec

from holdfast.clock import Clock
from holdfast.registry.plainly import Act, change, write_down


class WentBack(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback changed."""

    before: str | None
    """The champion before it."""
    after: str | None
    """The champion now."""
    challenger: str | None = None
    """Whom it took away instead, where a rollout was open."""


def roll_back(url: str, clock: Clock, *, reason: str, actor: str) -> WentBack:
    """Take the challenger of the open rollout away; without one, go back to the champion before.

    Args:
        url: of the registry.
        clock: the time of the entries.
        reason: for the audit.
        actor: who does it.

    Raises:
        RegistryError: the registry cannot be written, or there is no champion to go back to.
    """
    act = Act(clock.now_us(), actor)
    done = change(url, lambda connection: _change(connection, act, reason))
    return done or _by_registry(url, clock, reason=reason, actor=actor)


def _by_registry(url: str, clock: Clock, *, reason: str, actor: str) -> WentBack:
    from holdfast.registry.registry import Registry

    with Registry.open(url, clock) as registry:
        before = registry.route().champion
        rollout = registry.rollouts.open()
        if rollout is None:
            return WentBack(before=before, after=registry.rollback(reason=reason, actor=actor))
        registry.rollouts.end(rollout.number, "rolled back", reason=reason, actor=actor)
        return WentBack(before=before, after=before, challenger=rollout.challenger)


def _change(connection: sqlite3.Connection, act: Act, reason: str) -> WentBack | None:
    route = connection.execute("SELECT champion, generation FROM route").fetchone()
    before = None if route["champion"] is None else str(route["champion"])
    rollout = connection.execute("SELECT * FROM rollouts WHERE ended_at_us IS NULL").fetchone()
    if rollout is not None:
        _end(connection, rollout, act, reason)
        return WentBack(before=before, after=before, challenger=str(rollout["challenger"]))
    champions: list[int] = []
    for row in connection.execute("SELECT action, version FROM decisions ORDER BY generation"):
        if row["action"] == "rollback":
            champions.pop()
        else:
            champions.append(row["version"])
    if len(champions) < 2:
        return None
    target, generation = champions[-2], route["generation"] + 1
    connection.execute(
        "INSERT INTO decisions (generation, action, version, previous, actor, reason, at_us, checklist_hash) "
        "VALUES (?, 'rollback', ?, ?, ?, ?, ?, '')",
        (generation, target, route["champion"], act.actor, reason, act.at_us),
    )
    detail = {"generation": generation, "reason": reason, "checklist_hash": ""}
    write_down(connection, act, "rollback", str(target), detail)
    connection.execute(
        "UPDATE route SET champion = ?, generation = ?, changed_at_us = ?", (target, generation, act.at_us)
    )
    return WentBack(before=before, after=str(target))


def _end(connection: sqlite3.Connection, rollout: sqlite3.Row, act: Act, reason: str) -> None:
    number = rollout["number"]
    connection.execute(
        "UPDATE rollouts SET phase = 'rolled back', share = 0.0, reason = ?, phase_at_us = ?, "
        "ended_at_us = ? WHERE number = ?",
        (reason, act.at_us, act.at_us, number),
    )
    connection.execute(
        "INSERT INTO rollout_steps (rollout, at_us, action, phase, share, actor, reason, report) "
        "VALUES (?, ?, 'roll back', 'rolled back', 0.0, ?, ?, ?)",
        (number, act.at_us, act.actor, reason, rollout["report"]),
    )
    detail = {
        "rollout": number,
        "phase": "rolled back",
        "share": "0",
        "reason": reason,
        "checklist_hash": rollout["checklist_hash"],
    }
    write_down(connection, act, "rollout.roll_back", str(rollout["challenger"]), detail)
    connection.execute("UPDATE route SET generation = generation + 1, changed_at_us = ?", (act.at_us,))

"""Going back by hand, which cannot wait until the registry's libraries are loaded.

Whoever rolls back does so on a machine that may be in trouble, and SQLAlchemy alone takes longer to load than
all else that the command does. On a registry in SQLite the transaction is made here with Python's own driver,
row for row what `Registry.rollback` and `Rollouts.end` write; whatever is not plain is left to those.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.clock import Clock
from holdfast.registry.schema_version import SCHEMA_VERSION
from holdfast.registry.sealing import GENESIS, entry_hash

_SQLITE: Final = "sqlite:///"
_BUSY_TIMEOUT_S: Final = 15.0


class WentBack(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback changed."""

    before: str | None
    """The champion before it."""
    after: str | None
    """The champion now."""
    challenger: str | None = None
    """Whom it took away instead, where a rollout was open."""


class _Act(NamedTuple):
    at_us: int
    actor: str
    reason: str


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
    return _plainly(url, _Act(clock.now_us(), actor, reason)) or _by_registry(
        url, clock, reason=reason, actor=actor
    )


def _by_registry(url: str, clock: Clock, *, reason: str, actor: str) -> WentBack:
    from holdfast.registry.registry import Registry

    with Registry.open(url, clock) as registry:
        before = registry.route().champion
        rollout = registry.rollouts.open()
        if rollout is None:
            return WentBack(before=before, after=registry.rollback(reason=reason, actor=actor))
        registry.rollouts.end(rollout.number, "rolled back", reason=reason, actor=actor)
        return WentBack(before=before, after=before, challenger=rollout.challenger)


def _plainly(url: str, act: _Act) -> WentBack | None:
    """None, and nothing is changed: not a registry in SQLite of this schema, or it has no such champion."""
    path = Path(url.removeprefix(_SQLITE))
    if not url.startswith(_SQLITE) or "?" in url or not path.is_file():
        return None
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    except sqlite3.Error:
        return None
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        done = None
        if connection.execute("SELECT version FROM schema_version").fetchone()[0] == SCHEMA_VERSION:
            done = _change(connection, act)
        connection.execute("ROLLBACK" if done is None else "COMMIT")
    except sqlite3.Error:
        return None
    else:
        return done
    finally:
        connection.close()  # undoes what was not committed


def _change(connection: sqlite3.Connection, act: _Act) -> WentBack | None:
    route = connection.execute("SELECT champion, generation FROM route").fetchone()
    before = None if route["champion"] is None else str(route["champion"])
    rollout = connection.execute("SELECT * FROM rollouts WHERE ended_at_us IS NULL").fetchone()
    if rollout is not None:
        _end(connection, rollout, act)
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
        (generation, target, route["champion"], act.actor, act.reason, act.at_us),
    )
    detail = {"generation": generation, "reason": act.reason, "checklist_hash": ""}
    _write_down(connection, act, "rollback", str(target), detail)
    connection.execute(
        "UPDATE route SET champion = ?, generation = ?, changed_at_us = ?", (target, generation, act.at_us)
    )
    return WentBack(before=before, after=str(target))


def _end(connection: sqlite3.Connection, rollout: sqlite3.Row, act: _Act) -> None:
    number = rollout["number"]
    connection.execute(
        "UPDATE rollouts SET phase = 'rolled back', share = 0.0, reason = ?, phase_at_us = ?, "
        "ended_at_us = ? WHERE number = ?",
        (act.reason, act.at_us, act.at_us, number),
    )
    connection.execute(
        "INSERT INTO rollout_steps (rollout, at_us, action, phase, share, actor, reason, report) "
        "VALUES (?, ?, 'roll back', 'rolled back', 0.0, ?, ?, ?)",
        (number, act.at_us, act.actor, act.reason, rollout["report"]),
    )
    detail = {
        "rollout": number,
        "phase": "rolled back",
        "share": "0",
        "reason": act.reason,
        "checklist_hash": rollout["checklist_hash"],
    }
    _write_down(connection, act, "rollout.roll_back", str(rollout["challenger"]), detail)
    connection.execute("UPDATE route SET generation = generation + 1, changed_at_us = ?", (act.at_us,))


def _write_down(
    connection: sqlite3.Connection, act: _Act, action: str, target: str, detail: dict[str, Any]
) -> None:
    last = connection.execute("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    number, previous = (1, GENESIS) if last is None else (last["number"] + 1, last["hash"])
    entry = {
        "number": number,
        "at_us": act.at_us,
        "actor": act.actor,
        "action": action,
        "target": target,
        "detail": detail,
        "previous": previous,
    }
    connection.execute(
        "INSERT INTO audit (number, at_us, actor, action, target, detail, previous, hash) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            act.at_us,
            act.actor,
            action,
            target,
            json.dumps(detail),
            previous,
            entry_hash(entry),
        ),
    )

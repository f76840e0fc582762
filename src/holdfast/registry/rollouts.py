"""Rollouts: the one that is open, its steps, and those that have ended.

A step changes the rollout, the generation of the route table and the audit in one transaction, so that
workers follow it, and no step is without its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from holdfast.clock import Clock
from holdfast.registry import audit
from holdfast.registry.database import (
    reading,
    rollout_steps_table,
    rollouts_table,
    route_table,
    versions_table,
    writing,
)
from holdfast.registry.errors import RegistryError, UnknownVersionError
from holdfast.registry.values import OPEN_PHASES, ChallengerRoute, Phase, Rollout, RolloutKind, RolloutStep

KEY_BYTES: Final = 16


class Rollouts:
    """The rollouts of a registry."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def open(self) -> Rollout | None:
        """The one that is under way, if any."""
        with reading(self._engine) as connection:
            return open_rollout(connection)

    def all(self) -> list[Rollout]:
        """Every rollout, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(rollouts_table).order_by(rollouts_table.c.number)).mappings()
            return [_rollout(dict(row)) for row in rows]

    def steps(self, number: int) -> list[RolloutStep]:
        """The steps of one rollout, oldest first."""
        query = (
            sa.select(rollout_steps_table)
            .where(rollout_steps_table.c.rollout == number)
            .order_by(rollout_steps_table.c.id)
        )
        with reading(self._engine) as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            del row["id"]
        return [RolloutStep(**row) for row in rows]

    def start(
        self,
        challenger: str,
        *,
        kind: RolloutKind,
        baseline: Mapping[str, Any],
        assignment_key: bytes,
        deadline_us: int,
        earliest_decision_us: int,
        reason: str,
        actor: str,
        checklist_hash: str,
        report: Mapping[str, Any],
        waived: str = "",
        supersede: bool = False,
    ) -> Rollout:
        """Open a rollout, in shadow.

        Args:
            challenger: a registered version.
            kind: against what it is judged.
            baseline: of a first deployment, else empty.
            assignment_key: 16 random bytes.
            deadline_us: when it expires.
            earliest_decision_us: as announced.
            reason: for the audit.
            actor: who starts it.
            checklist_hash: of the checklist in force.
            report: what was found before any traffic; JSON.
            waived: why something that it lacks does not stop it.
            supersede: stop the open rollout of another challenger at once with the start of this one.

        Raises:
            RegistryError: one is open and is not superseded, or the challenger is the champion already.
            UnknownVersionError: it is not registered.
        """
        with writing(self._engine) as connection:
            now = open_rollout(connection)
            if now is not None and not (supersede and _gives_way(now, challenger, kind)):
                raise RegistryError(
                    "a rollout is under way",
                    received=f"version {now.challenger} since step {now.phase}",
                    next_step=(
                        "End it first with `holdfast rollout promote` or `holdfast rollout rollback`, or put "
                        "another challenger in its place with --supersede"
                    ),
                )
            known = connection.execute(sa.select(versions_table.c.number)).scalars().all()
            if not challenger.isdecimal() or int(challenger) not in known:
                raise UnknownVersionError(
                    "there is no such model version",
                    where=challenger,
                    expected=", ".join(map(str, known)) or "none, since no version is registered",
                )
            champion = connection.execute(sa.select(route_table.c.champion)).scalar_one()
            if kind == "update" and (champion is None or int(challenger) == champion):
                raise RegistryError(
                    "there is nothing to compare it with",
                    where=f"version {challenger}",
                    received="it is the champion already" if champion is not None else "there is no champion",
                    next_step="Say what is in place today with --baseline",
                )
            last = connection.execute(sa.select(sa.func.max(rollouts_table.c.number))).scalar_one()
            at_us = self._clock.now_us()
            if now is not None:
                why = f"superseded by version {challenger}: {reason}"
                step(
                    connection, now, at_us, "stop", {"phase": "stopped", "share": 0.0},
                    reason=why, actor=actor, routed=False,
                )  # fmt: skip
            values = {
                "number": (last or 0) + 1,
                "challenger": int(challenger),
                "champion": champion if kind == "update" else None,
                "kind": kind,
                "baseline": dict(baseline),
                "phase": "shadow",
                "share": 0.0,
                "held": False,
                "reason": reason,
                "assignment_key": assignment_key,
                "checklist_hash": checklist_hash,
                "waived": waived,
                "started_at_us": at_us,
                "phase_at_us": at_us,
                "deadline_us": deadline_us,
                "earliest_decision_us": earliest_decision_us,
                "ended_at_us": None,
                "report": dict(report),
                "memory": {},
            }
            connection.execute(sa.insert(rollouts_table).values(values))
            rollout = _rollout(values)
            _write_step(connection, rollout, at_us, "start", actor=actor)
            return rollout

    def advance(self, number: int, share: float, *, reason: str, actor: str) -> Rollout:
        """Give the challenger this share of the requests; 1 is not yet promotion.

        Raises:
            RegistryError: the rollout has ended.
        """
        return self._step(number, "advance", {"phase": "canary", "share": share}, reason=reason, actor=actor)

    def hold(self, number: int, *, reason: str, actor: str) -> Rollout:
        """Let nothing move forward until it is resumed; the share stays. Raises as `advance`."""
        return self._step(number, "hold", {"held": True}, reason=reason, actor=actor)

    def resume(self, number: int, *, reason: str, actor: str) -> Rollout:
        """Let it move again. Raises as `advance`."""
        return self._step(number, "resume", {"held": False}, reason=reason, actor=actor)

    def end(self, number: int, phase: Phase, *, reason: str, actor: str) -> Rollout:
        """End it without a change of the champion. Raises as `advance`.

        Args:
            number: of the rollout.
            phase: `rolled back`, `stopped`, `expired`, or, for a first deployment whose version answers
                already, `promoted`.
            reason: for the audit.
            actor: who ends it.
        """
        action = {"promoted": "promote", "rolled back": "roll back", "expired": "expire"}.get(phase, "stop")
        return self._step(number, action, {"phase": phase, "share": 0.0}, reason=reason, actor=actor)

    def report(self, number: int, report: Mapping[str, Any], memory: Mapping[str, Any]) -> None:
        """Keep the newest evidence; no step, and nothing that workers follow."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(rollouts_table)
                .where(rollouts_table.c.number == number)
                .values(report=dict(report), memory=dict(memory))
            )

    def _step(
        self, number: int, action: str, changes: Mapping[str, Any], *, reason: str, actor: str
    ) -> Rollout:
        with writing(self._engine) as connection:
            now = open_rollout(connection)
            if now is None or now.number != number:
                raise RegistryError(
                    "this rollout has ended", where=f"rollout {number}", next_step="holdfast rollout status"
                )
            return step(connection, now, self._clock.now_us(), action, changes, reason=reason, actor=actor)


def _gives_way(now: Rollout, challenger: str, kind: RolloutKind) -> bool:
    """An update to another version's; a first deployment's version answers, and has nobody behind it."""
    return now.kind == kind == "update" and now.challenger != challenger


def step(
    connection: sa.Connection,
    now: Rollout,
    at_us: int,
    action: str,
    changes: Mapping[str, Any],
    *,
    reason: str,
    actor: str,
    routed: bool = True,
) -> Rollout:
    """Change the open rollout inside a writing transaction; `routed`: raise the generation too."""
    values: dict[str, Any] = {**changes, "reason": reason}
    if "phase" in values or "share" in values:
        values["phase_at_us"] = at_us
    if values.get("phase", now.phase) not in OPEN_PHASES:
        values["ended_at_us"] = at_us
    connection.execute(
        sa.update(rollouts_table).where(rollouts_table.c.number == now.number).values(**values)
    )
    row = connection.execute(sa.select(rollouts_table).where(rollouts_table.c.number == now.number))
    after = _rollout(dict(row.mappings().one()))
    _write_step(connection, after, at_us, action, actor=actor, routed=routed)
    return after


def open_rollout(connection: sa.Connection) -> Rollout | None:
    """The rollout that has not ended."""
    query = sa.select(rollouts_table).where(rollouts_table.c.ended_at_us.is_(None))
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _rollout(dict(row))


def challenger_route(connection: sa.Connection) -> ChallengerRoute | None:
    """What the open rollout routes; a first deployment's version answers by itself and gets no copies."""
    query = sa.select(rollouts_table).where(
        rollouts_table.c.ended_at_us.is_(None), rollouts_table.c.kind == "update"
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    return ChallengerRoute(
        version=str(row["challenger"]),
        rollout=row["number"],
        mode=row["phase"],
        share=row["share"],
        assignment_key=row["assignment_key"],
    )


def _write_step(
    connection: sa.Connection,
    rollout: Rollout,
    at_us: int,
    action: str,
    *,
    actor: str,
    routed: bool = True,
) -> None:
    connection.execute(
        sa.insert(rollout_steps_table).values(
            rollout=rollout.number,
            at_us=at_us,
            action=action,
            phase=rollout.phase,
            share=rollout.share,
            actor=actor,
            reason=rollout.reason,
            report=rollout.report,
        )
    )
    audit.append(
        connection,
        at_us,
        actor=actor,
        action=f"rollout.{action.replace(' ', '_')}",
        target=rollout.challenger,
        detail={
            "rollout": rollout.number,
            "phase": rollout.phase,
            "share": f"{rollout.share:g}",
            "reason": rollout.reason,
            "checklist_hash": rollout.checklist_hash,
            **({"waived": rollout.waived} if action == "start" and rollout.waived else {}),
        },
    )
    if routed:
        connection.execute(
            sa.update(route_table).values(generation=route_table.c.generation + 1, changed_at_us=at_us)
        )


def _rollout(row: Mapping[str, Any]) -> Rollout:
    values = {name: value for name, value in row.items() if name != "assignment_key"}
    champion = values["champion"]
    values["challenger"] = str(values["challenger"])
    values["champion"] = None if champion is None else str(champion)
    return Rollout(**values)

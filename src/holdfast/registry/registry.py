"""Versions, evidence, the route table and the decisions that changed it.

Safe for several processes at once: a change of the route reads and writes in one transaction that no other
writer overlaps, and each raises the generation by exactly one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import msgspec
import sqlalchemy as sa

from holdfast.clock import Clock
from holdfast.registry import audit, database
from holdfast.registry.api_keys import ApiKeys
from holdfast.registry.database import (
    decisions_table,
    evidence_table,
    reading,
    route_table,
    versions_table,
    writing,
)
from holdfast.registry.errors import RegistryError, UnknownVersionError
from holdfast.registry.outbox import Outbox
from holdfast.registry.rollouts import Rollouts, challenger_route, open_rollout, step
from holdfast.registry.values import Action, Decision, Evidence, ModelVersion, RouteTable, Status
from holdfast.registry.watch import RegistryWatch


class Registry:
    """An open registry; close it, or use it in a `with`."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.api_keys = ApiKeys(engine, clock)
        self.audit = audit.Audit(engine, clock)
        self.rollouts = Rollouts(engine, clock)
        self.outbox = Outbox(engine, clock)

    @classmethod
    def open(cls, url: str, clock: Clock) -> Self:
        """Open, and create on first use.

        Args:
            url: of SQLAlchemy, such as `sqlite:////srv/fraud/registry.db`.
            clock: the time of every entry.

        Raises:
            RegistryError: it cannot be opened, or was written by a newer holdfast.
        """
        return cls(database.connect(url), clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def watch(self) -> RegistryWatch:
        """Tells, for next to nothing, whether there is anything new to read here. Close it before this."""
        return RegistryWatch(self._engine)

    def add_version(
        self,
        *,
        name: str,
        sha256: str,
        created_at_us: int,
        created_by: str,
        metadata: Mapping[str, Any],
        evidence: Callable[[str], Mapping[str, Mapping[str, Any]]] | None = None,
        same: Callable[[ModelVersion], bool] | None = None,
        before_commit: Callable[[str], None] | None = None,
    ) -> ModelVersion:
        """Add a version, or return the one that `same` recognises.

        Args:
            name: of the deployment.
            sha256: of the artifact.
            created_at_us: microseconds since the epoch.
            created_by: who registered it.
            metadata: JSON.
            evidence: called with the new version; its findings by kind, JSON, are stored with it or not at
                all.
            same: recognises among the versions of this artifact one that is the same registration.
            before_commit: called with the new version while no other writer is at work; if it raises, nothing
                is added.
        """
        with writing(self._engine) as connection:
            twins = versions_table.c.sha256 == sha256
            for row in connection.execute(sa.select(versions_table).where(twins)).mappings():
                version = _version(dict(row), None, set())
                if same is not None and same(version):
                    return self._with_status(connection, version)
            last = connection.execute(sa.select(sa.func.max(versions_table.c.number))).scalar_one()
            number = (last or 0) + 1
            values = {
                "number": number,
                "name": name,
                "sha256": sha256,
                "created_at_us": created_at_us,
                "created_by": created_by,
                "metadata": dict(metadata),
            }
            connection.execute(sa.insert(versions_table).values(values))
            found = {} if evidence is None else evidence(str(number))
            for kind, payload in found.items():
                connection.execute(
                    sa.insert(evidence_table).values(
                        version=number, kind=kind, payload=dict(payload), at_us=self._clock.now_us()
                    )
                )
            audit.append(
                connection,
                self._clock.now_us(),
                actor=created_by,
                action="register",
                target=str(number),
                detail={"sha256": sha256},
            )
            if before_commit is not None:
                before_commit(str(number))
            return _version(values, None, set())

    def if_unnamed(self, sha256: str, act: Callable[[], object]) -> None:
        """Call `act` if no version has this artifact, while no other writer is at work."""
        with writing(self._engine) as connection:
            twins = sa.select(versions_table.c.number).where(versions_table.c.sha256 == sha256)
            if connection.execute(twins.limit(1)).first() is None:
                act()

    def versions(self) -> list[ModelVersion]:
        """Every version, oldest first."""
        with reading(self._engine) as connection:
            champion, former, challenger = _history(connection)
            rows = connection.execute(sa.select(versions_table).order_by(versions_table.c.number)).mappings()
            return [_version(dict(row), champion, former, challenger) for row in rows]

    def version(self, version: str) -> ModelVersion:
        """One version.

        Raises:
            UnknownVersionError: lists those that there are.
        """
        with reading(self._engine) as connection:
            return self._find(connection, version)

    def _find(self, connection: sa.Connection, version: str) -> ModelVersion:
        wanted = int(version) if version.isdecimal() and len(version) < 10 else -1
        row = (
            connection.execute(sa.select(versions_table).where(versions_table.c.number == wanted))
            .mappings()
            .one_or_none()
        )
        if row is None:
            numbers = connection.execute(sa.select(versions_table.c.number).order_by(versions_table.c.number))
            raise _unknown(version, [str(number) for number in numbers.scalars()])
        return self._with_status(connection, _version(dict(row), None, set()))

    def _with_status(self, connection: sa.Connection, version: ModelVersion) -> ModelVersion:
        champion, former, challenger = _history(connection)
        status = _status(int(version.version), champion, former, challenger)
        return msgspec.structs.replace(version, status=status)

    def route(self) -> RouteTable:
        """Who answers now."""
        with reading(self._engine) as connection:
            return _route(connection)

    def promote(self, version: str, *, reason: str, actor: str, checklist_hash: str = "") -> RouteTable:
        """Make a version the champion. Promoting the champion changes nothing.

        Raises:
            UnknownVersionError: lists those that there are.
        """
        with writing(self._engine) as connection:
            found = self._find(connection, version)
            now = _route(connection)
            if now.champion == found.version:
                return now
            return self._change(connection, now, "promote", found.version, (actor, reason, checklist_hash))

    def rollback(self, *, reason: str, actor: str, checklist_hash: str = "") -> str:
        """Make the champion before this one the champion again, and say which that is.

        Repeated, it goes further back; a version once rolled back is not returned to.

        Raises:
            RegistryError: there was none before.
        """
        with writing(self._engine) as connection:
            now = _route(connection)
            stack = _champions(connection)
            if len(stack) < 2:
                raise RegistryError(
                    "there is no champion to go back to",
                    received=f"champion {now.champion}" if now.champion else "no champion",
                    next_step="Promote a version by name",
                )
            target = str(stack[-2])
            self._change(connection, now, "rollback", target, (actor, reason, checklist_hash))
            return target

    def _change(
        self,
        connection: sa.Connection,
        now: RouteTable,
        action: Action,
        version: str,
        who: tuple[str, str, str],
    ) -> RouteTable:
        """Change the champion; an open rollout ends with it, since what it compares is no longer so."""
        actor, reason, checklist_hash = who
        after = RouteTable(
            champion=version, generation=now.generation + 1, changed_at_us=self._clock.now_us()
        )
        rollout = open_rollout(connection)
        if rollout is not None:
            won = action == "promote" and rollout.challenger == version
            step(
                connection,
                rollout,
                after.changed_at_us,
                "promote" if won else "stop",
                {"phase": "promoted" if won else "stopped", "share": 0.0},
                reason=reason if won else f"the champion changed to version {version}: {reason}",
                actor=actor,
                routed=False,
            )
        connection.execute(
            sa.insert(decisions_table).values(
                generation=after.generation,
                action=action,
                version=int(version),
                previous=None if now.champion is None else int(now.champion),
                actor=actor,
                reason=reason,
                at_us=after.changed_at_us,
                checklist_hash=checklist_hash,
            )
        )
        audit.append(
            connection,
            after.changed_at_us,
            actor=actor,
            action=action,
            target=version,
            detail={"generation": after.generation, "reason": reason, "checklist_hash": checklist_hash},
        )
        connection.execute(
            sa.update(route_table).values(
                champion=int(version), generation=after.generation, changed_at_us=after.changed_at_us
            )
        )
        return after

    def decisions(self) -> list[Decision]:
        """Every change of the route table, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(decisions_table).order_by(decisions_table.c.generation))
            return [
                Decision(
                    generation=row["generation"],
                    action=row["action"],
                    version=str(row["version"]),
                    previous=None if row["previous"] is None else str(row["previous"]),
                    actor=row["actor"],
                    reason=row["reason"],
                    at_us=row["at_us"],
                    checklist_hash=row["checklist_hash"],
                )
                for row in rows.mappings()
            ]

    def attach_evidence(
        self, version: str, kind: str, payload: Mapping[str, Any], *, at_us: int | None = None
    ) -> Evidence:
        """Store a finding about a version.

        Args:
            version: it speaks of.
            kind: such as `diagnosis` or `parity`.
            payload: JSON; not-a-number is not JSON, leave it out.
            at_us: the time it speaks of; now by default.

        Raises:
            UnknownVersionError: lists those that there are.
        """
        moment = self._clock.now_us() if at_us is None else at_us
        with writing(self._engine) as connection:
            found = self._find(connection, version)
            result = connection.execute(
                sa.insert(evidence_table).values(
                    version=int(found.version), kind=kind, payload=dict(payload), at_us=moment
                )
            )
            inserted = result.inserted_primary_key
        identity = int(inserted[0]) if inserted is not None else 0
        return Evidence(id=identity, version=found.version, kind=kind, payload=dict(payload), at_us=moment)

    def evidence_kinds(self, version: str) -> list[str]:
        """The kinds of evidence that there are about a version, sorted."""
        kinds = sa.select(evidence_table.c.kind).distinct().order_by(evidence_table.c.kind)
        with reading(self._engine) as connection:
            number = int(self._find(connection, version).version)
            return list(connection.execute(kinds.where(evidence_table.c.version == number)).scalars())

    def champion_before(self) -> str | None:
        """The champion that a rollback would bring back; None: there is none."""
        with reading(self._engine) as connection:
            champions = _champions(connection)
        return str(champions[-2]) if len(champions) > 1 else None

    def can_roll_back(self) -> bool:
        """Whether there is a champion to go back to."""
        return self.champion_before() is not None

    def stamp(self) -> tuple[int, int, int]:
        """Changes whenever evidence, the route or the audit does; costs three look-ups."""
        with reading(self._engine) as connection:
            evidence = connection.execute(sa.select(sa.func.max(evidence_table.c.id))).scalar_one()
            return evidence or 0, _route(connection).generation, audit.length(connection)

    def evidence(
        self, version: str | None = None, kind: str | None = None, limit: int | None = None
    ) -> list[Evidence]:
        """Findings, newest first, of one version or kind or of all."""
        query = sa.select(evidence_table).order_by(evidence_table.c.at_us.desc(), evidence_table.c.id.desc())
        with reading(self._engine) as connection:
            if version is not None:
                query = query.where(evidence_table.c.version == int(self._find(connection, version).version))
            if kind is not None:
                query = query.where(evidence_table.c.kind == kind)
            if limit is not None:
                query = query.limit(limit)
            return [
                Evidence(
                    id=row["id"],
                    version=str(row["version"]),
                    kind=row["kind"],
                    payload=row["payload"],
                    at_us=row["at_us"],
                )
                for row in connection.execute(query).mappings()
            ]


def _route(connection: sa.Connection) -> RouteTable:
    row = connection.execute(sa.select(route_table)).mappings().one()
    champion = row["champion"]
    return RouteTable(
        champion=None if champion is None else str(champion),
        generation=row["generation"],
        changed_at_us=row["changed_at_us"],
        challenger=challenger_route(connection),
    )


def _champions(connection: sa.Connection) -> list[int]:
    """The champions that a rollback would go back through, the present one last."""
    stack: list[int] = []
    query = sa.select(decisions_table.c.action, decisions_table.c.version).order_by(
        decisions_table.c.generation
    )
    for action, version in connection.execute(query):
        if action == "rollback":
            stack.pop()
        else:
            stack.append(version)
    return stack


def _history(connection: sa.Connection) -> tuple[int | None, set[int], int | None]:
    route = _route(connection)
    former = set(connection.execute(sa.select(decisions_table.c.version)).scalars())
    champion = None if route.champion is None else int(route.champion)
    return champion, former, None if route.challenger is None else int(route.challenger.version)


def _status(number: int, champion: int | None, former: set[int], challenger: int | None) -> Status:
    if number == champion:
        return "champion"
    if number == challenger:
        return "challenger"
    return "former champion" if number in former else "registered"


def _version(
    row: Mapping[str, Any], champion: int | None, former: set[int], challenger: int | None = None
) -> ModelVersion:
    return ModelVersion(
        version=str(row["number"]),
        name=row["name"],
        sha256=row["sha256"],
        created_at_us=row["created_at_us"],
        created_by=row["created_by"],
        status=_status(row["number"], champion, former, challenger),
        metadata=row["metadata"],
    )


def _unknown(version: str, known: Sequence[str]) -> UnknownVersionError:
    near = difflib.get_close_matches(version.removeprefix("v"), known, n=1)
    return UnknownVersionError(
        "there is no such model version",
        where=version,
        expected=", ".join(known) if known else "none, since no version is registered",
        next_step=f"Did you mean {near[0]!r}?" if near else "holdfast versions lists them",
    )

"""The audit: who did what, each entry sealed by a hash over itself and the one before.

Whoever changes, removes or inserts an entry breaks the chain at that place. Entries cut off at the end leave
a whole chain behind, so note the head (`holdfast audit verify` prints it) somewhere else from time to time
and give it to the next verification.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from holdfast.clock import Clock
from holdfast.registry.database import audit_table, reading, writing
from holdfast.registry.sealing import GENESIS, entry_hash


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One act."""

    number: int
    """From 1, without holes."""
    at_us: int
    actor: str
    action: str
    """Such as `promote`, `key.revoke`, `read.rows`, `erase`."""
    target: str
    """What it was done to: a version, a key's id. Never a person."""
    detail: dict[str, Any]
    previous: str
    """Hash of the entry before."""
    hash: str


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """What verification found."""

    ok: bool
    entries: int
    head: str
    """Hash of the last entry; 64 zeros where there is none."""
    broken: tuple[str, ...]
    """Each fault in words, first first."""


def append(
    connection: sa.Connection,
    at_us: int,
    *,
    actor: str,
    action: str,
    target: str = "",
    detail: Mapping[str, Any] | None = None,
) -> str:
    """Add an entry inside a writing transaction, so that the act and its entry stand or fall together.

    Returns:
        The new head.
    """
    last = (
        connection.execute(
            sa.select(audit_table.c.number, audit_table.c.hash).order_by(audit_table.c.number.desc()).limit(1)
        )
        .mappings()
        .one_or_none()
    )
    number, previous = (1, GENESIS) if last is None else (last["number"] + 1, last["hash"])
    entry = {
        "number": number,
        "at_us": at_us,
        "actor": actor,
        "action": action,
        "target": target,
        "detail": dict(detail or {}),
        "previous": previous,
    }
    sealed = entry_hash(entry)
    connection.execute(sa.insert(audit_table).values(**entry, hash=sealed))
    return sealed


def length(connection: sa.Connection) -> int:
    """The number of the last entry; 0 where there is none."""
    last = connection.execute(sa.select(sa.func.max(audit_table.c.number))).scalar_one()
    return last or 0


class Audit:
    """The audit of a registry."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def add(
        self, *, actor: str, action: str, target: str = "", detail: Mapping[str, Any] | None = None
    ) -> str:
        """Write an act down by itself; returns the new head. `detail` is JSON without floats or people."""
        with writing(self._engine) as connection:
            return append(
                connection, self._clock.now_us(), actor=actor, action=action, target=target, detail=detail
            )

    def entries(self, limit: int | None = None, *, begins: str = "") -> list[AuditEntry]:
        """Oldest first; with a limit, the newest so many; of actions whose name begins so."""
        with reading(self._engine) as connection:
            wanted = audit_table.c.action.startswith(begins, autoescape=True)
            if limit is None:
                return [entry for entry in _read(connection) if entry.action.startswith(begins)]
            newest = sa.select(audit_table).where(wanted).order_by(audit_table.c.number.desc()).limit(limit)
            rows = connection.execute(newest).mappings()
            return [AuditEntry(**dict(row)) for row in rows][::-1]

    def verify(self, *, head: str | None = None) -> AuditReport:
        """Recompute the whole chain.

        Args:
            head: of an earlier verification, kept elsewhere; it must still be in the chain, which shows that
                nothing was cut off behind it.
        """
        broken: list[str] = []
        expected_number, previous = 1, GENESIS
        seen = head is None or head == GENESIS
        with reading(self._engine) as connection:
            for entry in _read(connection):
                if entry.number != expected_number:
                    broken.append(f"entries {expected_number} to {entry.number - 1} are missing")
                elif entry.previous != previous:
                    broken.append(f"entry {entry.number} does not follow the one before it")
                if entry.hash != entry_hash(msgspec.structs.asdict(entry)):
                    broken.append(f"entry {entry.number} is not what was written")
                expected_number, previous = entry.number + 1, entry.hash
                seen = seen or entry.hash == head
        if not seen:
            broken.append(f"the head {head} is no longer there: entries at the end are missing")
        return AuditReport(ok=not broken, entries=expected_number - 1, head=previous, broken=tuple(broken))


def _read(connection: sa.Connection) -> Iterator[AuditEntry]:
    rows = connection.execute(sa.select(audit_table).order_by(audit_table.c.number)).mappings()
    for row in rows:
        yield AuditEntry(**dict(row))

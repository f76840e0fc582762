"""The registry's tables and how connections to them behave.

SQLite in WAL mode: readers never wait, writers take the lock at the start of their transaction (`BEGIN
IMMEDIATE`) and so see the state that they change. Rows of versions, decisions, evidence and audit are only
ever added, and of an API key only its revocation; triggers refuse anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from holdfast.registry.errors import RegistryError
from holdfast.registry.schema_version import SCHEMA_VERSION

_BUSY_TIMEOUT_MS: Final = 15_000
_WRITES: Final = "holdfast_writes"

metadata: Final = sa.MetaData()

schema_table: Final = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))

versions_table: Final = sa.Table(
    "versions",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
)

evidence_table: Final = sa.Table(
    "evidence",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("version", sa.Integer, sa.ForeignKey("versions.number"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Index("evidence_by_version", "version", "kind", "at_us"),
)

route_table: Final = sa.Table(
    "route",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
    sa.Column("champion", sa.Integer, sa.ForeignKey("versions.number")),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("changed_at_us", sa.BigInteger, nullable=False),
)

decisions_table: Final = sa.Table(
    "decisions",
    metadata,
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, sa.ForeignKey("versions.number"), nullable=False),
    sa.Column("previous", sa.Integer, sa.ForeignKey("versions.number")),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("checklist_hash", sa.Text, nullable=False),
)

rollouts_table: Final = sa.Table(
    "rollouts",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("challenger", sa.Integer, sa.ForeignKey("versions.number"), nullable=False),
    sa.Column("champion", sa.Integer, sa.ForeignKey("versions.number")),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("baseline", sa.JSON, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("assignment_key", sa.LargeBinary, nullable=False),
    sa.Column("checklist_hash", sa.Text, nullable=False),
    sa.Column("waived", sa.Text, nullable=False),
    sa.Column("started_at_us", sa.BigInteger, nullable=False),
    sa.Column("phase_at_us", sa.BigInteger, nullable=False),
    sa.Column("deadline_us", sa.BigInteger, nullable=False),
    sa.Column("earliest_decision_us", sa.BigInteger, nullable=False),
    sa.Column("ended_at_us", sa.BigInteger),
    sa.Column("report", sa.JSON, nullable=False),
    sa.Column("memory", sa.JSON, nullable=False),
    sa.Index("open_rollout", "ended_at_us"),
)
"""At most one is open. Its steps are only ever added; the row holds where it stands."""

rollout_steps_table: Final = sa.Table(
    "rollout_steps",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.Integer, sa.ForeignKey("rollouts.number"), nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("report", sa.JSON, nullable=False),
    sa.Index("steps_by_rollout", "rollout", "id"),
)

api_keys_table: Final = sa.Table(
    "api_keys",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("requests_per_s", sa.Float),
    sa.Column("created_at_us", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at_us", sa.BigInteger),
    sa.Column("revoked_at_us", sa.BigInteger),
    sa.Column("revoked_by", sa.Text),
)
"""Nothing of a key ever changes but that it is revoked, once."""

audit_table: Final = sa.Table(
    "audit",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

alarms_table: Final = sa.Table(
    "alarms",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("topics", sa.JSON, nullable=False),
    sa.Column("opened_at_us", sa.BigInteger, nullable=False),
    sa.Column("told_at_us", sa.BigInteger),
    sa.Column("closed_at_us", sa.BigInteger),
    sa.Index("alarms_by_source", "source", "number"),
)
"""What stands, and what was told of it; of one source at most one is open."""

alert_messages_table: Final = sa.Table(
    "alert_messages",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("alarm", sa.Integer, sa.ForeignKey("alarms.number")),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
)

alert_deliveries_table: Final = sa.Table(
    "alert_deliveries",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("message", sa.Integer, sa.ForeignKey("alert_messages.number"), nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("due_at_us", sa.BigInteger, nullable=False),
    sa.Column("sent_at_us", sa.BigInteger),
    sa.Column("error", sa.Text, nullable=False),
    sa.Index("deliveries_due", "state", "due_at_us"),
)
"""The outbox: one row for each message and channel, written in one transaction with the alarm."""

_APPEND_ONLY: Final = {
    versions_table: ("UPDATE", "DELETE"),
    evidence_table: ("UPDATE", "DELETE"),
    decisions_table: ("UPDATE", "DELETE"),
    rollout_steps_table: ("UPDATE", "DELETE"),
    audit_table: ("UPDATE", "DELETE"),
    api_keys_table: (
        "DELETE",
        "UPDATE OF number, key_id, name, sha256, scopes, requests_per_s, created_by, expires_at_us",
    ),
}
_OF_SCHEMA: Final = {
    0: frozenset[str](),
    1: frozenset({"versions", "evidence", "decisions"}),
    2: frozenset({"versions", "evidence", "decisions", "audit", "api_keys"}),
    3: frozenset({"versions", "evidence", "decisions", "audit", "api_keys", "rollout_steps"}),
}
"""Append-only tables whose triggers a registry of that schema has already."""


def connect(url: str) -> sa.Engine:
    """An engine whose database exists and has this schema.

    Raises:
        RegistryError: the database cannot be opened, or was written by a newer holdfast.
    """
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    try:
        _create(engine)
    except sa.exc.SQLAlchemyError as error:
        engine.dispose()
        raise RegistryError(
            "the registry cannot be opened",
            where=url,
            received=str(error.__cause__ or error),
            next_step="Look whether its disk is full, and whether you may write to its folder",
        ) from error
    except RegistryError:
        engine.dispose()
        raise
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A consistent view; nobody waits for it."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that no other writer overlaps; committed at the end, undone by an exception."""
    try:
        with engine.connect() as connection:
            connection = connection.execution_options(**{_WRITES: True})  # noqa: PLW2901 - the same connection
            with connection.begin():
                if engine.dialect.name != "sqlite":
                    connection.execute(sa.select(route_table.c.id).with_for_update())
                yield connection
    except sa.exc.OperationalError as error:  # full, read-only, locked for too long, gone
        raise RegistryError(
            "the registry cannot be written; nothing was changed",
            where=engine.url.render_as_string(),
            received=str(error.orig),
        ) from error


def _create(engine: sa.Engine) -> None:
    if sa.inspect(engine).has_table(schema_table.name):
        with reading(engine) as connection:
            found = connection.execute(sa.select(schema_table.c.version)).scalar_one()
        if found == SCHEMA_VERSION:
            return
        if found > SCHEMA_VERSION:
            raise RegistryError(
                "the registry has a schema that this holdfast does not read",
                where=str(engine.url),
                expected=f"schema {SCHEMA_VERSION} or older",
                received=f"schema {found}",
                next_step="Use the holdfast that wrote it, or a newer one",
            )
    with engine.connect() as connection:
        connection = connection.execution_options(**{_WRITES: True})  # noqa: PLW2901 - the same connection
        with connection.begin():
            before = 0
            if sa.inspect(connection).has_table(schema_table.name):
                before = connection.execute(sa.select(schema_table.c.version)).scalar_one()
                if before == SCHEMA_VERSION:
                    return  # another process was here while this one waited
            metadata.create_all(connection)  # leaves tables that are there as they are
            if before:
                connection.execute(sa.update(schema_table).values(version=SCHEMA_VERSION))
            else:
                connection.execute(sa.insert(schema_table).values(version=SCHEMA_VERSION))
                connection.execute(
                    sa.insert(route_table).values(id=1, champion=None, generation=0, changed_at_us=0)
                )
            if engine.dialect.name == "sqlite":
                _forbid_changes(connection, _OF_SCHEMA[before])


def _forbid_changes(connection: sa.Connection, already: frozenset[str]) -> None:
    for table, verbs in _APPEND_ONLY.items():
        for verb in () if table.name in already else verbs:
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table.name}_no_{verb.split()[0].lower()} BEFORE {verb} ON {table.name} "
                f"BEGIN SELECT RAISE(ABORT, '{table.name} are only ever added'); END"
            )
    if "api_keys" not in already:
        connection.exec_driver_sql(
            "CREATE TRIGGER api_keys_stay_revoked BEFORE UPDATE ON api_keys "
            "WHEN OLD.revoked_at_us IS NOT NULL BEGIN SELECT RAISE(ABORT, 'a revoked key stays revoked'); END"
        )

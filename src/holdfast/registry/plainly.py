"""What cannot wait until the registry's libraries are loaded, done with Python's own driver of SQLite.

Whoever rolls back or revokes a key does so on a machine that may be in trouble, and SQLAlchemy alone takes
longer to load than all else that such a command does. What is written is row for row what the registry
writes; whatever is not plain is left to that.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from holdfast.registry.schema_version import SCHEMA_VERSION
from holdfast.registry.sealing import GENESIS, entry_hash

_SQLITE: Final = "sqlite:///"
_BUSY_TIMEOUT_S: Final = 15.0
Done = TypeVar("Done")


class Act(NamedTuple):
    """Who does it, and when."""

    at_us: int
    actor: str


def change(url: str, how: Callable[[sqlite3.Connection], Done | None]) -> Done | None:
    """Change a registry in one transaction.

    Args:
        url: of the registry.
        how: makes the change; None: it is not plain, and nothing is changed.

    Returns:
        None, and nothing is changed: `how` said so, the registry is not in SQLite or of another schema, or it
        cannot be written.
    """
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
            done = how(connection)
        connection.execute("ROLLBACK" if done is None else "COMMIT")
    except sqlite3.Error:
        return None
    else:
        return done
    finally:
        connection.close()  # undoes what was not committed


def write_down(
    connection: sqlite3.Connection, act: Act, action: str, target: str, detail: dict[str, Any]
) -> None:
    """Add an entry to the audit."""
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

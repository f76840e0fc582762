"""Whether anybody has changed a registry: asked several times a second by whoever follows it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import sqlalchemy as sa

LONGEST_TRUST_S: Final = 5.0
"""How long an unchanged registry is believed without a look: its disk may have gone, its file be another."""


class RegistryWatch:
    """Says whether a registry may have changed since it was asked last, in a tenth of the time of a look.

    SQLite counts what other connections commit; of any other database it is not known, so it may always have.
    For one thread.

    Args:
        engine: of the registry; a connection of its own is kept open.
        monotonic_s: the time.
    """

    def __init__(self, engine: sa.Engine, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._connection: Any = engine.raw_connection() if engine.dialect.name == "sqlite" else None
        self._seen: int | None = None
        self._look_at_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def may_have_changed(self) -> bool:
        """Whether to look; the first time, and at least every 5 s, always."""
        if self._connection is None:
            return True
        try:
            (version,) = self._connection.driver_connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            self._seen = None
            return True  # whoever looks hears why
        now_s = self._monotonic_s()
        if version == self._seen and now_s < self._look_at_s:
            return False
        self._seen = version
        self._look_at_s = now_s + LONGEST_TRUST_S
        return True

    def forget(self) -> None:
        """Look again next time, whether or not anything has changed: the last look came to nothing."""
        self._seen = None

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

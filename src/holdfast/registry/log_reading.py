"""The log as one call of the library, entered in the audit as every reading of raw rows is."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from holdfast.clock import SystemClock
from holdfast.prediction_log import DEFAULT_MEMORY_MB, PredictionLog, PredictionLogError, settle
from holdfast.registry.actor import user_of_this_process
from holdfast.registry.registry import Registry
from holdfast.spec import Deployment

_VALUE: Final = re.compile(r"'[^']*'|\$(\w*)\$.*?\$\1\$|\b\d[\w.]*", re.DOTALL)


def log(
    deployment: str | Path,
    query: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    columns: list[str] | None = None,
    memory_mb: int = DEFAULT_MEMORY_MB,
) -> pa.RecordBatchReader:
    """Predictions with their labels, or the rows of a query, as a stream of Arrow batches.

    The audit says who read, before any row is read. Everything spooled up to now is in it. `.read_all()`
    makes a table of it, `.read_pandas()` a data frame; `polars.from_arrow` and DuckDB take it as it is.

    Args:
        deployment: its folder.
        query: a SELECT over `predictions`, `labels` and `joined`; None: all of `joined`.
        since: predictions of this time and later; without a time zone it is UTC. Not together with a query.
        until: predictions before this time.
        columns: of the predictions; None: all. `y` and `observed_at` are always there.
        memory_mb: that a query may use.

    Raises:
        PredictionLogError: the query fails or does more than read, or a column is unknown.
        KeeperBehindError: the running keeper does not keep up.
        RegistryError: the audit cannot be written.
    """
    clock = SystemClock()
    opened = Deployment.open(Path(deployment), os.environ)
    if query is not None and (since is not None or until is not None or columns is not None):
        raise PredictionLogError(
            "a query says itself what it reads",
            where="since, until, columns",
            expected="none of them beside a query",
            next_step="Write them into the query: SELECT ... WHERE time >= ...",
        )
    settle(opened, clock)
    stored = PredictionLog(opened)
    with Registry.open(opened.registry_url, clock) as registry:
        detail = {} if query is None else {"sql": without_values(query)}
        registry.audit.add(
            actor=user_of_this_process(), action="read.rows", target="holdfast.log", detail=detail
        )
    if query is not None:
        return stored.query(query, memory_mb=memory_mb)
    return stored.joined(_us(since), _us(until), columns)


def without_values(sql: str) -> str:
    """A query as it stands in the audit: whom somebody looked for is left out."""
    return _VALUE.sub("?", sql)[:2000]


def _us(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)

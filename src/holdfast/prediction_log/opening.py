"""The log as one call of the library."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from holdfast.clock import SystemClock
from holdfast.prediction_log.errors import PredictionLogError
from holdfast.prediction_log.querying import DEFAULT_MEMORY_MB
from holdfast.prediction_log.reading import PredictionLog
from holdfast.prediction_log.settling import settle
from holdfast.spec import Deployment


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

    Everything spooled up to now is in it. `.read_all()` makes a table of it, `.read_pandas()` a data frame;
    `polars.from_arrow` and DuckDB take it as it is.

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
    """
    opened = Deployment.open(Path(deployment), os.environ)
    settle(opened, SystemClock())
    stored = PredictionLog(opened)
    if query is None:
        return stored.joined(_us(since), _us(until), columns)
    if since is not None or until is not None or columns is not None:
        raise PredictionLogError(
            "a query says itself what it reads",
            where="since, until, columns",
            expected="none of them beside a query",
            next_step="Write them into the query: SELECT ... WHERE time >= ...",
        )
    return stored.query(query, memory_mb=memory_mb)


def _us(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)

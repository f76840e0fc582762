"""Rows of the prediction log, joined with their labels, as of a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdfast.clock import Clock
from holdfast.prediction_log import LARGE, PredictionLog, PredictionLogError, Snapshot
from holdfast.privacy import SEALED, Sealer
from holdfast.spec import Deployment
from holdfast.train.errors import DataSetError
from holdfast.train.rows import ID, SUBJECT, TIME

if TYPE_CHECKING:
    import pyarrow as pa

INPUT = "input_"
CONTEXT = "context_"
_NOT_ANSWERS = "('shadow')"
"""Arms whose rows are copies of what another arm answered."""


def newest_time_us(log: PredictionLog) -> int | None:
    """Time of the newest prediction."""
    import pyarrow as pa

    found = log.query("SELECT max(time) AS newest FROM predictions").read_all().column("newest")
    newest = found.cast(pa.int64()).to_pylist()
    return newest[0] if newest else None


def read_log(
    log: PredictionLog,
    features: tuple[str, ...],
    *,
    snapshot: Snapshot,
    since_us: int | None,
    until_us: int | None,
    labels_known_by_us: int | None,
    review_field: str = "",
    sealer: Sealer | None = None,
    memory_mb: int = 1024,
) -> pa.Table:
    """One row for each prediction id, in order of time: its inputs, subject, consent, `y` and `observed_at`.

    An id that was answered several times counts once, as it was first. The query takes at most `memory_mb`;
    the table that it gives is in memory as a whole.

    Raises:
        DataSetError: the log lacks an input.
    """
    present = log.schema().names
    sealed = f"{CONTEXT}{SEALED}" in present and sealer is not None
    columns = [ID, SUBJECT, "consent", TIME]
    if not sealed:
        missing = [
            name for name in features if f"{INPUT}{name}" not in present and f"{LARGE}{name}" not in present
        ]
        if missing:
            raise DataSetError(
                f"the log has no values of the input {missing[0]!r}",
                where=log.place.tables,
                expected=", ".join(name.removeprefix(INPUT) for name in present if name.startswith(INPUT)),
                next_step="Was it dropped or encrypted by [privacy]? Then no model can learn from it",
            )
    columns += [f"{INPUT}{name}" for name in features if f"{INPUT}{name}" in present]
    large = [name for name in features if f"{LARGE}{name}" in present]
    columns += [f"{LARGE}{name}" for name in large]
    if sealed:
        columns.append(f"{CONTEXT}{SEALED}")
    if review_field and f"{CONTEXT}{review_field}" in present:
        columns.append(f"{CONTEXT}{review_field}")
    bounds = [snapshot.predictions.condition("p."), f"coalesce(p.arm, '') NOT IN {_NOT_ANSWERS}"]
    if since_us is not None:
        bounds.append(f"p.time >= make_timestamptz({int(since_us)})")
    if until_us is not None:
        bounds.append(f"p.time < make_timestamptz({int(until_us)})")
    known = snapshot.labels.condition("l.")
    if labels_known_by_us is not None:
        known += f" AND l.observed_at <= make_timestamptz({int(labels_known_by_us)})"
    names = ", ".join(f"p.{_quoted(name)}" for name in columns)
    table = log.query(
        f"""
        WITH said AS (
            SELECT l.prediction_id,
                   arg_max({{'y': l.y, 'at': l.observed_at}}, (l.observed_at, l.revision, l.sequence)) AS last
            FROM labels l WHERE {known} GROUP BY l.prediction_id
        ),
        once AS (
            SELECT {names} FROM predictions p WHERE {" AND ".join(bounds)}
            QUALIFY row_number() OVER (PARTITION BY p.prediction_id ORDER BY p.time, p.replica, p.sequence) =
            1
        )
        SELECT once.*, said.last.y AS y, said.last.at AS observed_at
        FROM once LEFT JOIN said ON once.prediction_id = said.prediction_id
        ORDER BY once.time, once.prediction_id
        """,  # noqa: S608 - quoted names and numbers only
        memory_mb=memory_mb,
    ).read_all()
    if sealed and sealer is not None:
        table = sealer.open_table(table)
    for name in large:
        table = _with_values(table, name, log, sealer)
    return table


def _with_values(table: pa.Table, name: str, log: PredictionLog, sealer: Sealer | None) -> pa.Table:
    """The large inputs that the rows name, each flattened as the log does, in the input's own column.

    Null where the content was not sampled, has expired, or cannot be opened.
    """
    import pyarrow as pa

    inputs = f"{INPUT}{name}"
    held = table.column(inputs).to_pylist() if inputs in table.column_names else [None] * table.num_rows
    # What was sealed in the row comes back nested.
    values = [None if value is None else np.ravel(value) for value in held]
    subjects = table.column(SUBJECT).to_pylist()
    for row, digest in enumerate(table.column(f"{LARGE}{name}").to_pylist()):
        if digest is not None:
            try:
                found = log.large_input(digest, sealer=sealer, subject=subjects[row])
            except PredictionLogError:
                continue
            values[row] = found.reshape(-1)
    table = table.drop_columns([f"{LARGE}{name}", *([inputs] if inputs in table.column_names else [])])
    return table.append_column(inputs, pa.array(values))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def now_of(deployment: Deployment, log: PredictionLog, clock: Clock) -> int:
    """Now, in the time of the rows: the newest prediction's, where rows carry their own time."""
    if deployment.checklist.predictions.time_field:
        newest = newest_time_us(log)
        if newest is not None:
            return newest + 1
    return clock.now_us()

"""SQL over the log: read-only, in bounded memory, and shut in: no file, network or setting is in reach.

Three views: `predictions` and `labels` are the tables as they are (every revision of every label), `joined`
is one row per prediction with `y` and `observed_at` of its last label.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa

from holdfast.prediction_log.errors import PredictionLogError

BATCH_ROWS: Final = 65_536
DEFAULT_MEMORY_MB: Final = 1024
"""Half of the default memory of a whole service; beyond it DuckDB spills to a temporary folder."""
VIEWS: Final = ("predictions", "labels", "joined")

LAST_REVISIONS: Final = """
    SELECT prediction_id, last.y AS y, last.observed_at AS observed_at
    FROM (
        SELECT prediction_id,
               arg_max({'y': y, 'observed_at': observed_at}, (observed_at, revision, sequence)) AS last
        FROM labels GROUP BY prediction_id
    )
"""
_JOINED: Final = (
    "CREATE VIEW joined AS SELECT p.*, l.y, l.observed_at FROM predictions p "  # noqa: S608 - no input in it
    f"LEFT JOIN ({LAST_REVISIONS}) l ON p.prediction_id = l.prediction_id"
)


def connect() -> Any:
    """A connection to an empty database in memory; times are UTC, and nothing is printed by itself."""
    import duckdb

    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")  # it would go to standard output, amid the rows
    return connection


def query(
    sql: str, dataset: Callable[[str], Any], *, memory_mb: int = DEFAULT_MEMORY_MB
) -> pa.RecordBatchReader:
    """Run one SELECT (or EXPLAIN, DESCRIBE, SUMMARIZE) and stream its rows.

    Args:
        sql: in DuckDB's dialect; times are UTC.
        dataset: gives the data set of the table with this name.
        memory_mb: that the query may use; sorting and joining beyond it goes to a temporary folder.

    Raises:
        PredictionLogError: the query is not one statement that only reads, or it fails.
    """
    import duckdb

    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise _failed(error) from error
    reading = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    if len(statements) != 1 or statements[0].type not in reading:
        kinds = ", ".join(one.type.name for one in statements) or "nothing"
        raise PredictionLogError(
            "the query does more than read",
            where="SQL",
            expected="one SELECT statement",
            received=kinds,
            next_step=f"Read from {', '.join(VIEWS)}; `holdfast log export` writes files",
        )
    folder = tempfile.TemporaryDirectory(prefix="holdfast-query-")
    connection = connect()
    try:
        connection.register("predictions", dataset("predictions"))
        connection.register("labels", dataset("labels"))
        connection.execute(_JOINED)
        connection.execute(f"SET temp_directory = '{folder.name}'")
        connection.execute(f"SET memory_limit = '{int(memory_mb)}MB'")
        connection.execute("SET preserve_insertion_order = false")
        # From here on nothing but the views is reachable, and nothing can make it so again.
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        result: pa.RecordBatchReader = connection.sql(sql).to_arrow_reader(BATCH_ROWS)
    except duckdb.Error as error:
        connection.close()
        folder.cleanup()
        raise _failed(error) from error
    return pa.RecordBatchReader.from_batches(result.schema, _batches(result, connection, folder))


def _batches(result: pa.RecordBatchReader, connection: Any, folder: tempfile.TemporaryDirectory[str]) -> Any:
    """The rows, and the end of connection and temporary folder after the last."""
    import duckdb

    try:
        yield from result
    except (duckdb.Error, pa.ArrowException) as error:
        raise _failed(error) from error
    finally:
        connection.close()
        folder.cleanup()


def _failed(error: Exception) -> PredictionLogError:
    return PredictionLogError(
        f"the query failed: {error}",
        where="SQL",
        next_step='`holdfast log query "DESCRIBE predictions"` lists the columns',
    )

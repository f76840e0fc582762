"""Reading the log: predictions, labels, their join, counts, exports.

Everything here reads the tables. Records still in the spool appear once a keeper has committed them: call
`settle` first where that matters.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from numpy.typing import NDArray

from holdfast.prediction_log.errors import PredictionLogError
from holdfast.prediction_log.exporting import ExportFormat, export_batches
from holdfast.prediction_log.large_keeping import large_columns, names_in
from holdfast.prediction_log.large_shared import places_of, read_content
from holdfast.prediction_log.large_store import LARGE
from holdfast.prediction_log.ledger import Ledger, VerifyReport, read_ledger, verify_log
from holdfast.prediction_log.places import Log, LogPlace
from holdfast.prediction_log.querying import BATCH_ROWS, DEFAULT_MEMORY_MB, LAST_REVISIONS, connect, query
from holdfast.prediction_log.schema import LABELS, PREDICTIONS, TIME
from holdfast.privacy import Sealer, read_large


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much the tables hold."""

    predictions: int
    """Without the answers of a challenger to copies, which nobody saw (arm `shadow`)."""
    labels: int
    """Predictions and unknown ids that have a label now; one whose label was taken back has none."""
    label_revisions: int
    """Labels as they came, with corrections and repetitions."""
    labelled: int
    """Predictions that have a label now."""
    unknown_labels: int
    """Labelled ids that no prediction has: not yet, sampled out, removed by retention, or wrong."""


class NamedLargeInput(msgspec.Struct, frozen=True, kw_only=True):
    """A large input that a row names."""

    input: str
    """Name of the model's input."""
    digest: str
    """The content hash."""
    subject: str | None
    """Pseudonym of whom the row is about: it opens a sealed content."""


class PredictionLog:
    """The tables of one log. Each call reads the newest committed state.

    Args:
        log: the deployment, or the log's folder. It need not exist yet: an empty log reads as empty.
    """

    def __init__(self, log: Log) -> None:
        self.place = LogPlace.of(log)

    def predictions(
        self,
        since_us: int | None = None,
        until_us: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Predictions whose `time` is in `[since_us, until_us)`, in no particular order; streamed.

        Raises:
            PredictionLogError: a column is asked for that the log does not have.
        """
        dataset = self._dataset("predictions")
        _check_columns(columns, dataset.schema)
        scanner = dataset.scanner(
            columns=None if columns is None else list(columns),
            filter=_between("time", since_us, until_us),
            batch_size=BATCH_ROWS,
        )
        return scanner.to_reader()

    def labels(
        self, since_us: int | None = None, until_us: int | None = None, *, history: bool = False
    ) -> pa.RecordBatchReader:
        """The last revision of each label, if it was observed in `[since_us, until_us)`.

        Of two labels for one id the one observed later counts, then the one that arrived later. With
        `history`, every revision as it came.
        """
        if history:
            dataset = self._dataset("labels")
            scanner = dataset.scanner(
                filter=_between("observed_at", since_us, until_us), batch_size=BATCH_ROWS
            )
            return scanner.to_reader()
        return self._sql(f"SELECT * FROM ({LAST_REVISIONS}) {_where('observed_at', since_us, until_us)}")  # noqa: S608 - numbers only

    def joined(
        self,
        since_us: int | None = None,
        until_us: int | None = None,
        columns: Sequence[str] | None = None,
        *,
        only_labelled: bool = False,
    ) -> pa.RecordBatchReader:
        """Predictions with `y` and `observed_at` of their last label, or null; streamed.

        The labels are hashed in memory (about 100 bytes each); the predictions stream past them.
        """
        schema = self._dataset("predictions").schema
        _check_columns(columns, schema)
        names = ", ".join(f"p.{_quoted(name)}" for name in (schema.names if columns is None else columns))
        kind = "JOIN" if only_labelled else "LEFT JOIN"
        wanted = "WHERE y IS NOT NULL" if only_labelled else ""
        return self._sql(
            f"SELECT {names}{', ' if names else ''}l.y, l.observed_at FROM predictions p "  # noqa: S608 - quoted names and numbers only
            f"{kind} (SELECT * FROM ({LAST_REVISIONS}) {wanted}) l "
            f"ON p.prediction_id = l.prediction_id {_where('p.time', since_us, until_us)}"
        )

    def tail(self, n: int = 10) -> list[dict[str, Any]]:
        """The N predictions logged last, oldest first, with their labels."""
        # One column first: which files to read at all is then known from their statistics.
        newest_times = self._sql(f"SELECT logged_at FROM predictions ORDER BY logged_at DESC LIMIT {int(n)}")  # noqa: S608 - a number
        times = newest_times.read_all()["logged_at"]
        if not len(times):
            return []
        newest = self._sql(
            "SELECT * FROM predictions "  # noqa: S608 - numbers only
            f"{_where('logged_at', pc.min(times).cast(pa.int64()).as_py(), None)} "
            f"ORDER BY logged_at DESC, replica DESC, sequence DESC LIMIT {int(n)}"
        ).read_all()
        rows: list[dict[str, Any]] = newest.to_pylist()
        return rows[::-1]

    def count(self) -> Counts:
        """How many predictions and labels there are, and how many of them belong together."""
        found = self._sql(
            f"""
            WITH last AS (SELECT * FROM ({LAST_REVISIONS}) WHERE y IS NOT NULL),
            given AS (SELECT prediction_id FROM predictions WHERE arm IS DISTINCT FROM 'shadow'),
            ids AS (SELECT prediction_id, count(*) AS n FROM given
                    WHERE prediction_id IN (SELECT prediction_id FROM last) GROUP BY prediction_id)
            SELECT (SELECT count(*) FROM given) AS predictions,
                   (SELECT count(*) FROM last) AS labels,
                   (SELECT count(*) FROM labels) AS label_revisions,
                   (SELECT coalesce(sum(n), 0)::BIGINT FROM ids) AS labelled,
                   (SELECT count(*) FROM last) - (SELECT count(*) FROM ids) AS unknown_labels
            """  # noqa: S608 - no input in it
        )
        return Counts(**found.read_all().to_pylist()[0])

    def query(self, sql: str, *, memory_mb: int = DEFAULT_MEMORY_MB) -> pa.RecordBatchReader:
        """Rows of one SELECT over the views `predictions`, `labels` (every revision) and `joined`; streamed.

        The query reads and does nothing else: files, network and settings are out of its reach. It uses at
        most `memory_mb`, and a temporary folder beyond.

        Raises:
            PredictionLogError: the query does more than read, or fails.
        """
        return query(sql, self._dataset, memory_mb=memory_mb)

    def schema(self) -> pa.Schema:
        """Columns of the predictions."""
        return self._dataset("predictions").schema

    def export(
        self,
        path: Path,
        format: ExportFormat = "parquet",  # noqa: A002 - the word of the command line
        *,
        verbatim: bool = False,
    ) -> int:
        """Write predictions with their labels to one file; returns the rows written.

        The file appears under its name only when it is complete. In CSV, a text that a spreadsheet would take
        for a formula has a single quote before it unless `verbatim`.
        """
        return export_batches(self.joined(), path, format, verbatim=verbatim)

    def large_input(
        self, digest: str, *, sealer: Sealer | None = None, subject: str | None = None
    ) -> NDArray[np.generic]:
        """The array that a row names in a column `large_<input>`.

        Args:
            digest: the content hash.
            sealer: opens it, where the field is encrypted.
            subject: as it stands in the row, for the sealer.

        Raises:
            PredictionLogError: it is not there (any more), or is sealed and cannot be opened.
        """
        content = read_content(self.place, digest)
        found: NDArray[np.generic] | None = None
        if content is not None:
            found = read_large(
                content,
                lambda header, sealed: None if sealer is None else sealer.open_bytes(subject, header, sealed),
            )
        if found is None:
            raise PredictionLogError(
                "the large input is not there" if content is None else "the large input is sealed",
                where=f"{self.place.tables}/large_inputs/{digest[:2]}/{digest[:64]}",
                expected="a content hash of a row in this log, whose subject's key is not destroyed",
                next_step="Retention and erasure remove large inputs: `holdfast log verify` says whether any "
                "is missing that a row names",
            )
        return found

    def find_large_inputs(self, name: str) -> list[NamedLargeInput]:
        """The large inputs of the prediction with this id, or those with this content hash; sorted by input.

        Whoever gave an id to several rows gets those of all of them.
        """
        dataset = self._dataset("predictions")
        found: dict[tuple[str, str], str | None] = {}
        for column in large_columns(dataset.schema):
            meant = (pds.field("prediction_id") == name) | (pds.field(column) == name)
            columns = [column, *({"subject"} & set(dataset.schema.names))]
            for row in dataset.to_table(columns=columns, filter=meant).to_pylist():
                if row[column] is not None:
                    found.setdefault((column.removeprefix(LARGE), row[column]), row.get("subject"))
        return [
            NamedLargeInput(input=of_input, digest=digest, subject=subject)
            for (of_input, digest), subject in sorted(found.items())
        ]

    def large_inputs_of(self, subject: str | None) -> set[str]:
        """Content hashes of large inputs of predictions about this subject (a pseudonym); None: of all."""
        dataset = self._dataset("predictions")
        meant = None if subject is None else pds.field("subject") == subject
        return {digest.hex() for digest in names_in(dataset, meant)}

    def places_of_large_inputs(self, digests: Iterable[str]) -> list[str]:
        """Where these contents still lie, whether a row names them or not."""
        return places_of(self.place, digests)

    def ledger(self) -> Ledger:
        """What became of every row served, from spool and tables; right while the service runs."""
        return read_ledger(self.place)

    def verify(self) -> VerifyReport:
        """Prove that nothing is missing and nothing is there twice; looks at every row."""
        return verify_log(self.place)

    def _dataset(self, table: str) -> Any:
        place = self.place.predictions if table == "predictions" else self.place.labels
        if not place.exists():
            return pds.dataset((PREDICTIONS if table == "predictions" else LABELS).empty_table())
        return place.dataset(place.open())

    def _sql(self, query: str) -> pa.RecordBatchReader:
        connection = connect()
        connection.register("predictions", self._dataset("predictions"))
        connection.register("labels", self._dataset("labels"))
        result: pa.RecordBatchReader = connection.sql(query).to_arrow_reader(BATCH_ROWS)
        return result


def _between(column: str, since_us: int | None, until_us: int | None) -> Any:
    bounds = []
    if since_us is not None:
        bounds.append(pds.field(column) >= pa.scalar(since_us, TIME))
    if until_us is not None:
        bounds.append(pds.field(column) < pa.scalar(until_us, TIME))
    if not bounds:
        return None
    return bounds[0] if len(bounds) == 1 else bounds[0] & bounds[1]


def _where(column: str, since_us: int | None, until_us: int | None) -> str:
    bounds = []
    if since_us is not None:
        bounds.append(f"{column} >= make_timestamptz({int(since_us)})")
    if until_us is not None:
        bounds.append(f"{column} < make_timestamptz({int(until_us)})")
    return "WHERE " + " AND ".join(bounds) if bounds else ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _check_columns(columns: Sequence[str] | None, schema: pa.Schema) -> None:
    for name in columns or ():
        if name not in schema.names:
            near = difflib.get_close_matches(name, schema.names, n=1)
            raise PredictionLogError(
                f"the log has no column {name!r}",
                expected=f"one of {', '.join(schema.names)}",
                next_step=f"Did you mean {near[0]!r}?" if near else None,
            )

"""`score_table`: a table in, the same table with answers out, through the plane and log of the service."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import pyarrow as pa

from holdfast.artifact import Signature
from holdfast.clock import Clock, SystemClock
from holdfast.files import writing_to
from holdfast.infer import Block, DataPlane, LoadedModel, RecordSchema, load_model, open_plane
from holdfast.prediction_log import StagedRun, finish_abandoned, settle
from holdfast.registry import Registry
from holdfast.score.answers import answer_columns, answer_fields
from holdfast.score.arms import Arms, OneVersion, Trial, open_arms
from holdfast.score.columns import Fault, check_header, convert_batch, scalars, take_rows, times_us
from holdfast.score.errors import BadRowError, TableError
from holdfast.score.files import TableFormat, TableReader, TableWriter, format_of
from holdfast.score.versions import find_version
from holdfast.spec import Deployment

DEFAULT_BLOCK_ROWS: Final = 8192

OnError = Literal["stop", "skip"]
Progress = Callable[[int, int | None], None]
"""Called with rows done and rows in all (None: not known beforehand)."""


class ScoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the rows of a table."""

    source: str
    target: str
    model_version: str
    rows: int
    """Rows of the source."""
    scored: int
    skipped: int
    """Bad rows, only with `on_error="skip"`; they are not in the target."""
    logged: int
    errors_file: str | None
    """Where the skipped rows are named, one JSON object a line."""
    seconds: float
    rows_per_s: float
    trial: Trial | None = None
    """What the challenger of an open rollout did; None without one."""

    def __str__(self) -> str:
        text = (
            f"Scored {self.scored} of {self.rows} rows with version {self.model_version} into {self.target} "
            f"({self.rows_per_s:,.0f} rows/s, {self.logged} logged)."
        )
        if self.trial is not None:
            text += f"\n{self.trial}"
        if self.skipped:
            bad = "1 bad row" if self.skipped == 1 else f"{self.skipped} bad rows"
            text += f"\nSkipped {bad}, named in {self.errors_file}."
        return text


class SkippedRow(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of the errors file. It holds no value of the row."""

    row: int
    """From 1, header not counted."""
    column: str | None = None
    error: str
    expected: str | None = None


def score_table(
    deployment: Deployment,
    registry: Registry,
    source: Path,
    target: Path,
    *,
    version: str | None = None,
    on_error: OnError = "stop",
    source_format: TableFormat | None = None,
    target_format: TableFormat | None = None,
    block_rows: int = DEFAULT_BLOCK_ROWS,
    log: bool = True,
    progress: Progress | None = None,
    clock: Clock | None = None,
    pseudonym_key: bytes | None = None,
) -> ScoreReport:
    """Add a model's answers to every row of a table.

    Rows enter the log when the target has appeared, all of them or none: a run that was interrupted has
    logged nothing, and is simply begun again. Until then they take their room beside the spool.

    The target holds the source's columns and prediction_id, prediction, score and probabilities, and
    model_version. It appears whole or not at all. Memory depends on `block_rows`, not on the table.

    With `on_error="stop"` the whole table is checked before the first row is answered, so a table with a bad
    row leaves neither a target nor rows in the log. With "skip" bad rows are left out and named in
    `<target>.errors.jsonl`.

    With `[predictions] mode = "batch"` a table that the champion answers takes part in an open rollout: see
    `holdfast.score.arms`.

    Args:
        deployment: whose checklist names the id, time and context fields.
        registry: of the deployment.
        source: Parquet or CSV; a CSV's columns that the model does not use pass through as text.
        target: Parquet or CSV; replaced if it exists.
        version: model version; None: the champion.
        on_error: what a bad row means.
        source_format: None: by the ending.
        target_format: None: by the ending.
        block_rows: rows answered at a time.
        log: write the predictions to the log, unless the checklist switches the log off; a rehearsal without
            it takes part in no rollout.
        progress: called after every block.
        clock: of ids and of rows without a time of their own.
        pseudonym_key: None: read from the environment, as the service does.

    Raises:
        TableError: the table cannot be read, written or matched to the model.
        BadRowError: a row does not fit, with `on_error="stop"`.
        RegistryError: there is no such version, or no champion.
    """
    if block_rows < 1:
        raise TableError(
            "a block needs rows", where="block_rows", expected="at least 1", received=str(block_rows)
        )
    clock = clock or SystemClock()
    started = clock.monotonic_s()
    reading = format_of(source, source_format)
    writing = format_of(target, target_format)
    # A killed run leaves a hidden target, which the next one removes: its rows are decided upon first.
    finish_abandoned(deployment.log_folder)
    found = find_version(deployment, registry, version)
    model = load_model(found.folder, found.version, deployment.checklist.compute)
    with closing(model):
        if on_error == "stop":
            _check_all(deployment, model.signature, source, reading, block_rows)
        logs = log and deployment.checklist.logging.enabled
        staged = StagedRun(deployment.log_folder) if logs else None
        answers = version is None and staged is not None
        try:
            with (
                closing(open_arms(deployment, registry, model) if answers else OneVersion(model)) as arms,
                closing(_open_plane(deployment, clock, pseudonym_key, staged)) as plane,
            ):
                run = _Run(deployment, model, plane, source, target, arms=arms, staged=staged)
                run.play(reading, writing, block_rows, progress)
        except BaseException:
            if staged is not None:
                staged.discard()
            raise
    logged = run.scored if staged is not None else 0
    # Before its rows are in the log: an erasure forgets them there first, and then the units.
    arms.finish()
    if staged is not None:
        staged.publish()
    if logged:
        settle(deployment, clock)
    seconds = clock.monotonic_s() - started
    return ScoreReport(
        source=str(source),
        target=str(target),
        model_version=model.version,
        rows=run.scored + run.skipped,
        scored=run.scored,
        skipped=run.skipped,
        logged=logged,
        errors_file=str(run.errors_file) if run.skipped else None,
        seconds=seconds,
        rows_per_s=run.scored / seconds if seconds > 0 else 0.0,
        trial=arms.trial,
    )


def _open_plane(
    deployment: Deployment, clock: Clock, pseudonym_key: bytes | None, staged: StagedRun | None
) -> DataPlane:
    if staged is None:
        return DataPlane(None, None, clock)
    return open_plane(deployment, "score", clock, log_folder=staged.folder, pseudonym_key=pseudonym_key)


def _check_all(
    deployment: Deployment, signature: Signature, source: Path, reading: TableFormat, block_rows: int
) -> None:
    """A first pass that answers nothing.

    Raises:
        BadRowError: at the first bad row.
    """
    schema = RecordSchema.of(signature, deployment.checklist)
    with TableReader(source, reading, block_rows) as reader:
        check_header(signature, reader.schema, text=reader.text)
        done = 0
        for batch in reader.batches():
            faults = convert_batch(signature, batch, text=reader.text, comma=reader.comma).faults
            if schema.time_field in batch.schema.names:
                times_us(batch.column(schema.time_field), schema.time_field, faults)
            _stop_at_first(reader, done, faults)
            done += batch.num_rows
        _stop_at_first(reader, done, [])


def _stop_at_first(reader: TableReader, done: int, faults: list[Fault]) -> None:
    if faults:
        first = min(faults, key=lambda fault: fault.row)
        number = reader.row_number(done + first.row)
        if not any(invalid < number for invalid in reader.invalid_rows):
            raise BadRowError(
                first.what,
                where=f"{reader.path}: row {number}, column {first.column!r}",
                expected=first.expected,
                next_step='Correct it, or leave bad rows out with on_error="skip" (--on-error skip).',
            )
    if reader.invalid_rows and (faults or reader.row_number(done) > reader.invalid_rows[0]):
        raise BadRowError(
            "the row has too few or too many fields",
            where=f"{reader.path}: row {reader.invalid_rows[0]}",
            expected=f"{len(reader.schema.names)} fields",
        )


class _Run:
    """One pass from source to target."""

    def __init__(
        self,
        deployment: Deployment,
        model: LoadedModel,
        plane: DataPlane,
        source: Path,
        target: Path,
        *,
        arms: Arms,
        staged: StagedRun | None,
    ) -> None:
        self.staged = staged
        self.schema = RecordSchema.of(model.signature, deployment.checklist)
        self.model = model
        self.arms = arms
        self.plane = plane
        self.source = source
        self.target = target
        self.errors_file = target.with_name(f"{target.name}.errors.jsonl")
        self._hidden_errors = target.with_name(f".{self.errors_file.name}.partial")
        self.scored = 0
        self.skipped = 0
        self._errors: Any = None

    def play(
        self, reading: TableFormat, writing: TableFormat, block_rows: int, progress: Progress | None
    ) -> None:
        with TableReader(self.source, reading, block_rows) as reader:
            check_header(self.model.signature, reader.schema, text=reader.text)
            writer = TableWriter(self.target, writing, self._schema_of_target(reader.schema, writing))
            try:
                for batch in self._answered(reader, progress):
                    writer.write(batch)
                self.plane.close()
                self._show_errors()
                if self.staged is not None:
                    self.staged.promise(writer.hidden)
                writer.finish()
            except BaseException:
                if self.staged is not None:
                    self.staged.discard()
                writer.abandon()
                raise
            finally:
                if self._errors is not None:
                    with contextlib.suppress(OSError):  # what is closed badly is thrown away
                        self._errors.close()
                    self._hidden_errors.unlink(missing_ok=True)

    def _answered(self, reader: TableReader, progress: Progress | None) -> Iterator[pa.RecordBatch]:
        done = 0
        invalid = 0
        for whole in reader.batches():
            batch = whole
            converted = convert_batch(self.model.signature, batch, text=reader.text, comma=reader.comma)
            faults = converted.faults
            times = None
            if self.schema.time_field in batch.schema.names:
                times = times_us(batch.column(self.schema.time_field), self.schema.time_field, faults)
            bad = {fault.row for fault in faults}
            for number in reader.invalid_rows[invalid:]:
                self._skip(SkippedRow(row=number, error="the row has too few or too many fields"))
            self.skipped += len(reader.invalid_rows) - invalid
            invalid = len(reader.invalid_rows)
            for fault in faults:
                number = reader.row_number(done + fault.row)
                self._skip(
                    SkippedRow(row=number, column=fault.column, error=fault.what, expected=fault.expected)
                )
            self.skipped += len(bad)
            done += whole.num_rows
            columns = converted.columns
            if bad:
                good = np.array([row for row in range(batch.num_rows) if row not in bad], dtype=np.int64)
                columns, batch = take_rows(columns, good), batch.take(pa.array(good))
                times = None if times is None else [times[row] for row in good]
            if batch.num_rows:
                yield self._answer(batch, columns, times)
                self.scored += batch.num_rows
            if progress is not None:
                progress(done, reader.rows)
        for number in reader.invalid_rows[invalid:]:
            self.skipped += 1
            self._skip(SkippedRow(row=number, error="the row has too few or too many fields"))

    def _answer(self, batch: Any, columns: dict[str, Any], times: list[int | None] | None) -> pa.RecordBatch:
        names = batch.schema.names
        ids: list[str | None] | None = None
        if self.schema.id_field in names:
            given = scalars(batch.column(self.schema.id_field))
            ids = [None if one in (None, "") else str(one) for one in given]
        context = {name: scalars(batch.column(name)) for name in self.schema.context_fields if name in names}
        block = Block(batch.num_rows, columns, ids, times, context)
        answered = self.arms.answer(self.plane, block)
        kept = [name for name in names if name != "prediction_id"]
        arrays = [batch.column(name) for name in kept]
        arrays.append(pa.array(answered.ids, pa.string()))
        arrays += answer_columns(self.model.signature, answered.answer)
        arrays.append(pa.array(answered.versions, pa.string()))
        return pa.RecordBatch.from_arrays(arrays, schema=self._target_schema)

    def _schema_of_target(self, source: pa.Schema, writing: TableFormat) -> pa.Schema:
        """The columns of the target.

        Raises:
            TableError: the source has a column by the name of an answer, or one that CSV cannot hold.
        """
        added = [
            ("prediction_id", pa.string()),
            *answer_fields(self.model.signature),
            ("model_version", pa.string()),
        ]
        kept = [source.field(name) for name in source.names if name != "prediction_id"]
        taken = {name for name, _ in added} & {one.name for one in kept}
        if taken:
            raise TableError(
                "the table already has a column of that name, which an answer needs",
                where=f"column {min(taken)!r}",
                next_step="Rename or drop it.",
            )
        self._target_schema = pa.schema([*kept, *(pa.field(name, kind) for name, kind in added)])
        nested = [one.name for one in self._target_schema if pa.types.is_nested(one.type)]
        if writing == "csv" and nested:
            raise TableError(
                "CSV cannot hold a column of lists",
                where=f"column {nested[0]!r}",
                next_step="Write Parquet instead.",
            )
        return self._target_schema

    def _skip(self, row: SkippedRow) -> None:
        with writing_to(self.errors_file):
            if self._errors is None:
                self._errors = self._hidden_errors.open("wb")
            self._errors.write(msgspec.json.encode(row) + b"\n")

    def _show_errors(self) -> None:
        """The errors file is that of the target that is about to appear beside it."""
        if self._errors is None:
            self.errors_file.unlink(missing_ok=True)
            return
        with writing_to(self.errors_file):
            self._errors.close()
        self._hidden_errors.replace(self.errors_file)

"""Labels from a file: Parquet, CSV or JSON lines, streamed into the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from pyarrow import csv, json, parquet

from holdfast.artifact.csv_files import COMMA_DECIMALS, csv_delimiter, is_csv
from holdfast.clock import Clock, parse_time_us
from holdfast.prediction_log.errors import ErasedPredictionError, PredictionLogError
from holdfast.prediction_log.formulas import without_guard
from holdfast.prediction_log.label_door import LabelDoor
from holdfast.prediction_log.labels import Label, is_number, label_text
from holdfast.prediction_log.settling import settle
from holdfast.prediction_log.spool import SpoolWriter
from holdfast.privacy import canonical_text
from holdfast.spec import Deployment

LABEL_COLUMNS: Final = ("label", "y")
TIME_COLUMN: Final = "observed_at"


class LabelFileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a label file."""

    accepted: int
    without_label: int
    """Rows whose label is empty; they are left out, and take nothing back."""

    refused: int = 0
    """Labels of predictions that were erased on request: they are not kept."""
    unfit: int = 0
    """Labels that are no numbers, of a model that answers with numbers: they are left out."""
    first_unfit_row: int | None = None
    """Where the first of them is, from 1."""

    def __str__(self) -> str:
        text = f"Accepted {self.accepted} label{'s' * (self.accepted != 1)}."
        if self.refused:
            text += f" Refused {self.refused}: their predictions were erased on request."
        if self.unfit:
            rows = "row" if self.unfit == 1 else f"{self.unfit} rows, the first of them"
            text += (
                f" Left out {rows} {self.first_unfit_row}: the label is no number, and the model answers "
                "with numbers. Correct them and add the file again: the others stay as they are."
            )
        return text + (f" {self.without_label} rows had none." if self.without_label else "")


def add_label_file(
    deployment: Deployment,
    source: Path,
    *,
    id_column: str,
    label_column: str | None,
    time_column: str | None,
    clock: Clock,
    of_numbers: bool = False,
) -> LabelFileReport:
    """Add every label of a file, by prediction id. The same file twice changes nothing.

    The whole file is checked before the first label is written.

    Args:
        deployment: whose log takes them.
        source: `.parquet`, `.csv`, `.csv.gz` or `.jsonl`.
        id_column: the prediction's id.
        label_column: the true answer; None: `label` or `y`, whichever is there.
        time_column: when it became known; None: `observed_at` if there, else now.
        clock: for labels without a time.
        of_numbers: whether the model answers with numbers, so that other labels are left out and counted.

    Raises:
        PredictionLogError: the file cannot be read, lacks a column, a row has no id or a broken time, or no
            label is a number where all should be.
    """
    names = _column_names(source)
    label_column = label_column or next((name for name in LABEL_COLUMNS if name in names), LABEL_COLUMNS[0])
    if time_column is None and TIME_COLUMN in names:
        time_column = TIME_COLUMN
    wanted = [name for name in (id_column, label_column, time_column) if name is not None]
    for name in wanted:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            options = {id_column: "--id-column", label_column: "--label-column"}
            raise PredictionLogError(
                f"there is no column {name!r}",
                where=str(source),
                expected=", ".join(names),
                next_step=f"Did you mean {near[0]!r}?"
                if near
                else f"Name it with {options.get(name, '--time-column')}",
            )
    now_us = clock.now_us()
    fit = unfit = 0
    first_unfit_row: int | None = None
    for labels, _, unfit_rows in _labels(source, wanted, now_us, of_numbers=of_numbers):
        fit += len(labels)
        unfit += len(unfit_rows)
        first_unfit_row = first_unfit_row or next(iter(unfit_rows), None)
    if unfit and not fit:
        raise PredictionLogError(
            "the labels are no numbers",
            where=f"{source}: column {label_column}",
            expected="a number in each row, since the model answers with numbers",
            received=f"none in {unfit} rows",
            next_step="Write numbers without units or thousands separators, or name another --label-column",
        )
    logging = deployment.checklist.logging
    writer = SpoolWriter(
        deployment.log_folder,
        deployment=deployment.name,
        replica="labels",
        clock=clock,
        durability=logging.durability,
        segment_bytes=int(logging.segment_mb * 1024 * 1024),
    )
    door = LabelDoor(writer)
    accepted = without = refused = 0
    try:
        for labels, empty, _ in _labels(source, wanted, now_us, of_numbers=of_numbers):
            try:
                turned_away = len(door.append(labels))
            except ErasedPredictionError:
                turned_away = len(labels)
            refused += turned_away
            accepted += len(labels) - turned_away
            without += empty
        writer.sync()
    finally:
        writer.close()
    settle(deployment, clock)
    return LabelFileReport(
        accepted=accepted,
        without_label=without,
        refused=refused,
        unfit=unfit,
        first_unfit_row=first_unfit_row,
    )


def _column_names(source: Path) -> list[str]:
    try:
        if source.suffix in {".parquet", ".pq"}:
            return list(parquet.read_schema(source).names)
        if is_csv(source):
            with csv.open_csv(source, parse_options=_written(source)[0]) as reader:
                return list(reader.schema.names)
        if source.suffix in {".jsonl", ".ndjson"}:
            return list(json.read_json(source).schema.names)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise PredictionLogError(f"the labels cannot be read: {error}", where=str(source)) from error
    raise PredictionLogError(
        "labels in an unknown format", where=str(source), expected=".parquet, .csv, .csv.gz or .jsonl"
    )


def _written(source: Path) -> tuple[csv.ParseOptions, str]:
    """What stands between the columns of a CSV file, and the decimal sign of its numbers."""
    delimiter = csv_delimiter(source)
    return csv.ParseOptions(delimiter=delimiter), "," if delimiter in COMMA_DECIMALS else "."


def _batches(source: Path, columns: Sequence[str], id_column: str) -> Iterator[pa.RecordBatch]:
    if source.suffix in {".parquet", ".pq"}:
        with parquet.ParquetFile(source) as file:
            yield from file.iter_batches(columns=list(columns))
    elif is_csv(source):
        between, decimal_point = _written(source)
        # Ids stay as written: 007 is not 7.
        options = csv.ConvertOptions(
            include_columns=list(columns), column_types={id_column: pa.string()}, decimal_point=decimal_point
        )
        with csv.open_csv(source, parse_options=between, convert_options=options) as reader:
            yield from reader
    else:
        yield from json.read_json(source).select(list(columns)).to_batches()


def _labels(
    source: Path, columns: Sequence[str], now_us: int, *, of_numbers: bool
) -> Iterator[tuple[list[Label], int, list[int]]]:
    """The labels of each batch, how many of its rows had none, and rows whose label is unfit, from 1."""
    id_column, label_column, *time_columns = columns
    first_row = 0
    exported = is_csv(source)  # perhaps
    try:
        for batch in _batches(source, columns, id_column):
            ids = batch.column(id_column).to_pylist()
            truths = batch.column(label_column).to_pylist()
            if exported:
                ids, truths = ([_as_given(value) for value in values] for values in (ids, truths))
            times = batch.column(time_columns[0]).to_pylist() if time_columns else [None] * len(ids)
            labels, unfit_rows = [], []
            for row, (name, truth, moment) in enumerate(zip(ids, truths, times, strict=True), first_row):
                if name is None or name == "":
                    raise PredictionLogError("a row has no prediction id", where=f"{source}: row {row + 1}")
                if of_numbers and label_text(truth) is not None and not is_number(truth):
                    unfit_rows.append(row + 1)
                elif truth is not None and truth == truth:  # noqa: PLR0124 - the NaN test
                    labels.append(Label(canonical_text(name), truth, _time_us(moment, now_us, source, row)))
            yield labels, len(ids) - len(labels) - len(unfit_rows), unfit_rows
            first_row += len(ids)
    except (OSError, pa.ArrowException) as error:
        raise PredictionLogError(f"the labels cannot be read: {error}", where=str(source)) from error


def _as_given(value: Any) -> Any:
    """A cell of CSV: an empty one holds nothing, also where the others hold text."""
    return (without_guard(value) or None) if isinstance(value, str) else value


def _time_us(moment: Any, now_us: int, source: Path, row: int) -> int:
    if moment is None:
        return now_us
    try:
        return parse_time_us(moment if isinstance(moment, str) else moment.isoformat())
    except (ValueError, AttributeError) as error:
        raise PredictionLogError(
            "the time is no time",
            where=f"{source}: row {row + 1}",
            expected="a timestamp, or ISO 8601 text",
            received=type(moment).__name__,
        ) from error

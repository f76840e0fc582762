"""Writing rows of the log to one Parquet, CSV or JSON Lines file."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from holdfast.files import writing_to
from holdfast.prediction_log.formulas import guarded

ExportFormat = Literal["parquet", "csv", "jsonl"]


def export_batches(
    batches: pa.RecordBatchReader, path: Path, kind: ExportFormat, *, verbatim: bool = False
) -> int:
    """Stream the batches to a file that appears under its name when it is complete; returns the rows.

    In CSV, lists are written as JSON text and null as nothing, and unless `verbatim` texts that a spreadsheet
    would take for formulas get a quote before them; in JSON Lines, NaN and infinities are null.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with writing_to(path):
            if kind == "parquet":
                n_rows = _write_parquet(batches, partial)
            elif kind == "csv":
                n_rows = write_csv(batches, partial, verbatim=verbatim)
            else:
                n_rows = _write_jsonl(batches, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return n_rows


def _write_parquet(batches: pa.RecordBatchReader, path: Path) -> int:
    n_rows = 0
    with pq.ParquetWriter(path, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            n_rows += batch.num_rows
    return n_rows


def write_csv(batches: pa.RecordBatchReader, target: Path | BinaryIO, *, verbatim: bool = False) -> int:
    """Stream the batches as CSV; returns the rows. See `export_batches`."""
    schema = pa.schema([pa.field(column.name, _type_in_csv(column.type)) for column in batches.schema])
    n_rows = 0
    with pcsv.CSVWriter(target, schema) as writer:
        for batch in batches:
            columns = [
                _as_json(column) if pa.types.is_nested(column.type) else column for column in batch.columns
            ]
            if not verbatim:
                columns = [guarded(column) for column in columns]
            columns = [column.cast(field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
            n_rows += batch.num_rows
    return n_rows


def _type_in_csv(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _type_in_csv(kind.value_type)
    return pa.string() if pa.types.is_nested(kind) or pa.types.is_string_view(kind) else kind


def _as_json(column: pa.Array) -> pa.Array:
    texts = [None if value is None else msgspec.json.encode(value).decode() for value in column.to_pylist()]
    return pa.array(texts, pa.string())


def _write_jsonl(batches: pa.RecordBatchReader, path: Path) -> int:
    encoder = msgspec.json.Encoder()
    n_rows = 0
    with path.open("wb") as file:
        for batch in batches:
            file.writelines(encoder.encode(row) + b"\n" for row in batch.to_pylist())
            n_rows += batch.num_rows
    return n_rows

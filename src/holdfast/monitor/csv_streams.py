"""Large CSV files as Parquet files beside, block by block, so that they are judged in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.csv_files import COMMA_DECIMALS, csv_delimiter
from holdfast.monitor.columns import flat_array, is_text
from holdfast.monitor.moments import written_moments
from holdfast.monitor.parts import MOST_PARTED_ROWS
from holdfast.monitor.row_sources import FileRows
from holdfast.monitor.row_stream import RowStream

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES: Final = 1 << 20
"""Read at a time. The first block tells the types."""
_GROUP_ROWS: Final = 1 << 16
_GROUP_BYTES: Final = 1 << 26
"""Of a row group, which is held until it is written."""
_LARGE_BYTES: Final = 1 << 25
"""A file of fewer has not many rows."""


@contextmanager
def csv_streams(
    reference: object, current: object, *, time: str | None = None, outputs: Collection[str] = ()
) -> Iterator[tuple[RowStream, RowStream] | None]:
    """Both as streams, if both are paths to CSV files of many rows that follow on each other; None otherwise.

    None also where whole tables are read otherwise than block by block: where a type changes after the first
    block or between the files, where numbers or times may be written as text, and where rows are not in the
    order of their times. The Parquet files lie in a folder for temporary files, and go with the streams.

    Args:
        reference: as `diagnose` takes it.
        current: production's.
        time: column of the time of each row, if one was named.
        outputs: columns of the model's answers.
    """
    paths = [Path(source) for source in (reference, current) if isinstance(source, str | Path)]
    large = [path for path in paths if path.suffix.lower() == ".csv" and path.is_file()]
    if len(large) < 2 or max(path.stat().st_size for path in large) < _LARGE_BYTES:
        yield None
        return
    with TemporaryDirectory(prefix="holdfast-") as folder:
        found: list[FileRows] = []
        for place, path in enumerate(large):
            target = Path(folder) / f"{place}.parquet"
            if not _rewritten(path, target, time, outputs):
                break
            found.append(FileRows.open(target, str(path)))
        kinds = [{one.name: _plain(one.type) for one in rows.schema} for rows in found]
        fits = len(found) == 2 and sum(found[0].groups) > MOST_PARTED_ROWS and sum(found[1].groups) > 0
        if fits and all(kinds[1].get(name, kind) == kind for name, kind in kinds[0].items()):
            yield RowStream(found[0]), RowStream(found[1])
        else:
            yield None


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.string() if is_text(kind) else kind


def _rewritten(path: Path, target: Path, time: str | None, outputs: Collection[str]) -> bool:
    """Whether all rows could be, in types that the first block shows."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        delimiter = csv_delimiter(path)
        reader = csv.open_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=csv.ParseOptions(delimiter=delimiter),
        )
        schema = reader.schema
        text = [one.name for one in schema if is_text(one.type)]
        if len(set(schema.names)) < len(schema.names) or not _is_plain(schema, time, outputs):
            return False
        if delimiter in COMMA_DECIMALS and text:
            return False
        times: dict[str, int] = {one.name: -(2**63) for one in schema if pa.types.is_timestamp(one.type)}
        with parquet.ParquetWriter(target, schema, compression="none", use_dictionary=text) as writer:
            held: list[pa.RecordBatch] = []
            for number, batch in enumerate(reader):
                if not number and written_moments(pa.Table.from_batches([batch]).select(text)):
                    return False
                if not _follows(batch, times):
                    return False
                held.append(batch)
                rows, size = sum(one.num_rows for one in held), sum(one.nbytes for one in held)
                if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
                    writer.write_table(pa.Table.from_batches(held))
                    held.clear()
            if held:
                writer.write_table(pa.Table.from_batches(held))
    except (OSError, ValueError, pa.ArrowException):
        # What is wrong with a file is said by the reader of whole tables, which needs no room for another.
        return False
    return True


def _is_plain(schema: pa.Schema, time: str | None, outputs: Collection[str]) -> bool:
    """Whether no column must be seen as a whole before it is known what it holds."""
    import pyarrow as pa

    kinds = {one.name: one.type for one in schema}
    if any(pa.types.is_null(kind) or pa.types.is_binary(kind) for kind in kinds.values()):
        return False
    if any(is_text(kinds[name]) for name in outputs if name in kinds):
        return False
    return time is None or pa.types.is_timestamp(kinds.get(time, pa.null()))


def _follows(batch: pa.RecordBatch, times: dict[str, int]) -> bool:
    """Whether each time is there and no earlier than the one before; the last ones are kept in `times`."""
    import pyarrow as pa

    for name, last in times.items():
        held = batch.column(name)
        if held.null_count:
            return False
        values: NDArray[np.int64] = flat_array(held.cast(pa.int64()), np.int64)
        if len(values):
            if values[0] < last or (values[1:] < values[:-1]).any():
                return False
            times[name] = int(values[-1])
    return True

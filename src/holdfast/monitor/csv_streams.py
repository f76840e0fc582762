"""Large CSV files as Parquet files beside, block by block, so that they are judged in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
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

_OPEN_FILES: Final = Path("/proc/self/fd")
"""Where a system that has it lets files without a name be opened again."""
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
) -> Iterator[tuple[RowStream, RowStream] | str]:
    """Both as streams, if both are paths to CSV files of many rows that follow on each other.

    Otherwise why large files must be read whole, in words, or nothing of others: where a type changes after
    the first block or between the files, where numbers or times may be written as text, and where rows are
    not in the order of their times. The Parquet files have no name where the system can do without: they go
    with the streams, and with the process, however it ends.

    Args:
        reference: as `diagnose` takes it.
        current: production's.
        time: column of the time of each row, if one was named.
        outputs: columns of the model's answers.
    """
    paths = [Path(source) for source in (reference, current) if isinstance(source, str | Path)]
    large = [path for path in paths if path.suffix.lower() == ".csv" and path.is_file()]
    if len(large) < 2 or max(path.stat().st_size for path in large) < _LARGE_BYTES:
        yield ""
        return
    with _copies() as targets:
        found: list[FileRows] = []
        for path, target in zip(large, targets, strict=True):
            try:
                _rewrite(path, target, time, outputs)
            except _WholeOnlyError as reason:
                yield f"{path} is read whole: {reason}."
                return
            found.append(FileRows.open(target, str(path)))
        kinds = [{one.name: _plain(one.type) for one in rows.schema} for rows in found]
        other = [name for name, kind in kinds[0].items() if kinds[1].get(name, kind) != kind]
        if other:
            yield f"Both files are read whole: {other[0]!r} is of another type in each."
        elif sum(found[0].groups) <= MOST_PARTED_ROWS or not sum(found[1].groups):
            yield ""
        else:
            yield RowStream(found[0]), RowStream(found[1])


@contextmanager
def _copies() -> Iterator[list[Path]]:
    """Two files to be written, that go when they are left."""
    if _OPEN_FILES.is_dir():
        with TemporaryFile(prefix="holdfast-") as one, TemporaryFile(prefix="holdfast-") as other:
            yield [_OPEN_FILES / str(held.fileno()) for held in (one, other)]
        return
    with TemporaryDirectory(prefix="holdfast-") as folder:
        yield [Path(folder) / f"{place}.parquet" for place in range(2)]


class _WholeOnlyError(Exception):
    """Why a file cannot be read block by block."""


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.string() if is_text(kind) else kind


def _rewrite(path: Path, target: Path, time: str | None, outputs: Collection[str]) -> None:
    """All rows, in types that the first block shows."""
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
        _require_plain(schema, time, outputs)
        if delimiter in COMMA_DECIMALS and text:
            raise _WholeOnlyError(f"{text[0]!r} may hold numbers with a decimal comma")
        times: dict[str, int] = {one.name: -(2**63) for one in schema if pa.types.is_timestamp(one.type)}
        with parquet.ParquetWriter(target, schema, compression="none", use_dictionary=text) as writer:
            held: list[pa.RecordBatch] = []
            for number, batch in enumerate(reader):
                if not number and (moments := written_moments(pa.Table.from_batches([batch]).select(text))):
                    raise _WholeOnlyError(f"{next(iter(moments))!r} holds times as text")
                _require_order(batch, times)
                held.append(batch)
                rows, size = sum(one.num_rows for one in held), sum(one.nbytes for one in held)
                if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
                    writer.write_table(pa.Table.from_batches(held))
                    held.clear()
            if held:
                writer.write_table(pa.Table.from_batches(held))
    # What is wrong with a file is said by the reader of whole tables, which needs no room for another.
    except OSError as error:
        raise _WholeOnlyError(f"no copy could be made block by block ({error.strerror or error})") from error
    except (ValueError, pa.ArrowException) as error:
        raise _WholeOnlyError("not all rows can be read by the types that its first rows show") from error


def _require_plain(schema: pa.Schema, time: str | None, outputs: Collection[str]) -> None:
    """That no column must be seen as a whole before it is known what it holds."""
    import pyarrow as pa

    kinds = {one.name: one.type for one in schema}
    if len(kinds) < len(schema.names):
        raise _WholeOnlyError("columns have the same name")
    for name, kind in kinds.items():
        if pa.types.is_null(kind):
            raise _WholeOnlyError(f"{name!r} begins with {_BLOCK_BYTES >> 20} MB without a value")
        if pa.types.is_binary(kind):
            raise _WholeOnlyError(f"{name!r} holds bytes")
        if name in outputs and is_text(kind):
            raise _WholeOnlyError(f"the answers in {name!r} are text")
    if time is not None and not pa.types.is_timestamp(kinds.get(time, pa.null())):
        raise _WholeOnlyError(f"{time!r} does not hold times as ISO 8601 writes them")


def _require_order(batch: pa.RecordBatch, times: dict[str, int]) -> None:
    """That each time is there and no earlier than the one before; the last ones are kept in `times`."""
    import pyarrow as pa

    for name, last in times.items():
        held = batch.column(name)
        if held.null_count:
            raise _WholeOnlyError(f"times are missing in {name!r}")
        values: NDArray[np.int64] = flat_array(held.cast(pa.int64()), np.int64)
        if len(values):
            if values[0] < last or (values[1:] < values[:-1]).any():
                raise _WholeOnlyError(f"rows are not in the order of {name!r}")
            times[name] = int(values[-1])

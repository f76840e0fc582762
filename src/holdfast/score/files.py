"""Tables in files, as a stream of record batches: Parquet and CSV, in and out, in bounded memory."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
from bisect import insort
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import pyarrow as pa
from pyarrow import csv, parquet

from holdfast.artifact.csv_files import COMMA_DECIMALS, csv_delimiter
from holdfast.files import sync_file
from holdfast.score.errors import TableError

TableFormat = Literal["parquet", "csv"]
_ENDINGS: dict[str, TableFormat] = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}
_CSV_BLOCK_BYTES = 1 << 20
_PARQUET_BUFFER_BYTES = 1 << 18
"""For each column."""


def format_of(path: Path, named: TableFormat | None) -> TableFormat:
    """The format by name, or else by the ending of the file.

    Raises:
        TableError: neither tells.
    """
    if named is not None:
        if named not in get_args(TableFormat):
            raise TableError(
                "unknown format", expected=" or ".join(get_args(TableFormat)), received=repr(named)
            )
        return named
    endings = [ending for ending in path.suffixes if ending.lower() != ".gz"]
    found = _ENDINGS.get(endings[-1].lower() if endings else "")
    if found is None:
        raise TableError(
            "the ending of the file does not tell its format",
            where=str(path),
            expected=", ".join(_ENDINGS),
            next_step='Name the format: "parquet" or "csv".',
        )
    return found


class TableReader:
    """One pass over a table.

    Args:
        path: the file.
        file_format: of the file.
        block_rows: most rows of one batch.

    Raises:
        TableError: the file is missing, empty or broken.
    """

    def __init__(self, path: Path, file_format: TableFormat, block_rows: int) -> None:
        self.path = path
        self.text = file_format == "csv"
        self.comma = False
        """Whether a comma may stand before the decimals of a number."""
        self._block_rows = block_rows
        self._invalid: list[int] = []
        self.rows: int | None = None
        """Rows of the whole file, where it says so (Parquet)."""
        try:
            if self.text:
                self._source: Any = self._open_csv()
                self.schema: pa.Schema = self._source.schema
            else:
                # Read ahead, the library would hold the whole file in memory.
                self._source = parquet.ParquetFile(path, pre_buffer=False, buffer_size=_PARQUET_BUFFER_BYTES)
                self.schema = self._source.schema_arrow
                self.rows = self._source.metadata.num_rows
        except FileNotFoundError:
            raise TableError("there is no such file", where=str(path)) from None
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TableError(f"cannot be read: {error}", where=str(path)) from error
        doubled = {name for name in self.schema.names if self.schema.names.count(name) > 1}
        if doubled:
            raise TableError(f"several columns are named {min(doubled)!r}", where=str(path))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in order, `block_rows` at most at a time.

        Raises:
            TableError: the file is broken further on.
        """
        try:
            source = self._source if self.text else self._source.iter_batches(batch_size=self._block_rows)
            for batch in source:
                for start in range(0, batch.num_rows, self._block_rows):
                    yield batch.slice(start, self._block_rows)
        except (pa.ArrowException, OSError) as error:
            raise TableError(f"cannot be read: {error}", where=str(self.path)) from error

    @property
    def invalid_rows(self) -> tuple[int, ...]:
        """Numbers (from 1) of CSV rows so far that have too few or too many fields; no batch holds them."""
        return tuple(self._invalid)

    def row_number(self, position: int) -> int:
        """The number, from 1 and without the header, of the row that is the position-th of all batches."""
        number = position + 1
        for invalid in self._invalid:
            if invalid > number:
                break
            number += 1
        return number

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_csv(self) -> Any:
        # All is read as text: what the model needs is parsed by its signature, the rest passes unchanged.
        delimiter = csv_delimiter(self.path)
        self.comma = delimiter in COMMA_DECIMALS
        head = csv.open_csv(
            self.path,
            read_options=csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=lambda _: "skip"
            ),
        )
        names = head.schema.names
        head.close()
        return csv.open_csv(
            self.path,
            read_options=csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=self._note_invalid
            ),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _note_invalid(self, row: Any) -> str:
        insort(self._invalid, row.number - 1)
        return "skip"


def _worth_a_dictionary(schema: pa.Schema) -> list[str]:
    """Text repeats itself; numbers rarely do, and trying costs more than writing them."""
    return [one.name for one in schema if pa.types.is_string(one.type) and one.name != "prediction_id"]


class TableWriter:
    """A table that appears under its name whole or not at all.

    It grows beside the target as a hidden file, is synced, and then takes the target's place. Hidden files of
    writers that were killed are removed; a living one holds a lock on its own.
    """

    def __init__(self, path: Path, file_format: TableFormat, schema: pa.Schema) -> None:
        self._path = path
        self.hidden = self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        """The file as long as it has not appeared."""
        self._lock = -1
        try:
            _remove_abandoned(path)
            self._lock = _lock_own(self._partial)
            self._writer: Any = (
                csv.CSVWriter(self._partial, schema)
                if file_format == "csv"
                else parquet.ParquetWriter(
                    self._partial, schema, compression="zstd", use_dictionary=_worth_a_dictionary(schema)
                )
            )
        except (pa.ArrowException, OSError) as error:
            self._partial.unlink(missing_ok=True)
            self._let_go()
            raise TableError(f"cannot be written: {_reason(error)}", where=str(path)) from error

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows.

        Raises:
            TableError: the disk is full, or gone.
        """
        try:
            self._writer.write_batch(batch)
        except (pa.ArrowException, OSError) as error:
            raise self._not_written(error) from error

    def finish(self) -> None:
        """Let the table appear.

        Raises:
            TableError: the disk is full, or gone.
        """
        try:
            self._writer.close()
            sync_file(self._partial)
            self._partial.replace(self._path)
            sync_file(self._path.parent)  # rows of the table are about to enter the log
            self._let_go()
        except (pa.ArrowException, OSError) as error:
            raise self._not_written(error) from error

    def abandon(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(pa.ArrowException, OSError):  # what is closed badly is thrown away
            self._writer.close()
        self._partial.unlink(missing_ok=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _not_written(self, error: Exception) -> TableError:
        return TableError(
            f"cannot be written: {_reason(error)}",
            where=str(self._path),
            next_step="No target was left. Make room, then run the same command again.",
        )


def _remove_abandoned(target: Path) -> None:
    for path in target.parent.glob(f".{glob.escape(target.name)}.[0-9]*.partial"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its writer lives
            path.unlink()


def _lock_own(path: Path) -> int:
    """Make the file and lock it; once more if it was taken for abandoned in between."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)


def _reason(error: Exception) -> str:
    """In the system's words where it was the system that refused; Arrow's would say it twice."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)

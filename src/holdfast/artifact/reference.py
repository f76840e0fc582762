"""The reference table: read from a file or from any frame that speaks Arrow, then described by column."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.arrow_types import is_text
from holdfast.artifact.csv_files import COMMA_DECIMALS, csv_delimiter, is_csv
from holdfast.artifact.errors import ReferenceDataError
from holdfast.artifact.signature import Column, Dtype, Kind

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CATEGORIES: Final = 1000
"""Categories listed in a signature. A text column with more distinct values than this is `text`."""

_BLOCK_BYTES: Final = 1 << 20
_MOST_UNPACKED_BYTES: Final = 4 << 30
_FLOATS: Final[Mapping[int, Dtype]] = {16: "float16", 32: "float32", 64: "float64"}


@dataclass(frozen=True, slots=True)
class Reference:
    """A table of inputs, with the label and the time of each row where they are known."""

    table: pa.Table = field(repr=False)
    label: str | None = None
    """Name of the column with the true answer."""
    time: str | None = None
    """Name of the column with the time of the row."""
    whose: pa.Table | None = field(default=None, repr=False)
    """By what an erasure finds its rows, where they are about people: `subject` (a pseudonym) and
    `prediction_id`, or one of them."""

    @classmethod
    def read(cls, source: object, *, label: str | None = None, time: str | None = None) -> Reference:
        """Read Parquet or CSV by path, or take any Arrow-speaking frame.

        Raises:
            ReferenceDataError: not readable, empty, or without the label or time column.
        """
        table = _table(source)
        if table.num_rows == 0:
            raise ReferenceDataError("the reference has no rows", where=_where(source))
        for name in (label, time):
            if name is not None and name not in table.column_names:
                raise ReferenceDataError(
                    f"the reference has no column {name!r}",
                    where=_where(source),
                    expected=", ".join(table.column_names),
                    next_step=nearest(name, table.column_names),
                )
        return cls(table, label, time)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Every column but the label and the time, in the table's order."""
        return tuple(name for name in self.table.column_names if name not in {self.label, self.time})

    def values(self, name: str) -> NDArray[np.generic]:
        """One column as an array: floats with NaN for nulls, strings as objects with None for nulls."""
        return column_values(self.table.column(name))

    def columns(self, names: Iterable[str]) -> dict[str, NDArray[np.generic]]:
        """Several columns by name."""
        return {name: self.values(name) for name in names}

    def labels(self) -> NDArray[np.generic] | None:
        """The true answers, or None without a label column."""
        return None if self.label is None else self.values(self.label)

    def head(self, rows: int) -> Reference:
        """The first rows."""
        return Reference(self.table.slice(0, rows), self.label, self.time)

    def require(self, names: Iterable[str]) -> None:
        """Refuse a table that lacks one of these columns.

        Raises:
            ReferenceDataError: names the missing columns and the nearest that are there.
        """
        present = self.table.column_names
        missing = [name for name in names if name not in present]
        if missing:
            raise ReferenceDataError(
                "the reference lacks "
                + ", ".join(repr(name) for name in missing)
                + ", which the model takes",
                expected="columns " + ", ".join(names if isinstance(names, tuple) else missing),
                received=", ".join(present),
                next_step=nearest(missing[0], present),
            )


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """A sentence that names the likeliest choice, or None if none is near."""
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"Did you mean {found[0]!r}?" if found else None


def _where(source: object) -> str | None:
    return str(source) if isinstance(source, str | Path) else None


def _nested(values: Any) -> Any:
    """Lists of lists from an array of several dimensions, such as pictures; anything else as it is.

    Of Python's objects NaN is missing, also among text.
    """
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype == object:
        return pa.array(values, from_pandas=True)
    if not isinstance(values, np.ndarray) or values.ndim < 2:
        return values
    held = pa.array(values.reshape(-1))
    for size in reversed(values.shape[1:]):
        held = pa.FixedSizeListArray.from_arrays(held, size)
    return held


def _table(source: object) -> pa.Table:
    import pyarrow as pa

    if isinstance(source, Reference):
        return source.table
    if isinstance(source, str | Path):
        return _read_file(Path(source))
    if isinstance(source, pa.Table | pa.RecordBatch):
        _refuse_doubled(source.schema.names)
    elif type(source).__module__.partition(".")[0] == "pandas":
        _refuse_doubled(list(getattr(source, "columns", ())))
    try:
        if isinstance(source, Mapping):
            return pa.table({name: _nested(values) for name, values in source.items()})
        if isinstance(source, pa.Table | pa.RecordBatch):
            return pa.table(source)
        if hasattr(source, "__arrow_c_stream__"):
            return _without_row_numbers(pa.table(source))
        if hasattr(source, "to_arrow"):
            return source.to_arrow()
        if type(source).__module__.partition(".")[0] == "pandas":
            return pa.Table.from_pandas(source, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        said = "; ".join(str(part).rstrip(".") for part in error.args)
        raise ReferenceDataError(
            "the frame cannot be read as a table",
            expected="columns of values of one type each",
            received=said,
            next_step="Convert the column, such as by .astype(str)" if "column" in said else None,
        ) from error
    raise ReferenceDataError(
        "the reference is not a table",
        expected="a Parquet or CSV file, or a frame that speaks Arrow (pandas, polars, pyarrow, duckdb)",
        received=type(source).__name__,
    )


def _refuse_doubled(names: Sequence[object], where: str | None = None) -> None:
    doubled = [name for name, times in Counter(map(str, names)).items() if times > 1]
    if doubled:
        raise ReferenceDataError(
            f"several columns are named {doubled[0]!r}", where=where, next_step="Rename or drop all but one"
        )


def _without_row_numbers(table: pa.Table) -> pa.Table:
    """Pandas hands its index over as a column; one without a name numbers rows, unless it is their time."""
    import pyarrow as pa

    numbers = [
        column.name
        for column in table.schema
        if column.name.startswith("__index_level_") and not pa.types.is_timestamp(column.type)
    ]
    return table.drop_columns(numbers) if numbers else table


def _read_file(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, parquet

    def read_csv(name: str) -> pa.Table:
        between = csv.ParseOptions(delimiter=csv_delimiter(path))
        text = _unpacked(path) if path.suffix.lower() == ".gz" else None

        def source() -> Any:
            return name if text is None else pa.BufferReader(text)

        table = csv.read_csv(source(), parse_options=between)
        if between.delimiter in COMMA_DECIMALS and any(is_text(one.type) for one in table.schema):
            as_numbers = csv.ConvertOptions(decimal_point=",")
            again = csv.read_csv(source(), parse_options=between, convert_options=as_numbers)
            for place, (before, after) in enumerate(zip(table.schema, again.schema, strict=True)):
                if is_text(before.type) and pa.types.is_floating(after.type):
                    table = table.set_column(place, before.name, again.column(place))
        return table

    readers = {".parquet": parquet.read_table, ".pq": parquet.read_table, ".csv": read_csv}
    suffix = ".csv" if is_csv(path) else path.suffix.lower()
    if suffix not in readers:
        raise ReferenceDataError(
            "the reference is of an unknown kind",
            where=str(path),
            expected="a name that ends in " + ", ".join([*readers, ".csv.gz"]),
        )
    try:
        table = readers[suffix](str(path))
        names = table.column_names
    except UnicodeDecodeError as error:  # a column's name; in a value Arrow finds it itself
        raise _not_utf8(path) from error
    except (OSError, pa.ArrowException) as error:
        raise ReferenceDataError(
            "the reference cannot be read", where=str(path), received=str(error)
        ) from error
    _refuse_doubled(names, str(path))
    text = [one.name for one in table.schema if pa.types.is_binary(one.type)]
    if suffix == ".csv" and text:  # Arrow takes text that is no UTF-8 for bytes
        raise _not_utf8(path, f"column {text[0]!r}")
    return table


def _unpacked(path: Path) -> bytes:
    """The text of a packed file, in memory.

    Raises:
        ReferenceDataError: it is larger than tables are, as a file that was made to fill memory is.
        OSError: it is broken.
    """
    import pyarrow as pa

    text = bytearray()
    with pa.input_stream(str(path), compression="gzip") as file:
        while block := file.read(_BLOCK_BYTES):
            text += block
            if len(text) > _MOST_UNPACKED_BYTES:
                raise ReferenceDataError(
                    "the packed table is too large",
                    where=str(path),
                    expected=f"at most {_MOST_UNPACKED_BYTES / (1 << 30):g} GiB of text",
                    next_step="Unpack it, or store it as Parquet",
                )
    return bytes(text)


def _not_utf8(path: Path, column: str | None = None) -> ReferenceDataError:
    return ReferenceDataError(
        "the text is not UTF-8",
        where=str(path) if column is None else f"{path}: {column}",
        next_step="Save it as UTF-8, or convert it: iconv -f latin1 -t utf-8",
    )


def column_values(column: pa.ChunkedArray) -> NDArray[np.generic]:
    """A column as NumPy: nulls become NaN (numbers, booleans turn to floats then) or None (text).

    Raises:
        ReferenceDataError: dates, structures and other types that no model input holds.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
        kind = column.type
    if is_text(kind):
        values: NDArray[np.generic] = np.empty(len(column), dtype=object)
        values[:] = column.to_pylist()
        return values
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _nested_values(column)
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ReferenceDataError(
            "the column is of a type that no model input holds",
            expected="numbers, booleans, text or fixed-size lists of numbers",
            received=str(kind),
            next_step="Turn it into numbers or text, as it was for training",
        )
    if column.null_count and not pa.types.is_floating(kind):
        column = pc.cast(column, pa.float64()) if pa.types.is_integer(kind) else pc.cast(column, pa.int8())
        column = pc.cast(column, pa.float64())
    array: NDArray[np.generic] = column.to_numpy()
    return array


def _nested_values(column: pa.ChunkedArray) -> NDArray[np.generic]:
    try:
        return np.stack([np.asarray(value) for value in column.to_pylist()])
    except (ValueError, TypeError) as error:
        raise ReferenceDataError("the column's lists differ in length or hold no numbers") from error


def describe_column(reference: Reference, name: str, *, categorical: bool = False) -> Column:
    """Name, type, kind, values and range of one reference column.

    Args:
        reference: where the column is.
        name: the column.
        categorical: the model treats it as categories, whatever its type.
    """
    import pyarrow as pa

    column = reference.table.column(name)
    kind = column.type
    values = column_values(column)
    if pa.types.is_dictionary(kind):
        categorical = True
    nullable = bool(column.null_count) or (values.dtype.kind == "f" and bool(np.isnan(values).any()))
    dtype = _dtype(kind, values)
    if values.ndim > 1:
        return Column(name=name, dtype=dtype, kind="embedding", shape=values.shape[1:], nullable=nullable)
    if dtype == "string":
        found = sorted({str(value) for value in values if value is not None})
        text = len(found) > MAX_CATEGORIES and not categorical
        listed = None if len(found) > MAX_CATEGORIES else tuple(found)
        return Column(
            name=name,
            dtype=dtype,
            kind="text" if text else "categorical",
            nullable=nullable,
            categories=listed,
        )
    if dtype == "bool":
        return Column(name=name, dtype=dtype, kind="boolean", nullable=nullable)
    shown: Kind = "numeric"
    categories: tuple[int, ...] | None = None
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if categorical:
        codes = np.unique(finite)
        shown = "categorical"
        if len(codes) <= MAX_CATEGORIES and bool(np.all(codes == np.round(codes.astype(np.float64)))):
            categories = tuple(int(code) for code in codes)
    return Column(
        name=name,
        dtype=dtype,
        kind=shown,
        nullable=nullable,
        categories=categories,
        minimum=float(finite.min()) if len(finite) else None,
        maximum=float(finite.max()) if len(finite) else None,
    )


def _dtype(kind: pa.DataType, values: NDArray[Any]) -> Dtype:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if values.dtype == object:
        return "string"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_floating(kind):
        return _FLOATS[kind.bit_width]
    if pa.types.is_integer(kind):
        names: tuple[Dtype, ...] = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
        return next(name for name in names if name == str(kind))
    return "float32" if values.dtype == np.float32 else "float64"

"""Columns of the tables, and how a new batch finds its place among the columns that are there.

A column keeps the type it was first stored with. Numbers that fit the stored type exactly go into it; values
of another type are kept apart in a column of their own, `<name>__<type>`, so that old rows stay what they
were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

TIME: Final = pa.timestamp("us", tz="UTC")

PREDICTIONS: Final = pa.schema(
    [
        pa.field("prediction_id", pa.string()),
        pa.field("time", TIME),
        pa.field("logged_at", TIME),
        pa.field("deployment", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("arm", pa.string()),
        pa.field("replica", pa.string()),
        pa.field("sequence", pa.int64()),
        pa.field("latency_us", pa.int64()),
        pa.field("sampling_fraction", pa.float64()),
        pa.field("device", pa.string()),
        pa.field("subject", pa.string()),
        pa.field("consent", pa.bool_()),
        pa.field("score", pa.float64()),
        pa.field("probabilities", pa.list_(pa.float64())),
    ]
)
"""Present in every log; inputs, context, outputs and the prediction are added as they come."""

LABELS: Final = pa.schema(
    [
        pa.field("prediction_id", pa.string()),
        pa.field("y", pa.string()),
        pa.field("observed_at", TIME),
        pa.field("revision", pa.int64()),
        pa.field("replica", pa.string()),
        pa.field("sequence", pa.int64()),
    ]
)

LEDGER: Final = pa.schema(
    [
        pa.field("entry", pa.string()),
        pa.field("replica", pa.string()),
        pa.field("number", pa.int64()),
        pa.field("deployment", pa.string()),
        pa.field("opened_at", TIME),
        pa.field("served", pa.int64()),
        pa.field("stored", pa.int64()),
        pa.field("sampled_out", pa.int64()),
        pa.field("dropped", pa.int64()),
        pa.field("labels", pa.int64()),
        pa.field("torn_records", pa.int64()),
        pa.field("torn_bytes", pa.int64()),
        pa.field("closed", pa.string()),
        pa.field("first_sequence", pa.int64()),
        pa.field("next_sequence", pa.int64()),
    ]
)
"""One row per segment that was committed and deleted (entry `segment`; counters are the replica's at its end,
`closed` is rotated, ended or killed), and one per range of sequence numbers that is in no table any more (the
entries of `REMOVALS`)."""

TableName = Literal["predictions", "labels"]

REMOVALS: Final[dict[str, TableName]] = {
    "expired": "predictions",
    "expired labels": "labels",
    "erased": "predictions",
    "erased labels": "labels",
    "refused labels": "labels",
}
"""Entries of the ledger that say why sequence numbers are in no table, and of which table they speak: removed
by retention, removed on request, or refused because their prediction had been erased."""

ERASED: Final = pa.schema([pa.field("digest", pa.binary()), pa.field("erased_at", TIME)])
"""Predictions that were erased, by a hash of their id: enough to refuse a label that comes for one."""

_LARGEST_EXACT_FLOAT: Final = 2**53


@dataclass(frozen=True, slots=True)
class Fitted:
    """A batch whose columns all have the types of the stored ones."""

    table: pa.Table
    kept_apart: tuple[tuple[str, str], ...]
    """Pairs of a column's own name and the one it is stored under."""


def type_name(kind: pa.DataType) -> str:
    """Short name of a column type, as it stands in the name of a column kept apart."""
    if pa.types.is_list(kind):
        return f"list_{type_name(kind.value_type)}"
    return str(kind)


def fit(table: pa.Table, stored: pa.Schema) -> Fitted:
    """Give each column of the batch its place; columns without any value are left out."""
    by_lower_name = {name.lower(): name for name in stored.names}
    taken: set[str] = set()
    names: list[str] = []
    columns: list[pa.ChunkedArray] = []
    kept_apart: list[tuple[str, str]] = []
    for name in table.column_names:
        column = table[name]
        if pa.types.is_null(column.type):
            continue
        home, column = _home(name, column, stored, by_lower_name, taken)
        taken.add(home.lower())
        by_lower_name.setdefault(home.lower(), home)
        names.append(home)
        columns.append(column)
        if home != name:
            kept_apart.append((name, home))
    return Fitted(pa.Table.from_arrays(columns, names=names), tuple(kept_apart))


def _home(
    name: str, column: pa.ChunkedArray, stored: pa.Schema, by_lower_name: dict[str, str], taken: set[str]
) -> tuple[str, pa.ChunkedArray]:
    """The name under which the column is stored, and the column in the type stored there."""
    candidate, attempt = name, 1
    while True:
        found = by_lower_name.get(candidate.lower())
        if found is None:
            return candidate, column
        if found == candidate and candidate.lower() not in taken:
            cast = _cast_exactly(column, stored.field(found).type)
            if cast is not None:
                return found, cast
        candidate = f"{name}__{type_name(column.type)}" + ("" if attempt == 1 else f"_{attempt}")
        attempt += 1


def _cast_exactly(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """The column in this type, or None if a value would change or the types mean different things."""
    if type_name(column.type) == type_name(kind):
        return column if column.type == kind else column.cast(kind)
    if pa.types.is_list(kind) and pa.types.is_list(column.type):
        widened = pa.types.is_float32(column.type.value_type) and pa.types.is_float64(kind.value_type)
        return column.cast(kind) if widened else None
    if pa.types.is_int64(column.type) and pa.types.is_float64(kind):
        largest = pc.max(pc.abs(column)).as_py() if len(column) else 0
        exact = (
            largest is None or 0 <= largest <= _LARGEST_EXACT_FLOAT
        )  # abs of the smallest int64 is negative
        return column.cast(kind) if exact else None
    if pa.types.is_float64(column.type) and pa.types.is_int64(kind):
        try:
            return column.cast(kind, safe=True)
        except pa.ArrowInvalid:
            return None
    return None

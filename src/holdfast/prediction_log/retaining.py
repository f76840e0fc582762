"""Retention: which rows and values are no longer kept, by age, by size and by the class of a field.

Rows go when they are older than `retention_days` or, oldest first, when the tables are larger than
`max_bytes`. Values of a field class with days of its own go when they are older: the row stays, the value
becomes null. Age counts from the moment of logging. Old versions of the files go an hour later, with the next
vacuum.

Steps: `expired rows noted` (in the ledger), `predictions expired`, `labels expired`, `values expired`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from holdfast.clock import iso_utc
from holdfast.prediction_log.log_tables import LogTables
from holdfast.prediction_log.querying import connect
from holdfast.prediction_log.schema import TIME
from holdfast.prediction_log.tables import LogTable
from holdfast.prediction_log.upkeep import note_removed
from holdfast.spec import Deployment

_DAY_US: Final = 86_400_000_000
_GB: Final = 1_000_000_000
_FIELD: Final = re.compile(
    r"(?:input|context)_(?P<field>.+?)(?:__(?:bool|int64|double|float|string|(?:list_)+[a-z0-9]+)(?:_\d+)?)?"
)
"""A column of a field: its name, and the type if it is kept apart (see `schema`)."""
_FILL: Final = 0.9
"""Share of the largest size that is left by a removal, so that it is not due again at once."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept, and how long."""

    days: int | None = None
    max_bytes: int | None = None
    """Of the newest version of predictions and labels together."""
    fields: dict[str, int] = msgspec.field(default_factory=dict)
    """Days that the values of a field are kept, for fields whose class has days of its own."""

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """As the checklist says."""
        logging = deployment.checklist.logging
        classes = logging.class_retention_days
        return cls(
            days=logging.retention_days,
            max_bytes=None if logging.max_gb is None else round(logging.max_gb * _GB),
            fields={
                name: classes[kind]
                for name, kind in deployment.checklist.privacy.fields.items()
                if kind in classes
            },
        )


class RetentionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed."""

    done_at_us: int
    predictions: int = 0
    labels: int = 0
    reason: Literal["", "age", "size"] = ""
    """Why rows were removed; "" if none were."""
    cutoff_us: int | None = None
    """Rows logged before this moment are gone."""
    values: dict[str, int] = msgspec.field(default_factory=dict)
    """Values removed from rows that stay, by column."""
    bytes_before: int = 0
    """Size of the newest version of predictions and labels."""
    bytes_after: int = 0


def retain(
    tables: LogTables, retention: Retention, now_us: int, on_step: Callable[[str], None]
) -> RetentionReport:
    """Remove what is no longer kept. May be repeated after an interruption."""
    before = _size_bytes(tables)
    reason, cutoff_us = _cutoff(tables, retention, now_us, before)
    predictions = labels = 0
    if cutoff_us is not None:
        old = pds.field("logged_at") < pa.scalar(cutoff_us, TIME)
        predictions = note_removed(tables.predictions, old, "expired", tables.ledger)
        if predictions:
            on_step("expired rows noted")
            tables.predictions.delete(f"logged_at < '{iso_utc(cutoff_us)}'")
            on_step("predictions expired")
        labels = note_removed(
            tables.labels, pds.field("revision") < cutoff_us, "expired labels", tables.ledger
        )
        if labels:
            on_step("expired rows noted")
            tables.labels.delete(f"revision < {cutoff_us}")
            on_step("labels expired")
    values: dict[str, int] = {}
    for days in sorted(set(retention.fields.values())):
        names = [name for name, kept in retention.fields.items() if kept == days]
        values |= _expire_values(tables.predictions, names, now_us - days * _DAY_US)
    if values:
        on_step("values expired")
    return RetentionReport(
        done_at_us=now_us,
        predictions=predictions,
        labels=labels,
        reason=reason if predictions or labels else "",
        cutoff_us=cutoff_us,
        values=values,
        bytes_before=before,
        bytes_after=_size_bytes(tables),
    )


def foresee(tables: LogTables, retention: Retention, now_us: int) -> RetentionReport:
    """What `retain` would remove at this moment; removes nothing, so `bytes_after` is `bytes_before`."""
    size = _size_bytes(tables)
    reason, cutoff_us = _cutoff(tables, retention, now_us, size)
    predictions = labels = 0
    if cutoff_us is not None:
        old = pds.field("logged_at") < pa.scalar(cutoff_us, TIME)
        predictions = tables.predictions.dataset().count_rows(filter=old)
        labels = tables.labels.dataset().count_rows(filter=pds.field("revision") < cutoff_us)
    values: dict[str, int] = {}
    for days in sorted(set(retention.fields.values())):
        names = [name for name, kept in retention.fields.items() if kept == days]
        counts, _ = _expiring(tables.predictions, names, now_us - days * _DAY_US, kept_since_us=cutoff_us)
        values |= counts
    return RetentionReport(
        done_at_us=now_us,
        predictions=predictions,
        labels=labels,
        reason=reason if predictions or labels else "",
        cutoff_us=cutoff_us,
        values=values,
        bytes_before=size,
        bytes_after=size,
    )


def write_report(path: Path, report: RetentionReport) -> None:
    """Leave the report of the last time where everybody finds it."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(report))
    os.replace(partial, path)  # noqa: PTH105 - Path.replace is the same


def _size_bytes(tables: LogTables) -> int:
    return tables.predictions.size_bytes + tables.labels.size_bytes


def _cutoff(
    tables: LogTables, retention: Retention, now_us: int, size_bytes: int
) -> tuple[Literal["", "age", "size"], int | None]:
    by_age = None if retention.days is None else now_us - retention.days * _DAY_US
    if retention.max_bytes is not None and size_bytes > retention.max_bytes:
        by_size = _oldest_kept_us(tables.predictions, 1 - _FILL * retention.max_bytes / size_bytes)
        if by_size is not None and (by_age is None or by_size > by_age):
            return "size", by_size
    return ("", None) if by_age is None else ("age", by_age)


def _oldest_kept_us(predictions: LogTable, share: float) -> int | None:
    """The moment before which this share of the rows was logged."""
    with connect() as connection:
        connection.register("predictions", predictions.dataset())
        found = connection.execute(
            "SELECT quantile_disc(epoch_us(logged_at), ?) FROM predictions", [share]
        ).fetchone()
    return None if found is None or found[0] is None else int(found[0]) + 1


def _columns_of(predictions: LogTable, names: list[str]) -> list[str]:
    return [column for column in predictions.schema.names if _field_of(column) in names]


def _expiring(
    predictions: LogTable, names: list[str], cutoff_us: int, *, kept_since_us: int | None = None
) -> tuple[dict[str, int], int | None]:
    """Values of these fields in rows logged before the cutoff, by column, and when the first was logged."""
    columns = _columns_of(predictions, names)
    if not columns:
        return {}, None
    held = (pds.field("logged_at") < pa.scalar(cutoff_us, TIME)) & _any_valid(columns)
    if kept_since_us is not None:
        held &= pds.field("logged_at") >= pa.scalar(kept_since_us, TIME)
    counts: dict[str, int] = {}
    oldest_us: int | None = None
    for batch in predictions.dataset().to_batches(columns=["logged_at", *columns], filter=held):
        if batch.num_rows:
            first_us = pc.min(batch["logged_at"]).cast(pa.int64()).as_py()
            oldest_us = first_us if oldest_us is None else min(oldest_us, first_us)
            for column in columns:
                n_values = batch.num_rows - batch[column].null_count
                if n_values:
                    counts[column] = counts.get(column, 0) + n_values
    return counts, oldest_us


def _expire_values(predictions: LogTable, names: list[str], cutoff_us: int) -> dict[str, int]:
    """Make the values of these fields null in rows logged before the cutoff; how many, by column."""
    counts, oldest_us = _expiring(predictions, names, cutoff_us)
    if oldest_us is None:
        return {}
    columns = _columns_of(predictions, names)
    old = pds.field("logged_at") < pa.scalar(cutoff_us, TIME)
    stretch = old & (pds.field("logged_at") >= pa.scalar(oldest_us, TIME))
    schema = predictions.schema
    rows = pa.RecordBatchReader.from_batches(
        schema, _without_values(predictions.dataset(), stretch, schema, frozenset(columns))
    )
    predictions.replace(f"logged_at >= '{iso_utc(oldest_us)}' AND logged_at < '{iso_utc(cutoff_us)}'", rows)
    return counts


def _field_of(column: str) -> str | None:
    """The field whose values a column holds, also those kept apart for their type."""
    found = _FIELD.fullmatch(column)
    return None if found is None else found["field"]


def _any_valid(columns: list[str]) -> Any:
    valid = pds.field(columns[0]).is_valid()
    for column in columns[1:]:
        valid |= pds.field(column).is_valid()
    return valid


def _without_values(
    dataset: Any, stretch: Any, schema: pa.Schema, columns: frozenset[str]
) -> Iterator[pa.RecordBatch]:
    for batch in dataset.to_batches(filter=stretch):
        arrays: Mapping[str, pa.Array] = {
            name: pa.nulls(batch.num_rows, schema.field(name).type)
            if name in columns
            else batch[name].cast(schema.field(name).type)
            for name in schema.names
        }
        yield pa.RecordBatch.from_arrays(list(arrays.values()), schema=schema)

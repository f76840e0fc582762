"""Retention: which rows and values are no longer kept, by age, by size and by the class of a field.

Rows go when they are older than `retention_days` or, oldest first, when the tables are larger than
`max_bytes`. Values of a field class with days of its own go when they are older: the row stays, the value
becomes null. Large inputs go when they are older than `large_input_retention_days` or, those used longest ago
first, when all of them are larger than `large_input_max_bytes`: rows and short features stay. Age counts from
the moment of logging. Old versions of the files go an hour later, with the next
vacuum.

Steps: `expired rows noted` (in the ledger), `predictions expired`, `labels expired`, `values expired`, `large
inputs expired` (their names are gone from the rows), `large inputs removed`.
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
from holdfast.prediction_log.large_keeping import large_columns
from holdfast.prediction_log.large_store import LARGE
from holdfast.prediction_log.log_tables import LogTables
from holdfast.prediction_log.querying import connect
from holdfast.prediction_log.schema import TIME
from holdfast.prediction_log.tables import LogTable
from holdfast.prediction_log.upkeep import note_removed
from holdfast.privacy import FEATURE
from holdfast.spec import Deployment

_DAY_US: Final = 86_400_000_000
_GB: Final = 1_000_000_000
_FIELD: Final = re.compile(
    r"(?:input|context)_(?P<field>.+?)(?:__(?:bool|int64|double|float|string|(?:list_)+[a-z0-9]+)(?:_\d+)?)?"
)
"""A column of a field: its name, and the type if it is kept apart (see `schema`)."""
_NO_CONTENTS: Final[Mapping[str, int]] = {}
_FILL: Final = 0.9
"""Share of the largest size that is left by a removal, so that it is not due again at once."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept, and how long."""

    days: int | None = None
    max_bytes: int | None = None
    """Of the newest version of predictions and labels together."""
    fields: dict[str, int] = msgspec.field(default_factory=dict)
    """Days that the values of a field are kept, for fields whose class has days of its own."""
    large_input_days: int | None = None
    large_input_max_bytes: int | None = None
    """Of all contents together."""

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
            large_input_days=logging.large_input_retention_days,
            large_input_max_bytes=(
                None if logging.large_input_max_gb is None else round(logging.large_input_max_gb * _GB)
            ),
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
    large_inputs: int = 0
    """Contents that no row names any more and that were removed."""
    large_input_bytes: int = 0
    """Of these."""
    bytes_before: int = 0
    """Size of the newest version of predictions and labels."""
    bytes_after: int = 0


def retain(
    tables: LogTables,
    retention: Retention,
    now_us: int,
    on_step: Callable[[str], None],
    *,
    sizes: Mapping[str, int] = _NO_CONTENTS,
    remove_contents: Callable[[], tuple[int, int]] = lambda: (0, 0),
) -> RetentionReport:
    """Remove what is no longer kept. May be repeated after an interruption.

    Args:
        tables: of the keeper that has the lease.
        retention: what is kept.
        now_us: age counts up to this moment.
        on_step: called after each step.
        sizes: bytes of each large input, by content hash.
        remove_contents: removes those that no row names, and says how many and how many bytes.
    """
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
        columns = _columns_of(tables.predictions, names)
        values |= _expire_columns(tables.predictions, columns, now_us - days * _DAY_US)
    if values:
        on_step("values expired")
    large_until_us = _large_cutoff(tables.predictions, retention, now_us, sizes)
    if large_until_us is not None:
        columns = large_columns(tables.predictions.schema)
        expired = _expire_columns(tables.predictions, columns, large_until_us)
        if expired:
            on_step("large inputs expired")
        values |= {column: count + values.get(column, 0) for column, count in expired.items()}
    large_inputs, large_input_bytes = remove_contents()
    return RetentionReport(
        done_at_us=now_us,
        predictions=predictions,
        labels=labels,
        reason=reason if predictions or labels else "",
        cutoff_us=cutoff_us,
        values=values,
        large_inputs=large_inputs,
        large_input_bytes=large_input_bytes,
        bytes_before=before,
        bytes_after=_size_bytes(tables),
    )


def foresee(
    tables: LogTables, retention: Retention, now_us: int, *, sizes: Mapping[str, int] = _NO_CONTENTS
) -> RetentionReport:
    """What `retain` would remove at this moment; removes nothing, so `bytes_after` is `bytes_before`."""
    size = _size_bytes(tables)
    reason, cutoff_us = _cutoff(tables, retention, now_us, size)
    predictions = labels = 0
    if cutoff_us is not None:
        old = pds.field("logged_at") < pa.scalar(cutoff_us, TIME)
        predictions = tables.predictions.dataset().count_rows(filter=old)
        labels = tables.labels.dataset().count_rows(filter=pds.field("revision") < cutoff_us)
    values: dict[str, int] = {}
    since_us = dict.fromkeys(large_columns(tables.predictions.schema), cutoff_us or 0)
    cutoffs = [
        (_columns_of(tables.predictions, [name]), now_us - days * _DAY_US)
        for name, days in retention.fields.items()
    ]
    if (large_until_us := _large_cutoff(tables.predictions, retention, now_us, sizes)) is not None:
        cutoffs.append((list(since_us), large_until_us))
    for columns, until_us in cutoffs:
        counts, _ = _expiring(tables.predictions, columns, until_us, kept_since_us=cutoff_us)
        values |= {column: max(count, values.get(column, 0)) for column, count in counts.items()}
        since_us |= {column: max(until_us, since_us[column]) for column in columns if column in since_us}
    kept = {digest for digest, _ in _last_used(tables.predictions, since_us)}
    going = {digest for digest, _ in _last_used(tables.predictions)} - kept
    return RetentionReport(
        done_at_us=now_us,
        predictions=predictions,
        labels=labels,
        reason=reason if predictions or labels else "",
        cutoff_us=cutoff_us,
        values=values,
        large_inputs=len(going),
        large_input_bytes=sum(sizes.get(digest, 0) for digest in going),
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


def _last_used(predictions: LogTable, since_us: Mapping[str, int] = _NO_CONTENTS) -> list[tuple[str, int]]:
    """Content hashes of large inputs and when the last row with each was logged; the newest first.

    With a moment for a column, only its names in rows from that moment on count.
    """
    columns = large_columns(predictions.schema)
    if not columns:
        return []
    parts = " UNION ALL ".join(
        f'SELECT "{column.replace(chr(34), chr(34) * 2)}" AS digest, logged_at FROM predictions '  # noqa: S608 - quoted names and numbers
        f"WHERE logged_at >= make_timestamptz({int(since_us.get(column, 0))})"
        for column in columns
    )
    with connect() as connection:
        connection.register("predictions", predictions.dataset())
        rows: list[tuple[str, int]] = connection.execute(
            f"SELECT digest, epoch_us(max(logged_at)) AS used FROM ({parts}) "  # noqa: S608 - quoted names
            "WHERE digest IS NOT NULL GROUP BY digest ORDER BY used DESC"
        ).fetchall()
    return rows


def _large_cutoff(
    predictions: LogTable, retention: Retention, now_us: int, sizes: Mapping[str, int]
) -> int | None:
    """The moment before which rows lose the names of their large inputs."""
    days, largest = retention.large_input_days, retention.large_input_max_bytes
    by_age = None if days is None else now_us - days * _DAY_US
    if largest is None or sum(sizes.values()) <= largest:
        return by_age
    kept_bytes = 0
    for digest, used_us in _last_used(predictions):
        kept_bytes += sizes.get(digest, 0)
        if kept_bytes > _FILL * largest:
            return max(used_us + 1, by_age or 0)
    return by_age


def _columns_of(predictions: LogTable, names: list[str]) -> list[str]:
    large = {f"{LARGE}{name}" for name in names}
    features = tuple(f"{FEATURE}{name}_" for name in names)
    return [
        column
        for column in predictions.schema.names
        if _field_of(column) in names or column in large or column.startswith(features)
    ]


def _expiring(
    predictions: LogTable, columns: list[str], cutoff_us: int, *, kept_since_us: int | None = None
) -> tuple[dict[str, int], int | None]:
    """Values in rows logged before the cutoff, by column, and when the first was logged."""
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


def _expire_columns(predictions: LogTable, columns: list[str], cutoff_us: int) -> dict[str, int]:
    """Make the values null in rows logged before the cutoff; how many, by column."""
    counts, oldest_us = _expiring(predictions, columns, cutoff_us)
    if oldest_us is None:
        return {}
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

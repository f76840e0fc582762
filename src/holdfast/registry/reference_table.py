"""The stored reference: inputs by column, what this version answered, and the label and time where known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.artifact import Answer, Reference, ReferenceDataError, Signature, Written
from holdfast.clock import parse_time_us

if TYPE_CHECKING:
    import pyarrow as pa

WHOSE: Final = ("subject", "prediction_id")
"""Columns by which an erasure finds rows, where no input bears their name."""
RESERVED: Final = ("prediction", "probability", "probabilities", "label", "time")
_SCORE: Final = "score"
"""What the log calls a binary model's probability: the monitor would judge that in the input's place."""


def reference_table(reference: Reference, signature: Signature, answer: Answer) -> pa.Table:
    """One row per reference row, in order.

    Columns: the inputs by name, `prediction`, then `probability` (of the positive class, binary) or
    `probabilities` (a list in the order of the classes), `label`, `time` (UTC, microseconds) and those of
    `WHOSE` if given.

    Raises:
        ReferenceDataError: an input bears one of these names, or that of a binary model `score`, or the time
            column holds no times.
    """
    import pyarrow as pa

    names = [column.name for column in signature.columns]
    taken = (*RESERVED, _SCORE) if signature.task == "binary" else RESERVED
    clash = [name for name in names if name in taken]
    if clash:
        raise ReferenceDataError(
            "an input has a name that the stored reference uses for something else",
            where=clash[0],
            expected="any name but " + ", ".join(taken),
            next_step="Rename it in the reference, and in the model if that knows its column names",
        )
    arrays: dict[str, Any] = {name: reference.table.column(name) for name in names}
    if signature.task != "tensor":
        arrays["prediction"] = _array(np.asarray(answer.prediction))
    if (
        answer.probabilities is not None
        and signature.task == "binary"
        and signature.positive_class is not None
    ):
        positive = signature.classes.index(signature.positive_class)
        arrays["probability"] = pa.array(answer.probabilities[:, positive].astype(np.float64))
    elif answer.probabilities is not None:
        table = np.ascontiguousarray(answer.probabilities, dtype=np.float64)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(table.reshape(-1)), table.shape[1])
        arrays["probabilities"] = flat.cast(pa.list_(pa.float64()))
    if reference.label is not None:
        arrays["label"] = _label(reference, signature)
    if reference.time is not None:
        arrays["time"] = time_column(reference.table.column(reference.time), reference.time)
    if reference.whose is not None:
        for name in WHOSE:
            if name in reference.whose.column_names and name not in arrays:
                arrays[name] = reference.whose.column(name)
    return pa.table(arrays)


def _array(values: Any) -> pa.Array:
    import pyarrow as pa

    if values.dtype == object:
        return pa.array(values.tolist(), type=pa.string())
    return pa.array(values)


def _label(reference: Reference, signature: Signature) -> pa.Array:
    """Labels in the type of the prediction, so that equal means equal."""
    import pyarrow as pa

    labels = reference.labels()
    if labels is None or signature.task == "tensor":
        return reference.table.column(reference.label)
    missing = [value is None or value != value for value in labels.tolist()]  # noqa: PLR0124 - NaN
    if signature.task == "regression":
        try:
            return pa.array(labels.astype(np.float64), mask=np.array(missing))
        except (TypeError, ValueError) as error:
            raise ReferenceDataError(
                "the labels are no numbers, and the model answers with numbers", where=reference.label
            ) from error
    numbers = bool(signature.classes) and isinstance(signature.classes[0], int)
    if not numbers:
        return pa.array(
            [None if gone else str(value) for value, gone in zip(labels.tolist(), missing, strict=True)],
            type=pa.string(),
        )
    try:
        return pa.array(
            [None if gone else _whole(value) for value, gone in zip(labels.tolist(), missing, strict=True)],
            type=pa.int64(),
        )
    except (TypeError, ValueError) as error:
        raise ReferenceDataError(
            "the labels are no class of the model",
            where=reference.label,
            expected=", ".join(map(str, signature.classes[:20])),
            received="numbers with a fraction" if labels.dtype.kind == "f" else "text",
        ) from error


def _whole(value: Any) -> int:
    """The class by its number.

    Raises:
        ValueError: it has a fraction, or is none.
    """
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def time_column(column: Any, name: str) -> pa.Array:
    """As timestamps in UTC with microseconds.

    Raises:
        ReferenceDataError: the column holds no times, or such as can be read in two ways; see `Written`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.timestamp("us", tz="UTC")
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            return pc.assume_timezone(column.cast(pa.timestamp("us"), safe=False), "UTC")
        return column.cast(wanted, safe=False)
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us")).cast(wanted)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    way = Written.of(column, name)
    if way.said:
        return way.known(column, name)
    if text:
        try:
            moments = [None if text is None else parse_time_us(text) for text in column.to_pylist()]
        except ValueError as error:
            raise ReferenceDataError(
                "the time column holds text that is no ISO 8601 time", where=name, received=str(error)
            ) from error
        return pa.array(moments, type=pa.int64()).cast(wanted)
    raise ReferenceDataError(
        "the time column holds no times",
        where=name,
        expected="timestamps, dates or ISO 8601 text",
        received=str(kind),
        next_step="Convert it, so that its unit and time zone are not guessed",
    )

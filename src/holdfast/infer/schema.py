"""What a record of one model version may hold: its columns, and the reserved fields of the checklist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from holdfast.artifact.signature import Column, Dtype, Signature
from holdfast.spec.checklist import Checklist

INTEGER_RANGES: Final[dict[Dtype, tuple[int, int]]] = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
FLOAT_LIMITS: Final[dict[Dtype, float]] = {
    "float16": float(np.finfo(np.float16).max),
    "float32": float(np.finfo(np.float32).max),
    "float64": float(np.finfo(np.float64).max),
}
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class RecordSchema:
    """Names of a record's fields, split by what becomes of them.

    A reserved field that has the name of a column of the model is that column, and serves both purposes.
    """

    columns: tuple[Column, ...]
    id_field: str
    time_field: str
    """"" where the time of arrival counts."""
    context_fields: tuple[str, ...]
    """Logged and never given to the model: context, subject and consent."""

    @classmethod
    def of(cls, signature: Signature, checklist: Checklist) -> RecordSchema:
        """The schema of one model version in one deployment."""
        names = {column.name for column in signature.columns}
        personal = (checklist.privacy.subject_field, checklist.privacy.consent_field)
        context = dict.fromkeys((*checklist.logging.context_fields, *personal))
        return cls(
            columns=signature.columns,
            id_field=checklist.predictions.id_field,
            time_field=checklist.predictions.time_field,
            context_fields=tuple(name for name in context if name and name not in names),
        )

    @property
    def reserved(self) -> tuple[str, ...]:
        """Fields beside the columns, each once, in the order they have in the record type."""
        names = {column.name for column in self.columns}
        fields = dict.fromkeys((self.id_field, self.time_field, *self.context_fields))
        return tuple(name for name in fields if name and name not in names)

    @property
    def fields(self) -> tuple[str, ...]:
        """Every name a record may hold."""
        return (*(column.name for column in self.columns), *self.reserved)

    @property
    def plainly_named(self) -> bool:
        """Whether JSON writes every name as it is."""
        return all(is_plain_name(name) for name in self.fields)

    def record_type(self) -> type[msgspec.Struct]:
        """A struct that decodes exactly the records that need no conversion.

        Its attributes are `f0`, `f1`, ... in the order of `fields`. JSON is not read by it while a name
        needs an escape there (see `plainly_named`).
        """
        columns = [(f"f{i}", _json_type(column)) for i, column in enumerate(self.columns)]
        start = len(columns)
        # A time is only text here: an id may be a number as well.
        reserved = [
            (f"f{start + i}", str | None if name == self.time_field else Scalar, None)
            for i, name in enumerate(self.reserved)
        ]
        return msgspec.defstruct(
            "Record",
            [*columns, *reserved],
            rename={f"f{i}": name for i, name in enumerate(self.fields)} if self.plainly_named else None,
            forbid_unknown_fields=True,
            gc=False,
        )


def is_plain_name(name: str) -> bool:
    """Whether JSON writes the name as it is: without quotes, backslashes and control characters."""
    return not any(character in '"\\' or character < " " for character in name)


def is_integer(dtype: Dtype) -> bool:
    """Whether a column of that dtype holds whole numbers."""
    return dtype in INTEGER_RANGES


def is_float(dtype: Dtype) -> bool:
    """Whether a column of that dtype holds floating-point numbers."""
    return dtype in FLOAT_LIMITS


def _json_type(column: Column) -> Any:
    wanted: Any = str
    if column.dtype == "bool":
        wanted = bool
    elif column.dtype in FLOAT_LIMITS:
        limit = FLOAT_LIMITS[column.dtype]
        wanted = float if column.dtype == "float64" else Annotated[float, msgspec.Meta(ge=-limit, le=limit)]
    elif column.dtype == "uint64":
        # The upper bound does not fit the decoder's own; `RecordCodec` checks it.
        wanted = Annotated[int, msgspec.Meta(ge=0)]
    elif column.dtype in INTEGER_RANGES:
        low, high = INTEGER_RANGES[column.dtype]
        wanted = Annotated[int, msgspec.Meta(ge=low, le=high)]
    for size in reversed(column.shape):
        wanted = (
            list[wanted]
            if size < 0
            else Annotated[list[wanted], msgspec.Meta(min_length=size, max_length=size)]
        )
    return wanted | None if column.nullable else wanted

"""Payloads of the frames: which values they hold and how columns are packed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.privacy import Values, canonical_text

_FIXED: Final = struct.Struct("<5Q")


class Counters(msgspec.Struct, array_like=True, frozen=True):
    """What one replica has done since its start; each number only grows."""

    served: int = 0
    """Rows answered. Always stored + sampled_out + dropped."""
    stored: int = 0
    """Rows written to the spool: their sequence numbers are 0 to stored - 1."""
    sampled_out: int = 0
    dropped: int = 0
    """Rows answered that could not be written."""
    labels: int = 0
    """Labels written to the spool: their sequence numbers are 0 to labels - 1."""

    def to_fixed_bytes(self) -> bytes:
        """Five unsigned 64-bit little-endian numbers, in the order above."""
        return _FIXED.pack(self.served, self.stored, self.sampled_out, self.dropped, self.labels)

    @classmethod
    def from_fixed_bytes(cls, data: bytes) -> Self:
        """The reverse of `to_fixed_bytes`."""
        return cls(*_FIXED.unpack(data))

    def latest(self, other: Counters) -> Counters:
        """The newer of two readings of one replica's counters."""
        return Counters(
            max(self.served, other.served),
            max(self.stored, other.stored),
            max(self.sampled_out, other.sampled_out),
            max(self.dropped, other.dropped),
            max(self.labels, other.labels),
        )


class Header(msgspec.Struct, array_like=True, frozen=True):
    """First frame of a segment. Always the same size for a segment, so it can be rewritten in place."""

    deployment: str
    replica: str
    number: int
    """Of the segment within the replica, from 0."""
    opened_at_us: int
    counters: bytes
    """`Counters.to_fixed_bytes`."""


class PredictionBlock(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Rows of one answered batch. Integer arrays are little-endian int64, or a list as the writer had it."""

    counters: Counters
    """After these rows: the first of them has sequence number `counters.stored - rows`."""
    rows: int
    logged_at_us: int
    deployment: str
    model_version: str
    arm: str
    sampling_fraction: float
    device: str | None
    layout: msgspec.Raw
    """A list of `ColumnLayout`: equal batches have equal bytes here."""
    prediction_ids: list[str]
    times_us: bytes | list[int]
    latency_us: bytes | list[int]
    subject: list[str | None] | None
    consent: list[bool | None] | None
    columns: list[Any]
    """In the order of the layout: raw little-endian bytes of an array (a writer may give a view of them), or
    a list of scalars and nulls."""


class ColumnLayout(msgspec.Struct, array_like=True, frozen=True):
    """Where a column goes in the table, and how to read its bytes."""

    name: str
    code: str
    """A numpy type such as `<f4`; "" for a list of scalars."""
    shape: tuple[int, ...] = ()
    """Of one row's value."""


class LabelBlock(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Labels of one request, with their canonical texts."""

    counters: Counters
    """After these labels: the first of them has sequence number `counters.labels - rows`."""
    rows: int
    logged_at_us: int
    prediction_ids: list[str]
    y: list[str | None]
    observed_at_us: list[int]


class BlockHead(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What both kinds of block begin with: enough for the ledger, and quick to read."""

    counters: Counters
    rows: int


class Close(msgspec.Struct, array_like=True, frozen=True):
    """Last frame of a segment that was closed in order."""

    counters: Counters
    closed_at_us: int
    ended: bool
    """Whether the replica ended too; otherwise its next segment follows."""


_RAW_KINDS: Final = frozenset("?bBhHiIlLqQefd")  # numpy type characters whose values are their bytes
TABLE_CODE: Final = "<f8"
"""Of the columns of a `Table`."""


def pack_array(values: NDArray[Any]) -> tuple[str, bytes | list[Any]]:
    """The code of the array's type and its bytes in little-endian row-major order; or "" and its values."""
    code = raw_code(values.dtype)
    return (code, values.astype(code, copy=False).tobytes()) if code else ("", values.tolist())


def raw_code(dtype: np.dtype[Any]) -> str:
    """The code of arrays of this type, which stand in the block as little-endian bytes; "": as a list."""
    return dtype.newbyteorder("<").str if dtype.char in _RAW_KINDS else ""


def pack_integers(values: Sequence[int] | NDArray[Any]) -> bytes | list[int]:
    """Integers as the writer has them: an array as bytes, anything else as a list."""
    if isinstance(values, np.ndarray):
        return values.astype("<i8", copy=False).tobytes()
    return values if type(values) is list else [int(value) for value in values]


def encode_layout(columns: Sequence[ColumnLayout]) -> msgspec.Raw:
    """The layout as it stands in each block."""
    return msgspec.Raw(ENCODER.encode(columns))


def binary_head(size: int) -> bytes:
    """MessagePack's bin 8, 16 or 32."""
    if size < 1 << 8:
        return b"\xc4" + size.to_bytes(1, "big")
    return b"\xc5" + size.to_bytes(2, "big") if size < 1 << 16 else b"\xc6" + size.to_bytes(4, "big")


def array_head(length: int) -> bytes:
    """MessagePack's fixarray, array 16 or array 32."""
    if length < 1 << 4:
        return bytes([0x90 | length])
    return b"\xdc" + length.to_bytes(2, "big") if length < 1 << 16 else b"\xdd" + length.to_bytes(4, "big")


def select_rows(values: Values, keep: NDArray[np.intp]) -> Values:
    """The values at these row numbers."""
    if isinstance(values, np.ndarray):
        return values[keep]
    return [values[row] for row in keep]


def storable(value: Any) -> Any:
    """The storable form of a value that MessagePack does not know: numpy scalars as Python's, else text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return canonical_text(value)


def storable_text(values: Sequence[Any]) -> list[Any]:
    """The same scalars; text is made valid UTF-8, and integers beyond 64 bits become text."""
    return [_storable_scalar(value) for value in values]


def _storable_scalar(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    return storable(value) if isinstance(value, np.ndarray | np.generic) else canonical_text(value)


ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=storable)

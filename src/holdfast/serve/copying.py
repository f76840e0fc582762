"""Copies of answered rows, from the workers to the challenger's own process.

They go through a socket that never blocks the sender: what does not fit is dropped and counted. A copy that
waits, fails or kills its reader is nobody's business but the challenger's.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from holdfast.artifact.packing import Table
from holdfast.infer import AnsweredBatch, Block
from holdfast.privacy.record import Values
from holdfast.telemetry import CopyCounts

MOST_FRAME_BYTES: Final = 96 * 1024
"""Of one message; larger batches are sent in halves. Small beside the kernel's smallest socket buffer."""
RECEIVE_BYTES: Final = 1 << 20


class _Column(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Copy(msgspec.Struct, array_like=True):
    """Rows that the champion has answered."""

    version: str
    """Of the challenger that is to answer them; any other one leaves them alone."""
    rows: int
    ids: list[str]
    times_us: list[int | None] | None
    table: tuple[list[str], bytes] | None
    """Names, and float64 values by column, where all columns are plain numbers."""
    columns: dict[str, _Column | list[Any]]
    context: dict[str, _Column | list[Any]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Copy).decode


class Copies:
    """A worker's end.

    Args:
        connection: shared by all workers; never blocks.
        version: of the challenger.
        counts: of this worker.
    """

    def __init__(self, connection: socket.socket, version: str, counts: CopyCounts) -> None:
        self._connection = connection
        self._version = version
        self._counts = counts

    def offer(self, batch: AnsweredBatch) -> None:
        """Send the batch's rows, or count them as dropped."""
        block = batch.block
        if block is None:
            return
        try:
            self._send(block, list(batch.ids))
        except Exception:  # noqa: BLE001 - a copy must never harm the answer that it copies
            self._counts.dropped += batch.rows

    def _send(self, block: Block, ids: list[str]) -> None:
        data = _encode(copy_of(block, ids, self._version))
        rows = block.rows
        if len(data) > MOST_FRAME_BYTES and rows > 1:
            middle = rows // 2
            self._send(_part(block, 0, middle), ids[:middle])
            self._send(_part(block, middle, rows), ids[middle:])
            return
        try:
            self._connection.send(data, socket.MSG_DONTWAIT)
            self._counts.copied += rows
        except OSError:  # full, or one row larger than the buffer
            self._counts.dropped += rows


def copy_of(block: Block, ids: list[str], version: str) -> Copy:
    """The message of a block."""
    table = None
    columns: dict[str, _Column | list[Any]] = {}
    if isinstance(block.columns, Table):
        table = (list(block.columns.names), np.ascontiguousarray(block.columns.matrix).tobytes())
    else:
        columns = _packed(block.columns)
    times = None if block.times_us is None else list(block.times_us)
    return Copy(version, block.rows, ids, times, table, columns, _packed(block.context))


def read_copy(data: bytes) -> tuple[Copy, Block]:
    """A message, and its rows as a model takes them.

    Raises:
        msgspec.MsgspecError: it is no such message.
    """
    copy = _decode(data)
    columns: Mapping[str, Values]
    if copy.table is not None:
        names, matrix = copy.table
        columns = Table(tuple(names), np.frombuffer(matrix).reshape(len(names), copy.rows))
    else:
        columns = _unpacked(copy.columns)
    return copy, Block(copy.rows, columns, copy.ids, copy.times_us, _unpacked(copy.context))


def _packed(columns: Mapping[str, Values]) -> dict[str, _Column | list[Any]]:
    packed: dict[str, _Column | list[Any]] = {}
    for name, values in columns.items():
        if isinstance(values, np.ndarray) and values.dtype != object:
            packed[name] = _Column(values.dtype.str, values.shape, np.ascontiguousarray(values).tobytes())
        else:
            packed[name] = [one.tolist() if isinstance(one, np.ndarray) else one for one in values]
    return packed


def _unpacked(packed: Mapping[str, _Column | list[Any]]) -> dict[str, Values]:
    return {
        name: np.frombuffer(one.data, np.dtype(one.dtype)).reshape(one.shape)
        if isinstance(one, _Column)
        else one
        for name, one in packed.items()
    }


def _part(block: Block, start: int, stop: int) -> Block:
    def cut(values: Any) -> Any:
        return None if values is None else values[start:stop]

    columns: Mapping[str, Values]
    if isinstance(block.columns, Table):
        columns = Table(block.columns.names, block.columns.matrix[:, start:stop])
    else:
        columns = {name: cut(values) for name, values in block.columns.items()}
    context = {name: cut(values) for name, values in block.context.items()}
    return Block(stop - start, columns, cut(block.ids), cut(block.times_us), context)

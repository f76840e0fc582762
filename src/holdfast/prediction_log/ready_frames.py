"""Frames of the usual record, kept ready: what differs between two of them is written into place.

The usual record has plain numbers for inputs and answers and ids of the usual form, as nearly every record
has. Its frame is MessagePack like any other, but each number has its full width, so that everything lies
at the same place in every frame of the same columns, model version and number of rows.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.packing import Table
from holdfast.prediction_log.blocks import (
    ENCODER,
    TABLE_CODE,
    ColumnLayout,
    Counters,
    array_head,
    binary_head,
    encode_layout,
    raw_code,
)
from holdfast.prediction_log.frames import HEADER_BYTES, checked_start, seal, seal_again
from holdfast.privacy import PredictionRecord, RedactedRecord

_ID_CHARACTERS: Final = 36
_ID_HEAD: Final = b"\xd9\x24"
"""MessagePack's str 8 of 36 bytes."""
_USUAL_LENGTHS: Final = {_ID_CHARACTERS}
_FIELDS: Final = 0x9F
"""MessagePack's array of the 15 fields of a block of predictions."""
_FIVE: Final = 0x95
"""The same of the counters."""
_WIDE: Final = 0xCF
"""MessagePack's uint 64."""
_MOST_NUMBERS: Final = 8192
"""Of one frame: more of them take long enough without."""
_MOST_BYTES: Final = 4 << 20
"""Of all frames that are kept."""
_MOST_VERSIONS: Final = 64
"""Whose frames are kept: more than are loaded together, and bounded where versions come and go."""


class ReadyFrames:
    """Of one writer; not for two threads at once.

    Args:
        deployment, sampling_fraction, device: as they stand in each record.
    """

    def __init__(self, deployment: str, sampling_fraction: float, device: str | None) -> None:
        self._deployment = deployment
        self._sampling_fraction = sampling_fraction
        self._device = device
        self._frames: dict[Any, _Frame | _Row] = {}
        self._bytes = 0
        self._versions: set[str] = set()

    def filled(
        self, record: RedactedRecord, after: Counters, logged_at_us: int, seed: int
    ) -> bytearray | None:
        """The record's sealed frame, good until the next call; None: it is not a usual one.

        Args:
            record: at least one row, all of which are stored.
            after: counters after its rows.
            logged_at_us: when it is written.
            seed: of the segment's checksums.

        Raises:
            ValueError: columns differ in their number of rows.
        """
        table, raw = record.inputs, record.raw
        if (
            type(table) is not Table
            or record.context
            or raw.outputs
            or record.features
            or record.subject is not None
            or record.consent is not None
        ):
            return None
        rows = len(raw.prediction_ids)
        shape = table.matrix.shape if table.row is None else (len(table.row), 1)
        if shape != (len(table.names), rows):
            raise ValueError(f"{rows} values per column are needed, not {shape}")
        prediction, score, probabilities = raw.prediction, raw.score, raw.probabilities
        if type(prediction) is not np.ndarray or (score is not None and type(score) is not np.ndarray):
            return None
        key = (
            rows,
            table.names,
            raw.model_version,
            raw.arm,
            prediction.dtype,
            prediction.shape,
            None if score is None else (score.dtype, score.shape),
            None if probabilities is None else (probabilities.dtype, probabilities.shape),
        )
        frame = self._frames.get(key)
        if frame is None:
            answers = None if shape[0] * rows > _MOST_NUMBERS else _answers(raw, rows)
            if answers is None:
                return None
            frame = self._keep(key, raw.model_version, self._made(table.names, raw, rows, answers))
        return frame.fill(record, after, logged_at_us, seed)

    def _keep(self, key: Any, version: str, frame: _Frame | _Row) -> _Frame | _Row:
        self._bytes += len(frame.buffer)
        self._versions.add(version)
        if self._bytes > _MOST_BYTES or len(self._versions) > _MOST_VERSIONS:
            self._frames.clear()
            self._bytes = len(frame.buffer)
            self._versions = {version}
        self._frames[key] = frame
        return frame

    def _made(
        self,
        names: tuple[str, ...],
        raw: PredictionRecord,
        rows: int,
        answers: Sequence[tuple[str, str, NDArray[Any]]],
    ) -> _Frame | _Row:
        layout = [ColumnLayout(f"input_{name}", TABLE_CODE) for name in names]
        layout += [ColumnLayout(name, code, values.shape[1:]) for name, code, values in answers]
        constants = (
            self._deployment,
            raw.model_version,
            raw.arm,
            self._sampling_fraction,
            self._device,
            encode_layout(layout),
        )
        encoded = b"".join(map(ENCODER.encode, constants))
        return _Frame(rows, len(names), encoded, answers) if rows > 1 else _Row(len(names), encoded, answers)


def _seal_over(buffer: bytearray) -> tuple[memoryview, bytes]:
    """Seal a new frame; what `seal_again` needs of it."""
    seal(buffer, "P", 0)
    payload = memoryview(buffer)[HEADER_BYTES:]
    return payload, checked_start("P", len(payload))


class _Row:
    """The frame of one row, all of which is written by two calls."""

    __slots__ = ("_cells", "_checked", "_first_answer", "_head", "_payload", "_put", "_put_at", "buffer")

    def __init__(
        self, columns: int, constants: bytes, answers: Sequence[tuple[str, str, NDArray[Any]]]
    ) -> None:
        one, nil, number_head = ENCODER.encode(1), b"\xc0", binary_head(8)
        before = constants + array_head(1) + _ID_HEAD
        between = nil + nil + array_head(columns + len(answers))  # neither subject nor consent
        self._head = struct.Struct(f">BB{'BQ' * 5}{len(one)}sBQ")
        form = f"<{len(before)}s{_ID_CHARACTERS}s2sq2sq{len(between)}s" + "2sd" * columns
        cells: list[Any] = [before, b"", number_head, 0, number_head, 0, between]
        cells += [number_head, 0.0] * columns
        self._first_answer = len(cells) + 1
        for *_, values in answers:
            head = binary_head(values.nbytes)
            form += f"{len(head)}s{values.nbytes}s"
            cells += [head, b""]
        tail = struct.Struct(form)
        self._cells = cells
        self._put = tail.pack_into
        self._put_at = HEADER_BYTES + self._head.size
        self.buffer = bytearray(self._put_at + tail.size)
        self._payload, self._checked = _seal_over(self.buffer)

    def fill(self, record: RedactedRecord, after: Counters, logged_at_us: int, seed: int) -> bytearray | None:
        """The frame with this record in it; None: not all of it has the usual form."""
        raw, buffer, cells, table = record.raw, self.buffer, self._cells, record.inputs
        text = raw.prediction_ids[0]
        if len(text) != _ID_CHARACTERS or not text.isascii():
            return None
        cells[1], cells[3], cells[5] = text.encode(), raw.times_us[0], raw.latency_us[0]
        at = self._first_answer
        cells[8:at:2] = table.matrix[:, 0].tolist() if table.row is None else table.row  # type: ignore[attr-defined]  # a table
        for values in (raw.prediction, raw.score, raw.probabilities):
            if values is not None:
                cells[at] = values.tobytes()  # type: ignore[union-attr]  # arrays, as was checked
                at += 2
        try:
            self._put(buffer, self._put_at, *cells)
        except struct.error:  # a time beyond 64 bits
            return None
        self._head.pack_into(
            buffer, HEADER_BYTES, _FIELDS, _FIVE, _WIDE, after.served, _WIDE, after.stored,
            _WIDE, after.sampled_out, _WIDE, after.dropped, _WIDE, after.labels,
            b"\x01", _WIDE, logged_at_us,
        )  # fmt: skip
        seal_again(buffer, self._payload, self._checked, seed)
        return buffer


class _Frame:
    """The frame of several rows, with the places in it where values go."""

    __slots__ = (
        "_answers", "_checked", "_head", "_ids", "_integers", "_latency_at", "_numbers", "_payload",
        "_rows_field", "_times_at", "buffer",
    )  # fmt: skip

    def __init__(
        self, rows: int, columns: int, constants: bytes, answers: Sequence[tuple[str, str, NDArray[Any]]]
    ) -> None:
        self._rows_field = ENCODER.encode(rows)
        self._head = struct.Struct(f">BB{'BQ' * 5}{len(self._rows_field)}sBQ")
        nil = b"\xc0"
        number_head = binary_head(8 * rows)
        parts: list[bytes] = [bytes(HEADER_BYTES + self._head.size), constants, array_head(rows)]
        places: list[int] = []

        def leave(size: int) -> None:
            places.append(sum(map(len, parts)))
            parts.append(bytes(size))

        leave((len(_ID_HEAD) + _ID_CHARACTERS) * rows)
        for _ in ("times_us", "latency_us"):
            parts.append(number_head)
            leave(8 * rows)
        parts += (nil, nil, array_head(columns + len(answers)))  # neither subject nor consent
        leave((len(number_head) + 8 * rows) * columns)
        for *_, one in answers:
            parts.append(binary_head(one.nbytes))
            leave(one.nbytes)
        self.buffer = buffer = bytearray(b"".join(parts))
        self._payload, self._checked = _seal_over(buffer)
        ids, times, latency, numbers, *others = places
        self._ids = _cells(buffer, ids, rows, _ID_HEAD, (f"S{_ID_CHARACTERS}", ()))
        self._integers = struct.Struct(f"<{rows}q")
        self._times_at, self._latency_at = times, latency
        self._numbers = _cells(buffer, numbers, columns, number_head, (TABLE_CODE, (rows,)))
        self._answers: list[NDArray[Any]] = [
            np.ndarray(one.shape, code, buffer, at)
            for (_, code, one), at in zip(answers, others, strict=True)
        ]

    def fill(self, record: RedactedRecord, after: Counters, logged_at_us: int, seed: int) -> bytearray | None:
        """The frame with this record in it; None: not all of it has the usual form."""
        raw, buffer = record.raw, self.buffer
        ids = raw.prediction_ids
        text = "".join(ids)
        if not text.isascii() or set(map(len, ids)) != _USUAL_LENGTHS:
            return None
        try:
            self._put(self._times_at, raw.times_us)
            self._put(self._latency_at, raw.latency_us)
        except struct.error:  # a time beyond 64 bits
            return None
        self._ids[...] = np.frombuffer(text.encode(), self._ids.dtype)
        self._head.pack_into(
            buffer, HEADER_BYTES, _FIELDS, _FIVE, _WIDE, after.served, _WIDE, after.stored,
            _WIDE, after.sampled_out, _WIDE, after.dropped, _WIDE, after.labels,
            self._rows_field, _WIDE, logged_at_us,
        )  # fmt: skip
        self._numbers[...] = record.inputs.matrix  # type: ignore[attr-defined]  # a table, as was checked
        answered = (raw.prediction, raw.score, raw.probabilities)
        for place, values in zip(self._answers, [one for one in answered if one is not None], strict=True):
            place[...] = values
        seal_again(buffer, self._payload, self._checked, seed)
        return buffer

    def _put(self, at: int, integers: Sequence[int] | NDArray[np.int64]) -> None:
        """Write one integer of each row.

        Raises:
            struct.error: one does not fit into 64 bits, or there is not one of each row.
        """
        if isinstance(integers, np.ndarray):  # of requests with several rows each: nothing is made anew
            packed = integers.astype("<i8", copy=False).tobytes()
            if len(packed) != self._integers.size:
                raise struct.error(f"{len(integers)} values")
            self.buffer[at : at + len(packed)] = packed
        else:
            self._integers.pack_into(self.buffer, at, *integers)


def _cells(
    buffer: bytearray, at: int, count: int, head: bytes, value: tuple[str, tuple[int, ...]]
) -> NDArray[Any]:
    """The values of so many cells, each of which begins with this head."""
    kind: Any = [("head", np.uint8, (len(head),)), ("value", *value)]
    cells: NDArray[Any] = np.ndarray(count, kind, buffer, at)
    cells["head"] = np.frombuffer(head, np.uint8)
    values: NDArray[Any] = cells["value"]
    return values


def _answers(raw: PredictionRecord, rows: int) -> list[tuple[str, str, NDArray[Any]]] | None:
    """Names, codes and arrays of what the model said; None: not all of it is plain numbers of this machine.

    Raises:
        ValueError: one has another number of rows.
    """
    found: list[tuple[str, str, NDArray[Any]]] = []
    for name, values in (
        ("prediction", raw.prediction),
        ("score", raw.score),
        ("probabilities", raw.probabilities),
    ):
        if values is None:
            continue
        if len(values) != rows:
            raise ValueError(f"{name}: {rows} values are needed, not {len(values)}")
        if (
            not isinstance(values, np.ndarray)
            or values.dtype.str[0] == ">"
            or not (code := raw_code(values.dtype))
        ):
            return None
        found.append((name, code, values))
    return found

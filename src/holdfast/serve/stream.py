"""One stream of frames through a model with state or windows: rows of frames, and what the state becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.packing import numpy_dtype
from holdfast.artifact.signature import Column, Tensor
from holdfast.infer import (
    AnsweredBatch,
    Block,
    InputError,
    NotReadyError,
    check_columns,
    check_record,
    check_time,
    kind_of,
)
from holdfast.privacy.record import Values
from holdfast.serve.calls import Body, Call, shape_of_block
from holdfast.serve.service import Endpoint
from holdfast.spec.checklist import Stream

_encode = msgspec.json.Encoder().encode
State = Mapping[str, NDArray[Any]]
"""By name of the input, `[1, ...]`."""
STREAM: Final = "/v2/models/{model}/stream"
"""The route of streams, as paths and metrics name it."""
MOST_WINDOWS: Final = 256
"""Of one frame: what comes after them must be sent again as a frame of its own."""


class FrameCall(Call):
    """One row of a stream; once answered it holds the next state."""

    __slots__ = ("next_state", "plan")

    def __init__(self, plan: StreamPlan, block: Block) -> None:
        super().__init__(1, None, block, shape_of_block(plan.endpoint.lane.model.signature, block))
        self.plan = plan
        self.next_state: dict[str, NDArray[Any]] = {}

    def encode(self, batch: AnsweredBatch, start: int) -> Body:
        """See `Call.encode`."""
        outputs = batch.answer.outputs
        # Copies: a view would keep the whole batch's arrays alive as long as the stream.
        self.next_state = {
            name: np.array(outputs[output])[start : start + 1].copy()
            for name, output in self.plan.state.items()
        }
        return self.plan.answer(batch, start), None

    def encode_empty(self) -> Body:
        """See `Call.encode_empty`; a frame is never empty."""
        return b"{}", None


class StreamPlan:
    """How frames become rows of one model version.

    Args:
        endpoint: of the version.
        settings: the checklist's section.

    Raises:
        NotReadyError: the checklist's section does not fit this version.
    """

    def __init__(self, endpoint: Endpoint, settings: Stream) -> None:
        signature = endpoint.lane.model.signature
        self.endpoint = endpoint
        self.state = settings.state
        self.window = settings.window_values
        self.hop = settings.hop_values or settings.window_values
        inputs = {tensor.name: tensor for tensor in signature.inputs}
        outputs = {tensor.name: tensor for tensor in signature.outputs}
        for name, output in settings.state.items():
            given, gives = inputs.get(name), outputs.get(output)
            if given is None or gives is None or not _alike(given, gives):
                raise _unfit(
                    f"state {name!r} = {output!r}",
                    f"an input and an output of one type and shape; the model takes {_listed(inputs)} and "
                    f"gives {_listed(outputs)}",
                )
        self._states = [inputs[name] for name in settings.state]
        carried = {column for tensor in self._states for column in tensor.columns}
        self._columns = tuple(column for column in signature.columns if column.name not in carried)
        schema = endpoint.lane.codec.schema
        self._schema = dataclasses.replace(schema, columns=self._columns)
        named = [column for column in self._columns if column.name == settings.field or not settings.field]
        self._field = named[0] if len(named) == 1 else None
        if settings.field and self._field is None:
            raise _unfit(f"field = {settings.field!r}", f"one of {_listed([c.name for c in self._columns])}")
        if self.window and (
            self._field is None
            or self._field.dtype in {"string", "bool"}
            or self._field.shape not in {(self.window,), (-1,)}
        ):
            raise _unfit(f"window_values = {self.window}", "a field of that many numbers; name it in field")

    def first_state(self) -> State:
        """Zeros; a variable dimension has size 0."""
        return {
            tensor.name: np.zeros(
                (1, *(max(size, 0) for size in tensor.shape[1:])), numpy_dtype(tensor.dtype)
            )
            for tensor in self._states
        }

    def values(self, frame: Any) -> NDArray[Any]:
        """The numbers of a frame for a model with windows: a list, bytes, or a record of that one field.

        Raises:
            InputError: something else.
        """
        column = self._one_field()
        if isinstance(frame, dict):
            if set(frame) != {column.name}:
                raise InputError("wrong fields", where="$.frame", expected=column.name)
            frame = frame[column.name]
        if isinstance(frame, bytes):
            return self._from_bytes(frame)
        if not isinstance(frame, list):
            raise InputError("wrong type", where="$.frame", expected="a list", received=kind_of(frame))
        loose = msgspec.structs.replace(column, shape=(-1,))
        checked = check_record(dataclasses.replace(self._schema, columns=(loose,)), {column.name: frame}, "$")
        return np.array(checked[column.name], dtype=numpy_dtype(column.dtype))

    def call(self, frame: Any, state: State) -> FrameCall:
        """The row of one frame.

        Args:
            frame: a record of the fields beside the state, a list or bytes for the one field, or an array.
            state: before it.

        Raises:
            InputError: it does not fit; `where` is its path.
        """
        columns: dict[str, Values]
        ids: Sequence[str | None] | None = None
        times: Sequence[int | None] | None = None
        context: dict[str, Values] = {}
        if isinstance(frame, bytes):
            frame = self._from_bytes(frame)
        if isinstance(frame, np.ndarray):
            column = self._one_field()
            others = [one.name for one in self._columns if one is not column]
            if others:
                raise InputError("missing", where=f"$.frame.{others[0]}", next_step="Send a record.")
            columns = check_columns([column], {column.name: _one_row(column, frame)}, 1)
        else:
            if isinstance(frame, list):
                frame = {self._one_field().name: frame}
            record = check_record(self._schema, frame, "$.frame")
            given: dict[str, Values] = {column.name: [record[column.name]] for column in self._columns}
            columns = check_columns(self._columns, given, 1)
            schema = self._schema
            own_id = record.get(schema.id_field)
            ids = None if own_id in {None, ""} else [str(own_id)]
            if schema.time_field and isinstance(record.get(schema.time_field), str):
                times = [check_time(record[schema.time_field], f"$.frame.{schema.time_field}")]
            context = {name: [record.get(name)] for name in schema.context_fields}
        for tensor in self._states:
            self.endpoint.v2.spread(tensor, state[tensor.name], f"state {tensor.name!r}", columns)
        ordered = {one.name: columns[one.name] for one in self.endpoint.lane.model.signature.columns}
        return FrameCall(self, Block(1, ordered, ids, times, context))

    def answer(self, batch: AnsweredBatch, row: int) -> bytes:
        """The JSON object of one answer, without the state."""
        signature = self.endpoint.lane.model.signature
        if signature.task != "tensor":
            return self.endpoint.rows.one(batch, row)
        carried = set(self.state.values())
        outputs = {name: values[row] for name, values in batch.outputs.items() if name not in carried}
        about = {"prediction_id": batch.ids[row], "outputs": outputs, "model_version": batch.model.version}
        return _encode(about)

    def _one_field(self) -> Column:
        if self._field is None:
            raise InputError(
                "several fields",
                where="$.frame",
                expected=f"an object with {_listed([column.name for column in self._columns])}",
                next_step="Or name the field that lists and bytes fill in [stream] field.",
            )
        return self._field

    def _from_bytes(self, frame: bytes) -> NDArray[Any]:
        column = self._one_field()
        if column.dtype == "string":
            raise InputError("wrong type", where="$.frame", expected="text, in JSON")
        dtype = numpy_dtype(column.dtype).newbyteorder("<")
        if len(frame) % dtype.itemsize:
            raise InputError(
                "not whole values", where="$.frame", expected=f"little-endian {column.dtype}",
                received=f"{len(frame)} bytes",
            )  # fmt: skip
        values = np.frombuffer(frame, np.uint8 if column.dtype == "bool" else dtype)
        if column.dtype == "bool":
            if (values > 1).any():
                raise InputError("neither 0 nor 1", where="$.frame", expected="one byte of 0 or 1 each")
            return values.view(np.bool_)
        if values.dtype.kind == "f" and not column.nullable and np.isnan(values).any():
            raise InputError("NaN is not accepted here", where="$.frame", expected="numbers")
        return values


class Windows:
    """Cuts a stream of values into windows of one length.

    >>> windows = Windows(4, 2)
    >>> [one.tolist() for one in windows.feed(np.arange(7))]
    [[0, 1, 2, 3], [2, 3, 4, 5]]
    >>> windows.rest().tolist()
    [4, 5, 6, 0]
    """

    def __init__(self, window: int, hop: int) -> None:
        self._window = window
        self._hop = hop
        self._held: NDArray[Any] | None = None
        self._fresh = 0
        """Values at the end of those held that were in no window yet."""

    def feed(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """The windows that these values complete."""
        held = values if self._held is None else np.concatenate([self._held, values])
        self._fresh += len(values)
        found = []
        start = 0
        while start + self._window <= len(held):
            found.append(held[start : start + self._window])
            start += self._hop
        self._held = held[start:].copy()
        if found:
            self._fresh = len(held) - (start - self._hop) - self._window
        return found

    def windows_in(self, values: int) -> int:
        """How many windows that many more values would complete."""
        held = values + (0 if self._held is None else len(self._held))
        return 0 if held < self._window else (held - self._window) // self._hop + 1

    def rest(self) -> NDArray[Any] | None:
        """The last window, filled up with zeros; None where every value was in one. Begins anew."""
        held, fresh = self._held, self._fresh
        self._held, self._fresh = None, 0
        if held is None or not fresh:
            return None
        filled = np.zeros(self._window, held.dtype)
        filled[: len(held)] = held
        return filled


def _one_row(column: Column, values: NDArray[Any]) -> NDArray[Any]:
    """One row's value: a scalar, or an array of the column's shape."""
    shape = column.shape
    if not shape:
        if len(values) != 1:
            raise InputError("not one value", where="$.frame", received=f"{len(values)} values")
        return values
    if sum(size < 0 for size in shape) > 1:
        raise InputError("several variable dimensions", where="$.frame", expected="nested lists in JSON")
    try:
        return values.reshape(1, *shape)
    except ValueError:
        raise InputError(
            "wrong number of values", where="$.frame", expected=f"the shape {list(shape)}",
            received=f"{len(values)} values",
        ) from None  # fmt: skip


def _alike(given: Tensor, gives: Tensor) -> bool:
    return (
        given.dtype == gives.dtype
        and given.dtype != "string"
        and len(given.shape) == len(gives.shape)
        and all(a == b or -1 in {a, b} for a, b in zip(given.shape[1:], gives.shape[1:], strict=True))
    )


def _listed(names: Any) -> str:
    return ", ".join(list(names)[:12]) or "nothing"


def _unfit(what: str, expected: str) -> NotReadyError:
    return NotReadyError(
        f"the checklist's {what} does not fit this model version",
        where="[stream]",
        expected=expected,
        next_step="Correct the checklist and reload it.",
    )

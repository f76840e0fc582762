"""Open Inference Protocol v2: requests to columns, answers to output tensors, as JSON or bytes behind it."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from msgspec import UnsetType
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

from holdfast.artifact.packing import Table
from holdfast.artifact.signature import Column, Signature, Tensor
from holdfast.infer import (
    AnsweredBatch,
    Block,
    InputError,
    MalformedBodyError,
    RecordSchema,
    TooManyRowsError,
    check_columns,
    check_time,
    read_json,
    truths_of_numbers,
)
from holdfast.infer.schema import FLOAT_LIMITS, is_float
from holdfast.privacy.record import Values
from holdfast.serve.calls import Body, Call, shape_of_block
from holdfast.serve.v2_binary import read_tensor, read_texts, tensor_bytes
from holdfast.serve.v2_known import KnownHeads
from holdfast.serve.v2_messages import (
    DATATYPES,
    AnswerTensor,
    BinaryTensor,
    InferRequest,
    InferResponse,
    InputTensor,
    as_lists,
    choice,
    cut_tail,
    described,
    flat_decoder,
    flatten,
    from_base64,
    read_envelope,
    read_flag,
    refuse_not_offered,
    wrong_datatype,
)

_MOST_VALUES: Final = 1 << 40
"""That a shape may promise where one of its sizes is 0: beyond some point no array has such a shape."""


@mypyc_attr(allow_interpreted_subclasses=True)
class InferCall(Call):
    """A decoded infer request."""

    __slots__ = ("codec", "id", "outputs")

    def __init__(
        self, codec: V2Codec, given_id: str | None, block: Block, outputs: tuple[tuple[str, bool], ...]
    ) -> None:
        super().__init__(block.rows, None, block, shape_of_block(codec.signature, block))
        self.codec = codec
        self.id = given_id
        self.outputs = outputs
        """Names, and whether each goes out as bytes."""

    def encode(self, batch: AnsweredBatch, start: int) -> Body:
        """See `Call.encode`."""
        return self.codec.encode(self, batch, start)

    def encode_empty(self) -> Body:
        """See `Call.encode_empty`."""
        return self.codec.encode_empty(self)


AnyCall = TypeVar("AnyCall", bound=InferCall)


class V2Codec:
    """Reads infer requests and writes infer responses of one model version.

    Args:
        model: the deployment's name.
        version: of the model.
        signature: of the model.
        schema: reserved fields, which v2 callers give as request parameters.
        max_rows: of one request.
    """

    def __init__(
        self, model: str, version: str, signature: Signature, schema: RecordSchema, max_rows: int
    ) -> None:
        self.model = model
        self.version = version
        self.signature = signature
        self._schema = schema
        self._max_rows = max_rows
        self._tensors = {tensor.name: tensor for tensor in signature.inputs}
        columns = {column.name: column for column in signature.columns}
        self._held: dict[str, Sequence[Column]] = {
            tensor.name: [columns[name] for name in tensor.columns] for tensor in signature.inputs
        }
        self._nullable = {name: any(column.nullable for column in held) for name, held in self._held.items()}
        self._truths = [
            column
            for tensor in signature.inputs
            for column in self._held[tensor.name]
            if column.dtype == "bool" and tensor.dtype not in {"bool", "string"}
        ]
        """Boolean columns that the graph takes as numbers."""
        self._decoders = {
            tensor.name: flat_decoder(tensor, nullable=self._nullable[tensor.name])
            for tensor in signature.inputs
        }
        self._outputs = {tensor.name: tensor for tensor in signature.outputs}
        self._plain: Tensor | None = None
        """The only input, where it holds plain numbers and nothing else."""
        names = tuple(column.name for column in signature.columns)
        if (
            len(signature.inputs) == 1
            and len(signature.inputs[0].shape) == 2
            and signature.inputs[0].columns == names
            and signature.inputs[0].dtype in FLOAT_LIMITS
            and all(is_float(one.dtype) and not one.shape and not one.nullable for one in signature.columns)
        ):
            self._plain = signature.inputs[0]
        self._row = struct.Struct(f"<{len(names)}f")
        """One row of float32."""
        self._known = KnownHeads()
        self._encode = msgspec.json.Encoder().encode

    def decode(self, body: bytes, json_bytes: int | None = None) -> InferCall:
        """The rows of an infer request.

        Args:
            body: JSON, or JSON with tensors behind it.
            json_bytes: how much of it is JSON, where tensors follow; None: all.

        Raises:
            MalformedBodyError: no JSON, or not of the protocol's shape.
            InputError: tensors do not fit the signature.
            TooManyRowsError: more rows than one request may hold.
        """
        text = body
        tail = memoryview(b"")
        if json_bytes is not None:
            if json_bytes > len(body):
                raise MalformedBodyError(
                    "the body ends before its JSON does",
                    where="Inference-Header-Content-Length",
                    expected=f"at most {len(body)}",
                    received=str(json_bytes),
                )
            tail = memoryview(body)[json_bytes:]
            text = body[:json_bytes]
            known = self._known.get(text, len(tail))
            if known is not None:
                plain = self.read_plain_bytes(known.rows, tail)
                if plain is not None:
                    return InferCall(self, None, plain, known.outputs)
        request = read_envelope(text)
        call = self.read(request, cut_tail(request.inputs, tail), InferCall)
        if len(tail) and self._plain is not None and not self._schema.context_fields:
            self._known.learn(text, len(tail), request, call)
        return call

    def read(
        self, request: InferRequest, contents: Sequence[memoryview | None], kind: type[AnyCall]
    ) -> AnyCall:
        """The rows of a request whose envelope is read.

        Args:
            request: its inputs may be without data.
            contents: for each input its bytes; None where its data are JSON.
            kind: of call to make.

        Raises:
            InputError: tensors do not fit the signature.
            TooManyRowsError: more rows than one request may hold.
        """
        plain = self._read_plain(request.inputs[0], contents[0]) if len(request.inputs) == 1 else None
        if plain is not None:
            self._apply_parameters(plain, request)
            return kind(self, request.id, plain, self._wanted(request))
        values: dict[str, Values] = {}
        rows: int | None = None
        seen: set[str] = set()
        for i, given in enumerate(request.inputs):
            path = f"$.inputs[{i}]"
            tensor = self._tensors.get(given.name)
            if tensor is None:
                raise InputError(
                    "unknown input", where=f"{path}.name", next_step=choice(given.name, list(self._tensors))
                )
            if given.name in seen:
                raise InputError("the input is given twice", where=f"{path}.name")
            seen.add(given.name)
            tensor_rows = self._take(tensor, given, contents[i], path, values)
            if rows is not None and tensor_rows != rows:
                raise InputError(
                    "inputs differ in their number of rows",
                    where=f"{path}.shape[0]",
                    expected=str(rows),
                    received=str(tensor_rows),
                )
            rows = tensor_rows
        for tensor in self.signature.inputs:
            if tensor.name not in seen:
                raise InputError("input missing", where="$.inputs", expected=f"an input {tensor.name!r}")
        rows = rows or 0
        for column in self._truths:
            values[column.name] = truths_of_numbers(column, np.asarray(values[column.name], dtype=np.float64))
        columns = check_columns(self.signature.columns, values, rows)
        block = Block(rows, columns)
        self._apply_parameters(block, request)
        return kind(self, request.id, block, self._wanted(request))

    def _read_plain(self, given: InputTensor, raw: memoryview | None) -> Block | None:
        """The usual request of a model of plain numbers, as one array; None: to be looked at closely."""
        tensor = self._plain
        if tensor is None or given.name != tensor.name or given.datatype != DATATYPES[tensor.dtype]:
            return None
        shape = given.shape
        if len(shape) != 2 or shape[1] != len(tensor.columns) or not 0 < shape[0] <= self._max_rows:
            return None
        if raw is not None:
            return self.read_plain_bytes(shape[0], raw)
        data = given.data
        try:
            flat = None if isinstance(data, UnsetType) else self._decoders[tensor.name](data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return None
        if flat is None or len(flat) != shape[0] * shape[1]:
            return None
        if shape[0] == 1:
            return Block(1, Table(tensor.columns, None, tuple(flat)))
        array = np.array(flat, dtype=np.float64).reshape(shape)
        return Block(shape[0], Table(tensor.columns, array.T.astype(np.float64, order="C")))

    def read_plain_bytes(self, rows: int, raw: memoryview) -> Block | None:
        """The usual request of a model of plain numbers that came as bytes; None: to be looked at closely."""
        if (tensor := self._plain) is None:
            return None
        if rows == 1 and tensor.dtype == "float32" and len(raw) == self._row.size:
            row = self._row.unpack(raw)
            return None if math.isnan(sum(row)) else Block(1, Table(tensor.columns, None, row))
        array = read_tensor(tensor.dtype, raw, [rows, len(tensor.columns)], "$.inputs[0] (binary)")
        flat = array.ravel()
        with np.errstate(over="ignore", invalid="ignore"):
            squares = flat.dot(flat)
        if math.isnan(squares):  # only NaN makes it that, and it is one call
            return None
        return Block(rows, Table(tensor.columns, array.T.astype(np.float64, order="C")))

    def _take(
        self,
        tensor: Tensor,
        given: InputTensor,
        raw: memoryview | None,
        path: str,
        values: dict[str, Values],
    ) -> int:
        if given.datatype != DATATYPES[tensor.dtype]:
            raise wrong_datatype(tensor.dtype, given.datatype, path)
        shape = given.shape
        wanted = tensor.shape
        if len(wanted) == 2 and wanted[1] == 1 and len(shape) == 1:
            shape = [*shape, 1]
        elif len(wanted) == 1 and len(shape) == 2 and shape[1] == 1:
            shape = shape[:1]
        if (
            len(shape) != len(wanted)
            or any(
                size < 0 or (want >= 0 and size != want)
                for size, want in zip(shape[1:], wanted[1:], strict=True)
            )
            or shape[0] < 0
            or math.prod(size or 1 for size in shape) > _MOST_VALUES
        ):
            raise InputError(
                "wrong shape",
                where=f"{path}.shape",
                expected=str([-1, *wanted[1:]]),
                received=str(given.shape)[:80],
            )
        rows = shape[0]
        if rows > self._max_rows:
            raise TooManyRowsError(
                "too many rows in one request",
                where=f"{path}.shape[0]",
                expected=f"at most {self._max_rows}",
                received=str(rows),
            )
        if raw is not None and tensor.dtype != "string":
            array = read_tensor(tensor.dtype, raw, shape, f"{path} (binary)")
            self.spread(tensor, array, path, values)
            return rows
        if raw is not None:
            flat: list[Any] = read_texts(raw, math.prod(shape), f"{path} (binary)")
        else:
            flat = self._flat(tensor, given, path)
        if tensor.dtype == "string" and (given.parameters or {}).get("content_type") == "base64":
            flat = from_base64(flat, f"{path}.data")
        if len(flat) != math.prod(shape):
            raise InputError(
                "the data do not fill the shape",
                where=f"{path}.data",
                expected=f"{math.prod(shape)} values",
                received=f"{len(flat)} values",
            )
        self._spread(tensor, flat, shape, path, values)
        return rows

    def _flat(self, tensor: Tensor, given: InputTensor, path: str) -> list[Any]:
        decode = self._decoders[tensor.name]
        data = given.data
        if isinstance(data, UnsetType):
            raise MalformedBodyError(
                "the input has no data", where=path, expected="data, or parameters.binary_data_size"
            )
        try:
            values: list[Any] = decode(data)
            return values
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            nested = read_json(bytes(data))
        if not isinstance(nested, list):
            raise InputError("wrong type", where=f"{path}.data", expected="a list")
        flat: list[Any] = []
        flatten(
            nested,
            given.shape if any(isinstance(one, list) for one in nested) else [len(nested)],
            f"{path}.data",
            flat,
        )
        try:
            values = decode(msgspec.json.encode(flat))
        except msgspec.ValidationError as error:
            text, _, where = str(error).partition(" - at ")
            at = where.strip("`").removeprefix("$")
            raise InputError(f"wrong value: {text}", where=f"{path}.data{at}") from None
        return values

    def _spread(
        self, tensor: Tensor, flat: list[Any], shape: list[int], path: str, values: dict[str, Values]
    ) -> None:
        """Values of JSON, in row-major order, to the columns that the tensor holds."""
        packed = self._held[tensor.name]
        shaped = len(packed) == 1 and bool(packed[0].shape)
        if tensor.dtype == "string" or (tensor.dtype not in FLOAT_LIMITS and None in flat):
            if shaped:
                values[packed[0].name] = np.array(flat, dtype=object).reshape(shape).tolist()
            for i, column in enumerate(() if shaped else packed):
                values[column.name] = flat[i :: len(packed)]
            return
        try:
            wide = tensor.dtype in FLOAT_LIMITS and not shaped
            array = np.array(flat, dtype=np.float64 if wide else tensor.dtype).reshape(shape)
        except (OverflowError, TypeError, ValueError):
            raise InputError(f"a value out of the range of {tensor.dtype}", where=f"{path}.data") from None
        if self._nullable[tensor.name]:
            self.spread(tensor, array, path, values)
        elif shaped or array.ndim == 1:
            values[packed[0].name] = array
        else:
            for i, column in enumerate(packed):
                values[column.name] = array[:, i]

    def spread(self, tensor: Tensor, array: NDArray[Any], path: str, values: dict[str, Values]) -> None:
        """An array to the columns that the tensor holds; NaN is a missing value, infinity a value."""
        packed = self._held[tensor.name]
        shaped = len(packed) == 1 and bool(packed[0].shape)
        if shaped or array.ndim == 1:
            columns: NDArray[Any] = array.reshape(1, *array.shape)
        elif tensor.dtype in FLOAT_LIMITS:
            columns = array.T.astype(np.float64, order="C")
        else:
            columns = array.T
        for i, column in enumerate(packed):
            held = columns[i]
            if not column.nullable and tensor.dtype in FLOAT_LIMITS:
                missing = np.isnan(held)
                if missing.any():
                    row = int(np.argwhere(missing)[0][0])
                    raise InputError(
                        "NaN is not accepted here: the model's reference has no missing values in this field",
                        where=f"{path}, row {row}, field {column.name!r}",
                        expected="a number",
                    )
            values[column.name] = held

    def _apply_parameters(self, block: Block, request: InferRequest) -> None:
        rows = block.rows
        if request.id:
            block.ids = [request.id] if rows == 1 else [f"{request.id}/{row}" for row in range(rows)]
        given = request.parameters or {}
        schema = self._schema
        if schema.time_field and given.get(schema.time_field) is not None:
            time_us = check_time(str(given[schema.time_field]), f"$.parameters.{schema.time_field}")
            block.times_us = [time_us] * rows
        context: dict[str, Values] = {}
        for name in schema.context_fields:
            value = given.get(name)
            if value is not None and not isinstance(value, str | int | float):
                raise InputError(
                    "wrong type", where=f"$.parameters.{name}", expected="text, a number or true/false"
                )
            context[name] = [value] * rows
        block.context = context

    def _wanted(self, request: InferRequest) -> tuple[tuple[str, bool], ...]:
        everywhere = read_flag(request.parameters, "binary_data_output", "$.parameters")
        if not request.outputs:
            return tuple((name, everywhere or False) for name in self._outputs)
        wanted = []
        for i, one in enumerate(request.outputs):
            if one.name not in self._outputs:
                raise InputError(
                    "unknown output",
                    where=f"$.outputs[{i}].name",
                    next_step=choice(one.name, list(self._outputs)),
                )
            refuse_not_offered(one.parameters, f"$.outputs[{i}].parameters")
            binary = read_flag(one.parameters, "binary_data", f"$.outputs[{i}].parameters")
            wanted.append((one.name, everywhere or False if binary is None else binary))
        return tuple(wanted)

    def encode(self, call: InferCall, batch: AnsweredBatch, start: int) -> Body:
        """The response body for the rows of one call."""
        rows = call.rows
        answers = batch.answer.outputs
        if rows == batch.rows:
            ids, found = list(batch.ids), [np.asarray(answers[name]) for name, _ in call.outputs]
        else:
            ids = list(batch.ids[start : start + rows])
            found = [np.asarray(answers[name])[start : start + rows] for name, _ in call.outputs]
        return self._response(call, call.id or (ids[0] if len(ids) == 1 else ""), ids, found)

    def encode_empty(self, call: InferCall) -> Body:
        """The response body for a call of no rows."""
        return self._response(call, call.id or "", [], self.empty_outputs(call))

    def empty_outputs(self, call: InferCall) -> list[NDArray[Any]]:
        """The outputs of no rows."""
        return [
            np.empty([0, *(max(size, 0) for size in self._outputs[name].shape[1:])])
            for name, _ in call.outputs
        ]

    def output(self, name: str) -> Tensor:
        """One output of the signature."""
        return self._outputs[name]

    def _response(
        self, call: InferCall, given_id: str, ids: list[str], found: Sequence[NDArray[Any]]
    ) -> Body:
        outputs: list[AnswerTensor | BinaryTensor] = []
        parts = [b""]
        for (name, binary), values in zip(call.outputs, found, strict=True):
            tensor = self._outputs[name]
            shape, datatype = list(values.shape), DATATYPES[tensor.dtype]
            if binary:
                parts.append(tensor_bytes(tensor.dtype, values))
                size = {"binary_data_size": len(parts[-1])}
                outputs.append(BinaryTensor(name, shape, datatype, size))
            else:
                outputs.append(AnswerTensor(name, shape, datatype, as_lists(values)))
        parameters = {"prediction_ids": ",".join(ids)}
        parts[0] = self._encode(InferResponse(self.model, self.version, given_id, parameters, outputs))
        if len(parts) == 1:
            return parts[0], None
        return b"".join(parts), len(parts[0])

    def metadata(self, platform: str, versions: Sequence[str]) -> dict[str, Any]:
        """The body of the model metadata route."""
        return {
            "name": self.model,
            "versions": list(versions),
            "platform": platform,
            "inputs": [described(tensor) for tensor in self.signature.inputs],
            "outputs": [described(tensor) for tensor in self.signature.outputs],
        }

"""Open Inference Protocol v2 over JSON: requests to columns, answers to output tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from holdfast.artifact.signature import Dtype, Signature, Tensor
from holdfast.infer import (
    AnsweredBatch,
    Block,
    InputError,
    MalformedBodyError,
    RecordSchema,
    TooManyRowsError,
    check_columns,
    check_time,
    nearest,
    read_json,
)
from holdfast.infer.schema import FLOAT_LIMITS, INTEGER_RANGES
from holdfast.privacy.record import Values

DATATYPES: Final[dict[Dtype, str]] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}


class _InputTensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw
    parameters: dict[str, Any] | None = None


class _OutputTensor(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _InferRequest(msgspec.Struct):
    inputs: list[_InputTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_OutputTensor] | None = None


class _AnswerTensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _InferResponse(msgspec.Struct, gc=False):
    model_name: str
    model_version: str
    id: str
    parameters: dict[str, str]
    outputs: list[_AnswerTensor]


_decode_request = msgspec.json.Decoder(_InferRequest).decode


@dataclass(frozen=True, slots=True)
class InferCall:
    """A decoded infer request."""

    id: str | None
    block: Block
    outputs: tuple[str, ...]


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
        self._model = model
        self._version = version
        self._signature = signature
        self._schema = schema
        self._max_rows = max_rows
        self._tensors = {tensor.name: tensor for tensor in signature.inputs}
        self._columns = {column.name: column for column in signature.columns}
        self._nullable = {
            tensor.name: any(self._columns[name].nullable for name in tensor.columns)
            for tensor in signature.inputs
        }
        self._decoders = {
            tensor.name: msgspec.json.Decoder(list[self._element(tensor)]).decode  # type: ignore[misc]  # made at run time
            for tensor in signature.inputs
        }
        self._output_names = tuple(tensor.name for tensor in signature.outputs)
        self._output_types = {tensor.name: DATATYPES[tensor.dtype] for tensor in signature.outputs}
        self._encode = msgspec.json.Encoder().encode

    def decode(self, body: bytes) -> InferCall:
        """The rows of an infer request.

        Raises:
            MalformedBodyError: no JSON, or not of the protocol's shape.
            InputError: tensors do not fit the signature.
            TooManyRowsError: more rows than one request may hold.
        """
        try:
            request = _decode_request(body)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at ")
            raise MalformedBodyError(
                f"not an infer request: {text}",
                where=path.strip("`") or "$",
                expected='{"inputs": [{"name", "shape", "datatype", "data"}, ...]}',
            ) from None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            read_json(body)
            raise MalformedBodyError("not an infer request") from None
        values: dict[str, Values] = {}
        rows: int | None = None
        seen: set[str] = set()
        for i, given in enumerate(request.inputs):
            path = f"$.inputs[{i}]"
            tensor = self._tensors.get(given.name)
            if tensor is None:
                raise InputError(
                    "unknown input", where=f"{path}.name", next_step=self._input_hint(given.name)
                )
            if given.name in seen:
                raise InputError("the input is given twice", where=f"{path}.name")
            seen.add(given.name)
            tensor_rows = self._take(tensor, given, path, values)
            if rows is not None and tensor_rows != rows:
                raise InputError(
                    "inputs differ in their number of rows",
                    where=f"{path}.shape[0]",
                    expected=str(rows),
                    received=str(tensor_rows),
                )
            rows = tensor_rows
        for tensor in self._signature.inputs:
            if tensor.name not in seen:
                raise InputError("input missing", where="$.inputs", expected=f"an input {tensor.name!r}")
        rows = rows or 0
        columns = check_columns(self._signature.columns, values, rows)
        block = Block(rows, columns)
        self._apply_parameters(block, request)
        return InferCall(request.id, block, self._wanted(request.outputs))

    def _take(self, tensor: Tensor, given: _InputTensor, path: str, values: dict[str, Values]) -> int:
        datatype = DATATYPES[tensor.dtype]
        if given.datatype != datatype:
            raise InputError(
                "wrong datatype", where=f"{path}.datatype", expected=datatype, received=given.datatype[:16]
            )
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
        flat = self._flat(tensor, given, path)
        if len(flat) != math.prod(shape):
            raise InputError(
                "the data do not fill the shape",
                where=f"{path}.data",
                expected=f"{math.prod(shape)} values",
                received=f"{len(flat)} values",
            )
        self._spread(tensor, flat, shape, path, values)
        return rows

    def _flat(self, tensor: Tensor, given: _InputTensor, path: str) -> list[Any]:
        decode = self._decoders[tensor.name]
        try:
            values: list[Any] = decode(given.data)
            return values
        except (msgspec.MsgspecError, RecursionError):
            nested = read_json(bytes(given.data))
        if not isinstance(nested, list):
            raise InputError("wrong type", where=f"{path}.data", expected="a list")
        flat: list[Any] = []
        _flatten(
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
        packed = [self._columns[name] for name in tensor.columns]
        if tensor.dtype == "string":
            if len(packed) == 1:
                values[packed[0].name] = flat
            else:
                for i, column in enumerate(packed):
                    values[column.name] = flat[i :: len(packed)]
            return
        shaped = len(packed) == 1 and bool(packed[0].shape)
        try:
            wide = tensor.dtype in FLOAT_LIMITS and not shaped
            array = np.array(flat, dtype=np.float64 if wide else tensor.dtype).reshape(shape)
        except (OverflowError, TypeError, ValueError):
            raise InputError(f"a value out of the range of {tensor.dtype}", where=f"{path}.data") from None
        if shaped or array.ndim == 1:
            values[packed[0].name] = array
        else:
            for i, column in enumerate(packed):
                values[column.name] = array[:, i]

    def _element(self, tensor: Tensor) -> Any:
        wanted: Any = str
        if tensor.dtype == "bool":
            wanted = bool
        elif tensor.dtype in FLOAT_LIMITS:
            limit = FLOAT_LIMITS[tensor.dtype]
            wanted = (
                float if tensor.dtype == "float64" else Annotated[float, msgspec.Meta(ge=-limit, le=limit)]
            )
        elif tensor.dtype == "uint64":
            wanted = Annotated[int, msgspec.Meta(ge=0)]
        elif tensor.dtype in INTEGER_RANGES:
            low, high = INTEGER_RANGES[tensor.dtype]
            wanted = Annotated[int, msgspec.Meta(ge=low, le=high)]
        return wanted | None if self._nullable[tensor.name] else wanted

    def _apply_parameters(self, block: Block, request: _InferRequest) -> None:
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

    def _wanted(self, outputs: list[_OutputTensor] | None) -> tuple[str, ...]:
        if not outputs:
            return self._output_names
        for i, one in enumerate(outputs):
            if one.name not in self._output_types:
                raise InputError(
                    "unknown output",
                    where=f"$.outputs[{i}].name",
                    next_step=_choice(one.name, list(self._output_names)),
                )
        return tuple(one.name for one in outputs)

    def _input_hint(self, name: str) -> str:
        return _choice(name, list(self._tensors))

    def encode(self, call: InferCall, batch: AnsweredBatch, start: int) -> bytes:
        """The response body for the rows of one call."""
        rows = call.block.rows
        ids = list(batch.ids[start : start + rows])
        outputs = []
        for name in call.outputs:
            values = np.asarray(batch.answer.outputs[name])[start : start + rows]
            outputs.append(_AnswerTensor(name, list(values.shape), self._output_types[name], _listed(values)))
        return self._response(call.id or (ids[0] if len(ids) == 1 else ""), ids, outputs)

    def encode_empty(self, call: InferCall) -> bytes:
        """The response body for a call of no rows."""
        shapes = {
            tensor.name: [0, *(max(size, 0) for size in tensor.shape[1:])]
            for tensor in self._signature.outputs
        }
        outputs = [_AnswerTensor(name, shapes[name], self._output_types[name], []) for name in call.outputs]
        return self._response(call.id or "", [], outputs)

    def _response(self, given_id: str, ids: list[str], outputs: list[_AnswerTensor]) -> bytes:
        parameters = {"prediction_ids": ",".join(ids)}
        return self._encode(_InferResponse(self._model, self._version, given_id, parameters, outputs))

    def metadata(self, platform: str) -> dict[str, Any]:
        """The body of the model metadata route."""
        return {
            "name": self._model,
            "versions": [self._version],
            "platform": platform,
            "inputs": [_described(tensor) for tensor in self._signature.inputs],
            "outputs": [_described(tensor) for tensor in self._signature.outputs],
        }


def _listed(values: Any) -> list[Any]:
    flat = values.ravel().tolist()
    return (
        [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in flat]
        if values.dtype.kind in "OS"
        else flat
    )


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": DATATYPES[tensor.dtype], "shape": [-1, *tensor.shape[1:]]}


def _flatten(nested: list[Any], shape: list[int], path: str, flat: list[Any]) -> None:
    if not shape or len(nested) != shape[0]:
        raise InputError("the nesting does not follow the shape", where=path)
    if len(shape) == 1:
        flat.extend(nested)
        return
    for i, inner in enumerate(nested):
        if not isinstance(inner, list):
            raise InputError("the nesting does not follow the shape", where=f"{path}[{i}]")
        _flatten(inner, shape[1:], f"{path}[{i}]", flat)


def _choice(name: str, valid: list[str]) -> str:
    near = nearest(name, valid)
    if near is not None:
        return f"Did you mean {near!r}?"
    return f"The model has: {', '.join(valid[:12])}."

"""ModelInfer: protobuf tensors, typed or raw, to the v2 codec's columns and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from holdfast.artifact.packing import numpy_dtype
from holdfast.artifact.signature import Dtype
from holdfast.infer import AnsweredBatch, InputError, MalformedBodyError
from holdfast.infer.schema import is_integer
from holdfast.serve.calls import Body
from holdfast.serve.grpc_known import KnownInfer, KnownInfers, Reading, infer_response
from holdfast.serve.grpc_messages import message_class
from holdfast.serve.service import Endpoint
from holdfast.serve.v2 import InferCall
from holdfast.serve.v2_binary import tensor_bytes
from holdfast.serve.v2_messages import (
    DATATYPES,
    InferRequest,
    InputTensor,
    OutputTensor,
    refuse_not_offered,
)

ModelInferRequest: Final = message_class("ModelInferRequest")
ModelInferResponse: Final = message_class("ModelInferResponse")
_DTYPES: Final[dict[str, Dtype]] = {datatype: dtype for dtype, datatype in DATATYPES.items()}
_CONTENTS: Final[dict[Dtype, str]] = {
    "bool": "bool_contents",
    "int8": "int_contents",
    "int16": "int_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "uint8": "uint_contents",
    "uint16": "uint_contents",
    "uint32": "uint_contents",
    "uint64": "uint64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
    "string": "bytes_contents",
}
"""Where typed values stand; FP16 has no place and travels raw only."""
_WIDEST: Final = {"int": np.dtype(np.int64), "uin": np.dtype(np.uint64)}
"""Of the kinds whose small types share a field with larger ones."""


class GrpcInferCall(InferCall):
    """A decoded ModelInfer; its answer is a serialised ModelInferResponse."""

    __slots__ = ("raw",)

    raw: bool
    """Whether outputs go out as bytes, as the inputs came."""

    def encode(self, batch: AnsweredBatch, start: int) -> Body:
        """See `Call.encode`."""
        ids = list(batch.ids[start : start + self.rows])
        found = [
            np.asarray(batch.answer.outputs[name])[start : start + self.rows] for name, _ in self.outputs
        ]
        return self._answer(self.id or (ids[0] if len(ids) == 1 else ""), ids, found)

    def encode_empty(self) -> Body:
        """See `Call.encode_empty`."""
        return self._answer(self.id or "", [], self.codec.empty_outputs(self))

    def _answer(self, given_id: str, ids: list[str], found: Sequence[Any]) -> Body:
        codec = self.codec
        dtypes = [codec.output(name).dtype for name, _ in self.outputs]
        if self.raw:
            outputs = [
                (name, DATATYPES[dtype], values.shape, tensor_bytes(dtype, values))
                for (name, _), dtype, values in zip(self.outputs, dtypes, found, strict=True)
            ]
            body = infer_response(codec.model, codec.version, given_id, ",".join(ids), outputs)
            return body, None
        response = ModelInferResponse(model_name=codec.model, model_version=codec.version, id=given_id)
        response.parameters["prediction_ids"].string_param = ",".join(ids)
        raw = "float16" in dtypes
        for (name, _), dtype, values in zip(self.outputs, dtypes, found, strict=True):
            tensor = response.outputs.add(name=name, datatype=DATATYPES[dtype], shape=values.shape)
            if raw:
                response.raw_output_contents.append(tensor_bytes(dtype, values))
                continue
            flat = values.ravel().tolist()
            if dtype == "string":
                flat = [one if isinstance(one, bytes) else str(one).encode() for one in flat]
            getattr(tensor.contents, _CONTENTS[dtype]).extend(flat)
        return response.SerializeToString(), None


class InferReader:
    """Reads ModelInferRequests; those of known heads without protobuf."""

    def __init__(self) -> None:
        self._known = KnownInfers(ModelInferRequest.FromString)

    def open(self, body: bytes) -> InferMessage:
        """What is known of a message before it is clear which model is asked.

        Raises:
            MalformedBodyError: it is no ModelInferRequest.
        """
        known = self._known.find(body)
        if known is not None:
            return InferMessage(self._known, body, known, None)
        try:
            return InferMessage(self._known, body, None, ModelInferRequest.FromString(body))
        except DecodeError:
            raise MalformedBodyError(
                "not a ModelInferRequest",
                expected="the message of inference.GRPCInferenceService in protobuf",
            ) from None


class InferMessage:
    """One ModelInferRequest: which model it names, and its rows for whichever version answers."""

    __slots__ = ("_body", "_head", "_known", "_request", "model", "version")

    def __init__(self, known: KnownInfers, body: bytes, head: KnownInfer | None, request: Any) -> None:
        self._known = known
        self._body = body
        self._head = head
        self._request = request
        self.model: str = request.model_name if head is None else head.model
        self.version: str = request.model_version if head is None else head.version

    def decode(self, endpoint: Endpoint) -> GrpcInferCall:
        """The rows for the version of this endpoint.

        Raises:
            InputError: tensors do not fit the signature.
            TooManyRowsError: more rows than one request may hold.
        """
        codec, head = endpoint.v2, self._head
        reading = None if head is None else head.reading(codec)
        if head is not None and reading is not None:
            block = codec.read_plain_bytes(reading.rows, memoryview(self._body)[len(head.head) :])
            if block is not None:
                call = GrpcInferCall(codec, None, block, reading.outputs)
                call.raw = True
                return call
        request = self._request
        if request is None:
            self._request = request = ModelInferRequest.FromString(self._body)
        call = decode_infer(endpoint, request)
        if reading is None:
            self._known.learn(self._body, request, call.block, Reading(codec, call.rows, call.outputs))
        return call


def decode_infer(endpoint: Endpoint, request: Any) -> GrpcInferCall:
    """The rows of a ModelInferRequest.

    Raises:
        InputError: tensors do not fit the signature.
        TooManyRowsError: more rows than one request may hold.
    """
    for i, given in enumerate(request.inputs):
        refuse_not_offered(_parameters(given), f"$.inputs[{i}].parameters")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InputError(
            "not one raw content for each input",
            where="raw_input_contents",
            expected=str(len(request.inputs)),
            received=str(len(raw)),
        )
    inputs, contents = [], []
    for i, given in enumerate(request.inputs):
        inputs.append(
            InputTensor(given.name, list(given.shape), given.datatype, parameters=_parameters(given))
        )
        if raw and given.HasField("contents"):
            raise InputError("given twice", where=f"$.inputs[{i}].contents", expected="typed or raw contents")
        content = raw[i] if raw else _typed(given, f"$.inputs[{i}]")
        contents.append(memoryview(content))
    outputs = [OutputTensor(one.name, _parameters(one)) for one in request.outputs]
    envelope = InferRequest(inputs, request.id or None, _parameters(request), outputs)
    call = endpoint.v2.read(envelope, contents, GrpcInferCall)
    call.raw = bool(raw)
    return call


def _typed(given: Any, path: str) -> bytes:
    """Typed contents as the bytes that raw contents would be."""
    dtype = _DTYPES.get(given.datatype)
    if dtype is None or dtype not in _CONTENTS:
        raise InputError(
            "a datatype without typed contents",
            where=f"{path}.datatype",
            expected="raw_input_contents" if dtype else ", ".join(_DTYPES),
            received=given.datatype[:16],
        )
    values = getattr(given.contents, _CONTENTS[dtype])
    if dtype == "string":
        return tensor_bytes(dtype, np.array([*values, None], dtype=object)[:-1])
    array = np.array(list(values), dtype=_WIDEST.get(dtype[:3], numpy_dtype(dtype)))
    if is_integer(dtype) and array.size:
        limits = np.iinfo(numpy_dtype(dtype))
        if array.min() < limits.min or array.max() > limits.max:
            raise InputError(f"a value out of the range of {dtype}", where=f"{path}.contents")
    return tensor_bytes(dtype, array)


def _parameters(message: Any) -> dict[str, Any]:
    """Of a request or one of its tensors."""
    return {name: _chosen(value) for name, value in message.parameters.items()}


def _chosen(parameter: Any) -> Any:
    name = parameter.WhichOneof("parameter_choice")
    return None if name is None else getattr(parameter, name)

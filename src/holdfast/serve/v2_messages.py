"""The messages of protocol v2, and how their parts are read and named."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from holdfast.artifact.signature import Dtype, Tensor
from holdfast.infer import (
    InputError,
    MalformedBodyError,
    nearest,
    read_json,
)
from holdfast.infer.schema import FLOAT_LIMITS, INTEGER_RANGES

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


_NOT_OFFERED: Final = {"shared_memory_region": "shared memory", "classification": "classification"}
"""Extensions of Triton: parameters that would put a tensor elsewhere, or make another one of it."""


class InputTensor(msgspec.Struct):
    """One input as the request describes it; without `data` its bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: Raw | UnsetType = UNSET
    parameters: dict[str, Any] | None = None


class OutputTensor(msgspec.Struct):
    """One output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct):
    """The envelope of a request."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[OutputTensor] | None = None


class AnswerTensor(msgspec.Struct, gc=False):
    """One output of an answer, as JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class BinaryTensor(msgspec.Struct, gc=False):
    """One output of an answer whose bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int]


class InferResponse(msgspec.Struct, gc=False):
    """The envelope of an answer."""

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, str]
    outputs: list[AnswerTensor | BinaryTensor]


decode_request = msgspec.json.Decoder(InferRequest).decode


def read_envelope(text: bytes) -> InferRequest:
    """The envelope of an infer request.

    Raises:
        MalformedBodyError: no JSON, or not of the protocol's shape.
    """
    try:
        return decode_request(text)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        raise MalformedBodyError(
            f"not an infer request: {what}",
            where=path.strip("`") or "$",
            expected='{"inputs": [{"name", "shape", "datatype", "data"}, ...]}',
        ) from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        read_json(text)
        raise MalformedBodyError("not an infer request") from None


def cut_tail(inputs: Sequence[InputTensor], tail: memoryview) -> list[memoryview | None]:
    """For each input its bytes behind the JSON, in order; None where its data are JSON."""
    contents: list[memoryview | None] = []
    for i, given in enumerate(inputs):
        refuse_not_offered(given.parameters, f"$.inputs[{i}].parameters")
        size = (given.parameters or {}).get("binary_data_size")
        if size is None:
            contents.append(None)
            continue
        where = f"$.inputs[{i}].parameters.binary_data_size"
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InputError("wrong type", where=where, expected="a number of bytes")
        if not isinstance(given.data, UnsetType):
            raise InputError("given twice", where=where, expected="either data or binary_data_size")
        if size > len(tail):
            raise InputError(
                "the body ends before the tensor does",
                where=where,
                expected=f"at most {len(tail)} bytes",
                received=str(size)[:32],
                next_step="The header Inference-Header-Content-Length says where the tensors begin.",
            )
        contents.append(tail[:size])
        tail = tail[size:]
    if len(tail):
        raise InputError(
            "more bytes than the tensors declare",
            where="$.inputs",
            received=f"{len(tail)} bytes too many",
            next_step="Say how many are a tensor's in its parameters.binary_data_size.",
        )
    return contents


def refuse_not_offered(parameters: dict[str, Any] | None, path: str) -> None:
    """Refuse what a caller relies on and does not get, rather than leave it out without a word.

    Raises:
        InputError: a tensor's parameters ask for it.
    """
    for name, value in (parameters or {}).items():
        if value and name in _NOT_OFFERED:
            raise InputError(
                f"{_NOT_OFFERED[name]} is not offered",
                where=f"{path}.{name}",
                next_step="GET /v2 lists the extensions of this service.",
            )


def flat_decoder(tensor: Tensor, *, nullable: bool) -> Callable[[Any], list[Any]]:
    """Reads flat data of this tensor from JSON; raises a `MsgspecError` where a value does not fit."""
    wanted: Any = str
    if tensor.dtype == "bool":
        wanted = bool
    elif tensor.dtype in FLOAT_LIMITS:
        limit = FLOAT_LIMITS[tensor.dtype]
        wanted = float if tensor.dtype == "float64" else Annotated[float, msgspec.Meta(ge=-limit, le=limit)]
    elif tensor.dtype == "uint64":
        wanted = Annotated[int, msgspec.Meta(ge=0)]
    elif tensor.dtype in INTEGER_RANGES:
        low, high = INTEGER_RANGES[tensor.dtype]
        wanted = Annotated[int, msgspec.Meta(ge=low, le=high)]
    element = wanted | None if nullable else wanted
    return msgspec.json.Decoder(list[element]).decode  # type: ignore[valid-type]  # made at run time


def from_base64(texts: Sequence[str | None], path: str) -> list[str | None]:
    """Text that a client of MLServer has written as base64, which it says in `content_type`.

    Raises:
        InputError: an element is not base64, or no UTF-8 in it.
    """
    found: list[str | None] = []
    for i, text in enumerate(texts):
        try:
            found.append(None if text is None else base64.b64decode(text, validate=True).decode())
        except (binascii.Error, ValueError):
            raise InputError("not UTF-8 in base64", where=f"{path}[{i}]") from None
    return found


def read_flag(parameters: dict[str, Any] | None, name: str, path: str) -> bool | None:
    """A parameter that is true or false; None where it is not given.

    Raises:
        InputError: it is something else.
    """
    value = (parameters or {}).get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError("wrong type", where=f"{path}.{name}", expected="true or false")
    return value


def as_lists(values: Any) -> list[Any]:
    """The elements in row-major order, as JSON has them; bytes as text."""
    flat = values.ravel().tolist()
    return (
        [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in flat]
        if values.dtype.kind in "OS"
        else flat
    )


def described(tensor: Tensor) -> dict[str, Any]:
    """A tensor as the model's metadata has it."""
    return {"name": tensor.name, "datatype": DATATYPES[tensor.dtype], "shape": [-1, *tensor.shape[1:]]}


def flatten(nested: list[Any], shape: list[int], path: str, flat: list[Any]) -> None:
    """Append the elements of nested lists in row-major order.

    Raises:
        InputError: the nesting does not follow the shape.
    """
    if not shape or len(nested) != shape[0]:
        raise InputError("the nesting does not follow the shape", where=path)
    if len(shape) == 1:
        flat.extend(nested)
        return
    for i, inner in enumerate(nested):
        if not isinstance(inner, list):
            raise InputError("the nesting does not follow the shape", where=f"{path}[{i}]")
        flatten(inner, shape[1:], f"{path}[{i}]", flat)


def choice(name: str, valid: list[str]) -> str:
    """The next step of one who named what there is not."""
    near = nearest(name, valid)
    if near is not None:
        return f"Did you mean {near!r}?"
    return f"The model has: {', '.join(valid[:12])}."


def wrong_datatype(wanted: Dtype, received: str, path: str) -> InputError:
    """The error for an input that is declared to be of another type than the model takes."""
    how = "Send texts" if wanted == "string" else f"Convert the values, in NumPy by .astype({wanted!r}),"
    return InputError(
        "wrong datatype",
        where=f"{path}.datatype",
        expected=DATATYPES[wanted],
        received=received[:16],
        next_step=f"{how} and declare them as {DATATYPES[wanted]}.",
    )

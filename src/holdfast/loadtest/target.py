"""The service under load: where it is, what it is asked, and how its answers are read.

Any server of the Open Inference Protocol v2 will do, in JSON or with binary tensors, and holdfast's own
`POST /predict`.
"""

from __future__ import annotations

import http.client
import json
import math
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import httptools
import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Column, Dtype, Packer, Signature, Tensor
from holdfast.loadtest.errors import LoadTestError, UnreachableError
from holdfast.loadtest.tls import client_context

Protocol = Literal["json", "binary", "predict"]
Outputs = dict[str, list[Any]]
"""Flat values by the name of the output."""

_V2_NAMES: Final[Mapping[Dtype, str]] = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "string": "BYTES",
}  # fmt: skip
_FROM_V2: Final[Mapping[str, Dtype]] = {name: dtype for dtype, name in _V2_NAMES.items()}
_HEADER_LENGTH: Final = "inference-header-content-length"
_ASK_TIMEOUT_S: Final = 10.0
_TOLERANCE: Final = 1e-5
"""Relative difference at which two answers are still the same: float32 rounding is near 1e-6."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running service."""

    url: str
    """Scheme, host, port and, if it is not at the root, the path before `/v2`."""
    model: str
    """Its name, as the protocol has it."""
    protocol: Protocol = "json"
    key: str | None = field(default=None, repr=False)
    """API key for `Authorization: Bearer`."""
    certificate: str | None = None
    """PEM file of the client certificate that the service asks for."""
    certificate_key: str | None = field(default=None, repr=False)
    """PEM file of its private key; None: in the same file."""

    @property
    def address(self) -> tuple[str, int, bool]:
        """Host, port, and whether it speaks TLS.

        Raises:
            LoadTestError: the URL is none of HTTP.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise LoadTestError(
                "not the address of a service",
                where=self.url,
                expected="http://HOST:PORT or https://HOST:PORT",
            )
        tls = parts.scheme == "https"
        return parts.hostname, parts.port or (443 if tls else 80), tls

    @property
    def path(self) -> str:
        """Where requests go."""
        before = urlsplit(self.url).path.rstrip("/")
        return (
            f"{before}/predict"
            if self.protocol == "predict"
            else f"{before}/v2/models/{quote(self.model)}/infer"
        )

    def request(self, body: bytes, json_bytes: int | None = None) -> bytes:
        """A whole request.

        Args:
            body: of it.
            json_bytes: how much of it is JSON, where binary tensors follow.
        """
        host, port, _ = self.address
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"host: {host}:{port}",
            "content-type: " + ("application/json" if json_bytes is None else "application/octet-stream"),
            f"content-length: {len(body)}",
        ]
        if json_bytes is not None:
            lines.append(f"{_HEADER_LENGTH}: {json_bytes}")
        if self.key:
            lines.append(f"authorization: Bearer {self.key}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that is made with its first request.

        Raises:
            LoadTestError: the client certificate cannot be used.
        """
        host, port, tls = self.address
        if not tls:
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        context = client_context(self.certificate, self.certificate_key)
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request by itself: status and body.

        Raises:
            UnreachableError: no answer.
        """
        connection = self.connect(_ASK_TIMEOUT_S)
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            connection.request(method, urlsplit(self.url).path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(
                "the service does not answer",
                where=self.url,
                received=str(error) or type(error).__name__,
                next_step="Start it with `holdfast serve`, or give another --url.",
            ) from error
        finally:
            connection.close()

    def signature(self) -> Signature:
        """Inputs and outputs of the model, as the server's metadata give them.

        Raises:
            UnreachableError: no answer, or none of the protocol.
        """
        path = f"/v2/models/{quote(self.model)}"
        status, body = self.ask("GET", path)
        try:
            metadata = msgspec.json.decode(body, type=_Metadata) if status == 200 else None
        except msgspec.DecodeError:
            metadata = None
        if metadata is None or not metadata.inputs:
            raise UnreachableError(
                "the server does not describe this model as the Open Inference Protocol v2 asks for",
                where=self.url + path,
                expected="status 200 and a list of inputs",
                received=f"status {status}: {body[:200]!r}",
                next_step="Name the model with --model.",
            )
        return Signature(
            columns=tuple(
                Column(name=one.name, dtype=one.dtype, kind="embedding", shape=tuple(one.shape[1:]))
                for one in metadata.inputs
            ),
            inputs=tuple(
                Tensor(name=one.name, dtype=one.dtype, shape=(-1, *one.shape[1:]), columns=(one.name,))
                for one in metadata.inputs
            ),
            outputs=tuple(
                Tensor(name=one.name, dtype=one.dtype, shape=tuple(one.shape)) for one in metadata.outputs
            ),
            task="tensor",
        )


class _Described(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]

    @property
    def dtype(self) -> Dtype:
        return _FROM_V2.get(self.datatype, "float32")


class _Metadata(msgspec.Struct):
    inputs: list[_Described]
    outputs: list[_Described] = []


@dataclass(frozen=True, slots=True)
class Requests:
    """Whole requests, ready to be sent, by index."""

    target: Target
    payloads: tuple[bytes, ...] = field(repr=False)
    rows: tuple[int, ...]
    """Of each request."""
    expected: tuple[Outputs, ...] | None = field(default=None, repr=False)
    """The right answer to each; None: not known."""
    alone_s: tuple[float, ...] = ()
    """How long each took when it was asked alone, by the reference run."""


def make_requests(
    target: Target,
    signature: Signature,
    columns: Mapping[str, NDArray[Any]],
    sizes: Sequence[int],
) -> Requests:
    """Encode requests from rows, one after another, beginning again when the rows are used up.

    Args:
        target: how and where they will be asked.
        signature: of the model.
        columns: rows by column, at least one.
        sizes: rows of each request.
    """
    total = len(next(iter(columns.values())))
    packer = Packer(signature)
    payloads = []
    start = 0
    for size in sizes:
        places = np.arange(start, start + size) % total
        start = (start + size) % total
        part = {name: values[places] for name, values in columns.items()}
        if target.protocol == "predict":
            payloads.append(target.request(_records(signature, part, size)))
            continue
        feeds = packer.pack(part, size)
        tensors = [(tensor, feeds[tensor.name]) for tensor in signature.inputs]
        payloads.append(_binary(target, tensors) if target.protocol == "binary" else _json(target, tensors))
    return Requests(target, tuple(payloads), tuple(sizes))


def made_up_rows(signature: Signature, rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Values for a server of which nothing but its metadata is known: standard normal, 0 or 1, "a"."""
    made: dict[str, NDArray[Any]] = {}
    for column in signature.columns:
        shape = (rows, *(1 if size < 0 else size for size in column.shape))
        if column.dtype == "string":
            made[column.name] = np.full(shape, "a", dtype=object)
        elif column.dtype.startswith("float"):
            made[column.name] = rng.normal(size=shape).astype(np.float32)
        else:
            made[column.name] = rng.integers(0, 2, size=shape)
    return made


def _records(signature: Signature, part: Mapping[str, NDArray[Any]], size: int) -> bytes:
    columns = {column.name: _plain(part[column.name]) for column in signature.columns}
    records = [{name: values[row] for name, values in columns.items()} for row in range(size)]
    return msgspec.json.encode(records[0] if size == 1 else records)


def _plain(values: NDArray[Any]) -> list[Any]:
    """NaN is null in JSON."""
    if values.dtype.kind == "f" and values.ndim == 1:
        return [None if math.isnan(value) else value for value in values.tolist()]
    return list(values.tolist())


def _json(target: Target, tensors: Sequence[tuple[Tensor, NDArray[Any]]]) -> bytes:
    inputs = [
        {
            "name": tensor.name,
            "shape": list(array.shape),
            "datatype": _V2_NAMES[tensor.dtype],
            "data": _plain(array.reshape(-1)),
        }
        for tensor, array in tensors
    ]
    return target.request(msgspec.json.encode({"inputs": inputs}))


def _binary(target: Target, tensors: Sequence[tuple[Tensor, NDArray[Any]]]) -> bytes:
    inputs, blocks = [], []
    for tensor, array in tensors:
        block = _tensor_bytes(tensor.dtype, array)
        blocks.append(block)
        inputs.append(
            {
                "name": tensor.name,
                "shape": list(array.shape),
                "datatype": _V2_NAMES[tensor.dtype],
                "parameters": {"binary_data_size": len(block)},
            }
        )
    head = msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}})
    return target.request(head + b"".join(blocks), len(head))


def _tensor_bytes(dtype: Dtype, array: NDArray[Any]) -> bytes:
    if dtype != "string":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    texts = [str(text).encode() for text in array.reshape(-1).tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


class _Reading:
    """Collects one raw answer for httptools."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body


def read_answer(raw: bytes, protocol: Protocol) -> Outputs | None:
    """The outputs in a raw HTTP answer; None if it is not in the protocol."""
    reading = _Reading()
    try:
        httptools.HttpResponseParser(reading).feed_data(raw)
        if protocol == "predict":
            return _read_records(json.loads(reading.body))
        length = reading.headers.get(_HEADER_LENGTH)
        return _read_v2(reading.body, None if length is None else int(length))
    except (httptools.HttpParserError, ValueError, KeyError, TypeError, struct.error):
        return None


def _read_records(answer: Any) -> Outputs:
    records = answer if isinstance(answer, list) else [answer]
    outputs: Outputs = {}
    for record in records:
        for name in ("prediction", "score", "probabilities", "outputs"):
            if name in record:
                outputs.setdefault(name, []).extend(_flat(record[name]))
    return outputs


def _read_v2(body: bytes, json_bytes: int | None) -> Outputs:
    at = len(body) if json_bytes is None else json_bytes
    outputs: Outputs = {}
    for output in json.loads(body[:at])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[output["name"]] = _flat(output["data"])
            continue
        block, at = body[at : at + size], at + size
        dtype = _FROM_V2[output["datatype"]]
        outputs[output["name"]] = _texts(block) if dtype == "string" else _numbers(dtype, block)
    return outputs


def _numbers(dtype: Dtype, block: bytes) -> list[Any]:
    kind = np.dtype(dtype if dtype != "bool" else "uint8").newbyteorder("<")
    values: list[Any] = np.frombuffer(block, kind).tolist()
    return values


def _texts(block: bytes) -> list[Any]:
    texts, at = [], 0
    while at < len(block):
        (length,) = struct.unpack_from("<I", block, at)
        texts.append(block[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return texts


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [inner for one in value.values() for inner in _flat(one)]
    if isinstance(value, list):
        return [inner for one in value for inner in _flat(one)]
    return [value]


def same_outputs(given: Outputs, expected: Outputs) -> bool:
    """Whether every expected output is there with the same values, numbers within a relative tolerance."""
    for name, wanted in expected.items():
        values = given.get(name)
        if values is None or len(values) != len(wanted):
            return False
        for one, other in zip(values, wanted, strict=True):
            if isinstance(one, int | float) and isinstance(other, int | float):
                if not math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
                    return False
            elif str(one) != str(other):
                return False
    return True


def with_reference_run(requests: Requests) -> Requests:
    """Ask each request once, alone, and take its answer as the right one.

    Raises:
        LoadTestError: the right answer is known already, and this is another.
        UnreachableError: one of them is not answered with 200 and outputs of the protocol.
    """
    expected: list[Outputs] = []
    alone: list[float] = []
    connection = requests.target.connect(30.0)
    try:
        for payload in requests.payloads:
            head, _, body = payload.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            asked_s = time.perf_counter()
            connection.request("POST", requests.target.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            alone.append(time.perf_counter() - asked_s)
            names = [
                f"{name}: {value}" for name, value in response.getheaders() if name.lower() == _HEADER_LENGTH
            ]
            raw = "\r\n".join(["HTTP/1.1 200 OK", f"content-length: {len(content)}", *names, "", ""]).encode()
            outputs = read_answer(raw + content, requests.target.protocol) if response.status == 200 else None
            if not outputs:
                raise UnreachableError(
                    "the service does not answer one request by itself",
                    where=requests.target.url + requests.target.path,
                    expected="status 200 and outputs",
                    received=f"status {response.status}: {content[:300]!r}",
                    next_step="Not every server takes binary tensors: try --protocol json."
                    if requests.target.protocol == "binary"
                    else None,
                )
            if requests.expected is not None and not same_outputs(outputs, requests.expected[len(expected)]):
                raise LoadTestError(
                    "the service answers with other numbers than the artifact does in this process",
                    where=requests.target.url + requests.target.path,
                    next_step="See which version it serves: `holdfast versions`.",
                )
            expected.append(outputs)
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(
            "the service does not answer",
            where=requests.target.url,
            received=str(error) or type(error).__name__,
        ) from error
    finally:
        connection.close()
    return Requests(requests.target, requests.payloads, requests.rows, tuple(expected), tuple(alone))

"""A live service with its gRPC server in the same loop, and a plain client that speaks protobuf."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from live_service import Server, Start, starting
from speakers import Heard, Model, Row, tensor_bytes, tensor_shape, tensor_values

from holdfast.serve.grpc_messages import SERVICE, message_class
from holdfast.serve.grpc_server import GrpcServer
from holdfast.serve.services import Services


def ask_grpc(server: Server, model: Model, rows: list[Row], *, raw: bool, key: str | None = None) -> Heard:
    """The rows in one ModelInfer, to a gRPC server that lives as long as the call."""

    async def begin() -> tuple[GrpcServer, int]:
        started = GrpcServer(Services([server.service]), "0")
        return started, await started.start("127.0.0.1:0")

    started, port = asyncio.run_coroutine_threadsafe(begin(), server.loop).result(20)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            metadata = None if key is None else [("authorization", key)]
            request = infer_request(model, rows, raw=raw)
            return _hear(model, GrpcClient(server, port, channel).call("ModelInfer", request, metadata))
    except grpc.RpcError as error:
        failed: Any = error
        text = failed.details()
        status = 413 if "too many rows" in text else _STATUSES[failed.code()]
        return Heard(status, [], [], text.partition(":")[0], text)
    finally:
        asyncio.run_coroutine_threadsafe(started.stop(1.0), server.loop).result(20)


def infer_request(model: Model, rows: list[Row], *, raw: bool) -> Any:
    """A ModelInferRequest of the rows."""
    request = message_class("ModelInferRequest")(model_name="demo")
    for name, datatype in model.dtypes.items():
        values, shape = tensor_values(model, name, rows), tensor_shape(model, name, rows)
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        if raw:
            request.raw_input_contents.append(tensor_bytes(datatype, values))
        elif datatype == "BYTES":
            tensor.contents.bytes_contents.extend(one.encode() for one in values)
        elif datatype == "INT64":
            tensor.contents.int64_contents.extend(values)
        else:
            tensor.contents.fp32_contents.extend(np.ravel(np.array(values, dtype=float)))
    return request


def _hear(model: Model, answer: Any) -> Heard:
    assert answer.outputs[0].name == model.output
    ids = [one for one in answer.parameters["prediction_ids"].string_param.split(",") if one]
    if answer.raw_output_contents:
        return Heard(200, np.frombuffer(answer.raw_output_contents[0], "<f4").tolist(), ids)
    return Heard(200, list(answer.outputs[0].contents.fp32_contents), ids)


_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.INTERNAL: 500,
}
StartGrpc = Callable[..., "GrpcClient"]
http = starting


class GrpcClient:
    """Calls methods by name; a refused call raises `grpc.RpcError`."""

    def __init__(self, server: Server, port: int, channel: grpc.Channel) -> None:
        self.server = server
        self.port = port
        self.channel = channel

    def call(self, method: str, request: Any = None, metadata: Any = None) -> Any:
        asked = self.channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda one: one if isinstance(one, bytes) else one.SerializeToString(),
            response_deserializer=message_class(f"{method}Response").FromString,
        )
        request = message_class(f"{method}Request")() if request is None else request
        return asked(request, timeout=20, metadata=metadata)

    def code(self, method: str, request: Any = None) -> grpc.StatusCode:
        """How the call ended."""
        try:
            self.call(method, request)
        except grpc.RpcError as error:
            failed: Any = error
            code: grpc.StatusCode = failed.code()
            return code
        return grpc.StatusCode.OK

    def refused(self, method: str, request: Any = None) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, request)
        error: Any = caught.value
        return error.code(), error.details()


@pytest.fixture
def grpc_starting(http: Start) -> Iterator[StartGrpc]:
    """Starts servers as `starting` does; a test module takes it as `start = grpc_starting`."""
    running: list[tuple[Server, GrpcServer, grpc.Channel]] = []

    def start_one(*arguments: Any, **keywords: Any) -> GrpcClient:
        server = http(*arguments, **keywords)

        async def begin() -> tuple[GrpcServer, int]:
            started = GrpcServer(Services([server.service]), "0")
            return started, await started.start("127.0.0.1:0")

        started, port = asyncio.run_coroutine_threadsafe(begin(), server.loop).result(20)
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        running.append((server, started, channel))
        return GrpcClient(server, port, channel)

    yield start_one
    for server, started, channel in running:
        channel.close()
        asyncio.run_coroutine_threadsafe(started.stop(0.1), server.loop).result(20)

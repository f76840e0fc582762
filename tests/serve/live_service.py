from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx.parser
import onnxruntime
import pytest
import uvloop

from holdfast.artifact.signature import Column, Signature, Tensor
from holdfast.clock import SystemClock
from holdfast.infer import DataPlane, LargeRule, LoadedModel
from holdfast.prediction_log import SpoolWriter
from holdfast.privacy import Redactor
from holdfast.serve.app import make_app
from holdfast.serve.connection_state import WorkerState
from holdfast.serve.protocol import HotProtocol
from holdfast.serve.service import Service
from holdfast.serve.services import Services
from holdfast.serve.uvicorn_settings import uvicorn_config
from holdfast.spec import parse_checklist
from holdfast.telemetry import ServiceCounts


class GraphRuntime:
    """ONNX Runtime on a graph written as text."""

    def __init__(self, graph: str) -> None:
        model = onnx.parser.parse_model(graph)
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, ["CPUExecutionProvider"]
        )
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(self.names, self.session.run(None, dict(feeds)), strict=True))

    def close(self) -> None:
        del self.session


def linear_model(version: str = "1", weights: tuple[float, float] = (2.0, 3.0)) -> LoadedModel:
    """Answers `weights[0] * a + weights[1] * b` in float32."""
    graph = f"""
        <ir_version: 9, opset_import: ["": 18]>
        linear (float[N,2] x) => (float[N,1] y)
        <float[2,1] w = {{{weights[0]}, {weights[1]}}}>
        {{ y = MatMul(x, w) }}
    """
    examples = {"a": [1.0, 2.0], "b": [0.5, -1.0]}
    return LoadedModel(version, linear_signature(), GraphRuntime(graph), examples=examples)


def linear_signature() -> Signature:
    """Two numbers in, one out."""
    return Signature(
        columns=(
            Column(name="a", dtype="float32", kind="numeric"),
            Column(name="b", dtype="float32", kind="numeric"),
        ),
        inputs=(Tensor(name="x", dtype="float32", shape=(-1, 2), columns=("a", "b")),),
        outputs=(Tensor(name="y", dtype="float32", shape=(-1, 1)),),
        task="regression",
        prediction_output="y",
    )


def mixed_model(version: str = "1") -> LoadedModel:
    """A binary model of a whole number, a text (its length decides nothing) and a nullable number."""
    graph = """
        <ir_version: 9, opset_import: ["": 18, "ai.onnx.ml": 3]>
        mixed (int64[N] age, string[N] city, float[N] income) => (float[N] p)
        <float zero = {0}, float scale = {0.01}>
        {
            far = ai.onnx.ml.LabelEncoder
                <keys_strings: strings = ["north"], values_floats: floats = [1.0],
                 default_float: float = 0.0> (city)
            years = Cast<to: int = 1>(age)
            missing = IsNaN(income)
            known = Where(missing, zero, income)
            a = Mul(years, scale)
            b = Add(a, far)
            c = Add(b, known)
            p = Sigmoid(c)
        }
    """
    signature = Signature(
        columns=(
            Column(name="age", dtype="int64", kind="numeric"),
            Column(name="city", dtype="string", kind="categorical", categories=("north", "south")),
            Column(name="income", dtype="float32", kind="numeric", nullable=True),
        ),
        inputs=(
            Tensor(name="age", dtype="int64", shape=(-1,), columns=("age",)),
            Tensor(name="city", dtype="string", shape=(-1,), columns=("city",)),
            Tensor(name="income", dtype="float32", shape=(-1,), columns=("income",)),
        ),
        outputs=(Tensor(name="p", dtype="float32", shape=(-1,)),),
        task="binary",
        classes=("no", "yes"),
        positive_class="yes",
        probability_output="p",
    )
    return LoadedModel(version, signature, GraphRuntime(graph))


class Client:
    """Reads responses off one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.file = connection.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def response(self) -> tuple[int, dict[str, str], bytes]:
        line = self.file.readline()
        assert line, "the connection was closed"
        headers = {}
        while (text := self.file.readline()) != b"\r\n":
            name, _, value = text.decode().partition(":")
            headers[name.lower()] = value.strip()
        status = int(line.split()[1])
        if status == 100:
            return status, headers, b""
        return status, headers, self.file.read(int(headers["content-length"]))

    def prediction(self) -> float:
        status, _, body = self.response()
        assert status == 200, body
        value: float = json.loads(body)["prediction"]
        return value

    def closed(self) -> bool:
        try:
            return self.file.read(1) == b""
        except ConnectionError:
            return True


@dataclass
class Server:
    """A service with real sockets, in a thread of the test."""

    port: int
    service: Service
    loop: asyncio.AbstractEventLoop
    state: WorkerState
    listener: asyncio.AbstractServer
    clients: list[Any] = field(default_factory=list)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in the server's loop."""

        async def inside() -> Any:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(inside(), self.loop).result(10)

    def install(self, model: LoadedModel) -> None:
        """Make a model the champion."""
        model.warm_up()
        self.call(self.service.install, model, 1, [])

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        """One request on its own connection; JSON in and out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, content, {"content-type": "application/json", **(headers or {})})
            response = connection.getresponse()
            text = response.read()
            is_json = "json" in (response.headers.get("content-type") or "")
            return response.status, json.loads(text) if is_json else text, response.headers
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """A plain connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self.clients.append(connection)
        return connection

    def client(self) -> Client:
        """A client that reads responses one by one."""
        client = Client(self.connect())
        self.clients.append(client)
        return client


Start = Callable[..., Server]


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Start]:
    """Starts servers: `start(model, toml)`. A test module takes it as `start = starting`."""
    running: list[tuple[asyncio.AbstractEventLoop, threading.Thread, Server]] = []

    def start_one(model: LoadedModel | None = None, toml: str = "", **attributes: Any) -> Server:
        checklist = parse_checklist('[model]\nname = "demo"\n' + toml, source="test")
        loop = uvloop.new_event_loop()
        ready: list[Server] = []
        failure: list[BaseException] = []
        started = threading.Event()

        async def main() -> None:
            clock = SystemClock()
            counts = ServiceCounts()
            plane = DataPlane(None, None, clock)
            if checklist.logging.enabled:
                durability = checklist.logging.durability
                writer = SpoolWriter(
                    tmp_path / "log", deployment="demo", replica="test", clock=clock, durability=durability
                )
                redactor = Redactor(checklist.privacy, b"k" * 32)
                plane = DataPlane(
                    writer,
                    redactor,
                    clock,
                    synced=durability == "synced",
                    large=LargeRule.of(checklist.logging),
                )
            service = Service(checklist, plane, counts, clock)
            app = make_app(service, version="0", run_folder=tmp_path, replica="test", workers=1)
            services = Services([service])
            config = uvicorn_config(app, services)
            state = WorkerState()
            listening = socket.create_server(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            server = await loop.create_server(lambda: HotProtocol(services, config, state), sock=listening)
            ready.append(Server(port, service, loop, state, server))

        def run() -> None:
            asyncio.set_event_loop(loop)
            try:
                loop.run_until_complete(main())
            except BaseException as error:
                failure.append(error)
                started.set()
                raise
            started.set()
            loop.run_forever()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        started.wait(10)
        if failure:
            raise failure[0]
        server = ready[0]
        running.append((loop, thread, server))
        if model is not None:
            server.install(model)
        return server

    yield start_one
    for loop, thread, server in running:
        for client in server.clients:
            client.close()

        async def end(server: Server = server) -> None:
            for connection in list(server.state.connections):
                connection.transport.abort()
            server.listener.close()
            await asyncio.sleep(0.01)
            server.service.plane.close()
            server.service.batcher.close()

        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

"""`inference.GRPCInferenceService` on a port of its own, from the same process and the same data plane."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import msgspec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from holdfast.errors import HoldfastError
from holdfast.infer import InputError, NotReadyError, OverloadedError, UnknownModelError
from holdfast.serve.caller import ANYONE, CALLER_HEADERS, Caller, caller_of_refused, read_caller
from holdfast.serve.errors import ListenError, too_large
from holdfast.serve.grpc_infer import InferMessage, InferReader
from holdfast.serve.grpc_messages import METHODS, POOL, SERVICE, message_class
from holdfast.serve.repository import IndexRequest, index_of, repository_of
from holdfast.serve.service import Service
from holdfast.serve.services import Services, no_such_model
from holdfast.serve.sink import Sink
from holdfast.serve.status import status_of

INFER: Final = "grpc ModelInfer"
EXTENSIONS: Final = ["binary_tensor_data", "model_repository"]
_OVERHEAD_BYTES: Final = 64 * 1024
"""Of a message beside its tensors."""
_MOST_READ: Final = 2
"""Times the limit of a body, up to which a message is read so that its refusal can say what the limit is and
be counted. The library refuses longer ones before anybody here sees them."""
_HEALTH_S: Final = 0.1
_ACCEPTING: Final = 4
"""Servers of the library in one worker, on the same address. Each takes up one call at a time, the next one
several turns of the event loop later: together they make batches of what one would hand over one by one."""
_CODES: Final[dict[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_CALLER_NAMES: Final = frozenset(name.decode() for name in CALLER_HEADERS)
_ANYONE_KNOWN: Final[frozenset[str]] = frozenset()
_SCOPES: Final[dict[str, frozenset[str] | None]] = {
    "ServerLive": None,
    "ServerReady": None,
    "RepositoryModelLoad": frozenset({"admin"}),
    "RepositoryModelUnload": frozenset({"admin"}),
}
"""What each method asks of a caller: None nothing at all, no scope a known caller."""
_Handler = Callable[..., Awaitable[Any]]


class _FutureSink(Sink):
    __slots__ = ("future", "headers")

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
        self.headers = caller.headers
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def add_header(self, line: bytes) -> None:
        self.headers += line

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:  # noqa: ARG002 - a message is one piece
        if not self.future.done():
            self.future.set_result(body)

    def refuse(self, error: HoldfastError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class GrpcServer:
    """One worker's gRPC server.

    Args:
        services: the deployments of the worker.
        version: of holdfast.
    """

    def __init__(self, services: Services, version: str) -> None:
        self._services = services
        self._version = version
        self._health = health.aio.HealthServicer()
        self._reader = InferReader()
        self._following: asyncio.Task[None] | None = None
        size_bytes = _MOST_READ * max(one.max_body_bytes for one in services.all) + _OVERHEAD_BYTES
        for known in (health_pb2, reflection_pb2):
            with contextlib.suppress(TypeError):  # a second server of this process has added it
                POOL.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
        handlers = grpc.method_handlers_generic_handler(SERVICE, self._handlers())
        self._servers = [self._accepting(handlers, size_bytes) for _ in range(_ACCEPTING)]

    def _accepting(self, handlers: Any, size_bytes: int) -> grpc.aio.Server:
        """One that takes up calls."""
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", size_bytes),
                ("grpc.max_send_message_length", -1),
            ]
        )
        server.add_generic_rpc_handlers((handlers,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server, POOL)
        return server

    async def start(
        self,
        address: str,
        tls_pair: tuple[bytes, bytes] | None = None,
        client_ca: bytes | None = None,
    ) -> int:
        """Listen; other workers may listen on the same address.

        Args:
            address: such as `127.0.0.1:8081`; port 0 takes a free one.
            tls_pair: private key and certificate in PEM; None: no TLS.
            client_ca: authority of the certificates that clients must have, in PEM; None: they need none.

        Returns:
            The port.

        Raises:
            ListenError: the address cannot be listened on.
        """
        credentials = None
        port = 0
        try:
            if tls_pair is not None:
                credentials = grpc.ssl_server_credentials(
                    [tls_pair], root_certificates=client_ca, require_client_auth=client_ca is not None
                )
            for server in self._servers:
                if credentials is None:
                    port = server.add_insecure_port(address)
                else:
                    port = server.add_secure_port(address, credentials)
                address = f"{address.rpartition(':')[0]}:{port}"  # the same for all
        except (OSError, RuntimeError) as error:
            raise ListenError(f"cannot listen for gRPC: {error}", where=address) from error
        await asyncio.gather(*(server.start() for server in self._servers))
        self._following = asyncio.create_task(self._follow_readiness())
        return port

    async def stop(self, grace_s: float) -> None:
        """Accept no more calls, and answer those that are in for up to `grace_s` seconds."""
        if self._following is not None:
            self._following.cancel()
        await self._health.enter_graceful_shutdown()
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))

    async def _follow_readiness(self) -> None:
        before = None
        while True:
            ready = self._services.ready
            if ready != before:
                status = health_pb2.HealthCheckResponse.ServingStatus
                value = status.SERVING if ready else status.NOT_SERVING
                for name in ("", SERVICE):
                    await self._health.set(name, value)
                before = ready
            await asyncio.sleep(_HEALTH_S)

    def _handlers(self) -> dict[str, Any]:
        handlers: dict[str, Any] = {}
        for method in METHODS:
            request, response = message_class(f"{method}Request"), message_class(f"{method}Response")
            behaviour = getattr(self, f"_{method}")
            if method == "ModelInfer":
                handlers[method] = grpc.unary_unary_rpc_method_handler(self._infer)
                continue
            handlers[method] = grpc.unary_unary_rpc_method_handler(
                self._guarded(method, behaviour, _SCOPES.get(method, _ANYONE_KNOWN)),
                request_deserializer=request.FromString,
                response_serializer=response.SerializeToString,
            )
        return handlers

    def _guarded(self, method: str, behaviour: _Handler, scopes: frozenset[str] | None) -> Any:
        """Keys first, every error as a status, and every call counted."""
        route = f"grpc {method}"

        async def guarded(request: Any, context: Any) -> Any:
            began_s = time.monotonic()
            named = self._services.find(_name_in(request) or "")
            service = named or self._services.first
            counts, sink = service.counts.route(route), _FutureSink(ANYONE)
            try:
                sink = _FutureSink(_caller(context))
                if scopes is None:
                    answer = await behaviour(request)
                else:
                    answer = await behaviour(request, self._asked(request, context, scopes))
            except HoldfastError as error:
                if isinstance(error, UnknownModelError) and behaviour == self._ModelReady:
                    counts.observe(200, time.monotonic() - began_s)
                    return message_class("ModelReadyResponse")(ready=False)
                sink = _sink_of_refused(context, sink)
                service.count_error(counts, error, began_s, sink)
                return await _abort(context, error, sink)
            counts.observe(200, time.monotonic() - began_s)
            if sink.headers:
                context.set_trailing_metadata(_metadata(sink))
            return answer

        return guarded

    def _asked(self, request: Any, context: Any, scopes: frozenset[str]) -> list[Service]:
        """The deployment that a request names, or all that its caller may see where it can name none."""
        name = _name_in(request)
        if name is None:
            return self._services.admitting(_authorization(context), scopes)
        service = self._services.named(name, _authorization(context))
        service.authorise(_authorization(context), scopes)
        return [service]

    async def _infer(self, body: bytes, context: Any) -> Any:
        sink = _FutureSink(ANYONE)
        service = self._services.first
        try:
            sink = _FutureSink(_caller(context))
            message = self._read(body, context)
            service = self._services.named(message.model, _authorization(context))
            if self._services.alone is None:
                service.authorise(_authorization(context))
            if len(body) > service.max_body_bytes + _OVERHEAD_BYTES:
                raise too_large(service.max_body_bytes)
        except HoldfastError as error:
            sink = _sink_of_refused(context, sink)
            service.turn_away(INFER, error, sink)
            return await _abort(context, error, sink)
        job = service.ask(INFER, sink, message.decode, message.model, message.version or None)
        try:
            answer = await sink.future
            if sink.headers:
                context.set_trailing_metadata(_metadata(sink))
            return answer
        except HoldfastError as error:
            return await _abort(context, error, sink)
        except asyncio.CancelledError:
            if job is not None:
                job.cancelled = True
            raise

    def _read(self, body: bytes, context: Any) -> InferMessage:
        """What a caller with an accepted key asks."""
        if self._services.alone is not None:
            self._services.alone.authorise(_authorization(context))
        else:
            self._services.know(_authorization(context))
        return self._reader.open(body)

    async def _ServerLive(self, _: Any) -> Any:  # noqa: N802 - the protocol's name
        return message_class("ServerLiveResponse")(live=True)

    async def _ServerReady(self, _: Any) -> Any:  # noqa: N802 - the protocol's name
        return message_class("ServerReadyResponse")(ready=self._services.ready)

    async def _ServerMetadata(self, _: Any, __: list[Service]) -> Any:  # noqa: N802 - the protocol's name
        return message_class("ServerMetadataResponse")(
            name="holdfast", version=self._version, extensions=EXTENSIONS
        )

    async def _ModelReady(self, request: Any, asked: list[Service]) -> Any:  # noqa: N802 - the protocol's name
        (service,) = asked
        try:
            service.endpoint(request.version or None, request.name)
            ready = service.ready
        except NotReadyError:
            ready = False
        return message_class("ModelReadyResponse")(ready=ready)

    async def _ModelMetadata(self, request: Any, asked: list[Service]) -> Any:  # noqa: N802 - the protocol's name
        (service,) = asked
        endpoint = service.endpoint(request.version or None, request.name)
        described = endpoint.v2.metadata(endpoint.lane.model.platform, service.versions)
        return message_class("ModelMetadataResponse")(**described)

    _ModelInfer = _infer

    async def _RepositoryIndex(self, request: Any, asked: list[Service]) -> Any:  # noqa: N802 - the protocol's name
        response = message_class("RepositoryIndexResponse")()
        for one in await index_of(asked, IndexRequest(request.ready)):
            response.models.add(**{name: one[name] for name in ("name", "version", "state", "reason")})
        return response

    async def _RepositoryModelLoad(self, request: Any, asked: list[Service]) -> Any:  # noqa: N802 - the protocol's name
        await repository_of(asked[0]).ask("load", _wanted(request, asked[0]))
        return message_class("RepositoryModelLoadResponse")()

    async def _RepositoryModelUnload(self, request: Any, asked: list[Service]) -> Any:  # noqa: N802 - the protocol's name
        await repository_of(asked[0]).ask("unload", _wanted(request, asked[0]))
        return message_class("RepositoryModelUnloadResponse")()


def _wanted(request: Any, service: Service) -> str | None:
    """The version that is to be loaded or unloaded; None: the caller does not say."""
    if request.model_name != service.name:
        raise no_such_model(request.model_name, [service])
    parameters = dict(request.parameters.items())
    version = parameters.pop("version", None)
    parameters.pop("unload_dependents", None)
    for name in itertools.islice(parameters, 1):
        raise InputError(
            "not a parameter of this service", where=f"parameters.{name[:80]}", expected="version"
        )
    return None if version is None else version.string_param or str(version.int64_param)


def _name_in(request: Any) -> str | None:
    """Of the model that a request names; None: it has no place for one."""
    name: str | None = getattr(request, "model_name", getattr(request, "name", None))
    return name


def _authorization(context: Any) -> bytes:
    given = next((value for name, value in context.invocation_metadata() if name == "authorization"), "")
    return _as_bytes(given)


def _caller(context: Any) -> Caller:
    """What the call's metadata and its deadline say; the same names as HTTP's headers."""
    given = _said(context)
    caller = read_caller(given) if given else ANYONE
    remaining_s = context.time_remaining()
    if remaining_s is None:
        return caller
    patience_s = remaining_s if caller.patience_s is None else min(remaining_s, caller.patience_s)
    return msgspec.structs.replace(caller, patience_s=patience_s)


def _said(context: Any) -> list[tuple[bytes, bytes]]:
    return [
        (name.encode(), _as_bytes(value))
        for name, value in context.invocation_metadata()
        if name in _CALLER_NAMES
    ]


def _sink_of_refused(context: Any, sink: _FutureSink) -> _FutureSink:
    """With the caller's id, also where what the caller says could not be read."""
    return sink if sink.caller is not ANYONE else _FutureSink(caller_of_refused(_said(context)))


def _as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _metadata(sink: _FutureSink) -> tuple[tuple[str, str], ...]:
    lines = [line.partition(b": ") for line in sink.headers.split(b"\r\n")[:-1]]
    return tuple((name.decode(), value.decode()) for name, _, value in lines)


async def _abort(context: Any, error: HoldfastError, sink: _FutureSink) -> Any:
    code = _CODES.get(status_of(error), grpc.StatusCode.INTERNAL)
    trailing = _metadata(sink)
    if isinstance(error, OverloadedError):
        trailing += (("grpc-retry-pushback-ms", str(round(error.retry_after_s * 1000))),)
    await context.abort(code, str(error), trailing)

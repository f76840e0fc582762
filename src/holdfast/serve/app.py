"""The ASGI app: every route, the hot ones included for requests that have to queue behind others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from holdfast.errors import HoldfastError
from holdfast.infer import NotReadyError
from holdfast.prediction_log import ErasedPredictionError
from holdfast.serve.caller import Caller, read_caller
from holdfast.serve.consent import read_consents
from holdfast.serve.errors import MethodNotAllowedError, RequestError, RouteNotFoundError
from holdfast.serve.hot import find_hot
from holdfast.serve.labels import read_labels
from holdfast.serve.mlflow import INVOCATIONS
from holdfast.serve.openapi import openapi
from holdfast.serve.repository import INDEX, LOAD, UNLOAD, RepositoryRoutes
from holdfast.serve.responses import JSON, error_response, json_response, read_body, read_json_body
from holdfast.serve.service import INFER, PREDICT, Service, Sink
from holdfast.serve.stream import STREAM
from holdfast.serve.v1 import V1_PREDICT, status_v1
from holdfast.telemetry import read_all, write_snapshot

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from holdfast.serve.forwarding import Forwarder
    from holdfast.serve.websocket import Streams

PAGES: Final = "/ui/"
"""The dashboard's paths. It asks for a key by itself, with a form."""
_OPEN: Final = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/ping", "/health"})
_ANYONE_KNOWN: Final[frozenset[str]] = frozenset()
_SCOPES: Final = {
    PREDICT: frozenset({"predict"}),
    "/labels": frozenset({"label"}),
    "/consent": frozenset({"label"}),
    "/metrics": frozenset({"read"}),
    LOAD: frozenset({"admin"}),
    UNLOAD: frozenset({"admin"}),
}
"""Of routes that describe the service, every known caller may read."""
_NDJSON: Final = frozenset({"application/x-ndjson", "application/jsonl", "application/json-lines"})
_Handler = Callable[[Request], Awaitable[Response]]


class _FutureSink(Sink):
    __slots__ = ("caller", "future", "headers")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.headers = caller.headers
        self.future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def add_header(self, line: bytes) -> None:
        self.headers += line

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:
        if self.future.done():
            return
        if json_bytes is None:
            self.future.set_result(Response(body, media_type=JSON))
        else:
            headers = {"inference-header-content-length": str(json_bytes)}
            self.future.set_result(Response(body, media_type="application/octet-stream", headers=headers))

    def refuse(self, error: HoldfastError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def make_app(
    service: Service, *, version: str, run_folder: Path, replica: str, workers: int, dashboard: str = ""
) -> Starlette:
    """The app of one worker.

    Args:
        service: shared with the protocol.
        version: of holdfast.
        run_folder: where the workers' counts are.
        replica: this worker's name there.
        workers: of the whole service, for `/metrics`.
        dashboard: path of the socket at which pages are had; "": there are none.
    """
    routes = _Routes(service, version=version, run_folder=run_folder, replica=replica, workers=workers)
    routes.dashboard = dashboard

    async def on_http_error(request: Request, error: Exception) -> Response:
        """Starlette's own 404 and 405 in our words."""
        failure: HoldfastError = RequestError(str(error))
        if isinstance(error, HTTPException) and error.status_code == 404:
            failure = RouteNotFoundError(
                "no such path", where=request.url.path[:200], next_step="See /openapi.json."
            )
        elif isinstance(error, HTTPException) and error.status_code == 405:
            failure = MethodNotAllowedError(
                "the path does not take this method",
                where=request.url.path[:200],
                expected=(error.headers or {}).get("Allow"),
                received=request.method,
            )
        response = error_response(failure)
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    return Starlette(routes=routes.table(), exception_handlers={HTTPException: on_http_error})


class _Routes:
    def __init__(
        self, service: Service, *, version: str, run_folder: Path, replica: str, workers: int
    ) -> None:
        self._service = service
        self._version = version
        self._run_folder = run_folder
        self._replica = replica
        self._workers = workers
        self._streams: Streams | None = None
        self._forwarder: Forwarder | None = None
        self.dashboard = ""

    def table(self) -> list[BaseRoute]:
        model, pinned = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
        repository = RepositoryRoutes(self._service)
        return [
            Route("/", self._root),
            Route(f"{PAGES}{{rest:path}}", self._counted(PAGES, self._pages), methods=["GET", "POST"]),
            Route(PREDICT, self._guarded(PREDICT, self._hot), methods=["POST"]),
            Route(f"{model}/infer", self._guarded(PREDICT, self._hot), methods=["POST"]),
            Route(f"{pinned}/infer", self._guarded(PREDICT, self._hot), methods=["POST"]),
            Route(V1_PREDICT, self._guarded(PREDICT, self._hot), methods=["POST"]),
            Route(
                "/v1/models/{model}/versions/{version}:predict",
                self._guarded(PREDICT, self._hot),
                methods=["POST"],
            ),
            Route("/v1/models", self._counted("/v1/models", self._v1_models)),
            Route("/v1/models/{model}", self._counted("/v1/models/{model}", self._v1_status)),
            Route(
                "/v1/models/{model}/versions/{version}", self._counted("/v1/models/{model}", self._v1_status)
            ),
            Route(INVOCATIONS, self._guarded(PREDICT, self._hot), methods=["POST"]),
            Route("/ping", self._counted("/ping", self._ready)),
            Route("/health", self._counted("/health", self._ready)),
            Route("/version", self._counted("/version", self._holdfast_version)),
            WebSocketRoute(STREAM, self._stream),
            WebSocketRoute("/v2/models/{model}/versions/{version}/stream", self._stream),
            Route(INDEX, self._counted(INDEX, repository.index), methods=["POST"]),
            Route(LOAD, self._counted(LOAD, repository.load), methods=["POST"]),
            Route(UNLOAD, self._counted(UNLOAD, repository.unload), methods=["POST"]),
            Route("/labels", self._counted("/labels", self._labels), methods=["POST"]),
            Route("/consent", self._counted("/consent", self._consent), methods=["POST"]),
            Route("/livez", self._counted("/livez", self._live)),
            Route("/readyz", self._counted("/readyz", self._ready)),
            Route("/v2", self._counted("/v2", self._server)),
            Route("/v2/", self._counted("/v2", self._server)),
            Route("/v2/health/live", self._counted("/v2/health/live", self._live)),
            Route("/v2/health/ready", self._counted("/v2/health/ready", self._ready)),
            Route(model, self._counted(model, self._metadata)),
            Route(pinned, self._counted(model, self._metadata)),
            Route(f"{model}/ready", self._counted(f"{model}/ready", self._model_ready)),
            Route(f"{pinned}/ready", self._counted(f"{model}/ready", self._model_ready)),
            Route("/metrics", self._counted("/metrics", self._metrics)),
            Route("/openapi.json", self._counted("/openapi.json", self._openapi)),
        ]

    def _guarded(self, route: str, handler: _Handler) -> _Handler:
        """Keys first, with the scope of the route, and every error as JSON."""
        scopes = _SCOPES.get(route, _ANYONE_KNOWN)

        async def guarded(request: Request) -> Response:
            try:
                if route != PAGES and request.url.path not in _OPEN:
                    authorization = request.headers.get("authorization")
                    request.state.grant = self._service.authorise(
                        authorization.encode("latin-1") if authorization else None, scopes
                    )
                return await handler(request)
            except HoldfastError as error:
                return error_response(error)
            except ClientDisconnect:
                return Response(status_code=400)

        return guarded

    def _counted(self, route: str, handler: _Handler) -> _Handler:
        """Guarded, and counted by route and status; the hot routes count themselves."""
        guarded = self._guarded(route, handler)

        async def counted(request: Request) -> Response:
            began_s = time.monotonic()
            try:
                sink = _FutureSink(read_caller(_small_headers(request)))
            except HoldfastError as error:
                return error_response(error)
            response = await guarded(request)
            seconds = time.monotonic() - began_s
            counts = self._service.counts.route(route)
            counts.observe(response.status_code, seconds)
            if self._service.watch is not None:
                self._service.watch.request(
                    counts, response.status_code, seconds, sink, method=request.method
                )
            return _with_headers(response, sink)

        return counted

    async def _hot(self, request: Request) -> Response:
        """A hot request that came behind others: the same codecs and the same plane."""
        bind = find_hot(self._service, request.scope["raw_path"])
        if bind is None:
            raise RouteNotFoundError("no such path", where=request.url.path[:200])
        json_bytes = request.headers.get("inference-header-content-length")
        take = bind(
            request.headers.get("content-type", "").encode("latin-1"),
            None if json_bytes is None else json_bytes.encode("latin-1"),
        )
        body = await read_body(request, self._service.max_body_bytes)
        sink = _FutureSink(read_caller(_small_headers(request)))
        response = await _answer(sink, take(body, sink))
        return _with_headers(response, sink)

    async def _labels(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        lines = kind in _NDJSON
        limit = self._service.max_body_bytes
        body = await (read_body if lines else read_json_body)(request, limit)
        if self._service.plane.writer is None:
            raise NotReadyError(
                "labels cannot be kept: the log is switched off", next_step="Set [logging] enabled = true."
            )
        labels = read_labels(body, self._service.clock, lines=lines)
        plane = self._service.plane
        counts = self._service.counts.log
        try:
            refused = plane.append_labels(labels)
        except ErasedPredictionError:
            counts.labels_refused += len(labels)
            raise
        if plane.syncs:
            await asyncio.to_thread(plane.sync)
        counts.labels += len(labels) - len(refused)
        counts.labels_refused += len(refused)
        answer: dict[str, Any] = {"accepted": len(labels) - len(refused)}
        if refused:
            answer["refused"] = [
                {"where": f"$[{place}].prediction_id", "error": "the prediction was erased on request"}
                for place in refused
            ]
        return json_response(answer)

    async def _consent(self, request: Request) -> Response:
        body = await read_json_body(request, self._service.max_body_bytes)
        statements = read_consents(body, self._service.clock)
        book = self._service.consents
        if book is None:
            raise NotReadyError("consent cannot be kept: this service has no folder of its own")
        grant = request.state.grant
        await asyncio.to_thread(book.record, statements, "anybody" if grant is None else grant.name)
        return json_response({"accepted": len(statements)})

    async def _root(self, request: Request) -> Response:
        """The dashboard for browsers, the service in short for programs."""
        if self.dashboard and "text/html" in request.headers.get("accept", ""):
            return await self._counted(PAGES, self._pages)(request)
        return await self._counted("/", self._home)(request)

    async def _pages(self, request: Request) -> Response:
        if not self.dashboard:
            raise RouteNotFoundError("this service runs without its dashboard", where=request.url.path[:200])
        if self._forwarder is None:
            from holdfast.serve.forwarding import Forwarder

            self._forwarder = Forwarder(self.dashboard, lambda: self._service.draining)
        return await self._forwarder.forward(request)

    async def _home(self, _: Request) -> Response:
        champion = self._service.champion
        return json_response(
            {
                "name": self._service.name,
                "model_version": champion.lane.version if champion else None,
                "ready": self._service.ready,
                "holdfast": self._version,
                "links": {
                    "predict": PREDICT,
                    "infer": INFER.format(model=self._service.name),
                    "labels": "/labels",
                    "describe": "/openapi.json",
                    "metrics": "/metrics",
                },
            }
        )

    async def _live(self, _: Request) -> Response:
        return json_response({"live": True})

    async def _ready(self, _: Request) -> Response:
        ready = self._service.ready
        return json_response({"ready": ready}, 200 if ready else 503)

    async def _server(self, _: Request) -> Response:
        return json_response(
            {
                "name": "holdfast",
                "version": self._version,
                "extensions": ["binary_tensor_data", "model_repository"],
            }
        )

    async def _stream(self, websocket: WebSocket) -> None:
        from holdfast.serve.websocket import Streams

        if self._streams is None:
            self._streams = Streams(self._service)
        await self._streams.accept(websocket)

    async def _v1_models(self, _: Request) -> Response:
        return json_response({"models": [self._service.name]})

    async def _v1_status(self, request: Request) -> Response:
        model, version = request.path_params["model"], request.path_params.get("version")
        endpoint = self._service.endpoint(version, model)
        versions = self._service.versions if version is None else [endpoint.lane.version]
        return json_response(status_v1(model, versions, ready=self._service.ready))

    async def _holdfast_version(self, _: Request) -> Response:
        return Response(self._version, media_type="text/plain")

    async def _metadata(self, request: Request) -> Response:
        endpoint = self._service.endpoint(request.path_params.get("version"), request.path_params["model"])
        versions = self._service.versions
        return json_response(endpoint.v2.metadata(endpoint.lane.model.platform, versions))

    async def _model_ready(self, request: Request) -> Response:
        try:
            self._service.endpoint(request.path_params.get("version"), request.path_params["model"])
            ready = self._service.ready
        except NotReadyError:
            ready = False
        return json_response({"name": request.path_params["model"], "ready": ready}, 200 if ready else 503)

    async def _metrics(self, _: Request) -> Response:
        from holdfast.prediction_log import read_account
        from holdfast.telemetry.exposition import CONTENT_TYPE, exposition

        # Our own file first, then only files: all workers show the same, ever growing numbers.
        self._service.refresh_gauges()
        write_snapshot(self._run_folder, self._replica, self._service.counts)
        writer = self._service.plane.writer
        segments, size_bytes = (0, 0) if writer is None else writer.spool_size()
        text = exposition(
            self._service.name,
            read_all(self._run_folder),
            workers=self._workers,
            spool_segments=segments,
            spool_bytes=size_bytes,
            account=None if writer is None else read_account(writer.log_folder),
        )
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def _openapi(self, _: Request) -> Response:
        champion = self._service.champion
        signature = champion.lane.model.signature if champion else None
        version = champion.lane.version if champion else None
        return json_response(openapi(self._service.checklist, signature, version, self._service.examples))


def _small_headers(request: Request) -> list[tuple[bytes, bytes]]:
    """As ASGI has them: names in small letters."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    return headers


def _with_headers(response: Response, sink: _FutureSink) -> Response:
    for line in sink.headers.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        response.raw_headers.append((name, value))
    return response


async def _answer(sink: _FutureSink, job: Any) -> Response:
    try:
        return await sink.future
    except asyncio.CancelledError:
        if job is not None:
            job.cancelled = True
        raise

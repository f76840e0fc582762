"""The ASGI app of one deployment: every route, the hot ones too for requests that queue behind others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from holdfast.infer import NotReadyError
from holdfast.prediction_log import ErasedPredictionError
from holdfast.serve.consent import read_consents
from holdfast.serve.errors import RouteNotFoundError
from holdfast.serve.guarding import (
    OPEN,
    PAGES,
    Guard,
)
from holdfast.serve.hot import Take, find_hot, target_of
from holdfast.serve.labels import labels_beside_numbers, read_labels
from holdfast.serve.metrics import metrics_response, show
from holdfast.serve.mlflow import INVOCATIONS
from holdfast.serve.openapi import openapi
from holdfast.serve.repository import INDEX, LOAD, UNLOAD, RepositoryRoutes
from holdfast.serve.responses import json_response, read_body, read_json_body
from holdfast.serve.service import INFER, PREDICT, Service
from holdfast.serve.stream import STREAM
from holdfast.serve.v1 import V1_PREDICT, status_v1

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from holdfast.serve.forwarding import Forwarder
    from holdfast.serve.websocket import Streams

_NDJSON: Final = frozenset({"application/x-ndjson", "application/jsonl", "application/json-lines"})


def make_app(
    service: Service,
    *,
    version: str,
    run_folder: Path,
    replica: str,
    workers: int,
    dashboard: str = "",
    below: str = "",
) -> Starlette:
    """The app of one deployment in a worker, as if it were alone.

    Args:
        service: shared with the protocol.
        version: of holdfast.
        run_folder: where the workers' counts are.
        replica: this worker's name there.
        workers: of the whole service, for `/metrics`.
        dashboard: path of the socket at which pages are had; "": there are none.
        below: path before all of its own, where it is not alone.
    """
    routes = _Routes(service, version=version, run_folder=run_folder, replica=replica, workers=workers)
    routes.dashboard, routes.below = dashboard, below
    return routes.app()


class _Routes:
    def __init__(
        self, service: Service, *, version: str, run_folder: Path, replica: str, workers: int
    ) -> None:
        self._service = service
        self._guard = Guard(service, self._authorise)
        self._version = version
        self._run_folder = run_folder
        self._replica = replica
        self._workers = workers
        self._streams: Streams | None = None
        self._forwarder: Forwarder | None = None
        self.dashboard = self.below = ""

    def app(self) -> Starlette:
        on_error = self._guard.on_http_error
        app = Starlette(routes=self._table(), exception_handlers={HTTPException: on_error})
        app.router.redirect_slashes = False  # it would not be counted: see `Guard.on_http_error`
        return app

    def _table(self) -> list[BaseRoute]:
        model, pinned = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
        repository = RepositoryRoutes(self._service)
        hot = self._guard.hot(self._read_hot)
        return [
            Route("/", self._root),
            Route(f"{PAGES}{{rest:path}}", self._guard.counted(PAGES, self._pages), methods=["GET", "POST"]),
            Route(PREDICT, hot, methods=["POST"]),
            Route(f"{model}/infer", hot, methods=["POST"]),
            Route(f"{pinned}/infer", hot, methods=["POST"]),
            Route(V1_PREDICT, hot, methods=["POST"]),
            Route("/v1/models/{model}/versions/{version}:predict", hot, methods=["POST"]),
            Route("/v1/models", self._guard.counted("/v1/models", self._v1_models)),
            Route("/v1/models/{model}", self._guard.counted("/v1/models/{model}", self._v1_status)),
            Route(
                "/v1/models/{model}/versions/{version}",
                self._guard.counted("/v1/models/{model}", self._v1_status),
            ),
            Route(INVOCATIONS, hot, methods=["POST"]),
            Route("/ping", self._guard.counted("/ping", self._ready)),
            Route("/health", self._guard.counted("/health", self._ready)),
            Route("/version", self._guard.counted("/version", self._holdfast_version)),
            WebSocketRoute(STREAM, self._stream),
            WebSocketRoute("/v2/models/{model}/versions/{version}/stream", self._stream),
            Route(INDEX, self._guard.counted(INDEX, repository.index), methods=["POST"]),
            Route(LOAD, self._guard.counted(LOAD, repository.load), methods=["POST"]),
            Route(UNLOAD, self._guard.counted(UNLOAD, repository.unload), methods=["POST"]),
            Route("/labels", self._guard.counted("/labels", self._labels), methods=["POST"]),
            Route("/consent", self._guard.counted("/consent", self._consent), methods=["POST"]),
            Route("/livez", self._guard.counted("/livez", self._live)),
            Route("/readyz", self._guard.counted("/readyz", self._ready)),
            Route("/v2", self._guard.counted("/v2", self._server)),
            Route("/v2/", self._guard.counted("/v2", self._server)),
            Route("/v2/health/live", self._guard.counted("/v2/health/live", self._live)),
            Route("/v2/health/ready", self._guard.counted("/v2/health/ready", self._ready)),
            Route(model, self._guard.counted(model, self._metadata)),
            Route(pinned, self._guard.counted(model, self._metadata)),
            Route(f"{model}/ready", self._guard.counted(f"{model}/ready", self._model_ready)),
            Route(f"{pinned}/ready", self._guard.counted(f"{model}/ready", self._model_ready)),
            Route("/metrics", self._guard.counted("/metrics", self._metrics)),
            Route("/openapi.json", self._guard.counted("/openapi.json", self._openapi)),
        ]

    def _authorise(self, request: Request, authorization: bytes | None, scopes: frozenset[str]) -> None:
        request.state.grant = self._service.authorise(authorization, scopes)

    async def _read_hot(self, request: Request) -> tuple[Take, bytes]:
        """A hot request that came behind others: the same codecs and the same plane."""
        bind = find_hot(self._service, target_of(request.scope["path"]))
        if bind is None:
            raise RouteNotFoundError("no such path", where=request.url.path[:200])
        json_bytes = request.headers.get("inference-header-content-length")
        take = bind(
            request.headers.get("content-type", "").encode("latin-1"),
            None if json_bytes is None else json_bytes.encode("latin-1"),
        )
        return take, await read_body(request, self._service.max_body_bytes, self._service.slices)

    async def _labels(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        lines = kind in _NDJSON
        limit = self._service.max_body_bytes
        body = await (read_body if lines else read_json_body)(request, limit, self._service.slices)
        if self._service.plane.writer is None:
            raise NotReadyError(
                "labels cannot be kept: the log is switched off", next_step="Set [logging] enabled = true."
            )
        labels = read_labels(body, self._service.clock, lines=lines)
        plane, champion = self._service.plane, self._service.champion
        counts = self._service.counts.log
        of_numbers = champion is not None and champion.lane.model.signature.task == "regression"
        unfit = labels_beside_numbers(labels) if of_numbers else {}
        counts.labels_unfit += len(unfit)
        if unfit and len(unfit) == len(labels):
            raise unfit[0]
        fit = [place for place in range(len(labels)) if place not in unfit]
        try:
            erased = [fit[place] for place in plane.append_labels([labels[place] for place in fit])]
        except ErasedPredictionError:
            if not unfit:
                counts.labels_refused += len(fit)
                raise
            erased = fit
        if plane.syncs:
            await asyncio.to_thread(plane.sync)
        accepted = len(fit) - len(erased)
        counts.labels += accepted
        counts.labels_refused += len(erased)
        answer: dict[str, Any] = {"accepted": accepted}
        refused: dict[int, dict[str, Any]] = {
            place: {"where": f"$[{place}].prediction_id", "error": "the prediction was erased on request"}
            for place in erased
        }
        refused |= {place: error.as_dict() for place, error in unfit.items()}
        if refused:
            answer["refused"] = [told for _, told in sorted(refused.items())]
        return json_response(answer)

    async def _consent(self, request: Request) -> Response:
        body = await read_json_body(request, self._service.max_body_bytes, self._service.slices)
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
            return await self._guard.counted(PAGES, self._pages)(request)
        return await self._guard.counted("/", self._home)(request)

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
                    "predict": f"{self.below}{PREDICT}",
                    "infer": INFER.format(model=self._service.name),
                    "labels": f"{self.below}/labels",
                    "describe": f"{self.below}/openapi.json",
                    "metrics": f"{self.below}/metrics",
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
        return metrics_response([show(self._service, self._run_folder, self._replica, self._workers)])

    async def _openapi(self, _: Request) -> Response:
        champion = self._service.champion
        signature = champion.lane.model.signature if champion else None
        version = champion.lane.version if champion else None
        document = openapi(
            self._service.checklist, signature, version, self._service.examples, open_paths=OPEN
        )
        if self.below:
            document["servers"] = [{"url": self.below}]
        return json_response(document)

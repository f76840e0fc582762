"""The ASGI app of a worker: hands a request to its deployment's app, and answers for the service as a whole.

Each deployment's app is the one that it has when it is alone. Of several, the paths of protocols v2 and v1
say by name which is meant, and everything else of a deployment stands below `/deployments/{name}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from holdfast.errors import HoldfastError
from holdfast.serve.control import DEPLOYMENTS
from holdfast.serve.errors import RouteNotFoundError
from holdfast.serve.guarding import PAGES, Guard
from holdfast.serve.metrics import metrics_response
from holdfast.serve.mlflow import INVOCATIONS
from holdfast.serve.repository import INDEX, IndexRequest, index_of, read_request
from holdfast.serve.responses import error_response, json_response
from holdfast.serve.service import FOR_PREDICTIONS, PREDICT, Service
from holdfast.serve.services import Services, no_such_model

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocket

    from holdfast.telemetry.exposition import Shown

_OF_ONE: Final = (PREDICT, INVOCATIONS, "/labels", "/consent", "/openapi.json")
"""Paths that mean one deployment and do not say which."""
_ANY: Final = ["GET", "POST"]
_INDEX_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>holdfast</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}
li{{margin:.5rem 0}}</style></head>
<body><main><h1>Deployments</h1><ul>{items}</ul></main></body></html>
"""
_INDEX_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def make_server_app(
    services: Services,
    apps: Mapping[str, ASGIApp],
    *,
    version: str,
    shows: Mapping[str, Callable[[], Shown]],
    dashboards: bool,
) -> ASGIApp:
    """The app of one worker.

    Args:
        services: all of its deployments.
        apps: of each, by name.
        version: of holdfast.
        shows: what `/metrics` says of each, by name.
        dashboards: whether the deployments have pages.
    """
    whole: ASGIApp
    if services.alone is not None:
        whole = apps[services.alone.name]
    else:
        whole = _Routes(services, version, shows, dashboards=dashboards).app()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked: bytes = scope.get("raw_path") or scope["path"].encode()
        found, path = services.choose(asked)
        if path is not asked:
            # What is before it has no escapes that would shift: names need none.
            scope["raw_path"] = path
            scope["path"] = "/" + scope["path"].removeprefix(DEPLOYMENTS).partition("/")[2]
        await (whole if found is None else apps[found.name])(scope, receive, send)

    return app


class _Routes:
    """What belongs to no deployment."""

    def __init__(
        self,
        services: Services,
        version: str,
        shows: Mapping[str, Callable[[], Shown]],
        *,
        dashboards: bool,
    ) -> None:
        self._services = services
        self._version = version
        self._shows = shows
        self._dashboards = dashboards
        self._guard = Guard(services.first, self._authorise)

    def app(self) -> Starlette:
        on_error = self._guard.on_http_error
        app = Starlette(routes=self._table(), exception_handlers={HTTPException: on_error})
        app.router.redirect_slashes = False  # it would not be counted: see `Guard.on_http_error`
        return app

    def _table(self) -> list[BaseRoute]:
        counted = self._guard.counted
        one = counted("/{route}", self._of_one)
        none = counted("/v2/models/{model}", self._unknown)
        return [
            Route("/", self._root),
            Route(DEPLOYMENTS.rstrip("/"), counted(DEPLOYMENTS, self._home)),
            Route("/ui/", self._index_page),
            Route("/ui", self._index_page),
            *(Route(path, one, methods=_ANY) for path in _OF_ONE),
            Route("/ping", counted("/ping", self._ready)),
            Route("/health", counted("/health", self._ready)),
            Route("/version", counted("/version", self._holdfast_version)),
            Route("/livez", counted("/livez", self._live)),
            Route("/readyz", counted("/readyz", self._ready)),
            Route("/v2", counted("/v2", self._server)),
            Route("/v2/", counted("/v2", self._server)),
            Route("/v2/health/live", counted("/v2/health/live", self._live)),
            Route("/v2/health/ready", counted("/v2/health/ready", self._ready)),
            Route("/v1/models", counted("/v1/models", self._v1_models)),
            Route(INDEX, counted(INDEX, self._index), methods=["POST"]),
            Route("/metrics", counted("/metrics", self._metrics)),
            WebSocketRoute("/v2/models/{model}/{rest:path}", self._unknown_stream),
            Route("/v2/repository/models/{model}/{rest:path}", none, methods=_ANY),
            Route("/v2/models/{model}/{rest:path}", none, methods=_ANY),
            Route("/v2/models/{model}", none, methods=_ANY),
            Route("/v1/models/{model}/{rest:path}", none, methods=_ANY),
            Route("/v1/models/{model}", none, methods=_ANY),
            Route("/deployments/{model}/{rest:path}", none, methods=_ANY),
            Route("/deployments/{model}", none, methods=_ANY),
        ]

    def _authorise(self, request: Request, authorization: bytes | None, scopes: frozenset[str]) -> None:
        request.state.seen = self._services.admitting(authorization, scopes)

    async def _root(self, request: Request) -> Response:
        """The dashboards for browsers, the service in short for programs."""
        if self._dashboards and "text/html" in request.headers.get("accept", ""):
            return await self._index_page(request)
        return await self._guard.counted("/", self._home)(request)

    async def _index_page(self, _: Request) -> Response:
        """Names and no more; each dashboard asks for its own key."""
        if not self._dashboards:
            raise HTTPException(404)
        items = "".join(
            f'<li><a href="{DEPLOYMENTS}{escape(one.name)}{PAGES}">{escape(one.name)}</a></li>'
            for one in self._services.all
        )
        return HTMLResponse(_INDEX_PAGE.format(items=items), headers=_INDEX_HEADERS)

    async def _home(self, request: Request) -> Response:
        return json_response(
            {
                "ready": self._services.ready,
                "holdfast": self._version,
                "deployments": [_in_short(one) for one in request.state.seen],
                "links": {"index": INDEX, "metrics": "/metrics", "models": "/v1/models"},
            }
        )

    async def _live(self, _: Request) -> Response:
        return json_response({"live": True})

    async def _ready(self, _: Request) -> Response:
        ready = self._services.ready
        return json_response({"ready": ready}, 200 if ready else 503)

    async def _server(self, _: Request) -> Response:
        extensions = ["binary_tensor_data", "model_repository"]
        return json_response({"name": "holdfast", "version": self._version, "extensions": extensions})

    async def _holdfast_version(self, _: Request) -> Response:
        return Response(self._version, media_type="text/plain")

    async def _v1_models(self, request: Request) -> Response:
        return json_response({"models": [one.name for one in request.state.seen]})

    async def _index(self, request: Request) -> Response:
        asked = await read_request(request, self._services.first, IndexRequest)
        return json_response(await index_of(request.state.seen, asked))

    async def _metrics(self, request: Request) -> Response:
        return metrics_response([self._shows[one.name]() for one in request.state.seen])

    async def _of_one(self, request: Request) -> Response:
        path = request.url.path
        raise RouteNotFoundError(
            "several deployments answer here, and the path names none",
            where=path,
            expected=", ".join(f"{DEPLOYMENTS}{one.name}{path}" for one in request.state.seen),
        )

    async def _unknown_stream(self, websocket: WebSocket) -> None:
        given = websocket.headers.get("authorization")
        try:
            seen = self._services.admitting(given.encode("latin-1") if given else None, FOR_PREDICTIONS)
            error: HoldfastError = no_such_model(websocket.path_params["model"], seen)
        except HoldfastError as refusal:
            error = refusal
        await websocket.send_denial_response(error_response(error))

    async def _unknown(self, request: Request) -> Response:
        raise no_such_model(request.path_params["model"], request.state.seen)


def _in_short(service: Service) -> dict[str, Any]:
    champion = service.champion
    return {
        "name": service.name,
        "model_version": champion.lane.version if champion else None,
        "ready": service.ready,
        "unloaded": service.withdrawn,
        "url": f"{DEPLOYMENTS}{service.name}",
    }

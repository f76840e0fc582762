"""What stands around every handler of the ASGI app: keys, errors as JSON, counts, the access log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from holdfast.errors import HoldfastError
from holdfast.serve.caller import Caller, caller_of_refused, read_caller
from holdfast.serve.errors import MethodNotAllowedError, RequestError, RouteNotFoundError, ServeError
from holdfast.serve.hot import Take, route_of, target_of
from holdfast.serve.repository import LOAD, UNLOAD
from holdfast.serve.responses import JSON, error_response, in_coding_of_caller
from holdfast.serve.service import FOR_PREDICTIONS, Service
from holdfast.serve.sink import Sink

PAGES: Final = "/ui/"
"""The dashboard's paths. It asks for a key by itself, with a form."""
OPEN: Final = frozenset(
    {"/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/ping", "/health", PAGES}
)
"""Paths for which nobody needs a key."""
_NOWHERE: Final = "/{path}"
"""Under which requests are counted whose path there is not, or takes not their method."""
_ANYONE_KNOWN: Final[frozenset[str]] = frozenset()
_SCOPES: Final = {
    "/labels": frozenset({"label"}),
    "/consent": frozenset({"label"}),
    "/metrics": frozenset({"read"}),
    LOAD: frozenset({"admin"}),
    UNLOAD: frozenset({"admin"}),
}
"""Of routes that describe the service, every known caller may read."""
logger = logging.getLogger("holdfast.serve")
Handler = Callable[[Request], Awaitable[Response]]
Read = Callable[[Request], Awaitable[tuple[Take, bytes]]]
Authorise = Callable[[Request, bytes | None, frozenset[str]], None]
"""Raises a `HoldfastError` where the caller with this Authorization header has none of these scopes."""


class FutureSink(Sink):
    """The answer to one request as a future."""

    __slots__ = ("future", "headers")

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
        self.headers = caller.headers
        self.future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def add_header(self, line: bytes) -> None:
        """See `Sink.add_header`."""
        self.headers += line

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:
        """See `Sink.respond`."""
        if self.future.done():
            return
        if json_bytes is None:
            self.future.set_result(Response(body, media_type=JSON))
        else:
            headers = {"inference-header-content-length": str(json_bytes)}
            self.future.set_result(Response(body, media_type="application/octet-stream", headers=headers))

    def refuse(self, error: HoldfastError) -> None:
        """See `Sink.refuse`."""
        if not self.future.done():
            self.future.set_exception(error)


class Guard:
    """Wraps handlers.

    Args:
        service: whose counts and access log tell of them.
        authorise: who may ask.
    """

    def __init__(self, service: Service, authorise: Authorise) -> None:
        self._service = service
        self._authorise = authorise

    def _told(self, handler: Handler) -> Handler:
        """Every error as JSON."""

        async def told(request: Request) -> Response:
            try:
                return await handler(request)
            except HoldfastError as error:
                return error_response(error)
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception as error:
                # A fault of ours is told and counted as any other, and ends nobody else's request.
                logger.exception("a request could not be answered")
                return error_response(
                    ServeError("the request could not be answered", received=type(error).__name__)
                )

        return told

    def guarded(self, route: str, handler: Handler) -> Handler:
        """Keys first, with the scope of the route, and every error as JSON."""
        scopes = _SCOPES.get(route, _ANYONE_KNOWN)

        async def guarded(request: Request) -> Response:
            try:
                if route not in OPEN:
                    self._authorise(request, _authorization(request), scopes)
                return await handler(request)
            except HoldfastError as error:
                self._service.note_refusal(error)
                raise

        return self._told(guarded)

    def hot(self, read: Read) -> Handler:
        """Keys first, and every error as JSON; what no version is asked to answer is counted here.

        Args:
            read: who takes the body, and the body; raises a `HoldfastError` where it cannot be read.
        """

        async def hot(request: Request) -> Response:
            sink = FutureSink(caller_of_refused(small_headers(request)))
            try:
                sink = FutureSink(read_caller(small_headers(request)))
                self._authorise(request, _authorization(request), FOR_PREDICTIONS)
                take, body = await read(request)
            except HoldfastError as error:
                self._service.turn_away(route_of(target_of(request.scope["path"])), error, sink)
                return with_headers(error_response(error), sink)
            try:
                response = await answer(sink, take(body, sink))
                response = await in_coding_of_caller(request, response, self._service.slices)
            except HoldfastError as error:
                response = error_response(error)
            return with_headers(response, sink)

        return self._told(hot)

    def counted(self, route: str, handler: Handler) -> Handler:
        """Guarded, and counted by route and status; the hot routes count themselves."""
        return self._counted(route, self.guarded(route, handler))

    async def on_http_error(self, request: Request, error: Exception) -> Response:
        """Starlette's own 404 and 405 in our words, counted as one route whatever their path.

        What differs from a path that there is by a slash at its end is sent there.
        """

        async def told(request: Request) -> Response:
            location = _with_or_without_slash(request)
            if location and isinstance(error, HTTPException) and error.status_code == 404:
                return Response(status_code=307, headers={"location": location})
            return _http_error(request, error)

        return await self._counted(_NOWHERE, told)(request)

    def _counted(self, route: str, handler: Handler) -> Handler:
        async def counted(request: Request) -> Response:
            began_s = time.monotonic()
            refusal: Response | None = None
            try:
                sink = FutureSink(read_caller(small_headers(request)))
            except HoldfastError as error:
                sink = FutureSink(caller_of_refused(small_headers(request)))
                refusal = error_response(error)
            response = refusal or await handler(request)
            response = await in_coding_of_caller(request, response, self._service.slices)
            answered_s = time.monotonic()
            seconds = answered_s - began_s
            counts = self._service.counts.route(route)
            counts.observe(response.status_code, seconds)
            if self._service.books.watch is not None:
                self._service.books.watch.request(
                    counts, response.status_code, answered_s, seconds, sink, method=request.method
                )
            return with_headers(response, sink)

        return counted


def _authorization(request: Request) -> bytes | None:
    given = request.headers.get("authorization")
    return given.encode("latin-1") if given else None


def small_headers(request: Request) -> list[tuple[bytes, bytes]]:
    """As ASGI has them: names in small letters."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    return headers


def with_headers(response: Response, sink: FutureSink) -> Response:
    """The response with the lines that the sink was given."""
    for line in sink.headers.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        response.raw_headers.append((name, value))
    return response


async def answer(sink: FutureSink, job: Any) -> Response:
    """What comes to the sink; the job is cancelled if its caller goes away."""
    try:
        return await sink.future
    except asyncio.CancelledError:
        if job is not None:
            job.cancelled = True
        raise


def _with_or_without_slash(request: Request) -> str:
    """The same target with a slash more or less at its end, relative to this one; "": there is none either.

    Relative, since in front of a service there may be another host, scheme or path.
    """
    path: str = request.scope["path"]
    bare = path.removesuffix("/")
    other = f"{path}/" if bare == path else bare
    asked = {**request.scope, "path": other}
    if (
        not bare
        or bare.endswith("/")
        or all(route.matches(asked)[0] is Match.NONE for route in request.app.routes)
    ):
        return ""
    up = "./" if bare == path else "../"
    query = request.scope["query_string"].decode("latin-1")
    return up + quote(other[bare.rfind("/") + 1 :], safe="/:") + (f"?{query}" if query else "")


def _http_error(request: Request, error: Exception) -> Response:
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

"""Requests for pages, handed over to the dashboard's process, and its answers handed back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import httptools
from starlette.responses import HTMLResponse, Response, StreamingResponse

from holdfast.serve.errors import DashboardUnavailableError
from holdfast.serve.responses import read_body
from holdfast.serve.slices import Slices

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

MOST_FORWARDED: Final = 64
"""At once, per worker: browsers are few."""
LARGEST_FORM_BYTES: Final = 64 * 1024
HEAD_PATIENCE_S: Final = 30.0
"""The first page waits for the process to start."""
_LOOK_S: Final = 0.25
_READ_BYTES: Final = 1 << 16
_END: Final = b"\0"
"""No parser takes it: stands for an answer that ends within its head."""
_FORWARDED: Final = frozenset(
    {
        b"host", b"cookie", b"authorization", b"accept", b"content-type", b"origin", b"if-none-match",
        b"sec-fetch-site",
    }
)  # fmt: skip
_OF_THE_HOP: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"date", b"server"})
SCHEME: Final = b"x-holdfast-scheme"
"""Says over which transport the browser came; only a worker can reach the socket, so it is believed."""


_AWAY: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5"><title>The dashboard is away</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto; padding: 0 1.25rem }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem }
</style></head>
<body><h1>WHAT.</h1>
<p>Predictions are not concerned. This page asks again every five seconds; the service's output says why if
the dashboard stays away.</p></body></html>
"""
_AWAY_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",  # nothing of the page is data
    "cache-control": "no-store",
    "retry-after": "5",
    "x-frame-options": "DENY",
}


class _Answer:
    """Fed by the parser."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_done = False
        self.done = False
        self.parts: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.head_done = True

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.done = True

    def take(self) -> bytes:
        body, self.parts = b"".join(self.parts), []
        return body


class _Forwarded(StreamingResponse):
    """Closes its connection however it ends, also if the browser is gone before the first part."""

    closing: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.closing()


class Forwarder:
    """Hands requests over.

    Args:
        path: of the dashboard's socket.
        ending: whether this worker drains; open streams then end, so that it can.
    """

    def __init__(self, path: str, ending: Callable[[], bool]) -> None:
        self._path = path
        self._ending = ending
        self._open = 0
        self._slices = Slices()

    async def forward(self, request: Request) -> Response:
        """The dashboard's answer to a request; for a browser, a page that says so where there is none.

        Raises:
            DashboardUnavailableError: it does not answer a program, or too many ask at once.
            BodyTooLargeError: a form of more than 64 KiB.
        """
        try:
            return await self._forward(request)
        except DashboardUnavailableError as error:
            if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
                raise
            return HTMLResponse(_AWAY.replace("WHAT", error.what.capitalize()), 503, headers=_AWAY_HEADERS)

    async def _forward(self, request: Request) -> Response:
        """The dashboard's answer to a request.

        Raises:
            DashboardUnavailableError: it does not answer, or too many ask at once.
            BodyTooLargeError: a form of more than 64 KiB.
        """
        if self._open >= MOST_FORWARDED:
            raise DashboardUnavailableError(
                "too many pages are open", expected=f"at most {MOST_FORWARDED} in each worker"
            )
        body = await read_body(request, LARGEST_FORM_BYTES, self._slices)
        self._open += 1
        writer: asyncio.StreamWriter | None = None
        answer = _Answer()
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
            writer.write(_head(request, len(body)) + body)
            parser = httptools.HttpResponseParser(answer)
            async with asyncio.timeout(HEAD_PATIENCE_S):
                while not answer.head_done:
                    data = await reader.read(_READ_BYTES)
                    parser.feed_data(data or _END)
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            self._close(writer)
            raise DashboardUnavailableError(
                "the dashboard does not answer",
                next_step="Ask again in a few seconds; the service's output says why if it cannot start.",
            ) from error
        except BaseException:
            self._close(writer)
            raise
        response = _Forwarded(self._body(reader, parser, answer), status_code=parser.get_status_code())
        response.raw_headers = [pair for pair in answer.headers if pair[0] not in _OF_THE_HOP]
        response.closing = partial(self._close, writer)
        return response

    async def _body(
        self, reader: asyncio.StreamReader, parser: httptools.HttpResponseParser, answer: _Answer
    ) -> AsyncIterator[bytes]:
        reading: asyncio.Task[bytes] | None = None
        try:
            while True:
                if part := answer.take():
                    yield part
                if answer.done or self._ending():
                    return
                reading = reading or asyncio.create_task(reader.read(_READ_BYTES))
                await asyncio.wait([reading], timeout=_LOOK_S)
                if reading.done():
                    data, reading = reading.result(), None
                    if not data:
                        return
                    parser.feed_data(data)
        finally:
            if reading is not None:
                reading.cancel()

    def _close(self, writer: asyncio.StreamWriter | None) -> None:
        self._open -= 1
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()


def _head(request: Request, length: int) -> bytes:
    query = request.scope["query_string"]
    target = request.scope["raw_path"] + (b"?" + query if query else b"")
    method = b"POST" if request.method == "POST" else b"GET"
    lines = [method + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.scope["headers"] if name in _FORWARDED]
    lines += [
        SCHEME + b": " + request.url.scheme.encode(),
        b"connection: close",
        b"content-length: %d" % length,
        b"\r\n",
    ]
    return b"\r\n".join(lines)

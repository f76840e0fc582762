"""Streams over WebSocket: frames in, partial and final answers out.

A caller sends text messages `{"frame": ...}` or binary ones (the values of one field, little-endian), gets
one answer for each row, and ends an utterance with `{"end": true}`; the connection may carry many. A frame is
read only when the one before it is answered, so a caller who sends too fast is held back by TCP.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from holdfast.errors import HoldfastError
from holdfast.infer import InputError, MalformedBodyError, NotReadyError, read_json
from holdfast.serve.caller import REQUEST_ID, Caller, caller_of_refused, read_caller
from holdfast.serve.connection_state import Rest
from holdfast.serve.errors import (
    InvalidHttpError,
    OriginError,
    TooManyStreamsError,
    UnauthorisedError,
    too_large,
)
from holdfast.serve.guarding import FutureSink, with_headers
from holdfast.serve.protocol import WRITE_TIMEOUT_S
from holdfast.serve.responses import error_response
from holdfast.serve.service import Endpoint, Service
from holdfast.serve.sink import Sink
from holdfast.serve.slot import error_response as response_bytes
from holdfast.serve.stream import MOST_WINDOWS, STREAM, FrameCall, StreamPlan, Windows
from holdfast.spec.checklist import Checklist

_GOING_AWAY: Final = 1001
_NO_TEXT: Final = 1007
_NO_LONGER_ALLOWED: Final = 1008
_TOO_BIG: Final = 1009
_MOST_FRAGMENTS: Final = 4096
"""Of one message: of the largest, 4 KiB each are as many."""
_encode = msgspec.json.Encoder().encode


class StreamProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol over the `websockets` library, as one of a worker's connections."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._rest = Rest()

    def data_received(self, data: bytes) -> None:
        """See the library; a first request that it cannot take is answered."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            error = InvalidHttpError("no request for a WebSocket", expected="GET, with its headers")
            self.handshake_initiated = True
            self.transport.write(response_bytes(error, head_lines=b"", close=True))
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        """See the library; parts without content would cost room and count for nothing."""
        if len(self.frames) >= _MOST_FRAGMENTS:
            self._fail(_TOO_BIG, "too many fragments")
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """See the library, which logs a traceback where a text is not UTF-8: anybody can send that."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._fail(_NO_TEXT, "not UTF-8")
                return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        """See the library, which logs a handshake that was denied as one that was forgotten.

        And an answer to who has just been given up, for want of an answer to a ping, as a mistake.
        """
        if self.close_sent and message["type"] == "websocket.send":
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def _fail(self, code: int, why: str) -> None:
        """Close at once: what the client sends is no message."""
        self.frames = []
        self.conn.fail(code, why)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()

    def pause_writing(self) -> None:
        """See the library; who does not read the answers to its pings is not read either."""
        super().pause_writing()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """See the library."""
        super().resume_writing()
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def sweep(self, now_s: float) -> None:
        """Pings find a dead peer, and close its connection; it may not read that either."""
        if self.transport.is_closing():
            self._rest.drop_if_unread(self.transport, now_s, WRITE_TIMEOUT_S)

    def shutdown(self, silence_s: float = 0.0) -> None:  # noqa: ARG002 - the close frame tells the client
        """Close once the frame in hand is answered; called again until then."""
        if not self.read_paused or not self.handshake_complete:
            super().shutdown()


class _FrameSink(Sink):
    __slots__ = ("future",)

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:  # noqa: ARG002 - all of it is JSON
        if not self.future.done():
            self.future.set_result(body)

    def refuse(self, error: HoldfastError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Streams:
    """The streams of one worker.

    Args:
        service: of the worker.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._checklist: Checklist = service.checklist
        self._open: Counter[str] = Counter()
        """Streams of each caller that has any."""

    async def accept(self, websocket: WebSocket) -> None:
        """Serve one connection until either side closes it."""
        service, limits = self._service, self._checklist.stream
        try:
            grant = service.authorise(authorization_of(websocket))
            who = address_of(websocket) if grant is None else grant.caller
            check_origin(websocket)
            caller = read_caller(websocket.scope["headers"])
            if self._open.total() >= limits.most_streams:
                raise NotReadyError("too many open streams", expected=f"at most {limits.most_streams}")
            if self._open[who] >= limits.most_streams_per_caller:
                raise TooManyStreamsError(
                    "this caller has too many open streams",
                    expected=f"at most {limits.most_streams_per_caller}",
                    next_step="Close one, or raise [stream] most_streams_per_caller.",
                )
            if service.draining:
                raise NotReadyError("the service is closing")
            model, version = websocket.path_params["model"], websocket.path_params.get("version")
            StreamPlan(service.endpoint(version, model), limits)
        except HoldfastError as error:
            sink = FutureSink(caller_of_refused(websocket.scope["headers"]))
            service.turn_away(STREAM, error, sink)
            await websocket.send_denial_response(with_headers(error_response(error), sink))
            return
        self._open[who] += 1
        conversation = _Conversation(service, websocket, version, caller)
        try:
            await websocket.accept(headers=[(REQUEST_ID, caller.request_id)] if caller.request_id else None)
            await conversation.run()
        except WebSocketDisconnect:
            pass
        finally:
            self._open -= Counter([who])  # whose last one it was is not kept
            conversation.leave()


class _Conversation:
    """One connection: utterance after utterance, each on the version with which it began."""

    def __init__(self, service: Service, websocket: WebSocket, version: str | None, caller: Caller) -> None:
        self._service = service
        self._websocket = websocket
        self._version = version
        frame_s = service.checklist.stream.frame_ms / 1000
        patience_s = frame_s if caller.patience_s is None else min(frame_s, caller.patience_s)
        self._caller = msgspec.structs.replace(caller, patience_s=patience_s)
        self._authorization = authorization_of(websocket)
        self._pinned: Endpoint | None = None
        self._plan: StreamPlan
        self._windows: Windows
        self._state: Any = {}
        self._frames = 0
        self._last = b""

    async def run(self) -> None:
        """Until the client leaves or the service closes."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                await self._take(message)
            except UnauthorisedError as error:
                await self._websocket.close(_NO_LONGER_ALLOWED, error.what)
                return
            except HoldfastError as error:
                await self._say({"type": "error", "frame": self._frames, **error.as_dict()})
            if self._service.draining:
                await self._websocket.close(_GOING_AWAY, "the service is closing")
                return

    def leave(self) -> None:
        """Give back what the utterance holds."""
        if self._pinned is not None:
            self._service.unpin(self._pinned)
        self._pinned = None

    async def _take(self, message: Any) -> None:
        content = message.get("bytes")
        limit_bytes = self._service.max_body_bytes
        if len(content if content is not None else message["text"]) > limit_bytes:
            raise too_large(limit_bytes)  # of several deployments, the transport knows only the largest
        if content is None:
            said = read_json(message["text"].encode())
            alone = isinstance(said, dict) and len(said) == 1
            word, value = next(iter(said.items())) if alone else ("", None)
            if word != "frame" and not (word in {"end", "reset"} and value is True):
                raise MalformedBodyError(
                    "not a message of a stream",
                    where="$",
                    expected='{"frame": ...}, {"end": true}, {"reset": true} or bytes',
                )
            if word != "frame":
                await self._end(final=word == "end")
                return
            content = value
        # Each frame counts as a request: a key that is revoked, has expired or asks too often is told so.
        self._service.authorise(self._authorization)
        if self._pinned is None:
            self._begin()
        self._frames += 1
        if not self._plan.window:
            await self._answer(self._plan.call(content, self._state))
            return
        values = self._plan.values(content)
        if self._windows.windows_in(len(values)) > MOST_WINDOWS:
            raise InputError("too long", where="$.frame", expected=f"at most {MOST_WINDOWS} windows")
        for window in self._windows.feed(values):
            await self._answer(self._plan.call(window, self._state))

    def _begin(self) -> None:
        """A new utterance, on the version that answers now."""
        endpoint = self._service.endpoint(self._version)
        self._plan = StreamPlan(endpoint, self._service.checklist.stream)
        self._service.pin(endpoint)
        self._pinned = endpoint
        self._windows = Windows(self._plan.window, self._plan.hop)
        self._state = self._plan.first_state()
        self._frames = 0
        self._last = b""

    async def _end(self, *, final: bool) -> None:
        """The last words of an utterance; the next frame begins another."""
        try:
            if final and self._pinned is not None and self._plan.window:
                rest = self._windows.rest()
                if rest is not None:
                    await self._answer(self._plan.call(rest, self._state))
            if final:
                await self._send(b"final", self._last)
        finally:
            self.leave()
            self._frames = 0
            self._last = b""

    async def _answer(self, call: FrameCall) -> None:
        """Run one row; a failure leaves the state as it was."""
        sink = _FrameSink(self._caller)
        job = self._service.ask(STREAM, sink, lambda _: call, None, self._pinned)
        try:
            self._last = await sink.future
        except asyncio.CancelledError:
            if job is not None:
                job.cancelled = True
            raise
        self._state = call.next_state
        await self._send(b"partial", self._last)

    async def _send(self, kind: bytes, answer: bytes) -> None:
        head = b'{"type":"%b","frame":%d' % (kind, self._frames)
        body = head + (b"," + answer[1:] if answer else b"}")
        await self._websocket.send_text(body.decode())

    async def _say(self, value: Any) -> None:
        await self._websocket.send_text(_encode(value).decode())


def authorization_of(websocket: WebSocket) -> bytes | None:
    """The value of the Authorization header with which the stream was opened."""
    given = websocket.headers.get("authorization")
    return given.encode("latin-1") if given else None


def address_of(websocket: WebSocket) -> str:
    """From where the connection comes, without its port."""
    return "" if websocket.client is None else websocket.client.host


def check_origin(websocket: WebSocket) -> None:
    """Refuse pages of other sites: a browser lets any page open a WebSocket to any address.

    Raises:
        OriginError: the page that asks comes from elsewhere.
    """
    origin = websocket.headers.get("origin")
    if origin is None:
        return
    host = websocket.headers.get("host", "")
    if origin.partition("://")[2].lower() != host.lower():
        raise OriginError("a page of another site asks", where="Origin", expected=f"a page of {host[:200]!r}")

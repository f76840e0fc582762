"""The transport: uvicorn's HTTP/1.1 protocol, with the hot routes answered straight from parser callbacks.

A hot request never becomes an ASGI scope or a task: its body is decoded where it completes, its rows join
the turn's batch, and its answer is written when the batch is done. Everything else runs through the ASGI app
as in uvicorn, on the same connection and in the order of arrival: while an ASGI request is unanswered, hot
requests behind it queue as ASGI requests, and an ASGI request behind unanswered hot ones waits for them.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Never

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from holdfast.errors import HoldfastError
from holdfast.infer import Job, OverloadedError
from holdfast.serve.admission import Grant
from holdfast.serve.caller import ANYONE, CALLER_HEADERS, Caller, read_caller
from holdfast.serve.errors import (
    ContentTypeError,
    HeadersTooLargeError,
    InvalidHttpError,
    RequestTimeoutError,
)
from holdfast.serve.hot import Take, find_hot
from holdfast.serve.responses import too_large
from holdfast.serve.service import Service, Sink
from holdfast.serve.status import error_body, error_headers, status_of

if TYPE_CHECKING:
    from uvicorn.config import Config

HEAD_BYTES: Final = 64 * 1024
"""Longest request line with headers; a connection's buffer adds at most one read."""
HEAD_TIMEOUT_S: Final = 10.0
REQUEST_TIMEOUT_S: Final = 60.0
"""Longest time from a request's first byte to its last."""
KEEP_ALIVE_S: Final = 75.0
WRITE_TIMEOUT_S: Final = 60.0
"""Longest time in which a client reads nothing of its answers."""
LINGER_S: Final = 2.0
"""Time in which the rest of a refused body is read and dropped, so that the client can read why."""
MOST_PIPELINED: Final = 64
_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
_OK_BINARY: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
    b"inference-header-content-length: %d\r\ncontent-length: %d\r\n"
)
_HEAD_END: Final = b"\r\n\r\n"
_MOST_KNOWN_HEADS: Final = 1024
_LARGEST_KNOWN_HEAD_BYTES: Final = 2048


class _Waiting:
    """Stands for an unanswered request in the place where uvicorn looks for its last cycle."""

    response_complete = False
    keep_alive = True
    disconnected = False

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


class _KnownHead:
    """What the parser said of a head: the same bytes mean the same again."""

    __slots__ = ("body_bytes", "caller", "echo_keep_alive", "grant", "take")

    def __init__(
        self, take: Take, body_bytes: int, caller: Caller, grant: Grant | None, *, echo_keep_alive: bool
    ) -> None:
        self.take = take
        self.grant = grant
        self.body_bytes = body_bytes
        self.caller = caller
        self.echo_keep_alive = echo_keep_alive


class KnownHeads(dict[bytes, _KnownHead]):
    """Heads of hot requests that this worker has parsed, checked and admitted, by their exact bytes.

    Clients repeat their heads byte for byte, so most requests need no parser at all. A head is learned only
    as a whole request in one read, with a declared length, on a connection that stays open. Each carries the
    grant of its caller, which is asked per request; when keys change, all are forgotten.
    """

    def learn(self, head: bytes, known: _KnownHead) -> None:
        """Remember a head; when there are too many (ids in headers), begin anew."""
        if len(head) <= _LARGEST_KNOWN_HEAD_BYTES:
            if len(self) >= _MOST_KNOWN_HEADS:
                self.clear()
            self[head] = known


class _Slot(Sink):
    """The place of one hot request among the answers of its connection."""

    __slots__ = ("caller", "close", "data", "echo_keep_alive", "headers", "job", "protocol")

    def __init__(
        self, protocol: HotProtocol, caller: Caller = ANYONE, *, close: bool, echo_keep_alive: bool
    ) -> None:
        self.protocol = protocol
        self.caller = caller
        self.headers = caller.headers if caller.request_id else b""
        self.close = close
        self.echo_keep_alive = echo_keep_alive
        self.data: bytes | None = None
        self.job: Job | None = None

    def add_header(self, line: bytes) -> None:
        self.headers += line

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:
        self.job = None  # job and slot hold each other: without this only the collector would free them
        protocol = self.protocol
        if (  # the usual case: one request at a time on a connection that stays
            json_bytes is None
            and not self.headers
            and not self.close
            and not self.echo_keep_alive
            and not protocol.service.draining
            and len(protocol.slots) == 1
            and not protocol.transport.is_closing()
        ):
            protocol.slots.clear()
            protocol.transport.write(b"%b%d\r\n\r\n%b" % (protocol.server_state.ok_head, len(body), body))
            protocol.settle()
            return
        ok = _OK % len(body) if json_bytes is None else _OK_BINARY % (json_bytes, len(body))
        head = ok + protocol.date_line + self.headers
        if protocol.service.draining and protocol.last_slot is self:
            self.close = True
        if self.close:
            self.data = b"%bconnection: close\r\n\r\n%b" % (head, body)
        elif self.echo_keep_alive:
            self.data = b"%bconnection: keep-alive\r\n\r\n%b" % (head, body)
        else:
            self.data = b"%b\r\n%b" % (head, body)
        protocol.flush_answers()

    def refuse(self, error: HoldfastError) -> None:
        self.job = None
        if self.protocol.service.draining and self.protocol.last_slot is self:
            self.close = True
        state = self.protocol.server_state
        if error is state.last_error and not self.headers and not self.close:
            self.data = state.last_error_response
        else:
            head_lines = self.protocol.date_line + self.headers
            self.data = error_response(error, head_lines=head_lines, close=self.close)
            if isinstance(error, OverloadedError) and not self.headers and not self.close:
                state.last_error, state.last_error_response = error, self.data
        self.protocol.flush_answers()


def error_response(error: HoldfastError, *, head_lines: bytes, close: bool) -> bytes:
    """A whole HTTP response for an error; `head_lines` are further ones, each with its end."""
    status = status_of(error)
    body = error_body(error)
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in error_headers(error).items()),
        *(["connection: close"] if close else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n" + head_lines + b"\r\n" + body


class WorkerState(ServerState):
    """uvicorn's state shared by a worker's connections, with the heads of answers and of known requests."""

    def __init__(self) -> None:
        super().__init__()
        self.date_line = b""
        self.ok_head = b""
        """Of a hot answer, up to its length."""
        self.known_heads = KnownHeads()
        self.last_error: HoldfastError | None = None
        """The last refusal for want of time, with its answer: under overload it is given again and again."""
        self.last_error_response = b""
        self.renew_date()

    def renew_date(self) -> None:
        """Called once a second."""
        date = formatdate(time.time(), usegmt=True).encode()
        self.default_headers = [(b"date", date)]
        self.date_line = b"date: " + date + b"\r\n"
        self.last_error = None
        self.ok_head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + self.date_line + b"content-length: "
        )


class HotProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        service: of this worker.
        config: of uvicorn, with the ASGI app.
        server_state: of this worker, which sweeps its connections for stale ones.
    """

    server_state: WorkerState

    def __init__(self, service: Service, config: Config, server_state: WorkerState) -> None:
        self.service = service
        self._known = server_state.known_heads
        self._between = True
        self._read: bytes | None = None
        self._head: list[tuple[bytes, bytes]] = []
        self._hot: Take | None = None
        self._caller = ANYONE
        self._grant: Grant | None = None
        self._in_head = self._head_is_new = False
        self._head_bytes = 0
        self._body: bytes | list[bytes] = b""
        self._declared = -1
        self._body_bytes = 0
        self.slots: deque[_Slot] = deque()
        self._refused: HoldfastError | None = None
        self._dropping = False
        self._half_closed = False
        self._close_after = False
        self._echo_keep_alive = False
        self._message_began_s = 0.0
        self._last_seen_s = time.monotonic()
        self._write_paused_s = 0.0
        super().__init__(config, server_state, {})

    @property
    def date_line(self) -> bytes:
        """The Date header, renewed once a second by the worker."""
        return self.server_state.date_line

    @property
    def last_slot(self) -> _Slot | None:
        """The place of the newest hot request."""
        return self.slots[-1] if self.slots else None

    @property
    def _app_busy(self) -> bool:
        """Whether a request runs or queues in the ASGI app."""
        cycle: Any = self.cycle  # None before the first
        return cycle is not None and not cycle.response_complete

    # Reading

    def data_received(self, data: bytes) -> None:  # noqa: D102 - the parser's or transport's callback
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self._dropping:
            self._drop(len(data))
            return
        if self._between and not self._close_after and not self._app_busy:
            end = data.find(_HEAD_END) + len(_HEAD_END)
            known = self._known.get(data[:end])
            if (
                known is not None
                and len(data) == end + known.body_bytes
                and (known.grant is None or known.grant.admit())  # if not, the parser's way says why
            ):
                slot = _Slot(self, known.caller, close=False, echo_keep_alive=known.echo_keep_alive)
                self._take(slot, known.take, data[end:])
                return
            self._read = data
        else:
            self._read = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
            return
        except httptools.HttpParserError:
            if self._close_after:
                # Bytes after a request that ends the connection; its answer is still due.
                self._dropping = True
                return
            self._end_badly(self._refused or InvalidHttpError("these bytes are no HTTP/1.1 request"))
            return
        if self._in_head:
            # Of the read in which the head began we do not know how much belongs to it: at most one buffer.
            self._head_bytes += 0 if self._head_is_new else len(data)
            self._head_is_new = False
            if self._head_bytes > HEAD_BYTES:
                self._end_badly(
                    HeadersTooLargeError("the headers are too long", expected=f"at most {HEAD_BYTES} bytes")
                )

    def _upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol, unless an answer is still due on it."""
        if not self._should_upgrade():
            return
        if self.slots or self._app_busy:
            self._end_badly(InvalidHttpError("a WebSocket may not begin behind unanswered requests"))
            return
        self.handle_websocket_upgrade()

    def _drop(self, size: int) -> None:
        self._body_bytes += size
        if self._body_bytes > 16 * self.service.max_body_bytes + HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:  # noqa: D102 - the parser's or transport's callback
        if self._close_after:
            raise ValueError("bytes after the last request of the connection")
        self._between = False
        self._refused = None
        self.url = b""
        self._head = []
        self._hot = None
        self._in_head = self._head_is_new = True
        self._head_bytes = 0
        self._message_began_s = time.monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: D102 - the parser's or transport's callback
        self._head.append((name, value))

    def on_headers_complete(self) -> None:  # noqa: D102 - the parser's or transport's callback
        self._in_head = False
        bind = find_hot(self.service, self.url)
        if bind is None or self.parser.get_method() != b"POST" or self._app_busy:
            self._start_cold()
            return
        self._body = b""
        self._body_bytes = 0
        self._echo_keep_alive = False
        self._declared = -1
        authorization = json_bytes = None
        content_type = b""
        of_caller: list[tuple[bytes, bytes]] = []
        expect = False
        for name, value in self._head:
            key = name.lower()
            if key == b"content-length":
                # The parser has refused anything but digits.
                self._declared = int(value)
                if self._declared > self.service.max_body_bytes:
                    self._refuse_too_large()
            elif key == b"connection":
                self._echo_keep_alive = value.lower() == b"keep-alive"
            elif key == b"authorization":
                authorization = value
            elif key == b"content-type":
                content_type = value
            elif key == b"inference-header-content-length":
                json_bytes = value
            elif key in CALLER_HEADERS:
                of_caller.append((key, value))
            elif key == b"content-encoding":
                if value.lower() != b"identity":
                    self._refused = ContentTypeError(
                        "compressed bodies are not read", where="Content-Encoding"
                    )
            elif key == b"expect":
                expect = value.lower() == b"100-continue"
            elif key == b"upgrade":
                self._start_cold()
                return
        take: Take = _take_nothing
        self._caller = ANYONE
        try:
            if of_caller:
                self._caller = read_caller(of_caller)
            if self._refused is None:
                take = bind(content_type, json_bytes)
        except HoldfastError as error:
            self._refused = error
        try:
            self._grant = self.service.authorise(authorization)
        except HoldfastError as error:
            self._refused = error
        if expect:
            self._read = None
            if self._refused is not None:
                # The client waits with its body, which would now be taken for a request.
                raise ValueError("refused before the body")
            if self.slots:
                self._start_cold()
                return
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._hot = take

    def _refuse_too_large(self) -> Never:
        """Stop the parser: the rest of the body is dropped, not read to its end."""
        self._refused = too_large(self.service.max_body_bytes)
        self._body = b""
        raise ValueError("body too large")

    def _start_cold(self) -> None:
        """Let uvicorn run this request through the ASGI app, after the hot ones before it."""
        url, head = self.url, self._head
        super().on_message_begin()
        self.url = url
        for name, value in head:
            super().on_header(name, value)
        if self.slots and not self._app_busy:
            self.cycle = _Waiting()  # type: ignore[assignment]  # makes uvicorn queue the request
        super().on_headers_complete()
        if self.service.draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:  # noqa: D102 - the parser's or transport's callback
        if self._hot is None:
            super().on_body(body)
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.service.max_body_bytes:
            self._refuse_too_large()
        if self._refused is not None:
            return
        if not self._body:
            self._body = body
        elif isinstance(self._body, list):
            self._body.append(body)
        else:
            self._body = [self._body, body]

    def on_message_complete(self) -> None:  # noqa: D102 - the parser's or transport's callback
        self._message_began_s = 0.0
        self._between = True
        hot = self._hot
        if hot is None:
            super().on_message_complete()
            return
        self._hot = None
        close = not self.parser.should_keep_alive()
        if close:
            self._close_after = True
        caller = self._caller
        slot = _Slot(self, caller, close=close, echo_keep_alive=self._echo_keep_alive)
        if self._refused is not None:
            self.slots.append(slot)
            slot.refuse(self._refused)
            return
        body = self._body
        if isinstance(body, list):
            body = b"".join(body)
        read = self._read
        unique = bool(caller.request_id or caller.traceparent)  # would not be seen again
        whole = read is not None and self._declared == len(body) and read.endswith(body)
        if read is not None and whole and not close and not unique:
            end = len(read) - len(body)
            if read.find(_HEAD_END) + len(_HEAD_END) == end:
                known = _KnownHead(hot, len(body), caller, self._grant, echo_keep_alive=self._echo_keep_alive)
                self._known.learn(read[:end], known)
        self._read = None
        self._take(slot, hot, body)

    def _take(self, slot: _Slot, take: Take, body: bytes) -> None:
        """Hand the body on; the answer comes to the slot, perhaps at once."""
        slots = self.slots
        slots.append(slot)
        if len(slots) >= MOST_PIPELINED:
            self.flow.pause_reading()
        self.server_state.total_requests += 1
        slot.job = take(body, slot)

    # Answering

    def flush_answers(self) -> None:
        """Write the answers that are ready, up to the first that is not."""
        slots = self.slots
        transport = self.transport
        ready = []
        close = False
        while slots and slots[0].data is not None:
            slot = slots.popleft()
            ready.append(slot.data)
            if slot.close:
                close = True
                break
        if not ready or transport.is_closing():
            return
        transport.write(ready[0] if len(ready) == 1 else b"".join(ready))  # type: ignore[arg-type]  # none is None
        if close:
            slots.clear()
            transport.close()
        elif not slots:
            self.settle()

    def settle(self) -> None:
        """What to do when no hot request is left unanswered."""
        self._last_seen_s = time.monotonic()
        if self._half_closed:
            self.transport.close()
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self.flow.read_paused and not self.flow.write_paused:
            self.flow.resume_reading()

    def _end_badly(self, error: HoldfastError) -> None:
        """Answer what cannot be read any further, then close."""
        if self.transport.is_closing():
            return
        self._in_head = False
        self._message_began_s = 0.0
        self._hot = None
        self._dropping = True
        self._body_bytes = 0
        self.service.counts.refuse(type(error).__name__.removesuffix("Error").lower())
        busy = self._app_busy
        if busy:
            # The answer would overtake an earlier one; the connection ends with that one.
            self.cycle.keep_alive = False
            return
        slot = _Slot(self, close=False, echo_keep_alive=False)
        slot.data = error_response(error, head_lines=self.date_line, close=True)
        self.slots.append(slot)
        self.flush_answers()
        self.loop.call_later(LINGER_S, self._close_now)

    def _close_now(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    # Connection

    def eof_received(self) -> bool:  # type: ignore[override]  # a protocol may answer, says asyncio
        """The client will send no more; what it has sent is still answered."""
        waiting = bool(self.slots) or self._app_busy
        if not waiting or self.scheme == "https" or self._dropping:
            return False
        self._half_closed = True
        if self._app_busy:
            self.cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102 - the parser's or transport's callback
        for slot in self.slots:
            if slot.job is not None:
                slot.job.cancelled = True
        self.slots.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:  # noqa: D102 - the parser's or transport's callback
        super().pause_writing()
        self._write_paused_s = time.monotonic()
        self.flow.pause_reading()

    def resume_writing(self) -> None:  # noqa: D102 - the parser's or transport's callback
        super().resume_writing()
        self._write_paused_s = 0.0
        if len(self.slots) < MOST_PIPELINED and not self.pipeline:
            self.flow.resume_reading()

    @property
    def busy(self) -> bool:
        """Whether a request is being read or waits for its answer."""
        return bool(self.slots or self.pipeline or self._app_busy or self._message_began_s)

    def sweep(self, now_s: float) -> None:
        """Close the connection if its client is too slow, silent, or does not read. Called once a second."""
        transport: Any = self.transport  # None before the connection is made
        if transport is None or transport.is_closing():
            return
        if self._write_paused_s and now_s - self._write_paused_s > WRITE_TIMEOUT_S:
            self.transport.abort()
        elif self._message_began_s:
            limit = HEAD_TIMEOUT_S if self._in_head else REQUEST_TIMEOUT_S
            if now_s - self._message_began_s > limit:
                self._end_badly(
                    RequestTimeoutError("the request took too long to arrive", expected=f"{limit:g} s")
                )
        elif not self.busy and now_s - self._last_seen_s > KEEP_ALIVE_S:
            self.transport.close()

    def shutdown(self, silence_s: float = 0.0) -> None:
        """Close once the answers that are due are sent and the client has been silent for this long.

        To be called again until the connection is gone.
        """
        if not self.busy:
            if time.monotonic() - self._last_seen_s >= silence_s and not self._has_unread():
                self._close_after = True
                self.transport.close()
            return
        self._close_after = True
        if self.slots:
            self.slots[-1].close = True
        if self._app_busy:
            self.cycle.keep_alive = False

    def _has_unread(self) -> bool:
        """Whether bytes have come that the event loop has not read yet; closing now would reset them."""
        descriptor = self.transport.get_extra_info("socket").fileno()
        return descriptor >= 0 and bool(select.select([descriptor], [], [], 0)[0])


def _take_nothing(body: bytes, sink: Sink) -> None:
    """Stands for the route of a request that is refused before its body is read."""

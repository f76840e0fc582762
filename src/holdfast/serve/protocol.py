"""The transport: uvicorn's HTTP/1.1 protocol, with the hot routes answered straight from parser callbacks.

A hot request never becomes an ASGI scope or a task: its body is decoded where it completes, its rows join
the turn's batch, and its answer is written when the batch is done. Everything else runs through the ASGI app
as in uvicorn, on the same connection and in the order of arrival: while an ASGI request is unanswered, hot
requests behind it queue as ASGI requests, and an ASGI request behind unanswered hot ones waits for them.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Never

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from holdfast.errors import HoldfastError
from holdfast.serve.admission import Grant
from holdfast.serve.caller import ANYONE, caller_of_refused, read_caller
from holdfast.serve.coded_bodies import inflated
from holdfast.serve.connection_state import HEAD_END, KnownHead, Rest, Waiting, WorkerState, ends_otherwise
from holdfast.serve.content_coding import Coding, coding_for_answer, coding_of_body
from holdfast.serve.errors import InvalidHttpError, RequestTimeoutError, too_large
from holdfast.serve.heads import (
    HEAD_BYTES,
    asks_for_another_http,
    check_head,
    head_without_upgrade,
    too_long,
    why_unreadable,
)
from holdfast.serve.hot import Take, find_hot, route_of, take_nothing
from holdfast.serve.hot_head import HotHead
from holdfast.serve.services import Services
from holdfast.serve.slot import Slot, error_response
from holdfast.serve.sockets import has_unread
from holdfast.serve.status import reason_name

if TYPE_CHECKING:
    from uvicorn.config import Config

HEAD_TIMEOUT_S: Final = 10.0
REQUEST_TIMEOUT_S: Final = 60.0
"""Longest time from a request's first byte to its last."""
KEEP_ALIVE_S: Final = 75.0
WRITE_TIMEOUT_S: Final = 60.0
"""Longest time in which a client reads nothing of its answers."""
LINGER_S: Final = 2.0
"""Time in which the rest of a refused body is read and dropped, so that the client can read why."""
MOST_PIPELINED: Final = 64


class HotProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        services: the deployments of this worker.
        config: of uvicorn, with the ASGI app.
        server_state: of this worker, which sweeps its connections for stale ones.
    """

    server_state: WorkerState

    def __init__(self, services: Services, config: Config, server_state: WorkerState) -> None:
        self._services = services
        self.service = services.first
        """Of the request that is read: its limits, keys and counts."""
        self._known = server_state.known_heads
        self._usual: KnownHead | None = None
        """The last known head that came: nearly always the next one too."""
        self._between = True
        self._read: bytes | None = None
        self._head: list[tuple[bytes, bytes]] = []
        self._hot: Take | None = None
        self._caller = ANYONE
        self._grant: Grant | None = None
        self._in_head = False
        self._beside_bytes = 0
        """Read since the message began or the last of its body came: head, sizes of chunks, trailers."""
        self._body: bytes | list[bytes] = b""
        self._declared = -1
        self._body_bytes = 0
        self.slots: deque[Slot] = deque()
        self._refused: HoldfastError | None = None
        self._dropping = False
        self.half_closed = self._is_to_stay = False
        self._close_after = False
        self._echo_keep_alive = False
        self._coding: Coding = ""
        self._message_began_s = 0.0
        self.last_seen_s = time.monotonic()
        self._write_paused_s = 0.0
        self._rest = Rest()
        super().__init__(config, server_state, {})

    @property
    def date_line(self) -> bytes:
        """The Date header, renewed once a second by the worker."""
        return self.server_state.date_line

    @property
    def last_slot(self) -> Slot | None:
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
        cycle: Any = self.cycle  # None before the first
        if self._between and not self._close_after and (cycle is None or cycle.response_complete):
            known = self._usual
            if known is not None and data.startswith(known.head):
                end, caller = len(known.head), known.caller
            else:
                known, end, caller = self._known.find(data, known)
                if known is not None:
                    self._usual = known
            if (
                known is not None
                and len(data) == end + known.body_bytes
                and (known.grant is None or known.grant.admit())  # if not, the parser's way says why
            ):
                slot = Slot(self, caller)
                slot.echo_keep_alive = known.echo_keep_alive
                slot.coding = known.coding
                slots = self.slots
                slots.append(slot)
                if len(slots) >= MOST_PIPELINED:
                    self.flow.pause_reading()
                slot.job = known.take(data[end:], slot)
                return
            self._read = data
        else:
            self._read = None
        self._beside_bytes += len(data)  # but for the read in which it began: see `check_head`
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
            return
        except httptools.HttpParserError as error:
            if self._close_after:
                # Bytes after a request that ends the connection; its answer is still due.
                self._dropping = True
                return
            self._end_badly(self._refused or why_unreadable(error))
            return
        if self._beside_bytes > HEAD_BYTES and self._message_began_s:
            self._end_badly(too_long())

    def _feed(self, data: bytes) -> None:
        """Parse; what asks for another protocol than WebSocket is read again as if it did not.

        Raises:
            HttpParserUpgrade: the request before the rest is for WebSocket.
            HttpParserError: as from the parser.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if not self._is_to_stay:
                    raise
                self._is_to_stay = False
                self._read = None
                # The parser has left out the body, and is at its end.
                data = head_without_upgrade(self.parser, self.url, self._head) + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
            else:
                return

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
        self._in_head = True
        self._beside_bytes = self._body_bytes = 0
        self._message_began_s = time.monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: D102 - the parser's or transport's callback
        if self._in_head:  # trailers are nobody's
            self._head.append((name, value))

    def on_headers_complete(self) -> None:  # noqa: D102 - the parser's or transport's callback
        self._in_head = False
        check_head(self.parser.get_http_version(), self.url, self._head)
        if self.parser.should_upgrade() and asks_for_another_http(self._head):
            self._is_to_stay = True  # and is answered in HTTP/1.1, see `_feed`
            return
        service, path = self._services.choose(self.url)
        bind = None
        if service is not None:
            self.service = service
            bind = find_hot(service, path)
        if bind is None or self.parser.get_method() != b"POST" or self._app_busy:
            self._start_cold()
            return
        head = HotHead(self._head)
        self._body = b""
        self._body_bytes = 0
        self._declared = head.body_bytes
        if head.body_bytes > self.service.max_body_bytes:
            self._refuse_too_large()
        if head.upgrades:
            self._start_cold()
            return
        self._echo_keep_alive = head.echo_keep_alive
        self._coding = coding_for_answer(head.wanted_codings) if head.wanted_codings else ""
        take: Take = take_nothing
        self._caller = ANYONE
        try:
            if head.of_caller:
                self._caller = read_caller(head.of_caller)
            take = bind(head.content_type, head.json_bytes)
            coding = coding_of_body(head.codings)
            if coding:
                take = inflated(take, self.service, route_of(path), coding)
        except HoldfastError as error:
            self._refused, self._caller = error, caller_of_refused(head.of_caller)
        try:
            self._grant = self.service.authorise(head.authorization)
        except HoldfastError as error:
            self._refused = error
        if head.expects_continue:
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
            self.cycle = Waiting()  # type: ignore[assignment]  # makes uvicorn queue the request
        super().on_headers_complete()
        if self.service.draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:  # noqa: D102 - the parser's or transport's callback
        self._beside_bytes = 0
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
        if self._is_to_stay:
            return
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
        slot = Slot(self, caller)
        slot.close, slot.echo_keep_alive, slot.coding = close, self._echo_keep_alive, self._coding
        if self._refused is not None:
            self.slots.append(slot)
            self._count_refused(self._refused, slot)
            slot.refuse(self._refused)
            return
        body = self._body
        if isinstance(body, list):
            body = b"".join(body)
        read = self._read
        whole = read is not None and self._declared == len(body) and read.endswith(body)
        if read is not None and whole and not close:
            end = len(read) - len(body)
            if read.find(HEAD_END) + len(HEAD_END) == end:
                known = KnownHead(
                    hot, len(body), caller, self._grant, self._coding, echo_keep_alive=self._echo_keep_alive
                )
                self._known.learn(read[:end], known)
        self._read = None
        self.slots.append(slot)
        if len(self.slots) >= MOST_PIPELINED:
            self.flow.pause_reading()
        slot.job = hot(body, slot)  # the answer comes to the slot, perhaps at once

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
        self.last_seen_s = time.monotonic()
        if self.half_closed:
            self.transport.close()
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self.flow.read_paused and not self.flow.write_paused:
            self.flow.resume_reading()

    def on_response_complete(self) -> None:  # noqa: D102 - uvicorn's callback
        self.last_seen_s = time.monotonic()
        super().on_response_complete()

    def _end_badly(self, error: HoldfastError) -> None:
        """Answer what cannot be read any further, then close."""
        if self.transport.is_closing():
            return
        self._in_head = False
        self._message_began_s = 0.0
        self._hot = None
        self._dropping = True
        self._body_bytes = 0
        slot = Slot(self, ANYONE if self._between else caller_of_refused(self._head))
        if error is self._refused:
            self._count_refused(error, slot)
        else:
            self.service.counts.refuse(reason_name(error))
        if self._app_busy and ends_otherwise(self.cycle, self.pipeline, error):
            return
        slot.data = error_response(error, head_lines=self.date_line + slot.headers, close=True)
        self.slots.append(slot)
        self.flush_answers()
        self.loop.call_later(LINGER_S, self._close_now)

    def _count_refused(self, error: HoldfastError, slot: Slot) -> None:
        """Of a hot request whose rows nobody has looked at."""
        self.service.turn_away(route_of(self._services.choose(self.url)[1]), error, slot)

    def _close_now(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    # Connection

    def eof_received(self) -> bool:  # type: ignore[override]  # a protocol may answer, says asyncio
        """The client will send no more; what it has sent is still answered."""
        waiting = bool(self.slots) or self._app_busy
        if not waiting or self.scheme == "https" or self._dropping:
            return False
        self.half_closed = True
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
        if transport is None:
            return
        if transport.is_closing():
            self._rest.drop_if_unread(transport, now_s, WRITE_TIMEOUT_S)
        elif self._write_paused_s and now_s - self._write_paused_s > WRITE_TIMEOUT_S:
            self.transport.abort()
        elif self._message_began_s:
            limit = HEAD_TIMEOUT_S if self._in_head else REQUEST_TIMEOUT_S
            if now_s - self._message_began_s > limit:
                self._end_badly(
                    RequestTimeoutError("the request took too long to arrive", expected=f"{limit:g} s")
                )
        elif not self.busy and now_s - self.last_seen_s > KEEP_ALIVE_S:
            self.transport.close()

    def shutdown(self, silence_s: float = 0.0) -> None:
        """Close once the answers that are due are sent and the client has been silent for this long.

        To be called again until the connection is gone.
        """
        if not self.busy:
            if time.monotonic() - self.last_seen_s >= silence_s and not has_unread(self.transport):
                self._close_after = True
                self.transport.close()
            return
        self._close_after = True
        if self.slots:
            self.slots[-1].close = True
        if self._app_busy:
            self.cycle.keep_alive = False

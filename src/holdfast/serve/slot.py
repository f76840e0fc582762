"""The place of one hot request among the answers of its connection, and the bytes that go there."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from holdfast.errors import HoldfastError
from holdfast.infer import Job, OverloadedError
from holdfast.serve.caller import ANYONE, Caller
from holdfast.serve.coded_bodies import respond_coded
from holdfast.serve.content_coding import COMPRESSED_FROM_BYTES, Coding
from holdfast.serve.sink import Sink
from holdfast.serve.status import error_body, error_headers, status_of

if TYPE_CHECKING:
    from holdfast.serve.protocol import HotProtocol

_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
_OK_BINARY: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
    b"inference-header-content-length: %d\r\ncontent-length: %d\r\n"
)


class Slot(Sink):
    """The place of one hot request among the answers of its connection."""

    __slots__ = ("close", "coding", "data", "echo_keep_alive", "headers", "job", "protocol")

    echo_keep_alive: bool
    """Set with `coding` by whoever makes a slot that is to respond."""
    coding: Coding
    """In which the caller takes a long answer."""

    def __init__(self, protocol: HotProtocol, caller: Caller = ANYONE) -> None:
        self.protocol = protocol
        self.caller = caller
        self.headers = b"" if caller is ANYONE else caller.headers
        self.close = False
        self.data: bytes | None = None
        self.job: Job | None = None

    def add_header(self, line: bytes) -> None:
        """See `Sink.add_header`."""
        self.headers += line

    def adopt(self, job: Job) -> None:
        """See `Sink.adopt`."""
        job.cancelled = self.protocol.transport.is_closing()
        self.job = job

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:
        """See `Sink.respond`."""
        self.job = None  # job and slot hold each other: without this only the collector would free them
        if self.coding and len(body) >= COMPRESSED_FROM_BYTES:
            respond_coded(self, self.coding, body, json_bytes)
            return
        protocol = self.protocol
        if (  # the usual case: one request at a time on a connection that stays
            json_bytes is None
            and not self.close
            and not self.echo_keep_alive
            and not protocol.service.draining
            and len(protocol.slots) == 1
            and not protocol.transport.is_closing()
        ):
            protocol.slots.clear()
            head = protocol.server_state.ok_head
            protocol.transport.write(b"%b%d\r\n%b\r\n%b" % (head, len(body), self.headers, body))
            protocol.last_seen_s = time.monotonic()
            if protocol.pipeline or protocol.half_closed or protocol.flow.read_paused:
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
        """See `Sink.refuse`."""
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

"""What one worker's connections share: heads of known requests and of answers, what stands for a request."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final

from uvicorn.server import ServerState

from holdfast.errors import HoldfastError
from holdfast.serve.admission import Grant
from holdfast.serve.caller import (
    ANYONE,
    READABLE_ID_FORM,
    REQUEST_ID,
    TRACEPARENT,
    Caller,
)
from holdfast.serve.content_coding import Coding
from holdfast.serve.hot import Take
from holdfast.serve.responses import error_response
from holdfast.telemetry import TRACEPARENT_BYTES, TRACEPARENT_FORM, read_traceparent

HEAD_END: Final = b"\r\n\r\n"
_MOST_KNOWN_HEADS: Final = 1024
_LARGEST_KNOWN_HEAD_BYTES: Final = 2048
_OFTEN: Final = 32
"""Times that a head has come until it gets an expression of its own, which takes as long to make as a few
dozen requests to answer."""
_STATE_FORM: Final = rb"[!-~][ -~]{0,511}"
_IDS: Final = re.compile(
    rb"\r\n((?:x-request-id|X-Request-ID|X-Request-Id|traceparent|Traceparent)(?=: [!-~]{1,200}\r\n)"
    rb"|tracestate|Tracestate): (%b)(?=\r\n)" % _STATE_FORM
)
"""Lines that differ from request to request of one client."""


class Waiting:
    """Stands for an unanswered request in the place where uvicorn looks for its last cycle."""

    response_complete = False
    keep_alive = True
    disconnected = False

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


def ends_otherwise(cycle: Any, pipeline: deque[tuple[Any, Any]], error: HoldfastError) -> bool:
    """Whether a connection that cannot be read any further ends without an answer written at once.

    Args:
        cycle: uvicorn's newest, which is not answered.
        pipeline: those that wait for others, the newest first.
        error: what the connection ends with.
    """
    if isinstance(cycle, Waiting):
        return False  # it stands for hot requests, behind which the answer waits by itself
    if not cycle.more_body:
        # The answer would overtake an earlier one; the connection ends with that one.
        cycle.keep_alive = False
        return True
    # The rest of its body never comes.
    if pipeline:
        cycle.keep_alive = False
        pipeline[0] = (cycle, error_response(error))
        return True
    cycle.disconnected = True
    cycle.message_event.set()
    if cycle.response_started:
        cycle.transport.close()
    return bool(cycle.response_started)


class Rest:
    """What a closed connection has still to write: it stays until its client reads that, or for ever."""

    __slots__ = ("_bytes", "_since_s")

    def __init__(self) -> None:
        self._bytes = 0
        self._since_s = 0.0

    def drop_if_unread(self, transport: asyncio.Transport, now_s: float, patience_s: float) -> None:
        """Cut the connection off if nothing of it was read for so long; called again until it is gone."""
        left = transport.get_write_buffer_size()
        if left != self._bytes:
            self._bytes, self._since_s = left, now_s
        elif left and now_s - self._since_s > patience_s:
            transport.abort()


class KnownHead:
    """What the parser said of a head: the same bytes mean the same again."""

    __slots__ = (
        "_groups", "_match", "_times", "body_bytes", "caller", "coding", "echo_keep_alive", "grant", "head",
        "take",
    )  # fmt: skip

    def __init__(
        self,
        take: Take,
        body_bytes: int,
        caller: Caller,
        grant: Grant | None,
        coding: Coding,
        *,
        echo_keep_alive: bool,
    ) -> None:
        self.take = take
        self.grant = grant
        self.body_bytes = body_bytes
        self.caller = caller
        self.coding = coding
        self.echo_keep_alive = echo_keep_alive
        self.head: bytes | tuple[()] = ()
        """Its bytes; (), with which nothing starts, where ids in it differ or it is forgotten."""
        self._times = 0
        self._match: Callable[[bytes], re.Match[bytes] | None] | None = None
        self._groups = (0, 0, 0)

    def come(self, head: bytes) -> None:
        """It came once more, with ids in it; what comes often is read by one expression from then on."""
        self._times += 1
        if self._times != _OFTEN:
            return
        pattern, end = b"", 0
        id_group = trace_group = state_group = 0  # of several lines of one kind, the last one counts
        for group, line in enumerate(_IDS.finditer(head), 1):
            pattern += re.escape(head[end : line.start(2)])
            if len(line[1]) == len(REQUEST_ID):
                id_group, form = group, READABLE_ID_FORM
            elif len(line[1]) == len(TRACEPARENT):
                trace_group, form = group, TRACEPARENT_FORM
            elif state_group:
                return  # of a tracestate all lines count
            else:
                state_group, form = group, _STATE_FORM
            pattern += b"(%b)" % form
            end = line.end(2)
        self._groups = id_group, trace_group, state_group
        self._match = re.compile(pattern + re.escape(head[end:])).match

    def read(self, data: bytes) -> tuple[int, Caller] | None:
        """Where this head ends at the beginning of these bytes, and who asks; None: that is not clear."""
        found = None if self._match is None else self._match(data)
        if found is None:
            return None
        name, trace, state = self._groups
        request_id = found[name] if name else b""
        if not trace:
            return found.end(), Caller(self.caller.patience_s, request_id)
        traceparent = found[trace][:TRACEPARENT_BYTES]
        tracestate = found[state] if state else b""
        return found.end(), Caller(self.caller.patience_s, request_id, traceparent, tracestate)

    def forget(self) -> None:
        """Its grant is no longer valid."""
        self.head = ()
        self._match = None
        self._times = _OFTEN


class KnownHeads(dict[bytes, KnownHead]):
    """Heads of hot requests that this worker has parsed, checked and admitted, by their exact bytes.

    Clients repeat their heads byte for byte, so most requests need no parser at all. A head is learned only
    as a whole request in one read, with a declared length, on a connection that stays open. Each carries the
    grant of its caller, which is asked per request; when keys change, all are forgotten. Of a head with a
    request id or a traceparent all the rest is known, and the ids are read.
    """

    with_ids = False
    """Whether there may be such heads."""

    def learn(self, head: bytes, known: KnownHead) -> None:
        """Remember a head; when there are too many, begin anew."""
        if len(head) > _LARGEST_KNOWN_HEAD_BYTES:
            return
        if known.caller.request_id or known.caller.traceparent:
            head, given = _cut_ids(head)
            if _caller_with(known.caller, given) != known.caller:
                return  # written in a way that only the parser reads
            self.with_ids = True
        else:
            known.head = head
        if len(self) >= _MOST_KNOWN_HEADS:
            self.clear()
        elif head in self:
            self[head].forget()
        self[head] = known

    def clear(self) -> None:
        """Forget them all; connections may hold some of them still."""
        for known in self.values():
            known.forget()
        super().clear()

    def find(self, data: bytes, usual: KnownHead | None) -> tuple[KnownHead | None, int, Caller]:
        """The known head with which these bytes begin, where it ends, and who asks.

        Args:
            data: from the beginning of a request.
            usual: what the same client sent before.
        """
        seen = None if usual is None else usual.read(data)
        if seen is not None:
            return usual, *seen
        end = data.find(HEAD_END) + len(HEAD_END)
        head = data[:end]
        known = self.get(head)
        if known is not None:
            return known, end, known.caller
        found = self._find_with_ids(head) if self.with_ids else None
        return (None, end, ANYONE) if found is None else (found[0], end, found[1])

    def _find_with_ids(self, head: bytes) -> tuple[KnownHead, Caller] | None:
        """A head all of which is known but for the ids in it, and its caller."""
        rest, given = _cut_ids(head)
        known = self.get(rest) if given else None
        if known is None:
            return None
        known.come(head)
        return known, _caller_with(known.caller, given)


def _cut_ids(head: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A head without its ids, as none is sent, and names and values of the lines that they stood in."""
    parts = _IDS.split(head)
    names = parts[1::3]
    return b"\0".join((*parts[::3], b"", *names)), list(zip(names, parts[2::3], strict=True))


def _caller_with(caller: Caller, given: list[tuple[bytes, bytes]]) -> Caller:
    """The caller with the ids of these lines in the place of its own."""
    request_id = traceparent = tracestate = b""
    for name, value in given:
        if len(name) == len(REQUEST_ID):
            request_id = value  # readable, or it would not have been cut out
        elif len(name) == len(TRACEPARENT):
            traceparent = read_traceparent(value)
        else:
            tracestate = b"%b,%b" % (tracestate, value) if tracestate else value
    return Caller(caller.patience_s, request_id, traceparent, tracestate if traceparent else b"")


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

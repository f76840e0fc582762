"""Plays transactions against a running service over HTTP, and counts every answer, error and microsecond.

A request that gets no answer (a reset connection) is counted and not repeated: whether its row reached the
log is for the ledger to say. So answered rows can be held against the log one by one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import httptools
import msgspec

from holdfast.errors import HoldfastError

PATIENCE_S: Final = 20.0
"""Longest time without any answer before the service counts as hung."""
_LABELS_PER_REQUEST: Final = 2000
_ERRORS_KEPT: Final = 5


class TrafficError(HoldfastError):
    """The service cannot be reached, or has stopped answering."""


class Answered(msgspec.Struct, frozen=True, gc=False):
    """What the traffic keeps of one answer of `POST /predict`."""

    prediction_id: str
    score: float
    model_version: str


class LabelToSend(msgspec.Struct, frozen=True, gc=False):
    """One element of the body of `POST /labels`."""

    prediction_id: str
    label: int
    observed_at: str


_DECODE: Final = msgspec.json.Decoder(Answered).decode


class Traffic:
    """Several keep-alive connections to one service, each with one request under way.

    The counts grow from one `play` to the next.

    Args:
        host: of the service.
        port: of the service.
        connections: requests under way at a time.
    """

    def __init__(self, host: str, port: int, connections: int) -> None:
        self.latencies_s: list[float] = []
        """From the request's first byte to the answer's last, in the order of the answers."""
        self.errors: Counter[str] = Counter()
        """Requests without a good answer, by status or kind."""
        self.error_texts: list[str] = []
        self.busy_s = 0.0
        """Time in which predictions were asked for."""
        self._host = host
        self._port = port
        self._number = connections
        self._connections: list[_Connection] = []
        self._todo: Iterator[tuple[int, bytes]] = iter(())
        self._open = 0
        self._done = asyncio.Event()
        self._bodies: list[bytes | None] = []
        self._starting: set[asyncio.Task[None]] = set()

    async def play(self, records: Sequence[bytes]) -> list[Answered | None]:
        """Ask for a prediction for every record, one request each; None where there was no good answer.

        Raises:
            TrafficError: the service does not answer any more.
        """
        started = time.perf_counter()
        bodies = await self._post("/predict", records, self.latencies_s)
        self.busy_s += time.perf_counter() - started
        return [None if body is None else _DECODE(body) for body in bodies]

    async def send_labels(self, labels: Sequence[LabelToSend]) -> int:
        """Post the labels; the number that the service accepted.

        Raises:
            TrafficError: the service does not answer any more.
        """
        starts = range(0, len(labels), _LABELS_PER_REQUEST)
        bodies = [msgspec.json.encode(labels[start : start + _LABELS_PER_REQUEST]) for start in starts]
        answers = await self._post("/labels", bodies, [])
        return sum(msgspec.json.decode(body)["accepted"] for body in answers if body is not None)

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    async def _post(self, path: str, bodies: Sequence[bytes], latencies: list[float]) -> list[bytes | None]:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        requests = ((i, b"%b%d\r\n\r\n%b" % (head, len(body), body)) for i, body in enumerate(bodies))
        self._todo = requests
        self._bodies = [None] * len(bodies)
        self._open = len(bodies)
        self._done = asyncio.Event()
        if not bodies:
            return []
        while len(self._connections) < self._number:
            self._connections.append(await self._connect())
        for connection in self._connections:
            connection.latencies = latencies
            connection.next()
        await self._until_done()
        return self._bodies

    async def _until_done(self) -> None:
        while True:
            open_before = self._open
            try:
                await asyncio.wait_for(self._done.wait(), PATIENCE_S)
                return
            except TimeoutError:
                if self._open == open_before:
                    raise TrafficError(
                        f"the service gave no answer for {PATIENCE_S:g} s",
                        where=f"{self._host}:{self._port}",
                        received=f"{self._open} requests still open",
                    ) from None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except OSError as error:
            raise TrafficError(
                f"the service cannot be reached: {error.strerror}", where=f"{self._host}:{self._port}"
            ) from error
        return connection

    def take(self) -> tuple[int, bytes] | None:
        """The next request, for a connection that is free."""
        return next(self._todo, None)

    def answered(self, index: int, status: int, body: bytes) -> None:
        """One request has its answer."""
        if status == 200:
            self._bodies[index] = body
        else:
            self.failed(str(status), body[:300].decode(errors="replace"))
        self._one_less()

    def lost(self, connection: _Connection, index: int | None) -> None:
        """A connection is gone, maybe with a request under way; another takes its place."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        if index is not None:
            self.failed("connection lost", "the connection was lost before the answer")
        if self._open > (index is not None):
            task = asyncio.get_running_loop().create_task(self._replace(connection.latencies))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)
        if index is not None:
            self._one_less()

    def failed(self, kind: str, text: str) -> None:
        """Count a request without a good answer, and keep the first few texts."""
        self.errors[kind] += 1
        if len(self.error_texts) < _ERRORS_KEPT:
            self.error_texts.append(f"{kind}: {text}")

    async def _replace(self, latencies: list[float]) -> None:
        try:
            connection = await self._connect()
        except TrafficError as error:
            self.failed("cannot connect", str(error))
            return
        self._connections.append(connection)
        connection.latencies = latencies
        connection.next()

    def _one_less(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._done.set()


class _Connection(asyncio.Protocol):
    """One keep-alive connection; it sends the next request as soon as the answer is complete."""

    def __init__(self, traffic: Traffic) -> None:
        self.latencies: list[float] = []
        self._traffic = traffic
        self._transport: Any = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._index: int | None = None
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def next(self) -> None:
        """Send the next request, if there is one and none is under way."""
        if self._index is not None:
            return
        request = self._traffic.take()
        if request is not None:
            self._index, data = request
            self._sent_s = time.perf_counter()
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Part of an answer."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The whole answer is here."""
        index, self._index = self._index, None
        body, self._body = b"".join(self._body), []
        if index is None:
            return
        self.latencies.append(time.perf_counter() - self._sent_s)
        self._traffic.answered(index, self._parser.get_status_code(), body)
        if self._parser.should_keep_alive():
            self.next()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        index, self._index = self._index, None
        self._traffic.lost(self, index)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

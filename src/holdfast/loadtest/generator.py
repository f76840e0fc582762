"""One process that sends requests at their intended times: a plan comes in, an outcome goes out, by pipes.

Latency counts from the intended time, so a request that had to wait for a connection while the service stood
still is as late as its caller would have found it. Whole requests are encoded before the first is sent; an
answer is parsed by httptools only as far as its end and its status, and checked after the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import ssl
import sys
import time
from typing import Any, Final

import httptools
import msgspec
import numpy as np

from holdfast.loadtest.plan import (
    CLOSED,
    NOT_HTTP,
    OK,
    READY,
    REFUSED_CONNECTION,
    TIMED_OUT,
    UNSENT,
    Kept,
    Outcome,
    Plan,
)
from holdfast.loadtest.timer import Timer
from holdfast.loadtest.tls import client_context

_BEAT_S: Final = 0.01
_SWEEP_S: Final = 0.1
_GROW: Final = 8
"""Connections that may be in the making at once: a burst opens no hundred at once."""
_MOST_KEPT: Final = 2000
_now = time.monotonic


class _Connection(asyncio.Protocol):
    __slots__ = ("failed", "index", "load", "parser", "pieces", "sent_s", "transport", "write")

    def __init__(self, load: _Load) -> None:
        self.load = load
        self.index = -1
        """Of the request under way; -1: idle."""
        self.sent_s = 0.0
        self.pieces: list[bytes] | None = None
        self.failed = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.write = transport.write
        self.parser = httptools.HttpResponseParser(self)
        self.load.connected(self)

    def data_received(self, data: bytes) -> None:
        if self.pieces is not None:
            self.pieces.append(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.failed = True
            self.load.broken(self, NOT_HTTP)
            self.transport.abort()

    def on_message_complete(self) -> None:
        parser = self.parser
        if not parser.should_keep_alive():
            self.failed = True
        self.load.answered(self, parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        self.load.lost(self)


class _Load:
    """The schedule, the connections, and what became of each request."""

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self.loop = loop
        arrivals = np.frombuffer(plan.arrivals, "<f8")
        self.total = len(arrivals)
        self.due: list[float] = (arrivals + plan.start_s).tolist()
        self.due.append(float("inf"))
        self.choices: list[int] = np.frombuffer(plan.choices, "<i4").tolist()
        self.payloads = plan.payloads
        self.latency = [float("nan")] * self.total
        self.outcome = [UNSENT] * self.total
        self.next = 0
        self.finished = 0
        self.free: list[_Connection] = []
        self.open: set[_Connection] = set()
        self.opening = 0
        self.opened = 0
        self.kept: list[tuple[int, list[bytes]]] = []
        self.lags: list[float] = []
        self.done: asyncio.Future[None] = loop.create_future()
        self.timer = Timer(loop, self.dispatch)
        self.set_for = -1
        """The request for whose moment the timer is set."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.closed_loop = plan.closed_loop
        self.tls: ssl.SSLContext | None = None
        if plan.tls:
            self.tls = client_context(plan.certificate, plan.certificate_key)

    # Sending

    def dispatch(self) -> None:
        """Send what is due, on free connections; called by the timer."""
        now = _now()
        due, free = self.due, self.free
        while due[self.next] <= now and free:
            self.lags.append(now - due[self.next])
            self.send(free.pop(), now)
            now = _now()
        if due[self.next] <= now:
            self.grow()
        else:
            self.wait()

    def wait(self) -> None:
        """Wake up when the next request is due."""
        if self.next < self.total and self.set_for != self.next:
            self.set_for = self.next
            self.timer.set(self.due[self.next])

    def send(self, connection: _Connection, now: float) -> None:
        index = self.next
        self.next = index + 1
        connection.index = index
        connection.sent_s = now
        keep = self.plan.keep_every
        if keep and index % keep == 0 and len(self.kept) < _MOST_KEPT:
            connection.pieces = []
        connection.write(self.payloads[self.choices[index]])

    def answered(self, connection: _Connection, status: int) -> None:
        index = connection.index
        if index < 0:
            return
        now = _now()
        self.latency[index] = now - (connection.sent_s if self.closed_loop else self.due[index])
        self.outcome[index] = OK if status == 200 else status
        if connection.pieces is not None:
            if status == 200:
                self.kept.append((self.choices[index], connection.pieces))
            connection.pieces = None
        connection.index = -1
        self.count()
        if connection.failed:
            connection.transport.close()
        elif self.due[self.next] <= now:
            self.send(connection, now)
        else:
            self.free.append(connection)
            self.wait()

    def count(self) -> None:
        self.finished += 1
        if self.finished == self.total and not self.done.done():
            self.done.set_result(None)

    # Connections

    def grow(self) -> None:
        """Open more connections for what is due and cannot be sent."""
        while self.opening < _GROW and len(self.open) + self.opening < self.plan.connections:
            self.opening += 1
            task = self.loop.create_task(self.connect())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def connect(self) -> None:
        plan = self.plan
        try:
            await self.loop.create_connection(lambda: _Connection(self), plan.host, plan.port, ssl=self.tls)
        except OSError:
            self.opening -= 1
            self.refused()

    def refused(self) -> None:
        """Nobody took the connection: what is due now gets no answer, as its caller would get none."""
        now = _now()
        if not self.open:
            while self.due[self.next] <= now:
                self.outcome[self.next] = REFUSED_CONNECTION
                self.next += 1
                self.count()
        self.set_for = -1
        self.timer.set(max(min(self.due[self.next], now + 3600), now + 0.01))

    def connected(self, connection: _Connection) -> None:
        self.opening -= 1
        self.opened += 1
        self.open.add(connection)
        now = _now()
        if self.due[self.next] <= now:
            self.send(connection, now)
            if self.due[self.next] <= now:
                self.grow()
        else:
            self.free.append(connection)
            self.wait()

    def broken(self, connection: _Connection, outcome: int) -> None:
        """The request under way on it will get no answer."""
        if connection.index >= 0:
            self.outcome[connection.index] = outcome
            connection.index = -1
            self.count()

    def lost(self, connection: _Connection) -> None:
        self.broken(connection, CLOSED)
        self.open.discard(connection)
        with contextlib.suppress(ValueError):
            self.free.remove(connection)
        if self.next < self.total and self.due[self.next] <= _now():
            self.grow()

    # Around it

    async def beat(self) -> None:
        """How late the loop wakes is lag too: answers lie unread for as long."""
        while True:
            before = _now()
            await asyncio.sleep(_BEAT_S)
            # The loop's own timers are exact to a millisecond.
            self.lags.append(max(_now() - before - _BEAT_S - 0.001, 0.0))

    async def sweep(self) -> None:
        """End what has waited too long."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            limit = _now() - self.plan.timeout_s
            for connection in list(self.open):
                if connection.index >= 0 and self.due[connection.index] < limit and connection.sent_s < limit:
                    self.broken(connection, TIMED_OUT)
                    connection.failed = True
                    connection.transport.abort()
            while self.due[self.next] < limit and not self.closed_loop:
                self.outcome[self.next] = UNSENT
                self.next += 1
                self.count()

    async def run(self) -> Outcome:
        self.grow()
        await asyncio.sleep(max(self.plan.start_s - _now(), 0) / 2)
        helpers = [self.loop.create_task(self.beat()), self.loop.create_task(self.sweep())]
        began_s, began_cpu_s = _now(), time.process_time()
        if self.total:
            self.wait()
            await self.done
        wall_s, cpu_s = _now() - began_s, time.process_time() - began_cpu_s
        for helper in helpers:
            helper.cancel()
        self.timer.close()
        for connection in list(self.open):
            connection.transport.abort()
        lags = np.array(self.lags or [0.0])
        return Outcome(
            lag_p50_s=float(np.quantile(lags, 0.5)),
            lag_p99_s=float(np.quantile(lags, 0.99)),
            lag_max_s=float(lags.max()),
            busy=cpu_s / max(wall_s, 1e-9),
            cpu_s=cpu_s,
            opened=self.opened,
            kept=[Kept(payload, b"".join(pieces)) for payload, pieces in self.kept],
            latency=np.array(self.latency, dtype="<f8").tobytes(),
            outcome=np.array(self.outcome, dtype="<i2").tobytes(),
        )


async def _run(plan: Plan) -> Outcome:
    load = _Load(plan, asyncio.get_running_loop())
    gc.collect()
    gc.freeze()
    gc.disable()
    return await load.run()


def main() -> None:
    """Say that all is loaded, then carry out the plan that is read."""
    try:
        import uvloop
    except ImportError:
        new_loop = None
    else:
        new_loop = uvloop.new_event_loop
    _tell(READY)
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    if plan.cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan.cpu})
    with asyncio.Runner(loop_factory=new_loop) as runner:
        outcome = runner.run(_run(plan))
    _tell(msgspec.msgpack.encode(outcome))


def _tell(content: bytes) -> None:
    """Write all of it: a full pipe may take a part, and an unbuffered standard output stops there.

    The event loop's io_uring leaves work that interrupts a write like a signal does.
    """
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(sys.stdout.fileno(), rest) :]


if __name__ == "__main__":
    main()

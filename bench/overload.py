"""Under more than it can answer: goodput, latency of what is accepted, and what is refused; an open loop.

    uv run python bench/overload.py
    uv run python bench/overload.py --json --factors 0.5 1 2 4

One worker, model C (an MLP of 2048 x 2048, most of whose time is the run), logging on, 16 rows a request so
that the client can send more than the service can answer. A closed loop finds the peak. Then requests are
sent at Poisson times at multiples of it, whether or not earlier ones were answered; latency counts from the
time at which a request was due, so a client that falls behind hides nothing. The claim is that at twice the
peak goodput stays at 90 % of it, that of the accepted requests 99 % come within `[speed] p99_ms`, and that
refusals come at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httptools
import uvloop

P99_MS = 250
CLOSED_CONNECTIONS = 128
AFTER_REFUSAL_S = 0.05
"""A client of the closed loop that was refused waits; `Retry-After` would say a second."""
MOST_CONNECTIONS = 1500


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.waiting: asyncio.Future[int] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self.waiting is not None:
            self.waiting.set_result(self.parser.get_status_code())
        self.parser = httptools.HttpResponseParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(exc or ConnectionResetError())

    async def ask(self, data: bytes) -> int:
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return await self.waiting


async def connect(port: int) -> Connection:
    return (await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port))[1]


async def closed_loop(port: int, data: bytes, seconds: float) -> float:
    """Answers per second with as many connections as wrk's usual run has."""
    ends = time.monotonic() + seconds
    answered = 0

    async def one() -> None:
        nonlocal answered
        connection = await connect(port)
        while time.monotonic() < ends:
            if await connection.ask(data) == 200:
                answered += 1
            else:
                await asyncio.sleep(AFTER_REFUSAL_S)
        connection.transport.close()

    began = time.monotonic()
    await asyncio.gather(*(one() for _ in range(CLOSED_CONNECTIONS)))
    return answered / (time.monotonic() - began)


async def open_loop(port: int, data: bytes, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    chance = random.Random(seed)
    idle: list[Connection] = []
    count = 0
    outcomes: list[tuple[int, float]] = []
    lags: list[float] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        nonlocal count
        if idle:
            connection = idle.pop()
        elif count < MOST_CONNECTIONS:
            count += 1
            connection = await connect(port)
        else:
            outcomes.append((0, 0.0))
            return
        lags.append(time.monotonic() - due)
        status = await connection.ask(data)
        outcomes.append((status, time.monotonic() - due))
        idle.append(connection)

    began = time.monotonic()
    due = began
    while (due := due + chance.expovariate(rate)) < began + seconds:
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        elif len(tasks) % 64 == 0:
            await asyncio.sleep(0)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    sent_s = time.monotonic() - began
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.transport.close()
    accepted = sorted(latency for status, latency in outcomes if status == 200)
    refused = sorted(latency for status, latency in outcomes if status == 503)
    return {
        "offered_per_s": len(outcomes) / sent_s,
        "goodput_per_s": len(accepted) / sent_s,
        "refused_per_s": len(refused) / sent_s,
        "not_sent": sum(status == 0 for status, _ in outcomes),
        "other": sum(status not in {0, 200, 503} for status, _ in outcomes),
        "accepted_p50_ms": percentile_ms(accepted, 0.5),
        "accepted_p99_ms": percentile_ms(accepted, 0.99),
        "refused_p50_ms": percentile_ms(refused, 0.5),
        "refused_p99_ms": percentile_ms(refused, 0.99),
        "connections": count,
        "client_late_p99_ms": percentile_ms(sorted(lags), 0.99),
    }


def percentile_ms(values: list[float], share: float) -> float | None:
    return round(values[min(int(len(values) * share), len(values) - 1)] * 1000, 1) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 0.9, 2.0, 4.0])
    parser.add_argument("--seconds", type=float, default=6.0, help="of each rate")
    parser.add_argument("--model", choices=("A", "B", "C"), default="C")
    parser.add_argument("--rows", type=int, default=16, help="of a request: on fast cores one is too few")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    from peers import records
    from systems import ask, holdfast, make_deployment

    question = records("json", arguments.rows)
    body = b"" if question is None else question.body

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "on"
        make_deployment(folder, 1, logging=True, model=arguments.model, extra=f"[speed]\np99_ms = {P99_MS}\n")
        with holdfast(folder) as (url, _):
            ask(url, patience_s=60)
            port = int(url.rpartition(":")[2])
            data = b"POST /predict HTTP/1.1\r\nhost: bench\r\ncontent-length: %d\r\n\r\n%b" % (
                len(body),
                body,
            )

            async def everything() -> tuple[list[float], list[dict[str, Any]]]:
                await closed_loop(port, data, 2.0)
                peaks, found = [], []
                for factor in arguments.factors:
                    # The machine changes under us: each rate is a multiple of a peak found just before.
                    peaks.append(await closed_loop(port, data, arguments.seconds / 2))
                    one = await open_loop(port, data, peaks[-1] * factor, arguments.seconds, seed=1)
                    peaks.append(await closed_loop(port, data, arguments.seconds / 2))
                    peak = statistics.mean(peaks[-2:])
                    found.append({"factor": factor, "peak_per_s": peak, **one})
                return peaks, found

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                peaks, found = runner.run(everything())
    document = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average": os.getloadavg()[0],
        "model": arguments.model,
        "rows": arguments.rows,
        "p99_ms": P99_MS,
        "peak_per_s": statistics.median(peaks),
        "rates": found,
    }
    if arguments.json:
        print(json.dumps(document, indent=2))
        return
    print(
        f"model {arguments.model}, peak {document['peak_per_s']:,.0f}/s, p99_ms = {P99_MS}, "
        f"{document['machine']}, load {document['load_average']:.0f}"
    )
    for one in found:
        share = one["goodput_per_s"] / one["peak_per_s"]
        print(
            f"x {one['factor']:<4g} offered {one['offered_per_s']:>7,.0f}/s"
            f"  goodput {one['goodput_per_s']:>7,.0f}/s ({share:.0%} of the peak)"
            f"  accepted p50 {one['accepted_p50_ms']} ms, p99 {one['accepted_p99_ms']} ms"
            f"  refused {one['refused_per_s']:,.0f}/s, p99 {one['refused_p99_ms']} ms"
            f"  not sent {one['not_sent']}  other {one['other']}"
            f"  client late by {one['client_late_p99_ms']} ms (p99)"
        )


if __name__ == "__main__":
    main()

"""Where the time of a request goes inside a worker: microseconds by stage, by requests per turn.

    uv run python bench/stages.py            a table
    uv run python bench/stages.py --json

Everything between the bytes that the loop has read and the bytes that it will write, in one process and
without sockets, so what is measured does not depend on a client. Each number is the fastest of many
repetitions: the others were disturbed. The two system calls that are left, `recv` and `send`, are measured on
a socket pair.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.clock import SystemClock
from holdfast.infer import load_model, open_plane, turns
from holdfast.infer.job import Job, assemble
from holdfast.prediction_log import new_prediction_ids
from holdfast.privacy import PredictionRecord, Redactor
from holdfast.serve.service import Endpoint, Service
from holdfast.serve.sink import Sink
from holdfast.serve.watch import Watch
from holdfast.spec import Deployment
from holdfast.telemetry import AccessLog, ServiceCounts, Traces

TURNS = (1, 32, 256)


class Silent(Sink):
    """Takes the answer and does nothing."""

    __slots__ = ()

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:
        pass

    def refuse(self, error: Exception) -> None:
        raise error


class Uncounted:
    """Stands for counts and counts nothing."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self


def fastest_us(work: Callable[[], Any], repeats: int = 300) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter_ns()
        work()
        best = min(best, time.perf_counter_ns() - began)
    return best / 1000


async def stages(folder: Path, requests: int, body: bytes) -> dict[str, float]:
    deployment = Deployment.open(folder, {})
    clock = SystemClock()
    plane = open_plane(deployment, "bench", clock)
    service = Service(deployment.checklist, plane, ServiceCounts(), clock)
    model = load_model(next(deployment.artifacts_folder.iterdir()), "1")
    model.warm_up()
    service.install(model, 1, [])
    endpoint = service.champion
    if not isinstance(endpoint, Endpoint) or plane.writer is None:
        raise TypeError("no champion")
    codec = endpoint.lane.codec
    jobs = [Job(1, codec.decode(body)[0], None, (), time.monotonic()) for _ in range(requests)]
    block = assemble(codec, jobs)
    packed = model._packer.pack(block.columns, requests)
    answer = model.predict(block.columns, requests)  # one row alone: the second time through bound tensors
    redactor = Redactor(deployment.checklist.privacy, None)
    arrivals = [(job.arrived_s, 1) for job in jobs]
    ids = new_prediction_ids(requests, clock)
    record = PredictionRecord(
        model_version="1", arm="champion", prediction_ids=ids, times_us=[clock.now_us()] * requests,
        latency_us=[1] * requests, inputs=block.columns, context=block.context,
        prediction=answer.prediction, probabilities=answer.probabilities, score=model.score(answer),
    )  # fmt: skip
    redacted = redactor.redact(record)
    writer: Any = plane.writer
    found = {
        "decode": fastest_us(lambda: [codec.decode(body) for _ in range(requests)]),
        "columns": fastest_us(lambda: assemble(codec, jobs)),
        "run, with tensors and outputs": fastest_us(lambda: model.predict(block.columns, requests)),
        "the graph alone, as arrays": fastest_us(lambda: model._runtime.run(packed)),
        "ids": fastest_us(lambda: new_prediction_ids(requests, clock)),
        "redact": fastest_us(lambda: redactor.redact(record)),
        "log: encode and write": fastest_us(lambda: writer.append(redacted)),
        "whole plane (columns to log)": fastest_us(
            lambda: plane.answer(model, assemble(codec, jobs), arrivals)
        ),
    }

    def encode() -> None:
        batch = plane.answer(model, block, arrivals)
        began = time.perf_counter_ns()
        for row in range(requests):
            endpoint.rows.one(batch, row)
        spent.append(time.perf_counter_ns() - began)

    spent: list[int] = []
    for _ in range(300):
        encode()
    found["answer: encode"] = min(spent) / 1000

    def turn() -> None:
        sink = Silent()
        for _ in range(requests):
            service.predict(body, sink)
        service.batcher._turn()
        service.batcher._settle_last()

    service.batcher._scheduled = True  # the turn is called by hand
    turns.INLINE_RUN_S = 10.0  # type: ignore[misc]  # and in the loop, whatever else the machine does
    found["body to answer (all above and counting)"] = fastest_us(turn)
    found["bytes read to bytes written"] = fastest_us(connected(service, deployment, body, requests))
    counts = endpoint.predict_counts
    endpoint.predict_counts, service.batcher._counts = Uncounted(), Uncounted()  # type: ignore[assignment]  # stands in for both
    found["the same without any metric"] = fastest_us(turn)
    endpoint.predict_counts, service.batcher._counts = counts, service.counts
    nowhere = os.open(os.devnull, os.O_WRONLY)
    access = AccessLog(nowhere, clock)
    service.books.watch = Watch(access, None, service.counts)

    def turn_with_line() -> None:
        turn()
        access.write()

    found["with the access log, its lines made and written"] = fastest_us(turn_with_line)
    os.close(nowhere)
    for share, name in (
        (1.0, "with a trace of every request, nobody taking them"),
        (0.01, "of one in a hundred"),
    ):
        traces = open_traces(share)
        if traces is not None:
            service.books.watch = Watch(None, traces, service.counts)
            found[name] = fastest_us(turn)
            traces.close()
    service.books.watch = None
    plane.close()
    return {name: value / requests for name, value in found.items()}


class Written(asyncio.Transport):
    """A connection's other side, which takes everything."""

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def connected(service: Service, deployment: Deployment, body: bytes, requests: int) -> Callable[[], None]:
    """One turn from the transport's callback to its `write`, each request on a connection of its own."""
    from uvicorn.config import Config

    from holdfast.serve.app import make_app
    from holdfast.serve.connection_state import WorkerState
    from holdfast.serve.protocol import HotProtocol
    from holdfast.serve.services import Services

    app = make_app(service, version="0", run_folder=deployment.folder, replica="bench", workers=1)
    config = Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
    config.load()
    state, services = WorkerState(), Services([service])
    protocols = [HotProtocol(services, config, state) for _ in range(requests)]
    for protocol in protocols:
        protocol.connection_made(Written())  # type: ignore[arg-type]  # what of it is used
    head = f"POST /predict HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body

    def turn() -> None:
        for protocol in protocols:
            protocol.data_received(request)
        service.batcher._turn()
        service.batcher._settle_last()

    return turn


def open_traces(share: float) -> Traces | None:
    """Traces whose spans are made and dropped; None: OpenTelemetry is not installed."""
    try:
        from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    except ImportError:
        return None

    class Dropped(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002 - of this shape
            return SpanExportResult.SUCCESS

    chance = random.Random(1).random
    return Traces("bench", "bench", fraction=share, per_s=1e9, chance=chance, exporter=Dropped())


def system_calls(body: bytes) -> dict[str, float]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sent, received = [], []
    for _ in range(2000):
        began = time.perf_counter_ns()
        near.send(body)
        sent.append(time.perf_counter_ns() - began)
        began = time.perf_counter_ns()
        far.recv(65536)
        received.append(time.perf_counter_ns() - began)
    near.close()
    far.close()
    return {"send (system call, loopback)": min(sent) / 1000, "recv (system call)": min(received) / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    from systems import BODY, make_deployment

    with tempfile.TemporaryDirectory() as name:
        make_deployment(
            Path(name) / "on", 1, logging=True, extra="[speed]\np99_ms = 5000\ndeadline_ms = 9000\n"
        )
        tables = {turn: asyncio.run(stages(Path(name) / "on", turn, BODY.encode())) for turn in TURNS}
    calls = system_calls(BODY.encode())
    if arguments.json:
        print(json.dumps({"us_per_request": tables, "system_calls_us": calls}, indent=2))
        return
    print(f"{'us per request, requests per turn:':<48}" + "".join(f"{turn:>9}" for turn in TURNS))
    for stage in tables[1]:
        print(f"{stage:<48}" + "".join(f"{tables[turn][stage]:>9.2f}" for turn in TURNS))
    for call, value in calls.items():
        print(f"{call:<48}{value:>9.2f}")


if __name__ == "__main__":
    main()

"""What the transport costs: uvicorn's protocol subclassed, against a bare `asyncio.Protocol` on httptools.

    uv run python bench/transport.py

Both hand the body to the same service object (decode, batch, run, log, encode), so the difference is the
transport alone. Processor time per request is reported beside the rate, since it does not depend on what else
the machine does. The bare protocol has no other routes, no limits, no timeouts, no flow control and no drain:
it is a floor.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httptools
import uvloop

from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.infer import load_model, open_plane
from holdfast.serve.service import Service
from holdfast.serve.sink import Sink
from holdfast.spec import Deployment
from holdfast.telemetry import ServiceCounts


class BareProtocol(asyncio.Protocol):
    """Reads requests, writes answers, and nothing else."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.service.predict(self.body, BareSink(self.transport))


class BareSink(Sink):
    """Writes at once."""

    __slots__ = ("transport",)

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self.transport = transport

    def respond(self, body: bytes, json_bytes: int | None = None) -> None:  # noqa: ARG002 - of this shape
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % len(body) + body)

    def refuse(self, error: HoldfastError) -> None:
        raise error


async def serve(folder: Path, kind: str, listening: socket.socket) -> None:
    from uvicorn.config import Config

    from holdfast.serve.app import make_app
    from holdfast.serve.connection_state import WorkerState
    from holdfast.serve.protocol import HotProtocol
    from holdfast.serve.services import Services

    deployment = Deployment.open(folder, {})
    service = Service(
        deployment.checklist, open_plane(deployment, "bench", SystemClock()), ServiceCounts(), SystemClock()
    )
    artifact = next(deployment.artifacts_folder.iterdir())
    model = load_model(artifact, "1")
    model.warm_up()
    service.install(model, 1, [])
    app = make_app(service, version="0", run_folder=folder, replica="r", workers=1)
    config = Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
    config.load()
    state = WorkerState()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    make: Any = (
        (lambda: HotProtocol(Services([service]), config, state))
        if kind == "uvicorn"
        else (lambda: BareProtocol(service))
    )
    server = await asyncio.get_running_loop().create_server(make, sock=listening)
    await server.serve_forever()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", nargs=3)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.child:
        kind, folder, fd = arguments.child
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(Path(folder), kind, socket.socket(fileno=int(fd))))
        return
    sys.path.insert(0, str(Path(__file__).parent))
    from systems import BODY, ask, make_deployment

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The bare protocol cannot refuse.
        patient = "[speed]\np99_ms = 5000\ndeadline_ms = 9000\n"
        make_deployment(folder / "on", 1, logging=True, extra=patient)
        script = folder / "post.lua"
        script.write_text(f"wrk.method = 'POST'\nwrk.body = '{BODY}'\n")
        children: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
        for kind in ("uvicorn", "bare"):
            with socket.create_server(("127.0.0.1", 0)) as listening:
                fd = listening.fileno()
                command = [sys.executable, __file__, "--child", kind, str(folder / "on"), str(fd)]
                children[kind] = (subprocess.Popen(command, pass_fds=(fd,)), listening.getsockname()[1])
        try:
            for _, port in children.values():
                ask(f"http://127.0.0.1:{port}", patience_s=60)
            for connections in (64, 1):
                measure(children, connections, arguments.rounds, script)
        finally:
            for process, _ in children.values():
                process.kill()
                process.wait()


def measure(
    children: dict[str, tuple[subprocess.Popen[bytes], int]], connections: int, rounds: int, script: Path
) -> None:
    from wrk import milliseconds

    seen: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in children}
    for _ in range(rounds):
        for kind, (process, port) in children.items():
            before = cpu_s(process.pid)
            command = [
                "wrk",
                "-t1",
                f"-c{connections}",
                "-d3s",
                "--latency",
                "-s",
                str(script),
                f"http://127.0.0.1:{port}/predict",
            ]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            requests = re.search(r"(\d+) requests in", text)
            rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
            if requests is None or rate is None or "Non-2xx" in text:
                raise RuntimeError(text)
            spent_us = (cpu_s(process.pid) - before) / int(requests[1]) * 1e6
            seen[kind].append((float(rate[1]), spent_us, milliseconds(text, "50%") * 1000))
    for kind, values in seen.items():
        rates, costs, medians = zip(*values, strict=True)
        print(
            f"{connections:>3} connections  {kind:<8} {statistics.median(rates):>8,.0f}/s"
            f"  {statistics.median(costs):6.1f} us of processor time per request"
            f"  median {statistics.median(medians):6.0f} us",
            flush=True,
        )


if __name__ == "__main__":
    main()

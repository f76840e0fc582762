"""What compressed bodies and answers cost a worker: microseconds of its processor per request, by rows.

    uv run python bench/coded_bodies.py

One connection in one process without a socket, model A, `POST /predict` as JSON, logging on; medians of
rounds in turn, as shares of what plain bodies take. The last column is the link below which a compressed
answer is there sooner: bits saved for each second spent.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from holdfast.clock import SystemClock
from holdfast.infer import load_model, open_plane
from holdfast.serve.app import make_app
from holdfast.serve.connection_state import WorkerState
from holdfast.serve.protocol import HotProtocol
from holdfast.serve.service import Service
from holdfast.serve.services import Services
from holdfast.serve.uvicorn_settings import uvicorn_config
from holdfast.spec import Deployment
from holdfast.telemetry import ServiceCounts

ROWS = (1, 32, 128, 512, 2048, 8192)
ROUNDS = 9


class Written:
    """Stands for a transport; remembers how much was written."""

    def __init__(self) -> None:
        self.size = 0
        self.some = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.size = len(data)
        self.some.set()

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, _: str) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


async def measure(folder: Path, names: list[str]) -> None:
    deployment = Deployment.open(folder, {})
    clock = SystemClock()
    service = Service(deployment.checklist, open_plane(deployment, "bench", clock), ServiceCounts(), clock)
    model = load_model(next(deployment.artifacts_folder.iterdir()), "1")
    model.warm_up()
    service.install(model, 1, [])
    services = Services([service])
    app = make_app(service, version="0", run_folder=folder, replica="bench", workers=1)
    protocol = HotProtocol(services, uvicorn_config(app, services), WorkerState())
    written = Written()
    protocol.connection_made(written)  # type: ignore[arg-type]  # what of it is used
    print(f"{'rows':>6}{'plain us':>10}{'KiB':>7}{'gzip in':>9}{'gzip out':>10}{'KiB':>7}{'Mbit/s':>8}")
    for rows in ROWS:
        drawn = random.Random(rows)
        plain = json.dumps(
            [{name: round(drawn.gauss(0, 1), 4) for name in names} for _ in range(rows)]
        ).encode()
        packed = gzip.compress(plain)
        requests = {
            "plain": request(plain, ""),
            "in": request(packed, "content-encoding: gzip\r\n"),
            "out": request(plain, "accept-encoding: gzip, deflate\r\n"),
        }
        spent: dict[str, list[float]] = {name: [] for name in requests}
        sizes = {}
        for _ in range(ROUNDS):
            for name, sent in requests.items():
                repeats = max(3, 2000 // rows)
                began_s = time.process_time()
                for _ in range(repeats):
                    written.some.clear()
                    protocol.data_received(sent)
                    await written.some.wait()
                spent[name].append((time.process_time() - began_s) / repeats * 1e6)
                sizes[name] = written.size
        us = {name: statistics.median(times) for name, times in spent.items()}
        saved = (sizes["plain"] - sizes["out"]) * 8
        link = f"{saved / (us['out'] - us['plain']):>8.0f}" if saved > 8 else f"{'':>8}"
        print(
            f"{rows:>6}{us['plain']:>10.0f}{sizes['plain'] / 1024:>7.1f}{us['in'] / us['plain']:>9.2f}"
            f"{us['out'] / us['plain']:>10.2f}{sizes['out'] / 1024:>7.1f}{link}"
        )
    service.batcher.close()
    service.plane.close()


def request(body: bytes, lines: str) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return head.encode() + body


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    from systems import BODY, make_deployment

    speed = "[speed]\np99_ms = 5000\ndeadline_ms = 9000\n"
    with tempfile.TemporaryDirectory() as name:
        make_deployment(Path(name) / "on", 1, logging=True, extra=speed)
        asyncio.run(measure(Path(name) / "on", list(json.loads(BODY))))


if __name__ == "__main__":
    main()

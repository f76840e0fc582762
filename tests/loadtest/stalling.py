"""A server of protocol v2 that doubles its input at once, and stands still for a while in each period.

    python stalling.py PERIOD_S STALL_S

Prints its port. One thread, so that while it stands still nobody is answered.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

_METADATA = {
    "name": "double",
    "platform": "test",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512
    period_s = 1.0
    stall_s = 0.0
    wrong_every = 0
    answered = 0
    gate = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def do_GET(self) -> None:
        self.answer(200, _METADATA)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        server = self.server
        if server.stall_s:
            into_s = time.monotonic() % server.period_s
            if into_s < server.stall_s:
                time.sleep(server.stall_s - into_s)
        given = json.loads(body)["inputs"][0]
        factor = 2
        if server.wrong_every:
            with server.gate:
                server.answered += 1
                factor = 3 if server.answered % server.wrong_every == 0 else 2
        values = [factor * value for value in given["data"]]
        output = {"name": "y", "datatype": "FP32", "shape": given["shape"], "data": values}
        self.answer(200, {"model_name": "double", "outputs": [output]})

    def answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        head = (
            f"HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def stalling_server(stall_s: float = 0.0, period_s: float = 1.0, wrong_every: int = 0) -> Iterator[str]:
    """Its URL; a process of its own."""
    arguments = [str(period_s), str(stall_s), str(wrong_every)]
    process = subprocess.Popen([sys.executable, str(Path(__file__)), *arguments], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.period_s, server.stall_s = float(sys.argv[1]), float(sys.argv[2])
        server.wrong_every = int(sys.argv[3])
        print(server.server_address[1], flush=True)  # noqa: T201 - the port, for the parent
        server.serve_forever()

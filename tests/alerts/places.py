"""Places that messages are sent to: real servers on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from holdfast.spec import Deployment


class Hook:
    """A webhook that keeps what it is sent. `codes` are its next answers; afterwards it answers 204."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.received: list[dict[str, Any]] = []
        self.authorization: str | None = None
        """Of the newest message."""
        self.url = ""
        self.hold = threading.Event()
        self.hold.set()
        self.arrived = threading.Event()


@contextmanager
def webhook() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.authorization = self.headers.get("Authorization")
            hook.arrived.set()
            hook.hold.wait(30)
            code = hook.codes.pop(0) if hook.codes else 204
            if code < 300:
                hook.received.append(json.loads(body))
            self.send_response(code)
            if code == 302:
                self.send_header("Location", hook.url + "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:  # where a redirect would lead
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_address[1]}/t0ken"
    try:
        yield hook
    finally:
        hook.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def deployment(folder: Path, alerts: str = "") -> Deployment:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "holdfast.toml").write_text(f'[model]\nname = "ward"\n[alerts]\n{alerts}\n')
    return Deployment.open(folder, {})

"""`serve` as a process of its own, as operators run it, on a deployment of two linear models."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import onnx.parser
from live_service import linear_signature

from holdfast.artifact import Execution, open_artifact, store_artifact
from holdfast.clock import SystemClock
from holdfast.registry import Registry
from holdfast.spec import Deployment

SERVE = """
import os, sys
from pathlib import Path
from holdfast.serve import ChildSpec, Served, serve_several
from holdfast.spec import Deployment
background = [ChildSpec("sleeper", sys.argv[2:])] if len(sys.argv) > 2 else []
folders = [Path(one) for one in sys.argv[1].split(os.pathsep)]
raise SystemExit(serve_several([Served(Deployment.open(one, os.environ), background) for one in folders]))
"""
ADDRESS = re.compile(r"(https?)://127\.0\.0\.1:(\d+)")


def make_deployment(folder: Path, toml: str = "", weights: tuple[float, ...] = (2.0, 5.0)) -> Deployment:
    """Version N answers weights[N - 1] times a."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "holdfast.toml").write_text(f'[model]\nname = "demo"\n[target]\nport = 0\n{toml}')
    deployment = Deployment.open(folder, {})
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        for weight in weights:
            graph = onnx.parser.parse_model(f"""
                <ir_version: 9, opset_import: ["": 18]>
                linear (float[N,2] x) => (float[N,1] y)
                <float[2,1] w = {{{weight}, 0.0}}>
                {{ y = MatMul(x, w) }}
            """)
            artifact = store_artifact(
                deployment.artifacts_folder,
                runtime="onnx",
                model=graph.SerializeToString(),
                signature=linear_signature(),
                execution=Execution(),
                warmup={"a": [1.0, 2.0], "b": [0.5, -1.0]},
            )
            assert open_artifact(artifact.folder).sha256 == artifact.sha256
            registry.add_version(
                name="demo", sha256=artifact.sha256, created_at_us=0, created_by="test", metadata={}
            )
        if weights:
            registry.promote("1", reason="first", actor="test")
    return deployment


def promote(deployment: Deployment, version: str) -> None:
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        registry.promote(version, reason="test", actor="test")


def roll_back(deployment: Deployment) -> None:
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        registry.rollback(reason="test", actor="test")


class ServeProcess:
    """Started on entry, ended with SIGTERM on exit."""

    def __init__(self, folder: Path, *background: str, others: Sequence[Path] = ()) -> None:
        self.folder = folder
        self._folders = os.pathsep.join(str(one) for one in (folder, *others))
        self.log = folder / "serve.log"
        self._background = background
        self.port = 0
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVE, self._folders, *self._background],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        size = self.log.stat().st_size
        self.wait_for(lambda: ADDRESS.search(self.log.read_text()[size:] or "") is not None)
        found = ADDRESS.findall(self.log.read_text())[-1]
        self.port = int(found[1])
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)

    def wait_for(self, condition: Any, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            assert self.process.poll() is None or self.port, self.log.read_text()[-3000:]
            time.sleep(0.02)

    def workers(self) -> list[int]:
        return [pid for pid, command in children(self.process.pid) if "holdfast.serve.worker" in command]

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content.startswith(
                (b"{", b"[")
            ) else content.decode()
        finally:
            connection.close()


def children(parent: int) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    yield int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")


class Traffic:
    """Callers in threads, each on kept connections, until told to stop; every answer is checked."""

    def __init__(self, port: int, callers: int = 4) -> None:
        self.port = port
        self.answered = 0
        self.refused: list[int] = []
        self.unanswered: list[str] = []
        """Requests sent on an accepted connection for which no answer came."""
        self.not_accepted = 0
        self.versions: set[str] = set()
        self.ids: list[str] = []
        self.factor = {"1": 2.0, "2": 5.0}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _call(self, number: int) -> None:
        connection = None
        value = number * 100_000
        while not self._stop.is_set():
            value += 1
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
                try:
                    connection.connect()
                except OSError:
                    connection = None
                    self.not_accepted += 1
                    time.sleep(0.005)
                    continue
            try:
                connection.request("POST", "/predict", json.dumps({"a": value, "b": 0}))
                response = connection.getresponse()
                body = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                self.unanswered.append(repr(error))
                connection.close()
                connection = None
                continue
            with self._lock:
                if response.status == 200:
                    assert body["prediction"] == self.factor[body["model_version"]] * value
                    self.answered += 1
                    self.versions.add(body["model_version"])
                    self.ids.append(body["prediction_id"])
                else:
                    self.refused.append(response.status)
            if response.will_close:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

"""Whatever process dies by `kill -9`, under load: every answered prediction is in the log, once."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog, settle
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

KILLS = 20
CHECKLIST = """
[model]
name = "kills"
[target]
port = 0
[compute]
cores = 2
[logging]
commit_interval = "200ms"
segment_mb = 0.1
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = (x.sum(axis=1) > 0).astype(int)
    (tmp_path / "holdfast.toml").write_text(CHECKLIST)
    deployment = Deployment.open(tmp_path, {})
    reference = pa.table({"a": x[:, 0], "b": x[:, 1], "y": y})
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        register_model(
            deployment,
            registry,
            LogisticRegression().fit(x, y),
            reference=reference,
            labels="y",
            clock=SystemClock(),
        )
    return deployment


def _port_below_the_ephemeral() -> int:
    """A free port that no client is given as its own.

    While nobody listens on an ephemeral port, a client that asks for it may be given that very port, connect
    to itself, and keep the service that starts again from listening.
    """
    for port in range(20_000 + os.getpid() % 8_000, 32_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port below 32000")


class Service:
    """`holdfast serve` that is started again when its supervisor was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _port_below_the_ephemeral()
        self.start()

    def start(self) -> None:
        self._output = (self.folder / "serve.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", "serve", "-C", str(self.folder), "--port", str(self.port)],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            text = (self.folder / "serve.log").read_text()
            if "http://127.0.0.1:" in text:
                self.port = int(text.split("http://127.0.0.1:")[1].split(",")[0].split()[0])
                return
            time.sleep(0.05)
        raise TimeoutError((self.folder / "serve.log").read_text())

    def children(self) -> list[int]:
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(child) for child in task.read_text().split()] if task.exists() else []

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._output.close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._output.close()


def _ask(service: Service, name: str, stop: threading.Event, acknowledged: list[str]) -> None:
    number = 0
    connection: http.client.HTTPConnection | None = None
    while not stop.is_set():
        prediction_id = f"{name}-{number}"
        number += 1
        body = json.dumps({"prediction_id": prediction_id, "a": number % 7 - 3.0, "b": 0.5})
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
            connection.request("POST", "/predict", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status == 200:
                assert json.loads(content)["prediction_id"] == prediction_id
                acknowledged.append(prediction_id)
        except (OSError, http.client.HTTPException):
            # Its process was killed: not acknowledged, and never asked again under this id.
            if connection is not None:
                connection.close()
            connection = None
            time.sleep(0.02)
    if connection is not None:
        connection.close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes to kill in /proc")
def test_twenty_kills_under_load_lose_no_answered_prediction(deployment: Deployment) -> None:
    random_source = random.Random(20)
    service = Service(deployment.folder)
    stop = threading.Event()
    acknowledged: list[list[str]] = [[] for _ in range(3)]
    askers = [
        threading.Thread(target=_ask, args=(service, f"asker{number}", stop, acknowledged[number]))
        for number in range(3)
    ]
    for asker in askers:
        asker.start()
    try:
        for kill in range(KILLS):
            time.sleep(random_source.uniform(0.3, 0.9))
            victims = service.children()
            if kill % 7 == 6 or not victims:
                service.kill()
                service.start()
            else:
                os.kill(random_source.choice(victims), signal.SIGKILL)
        time.sleep(0.5)
    finally:
        stop.set()
        for asker in askers:
            asker.join()
        code = service.stop()
    assert code == 0
    settle(deployment, SystemClock())
    log = PredictionLog(deployment.log_folder)
    stored = log.predictions(columns=["prediction_id"]).read_all().column("prediction_id").to_pylist()
    answered = [one for each in acknowledged for one in each]
    assert len(answered) > 100
    assert set(answered) <= set(stored)
    assert len(stored) == len(set(stored))
    report = log.verify()
    assert report.ok, report

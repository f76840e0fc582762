"""The challenger's own process: `python -m holdfast.serve.shadow FD FOLDER VERSION ARTIFACT REPLICA DEATHS`.

It answers copies of the traffic; its answers go to the log, under the ids of the rows copied, and to nobody.
Whatever it does, slow, fail or die, the workers only ever see a queue that is full.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.infer import SHADOW_ARM, DataPlane, LoadedModel, load_model, open_plane
from holdfast.serve.copying import RECEIVE_BYTES, read_copy
from holdfast.serve.large_pages import end_asking
from holdfast.spec import Deployment
from holdfast.telemetry import CopyCounts, ServiceCounts, log_to_stderr, write_snapshot

SNAPSHOT_S: Final = 0.5
NICE: Final = 10
"""The workers come first wherever they want the same core."""
logger = logging.getLogger("holdfast.serve")


class Waiting:
    """Copies that wait, up to a number of bytes; a thread fills it so that the workers' socket is free."""

    def __init__(self, most_bytes: float) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def put(self, data: bytes) -> bool:
        """Whether there was room."""
        with self._lock:
            if self._bytes + len(data) > self._most_bytes:
                return False
            self._bytes += len(data)
        self._queue.put(data)
        return True

    def get(self, timeout_s: float) -> bytes | None:
        """The next one, if there is one in time."""
        try:
            data = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        with self._lock:
            self._bytes -= len(data)
        return data


def answer(data: bytes, model: LoadedModel, plane: DataPlane, counts: ServiceCounts) -> None:
    """Answer one message and log the answers; a failure is counted and harms no other message."""
    copies = counts.copy(model.version)
    try:
        copy, block = read_copy(data)
    except (msgspec.MsgspecError, ValueError):
        logger.exception("a copy cannot be read")
        return
    if copy.version != model.version:
        return  # of the rollout before
    try:
        batch = plane.answer(model, block, arm=SHADOW_ARM)
    except HoldfastError as error:
        if not copies.failed:
            logger.warning("the challenger fails on a copy: %s", error)
        copies.failed += copy.rows
        counts.failure(model.version)
        return
    copies.answered += batch.rows
    copies.run_s.observe(model.last_run_s)
    counts.batch(model.version, batch.rows, model.last_run_s, batch.record_s)


def receive(connection: socket.socket, waiting: Waiting, copies: CopyCounts, stop: threading.Event) -> None:
    """Take copies off the workers' socket until told to stop or nobody sends any more."""
    connection.settimeout(SNAPSHOT_S)
    while not stop.is_set():
        try:
            data = connection.recv(RECEIVE_BYTES)
        except TimeoutError:
            continue
        except OSError:
            return
        if not data:
            stop.set()
        elif not waiting.put(data):
            with contextlib.suppress(msgspec.MsgspecError, ValueError):
                copy = read_copy(data)[0]
                if copy.version == copies.version:  # else of another rollout, whose worker counted it there
                    copies.dropped += copy.rows
                    copies.copied -= copy.rows


def main(arguments: list[str]) -> int:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    end_asking(os.environ)
    os.nice(NICE)
    formatter = log_to_stderr("shadow")
    connection = socket.socket(fileno=int(arguments[0]))
    folder, version, artifact, replica = Path(arguments[1]), arguments[2], Path(arguments[3]), arguments[4]
    counts = ServiceCounts()
    copies = counts.copy(version)
    copies.deaths = int(arguments[5])  # 1 if this life follows a death
    try:
        deployment = Deployment.open(folder, os.environ)
        formatter.exception_text = deployment.checklist.logging.exception_text
        write_snapshot(deployment.run_folder, replica, counts)
        plane = open_plane(deployment, "shadow", SystemClock())
        model = load_model(artifact, version, deployment.checklist.compute)
        model.warm_up()
    except HoldfastError as error:
        print(f"holdfast shadow: {error}", file=sys.stderr, flush=True)  # noqa: T201 - its own last word
        return 2
    waiting = Waiting(deployment.checklist.rollout.shadow_queue_mb * 1024 * 1024)
    reader = threading.Thread(target=receive, args=(connection, waiting, copies, stop), daemon=True)
    reader.start()
    next_s = 0.0
    while not stop.is_set():
        data = waiting.get(SNAPSHOT_S / 2)
        if data is not None:
            answer(data, model, plane, counts)
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + SNAPSHOT_S
            _show(deployment, replica, counts, plane)
    plane.close()
    _show(deployment, replica, counts, plane)
    return 0


def _show(deployment: Deployment, replica: str, counts: ServiceCounts, plane: DataPlane) -> None:
    plane.count_into(counts.log)
    with contextlib.suppress(OSError):
        write_snapshot(deployment.run_folder, replica, counts)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""How soon workers hear of a changed route, in turns of the supervisor: no clock, no service."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serve_process import make_deployment

from holdfast.clock import SystemClock
from holdfast.registry import Registry
from holdfast.serve.children import WorkerProcess
from holdfast.serve.control import Reader, Route
from holdfast.serve.followed import Followed, Served
from holdfast.serve.supervisor import TICK_S

PROMISED_S = 1.0
"""After which every worker answers by the new route."""
WORKERS = 3


class Workers:
    """Ends of workers of which nobody answers, and the deployment that is followed for them."""

    def __init__(self, folder: Path, undo: contextlib.ExitStack) -> None:
        self.deployment = make_deployment(folder)
        self.registry = undo.enter_context(Registry.open(self.deployment.registry_url, SystemClock()))
        self.process = undo.enter_context(subprocess.Popen([sys.executable, "-c", ""]))
        self.ends: list[tuple[socket.socket, Reader]] = []
        workers = []
        for index in range(WORKERS):
            ours, theirs = (undo.enter_context(one) for one in socket.socketpair())
            theirs.settimeout(0.0)
            self.ends.append((theirs, Reader()))
            workers.append(WorkerProcess(index, f"worker-{index}", self.process, ours))
        self.followed = Followed(Served(self.deployment), lambda: workers, lambda: workers, print)
        self.followed.open(undo)
        undo.callback(self.followed.shadow.kill)
        self.followed.read_registry(undo)
        self.now_s = 0.0

    def turn(self) -> None:
        """One turn of the supervisor, the longest after the one before that it may be."""
        self.followed.tend(self.now_s, announced=True)
        self.now_s += TICK_S

    def heard(self) -> list[Route]:
        """The newest route that each worker has been told of since the last time."""
        routes = []
        for end, reader in self.ends:
            with contextlib.suppress(BlockingIOError):
                told = [one for one in reader.feed(end.recv(1 << 16)) if isinstance(one, Route)]
                routes += told[-1:]
        return routes


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with contextlib.ExitStack() as undo:
        yield Workers(tmp_path, undo)


def turns_until_all_hear(workers: Workers, change: Callable[[], object], turns_before: int) -> int:
    for _ in range(turns_before):
        workers.turn()
    workers.heard()
    change()
    generation = workers.registry.route().generation
    for turns in range(1, 100):
        workers.turn()
        told = workers.heard()
        if told:
            assert [one.generation for one in told] == [generation] * WORKERS
            return turns
    raise AssertionError("nobody was told")


@pytest.mark.parametrize("turns_before", range(3))
def test_every_worker_is_told_of_a_changed_route_within_a_second(workers: Workers, turns_before: int) -> None:
    rollouts = workers.registry.rollouts

    def start() -> None:
        rollouts.start(
            "2", kind="update", baseline={}, assignment_key=os.urandom(16), deadline_us=2**60,
            earliest_decision_us=0, reason="test", actor="test", checklist_hash="", report={},
        )  # fmt: skip

    for change in (
        start,
        lambda: rollouts.advance(1, 0.5, reason="test", actor="test"),
        lambda: workers.registry.promote("2", reason="test", actor="test"),
        lambda: workers.registry.rollback(reason="test", actor="test"),
    ):
        # A change that a turn has just missed waits one turn more; a worker acts on what it hears at once.
        assert (turns_until_all_hear(workers, change, turns_before) + 1) * TICK_S < PROMISED_S

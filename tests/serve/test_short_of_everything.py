"""A system that refuses processes, or a disk that is full, ends no service: what cannot be done is said."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from serve_process import make_deployment

from holdfast.serve import supervisor as supervising
from holdfast.serve.challenger import ShadowProcess
from holdfast.serve.children import Background, ChildSpec, Place, WorkerProcess, start_worker
from holdfast.serve.control import Ask, Challenger, Held, Reader, Told
from holdfast.serve.dashboard import DashboardProcess
from holdfast.serve.followed import Followed, Served
from holdfast.serve.supervisor import Supervisor
from holdfast.serve.worker import Worker


@pytest.fixture
def no_process_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor([Served(make_deployment(tmp_path))], print)
    yield made
    made._selector.close()
    for followed in made._followed:
        followed.shadow.close()


@pytest.mark.usefixtures("no_process_left")
def test_a_background_command_that_cannot_be_started_is_tried_again() -> None:
    background = Background(ChildSpec("keeper", ["true"]))
    assert "keeper cannot be started" in (background.keep_alive(10.0) or "")
    assert background.keep_alive(11.0) is None
    assert "keeper cannot be started" in (background.keep_alive(20.0) or "")


def test_helpers_that_end_because_they_were_asked_to_are_no_news() -> None:
    dashboard = DashboardProcess(["sleep", "30"], keep=True, ready_after_s=0.0)
    background = Background(ChildSpec("keeper", ["sleep", "30"]))
    with dashboard.listen():
        assert (dashboard.tend(answering=True), background.keep_alive(10.0)) == (None, None)
        dashboard.stop()
        background.stop()
        for process in (dashboard.process, background.process):
            assert process is not None
            process.wait(10)  # of SIGTERM, as one that has not yet begun to listen
        assert (dashboard.tend(answering=True), background.keep_alive(11.0)) == (None, None)
        for process in (dashboard.process, background.process):
            assert process is not None
            process.kill()
            process.wait(10)
        assert "the dashboard ended (SIGKILL)" in (dashboard.tend(answering=True) or "")
        assert "keeper ended (SIGKILL)" in (background.keep_alive(12.0) or "")
    for process in (dashboard.process, background.process):
        if process is not None:
            process.kill()
            process.wait(10)


@pytest.mark.usefixtures("no_process_left")
def test_a_dashboard_and_a_shadow_that_cannot_be_started_are_tried_again(tmp_path: Path) -> None:
    dashboard = DashboardProcess(["true"], keep=True, ready_after_s=0.0)
    with dashboard.listen():
        assert "the dashboard cannot be started" in (dashboard.tend(answering=True) or "")
        assert dashboard.tend(answering=True) is None
    shadow = ShadowProcess()
    shadow.follow(make_deployment(tmp_path), Challenger("2", "", 1, canary=False, share=0.0, key=b""))
    assert "the shadow of version 2 cannot be started" in (shadow.tend(10.0) or "")
    assert shadow.tend(11.0) is None
    shadow.close()


@pytest.mark.usefixtures("no_process_left")
def test_a_worker_that_cannot_be_started_again_leaves_the_others_at_work(
    supervisor: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listening:
        place = Place(0, listening)
        supervisor._tend(place, 10.0)
        assert (place.current, place.start_at_s > 10.0) == (None, True)
        assert "worker 0 cannot be started" in capsys.readouterr().out
        supervisor._tend(place, 11.0)
        assert capsys.readouterr().out == ""
        with pytest.raises(OSError, match="temporarily unavailable"):
            start_worker(0, listening, [])


def test_a_worker_that_dies_on_a_full_disk_is_buried_all_the_same(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("holdfast.telemetry.retire", full)
    ours, theirs = socket.socketpair()
    with theirs, subprocess.Popen([sys.executable, "-c", ""]) as process:
        supervisor._bury(WorkerProcess(0, "worker-0", process, ours))
        assert theirs.recv(1) == b""


def test_that_nobody_reads_what_the_service_says_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, _: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    supervising._say("a line")


def test_a_worker_that_got_part_of_a_message_is_cut_off_and_takes_nothing_for_the_rest_of_it() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.01)
    theirs.settimeout(5.0)
    with ours, theirs, subprocess.Popen([sys.executable, "-c", ""]) as process:
        worker = WorkerProcess(0, "worker-0", process, ours)
        worker.send(Told(1, "x" * (4 << 20), unknown=False, versions=()))
        worker.send(Held("2", None, 0))
        reader, heard = Reader(), []
        while data := theirs.recv(1 << 20):
            heard += reader.feed(data)
        assert heard == []


def test_an_artifact_that_vanishes_while_it_is_measured_is_told_to_who_wanted_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(_: Path) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file")

    monkeypatch.setattr("holdfast.serve.holdings._size_bytes", vanish)
    with ExitStack() as undo:
        ours, theirs = (undo.enter_context(one) for one in socket.socketpair())
        process = undo.enter_context(subprocess.Popen([sys.executable, "-c", ""]))
        worker = WorkerProcess(0, "worker-0", process, ours)
        followed = Followed(Served(make_deployment(tmp_path)), lambda: [worker], lambda: [worker], print)
        followed.open(undo)
        followed.read_registry(undo)
        followed.hear(worker, Ask(7, "load", "2"), current=True, announced=True)
        theirs.settimeout(5.0)
        (told,) = [one for one in Reader().feed(theirs.recv(1 << 16)) if isinstance(one, Told)]
        assert (told.ticket, told.error) == (7, "the artifact cannot be read: FileNotFoundError")


def test_a_worker_one_of_whose_tasks_failed_drains_and_says_so() -> None:
    async def test() -> None:
        worker: Any = Worker.__new__(Worker)
        worker._ending, worker.has_failed = asyncio.Event(), False

        async def fail() -> None:
            raise ZeroDivisionError

        good, bad = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(fail())
        await asyncio.wait([good, bad])
        worker._look_at_end(good)
        assert not worker._ending.is_set()
        worker._look_at_end(bad)
        assert (worker._ending.is_set(), worker.has_failed) == (True, True)

    asyncio.run(test())

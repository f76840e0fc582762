"""The dashboard's process behind a service: started by the first page or kept ready, and replaced."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_score import NUMBER, WORD
from hostile_ward import make_ward, post
from starlette.requests import Request

from holdfast.demo.service import ServiceProcess
from holdfast.serve.dashboard import NICENESS, DashboardProcess
from holdfast.serve.errors import DashboardUnavailableError
from holdfast.serve.forwarding import Forwarder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("behind")
    make_ward(folder, 'dashboard = "asked"\n')  # of [target], the last section
    with ServiceProcess(folder, "--no-monitor") as started:
        yield started


def dashboards(service: ServiceProcess) -> list[int]:
    folder = str(service.log_file.parent)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "ui" in command and "--socket" in command and folder in command:
                found.append(int(entry.name))
    return found


def ask(service: ServiceProcess, path: str, accept: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    try:
        connection.request("GET", path, headers={"accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def predict(service: ServiceProcess) -> None:
    post(service, "/predict", {"at": "2026-01-01T00:00:00Z", NUMBER: 0.5, WORD: "'south'"})


def test_programs_get_json_and_start_nothing_and_the_first_page_starts_the_process(
    service: ServiceProcess,
) -> None:
    status, body = ask(service, "/", "*/*")
    assert (status, body[0]) == (200, "{")
    predict(service)
    assert dashboards(service) == []
    status, body = ask(service, "/", "text/html")
    assert (status, "<!doctype html>" in body) == (200, True)
    assert len(dashboards(service)) == 1


def test_a_killed_dashboard_takes_no_prediction_with_it_and_is_replaced(service: ServiceProcess) -> None:
    assert ask(service, "/ui/", "text/html")[0] == 200
    (before,) = dashboards(service)
    os.kill(before, signal.SIGKILL)
    predict(service)
    assert ask(service, "/ui/", "text/html")[0] == 200
    assert dashboards(service) != [before]


def test_an_open_stream_does_not_hold_up_the_end(service: ServiceProcess) -> None:
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    connection.request("GET", "/ui/live")
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.read(14) == b"event: numbers"
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 10
    connection.close()
    assert dashboards(service) == []


def test_a_dashboard_that_is_kept_ready_starts_after_the_service_answers_and_again_when_it_has_ended(
    tmp_path: Path,
) -> None:
    mark = tmp_path / "starts"
    command = [sys.executable, "-c", f"open({str(mark)!r}, 'a').write('x')"]
    process = DashboardProcess(command, keep=True, ready_after_s=0.0)
    with process.listen():
        process.tend(answering=False)
        before = process.process
        process.tend(answering=True)
        first = process.process
        assert before is None
        assert first is not None
        assert os.getpriority(os.PRIO_PROCESS, first.pid) >= NICENESS
        first.wait()
        process.tend(answering=True)
        assert process.process is not first
        assert process.process is not None
        process.process.wait()
    assert mark.read_text() == "xx"


def test_a_service_without_a_dashboard_says_so(tmp_path: Path) -> None:
    make_ward(tmp_path, 'dashboard = "none"\n')
    with ServiceProcess(tmp_path, "--no-monitor") as started:
        status, body = ask(started, "/ui/", "text/html")
        assert status == 404
        assert "runs without its dashboard" in body
        assert ask(started, "/", "text/html")[1][0] == "{"


@pytest.mark.parametrize(("accept", "kind"), [("text/html", "page"), ("application/json", "error")])
def test_a_browser_gets_a_page_where_the_dashboard_does_not_answer_and_a_program_an_error(
    tmp_path: Path, accept: str, kind: str
) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http", "method": "GET", "path": "/ui/", "raw_path": b"/ui/", "query_string": b"",
        "scheme": "http", "server": ("127.0.0.1", 80), "headers": [(b"accept", accept.encode())],
    }  # fmt: skip
    forwarder = Forwarder(str(tmp_path / "nobody"), lambda: False)
    if kind == "error":
        with pytest.raises(DashboardUnavailableError, match="does not answer"):
            asyncio.run(forwarder.forward(Request(scope, receive)))
        return
    answer = asyncio.run(forwarder.forward(Request(scope, receive)))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert b"The dashboard does not answer." in bytes(answer.body)

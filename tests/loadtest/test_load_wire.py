"""Loads over the wire, against a real server that stands still, lies, or is not there."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from stalling import stalling_server

from holdfast.cli import main
from holdfast.loadtest import (
    Lag,
    Load,
    LoadTestError,
    Requests,
    Target,
    UnreachableError,
    draw_curve,
    made_up_rows,
    make_requests,
    run_load,
    with_reference_run,
)
from holdfast.loadtest.report import find_bottleneck


def requests_to(url: str) -> Requests:
    target = Target(url, "double")
    signature = target.signature()
    rows = made_up_rows(signature, 8, np.random.default_rng(0))
    return with_reference_run(make_requests(target, signature, rows, (1,) * 8))


def test_a_stall_shows_in_the_99th_percentile_and_a_closed_loop_hides_it() -> None:
    # A fifth of all callers arrive while the server stands still, evenly over its 200 ms: the share that
    # waits longer than x ms is (200 - x) / 1000, so the 99th percentile is 190 ms.
    with stalling_server(stall_s=0.2, period_s=1.0) as url:
        requests = requests_to(url)
        found = run_load(requests, Load(rate_per_s=200, seconds=2, warmup_s=0.2))
        hidden = run_load(
            requests, Load(rate_per_s=3000, seconds=1, warmup_s=0.2, closed_loop=True, connections=1)
        )
    p99, closed = found.percentile(0.99), hidden.percentile(0.99)
    assert p99.ms is not None
    assert closed.ms is not None
    assert p99.ms >= 150
    assert closed.ms < 100
    assert found.answered == found.requests
    assert found.checked > 50
    assert found.wrong == 0
    histogram = HdrHistogram.decode(found.histogram)
    assert histogram.get_total_count() == found.answered
    assert histogram.get_value_at_percentile(99) / 1000 == pytest.approx(p99.ms, rel=0.05)


def test_answers_with_other_numbers_are_counted() -> None:
    with stalling_server(wrong_every=4) as url:
        target = Target(url, "double")
        signature = target.signature()
        rows = made_up_rows(signature, 2, np.random.default_rng(0))
        requests = with_reference_run(make_requests(target, signature, rows, (1, 1)))
        found = run_load(requests, Load(rate_per_s=100, seconds=0.8, warmup_s=0))
    assert found.checked > 20
    assert found.wrong / found.checked == pytest.approx(0.25, abs=0.1)


def test_a_server_that_is_gone_gives_failures_by_kind_and_no_percentile() -> None:
    with stalling_server() as url:
        requests = requests_to(url)
    found = run_load(requests, Load(rate_per_s=100, seconds=0.5, warmup_s=0, timeout_s=0.3))
    assert found.answered == 0
    assert sum(found.failed.values()) == found.requests > 0
    assert "connection refused" in found.failed
    assert found.percentile(0.5).ms is None


def test_a_server_that_never_answers_is_timed_out() -> None:
    with stalling_server() as url:
        requests = requests_to(url)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        target = Target(f"http://127.0.0.1:{silent.getsockname()[1]}", "double")
        deaf = Requests(target, requests.payloads, requests.rows, requests.expected)
        found = run_load(deaf, Load(rate_per_s=50, seconds=0.5, warmup_s=0, timeout_s=0.2))
    assert found.answered == 0
    assert "no answer in time" in found.failed


def test_several_processes_share_the_schedule() -> None:
    with stalling_server() as url:
        found = run_load(requests_to(url), Load(rate_per_s=200, seconds=0.8, warmup_s=0, processes=2))
    assert found.processes == 2
    assert found.answered == found.requests > 100


def test_a_report_that_fills_its_pipe_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    # The second process waits with a full pipe until the first one has been heard; unbuffered output writes
    # only once.
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    deaf = Requests(Target(nobody, "double"), (b"POST / HTTP/1.1\r\n\r\n",), (1,))
    load = Load(rate_per_s=60_000, seconds=1, warmup_s=0, processes=2, timeout_s=0.2)
    found = run_load(deaf, load)
    assert found.requests > 55_000
    assert sum(found.failed.values()) == found.requests


def test_a_generating_process_that_is_killed_is_named_and_nothing_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = subprocess.Popen

    def begin_and_kill(*arguments: Any, **options: Any) -> Any:
        process = begin(*arguments, **options)
        threading.Timer(0.8, process.kill).start()
        return process

    with stalling_server() as url:
        requests = requests_to(url)
        monkeypatch.setattr(subprocess, "Popen", begin_and_kill)
        with pytest.raises(LoadTestError, match="signal 9"):
            run_load(requests, Load(rate_per_s=20, seconds=3, warmup_s=0, rounds=1))


def test_a_generator_that_lags_or_is_busy_is_called_the_bottleneck() -> None:
    assert find_bottleneck(Lag(0.1, 0.5, 9.0, 0.5), p99_ms=2.0) is None
    assert "late" in str(find_bottleneck(Lag(0.1, 5.0, 9.0, 0.5), p99_ms=20.0))
    assert find_bottleneck(Lag(0.1, 5.0, 9.0, 0.5), p99_ms=100.0) is None
    assert "core" in str(find_bottleneck(Lag(0.1, 0.1, 9.0, 0.99), p99_ms=20.0))


def test_a_server_of_another_protocol_is_named_before_any_load() -> None:
    with stalling_server() as url, pytest.raises(UnreachableError, match="does not answer"):
        with_reference_run(
            Requests(Target(url, "double"), (b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",), (1,))
        )


def test_nobody_at_the_address_says_what_to_start() -> None:
    with pytest.raises(UnreachableError, match="holdfast serve"):
        Target("http://127.0.0.1:9", "double").signature()
    with pytest.raises(LoadTestError, match="not the address"):
        Target("ftp://here", "double").address  # noqa: B018 - the access is the test


def test_the_command_loads_any_server_of_the_protocol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with stalling_server() as url, pytest.raises(SystemExit) as ended:
        main(
            [
                *("loadtest", "--url", url, "--model", "double", "--rate", "50"),
                *("--seconds", "1", "--warmup", "0", "--processes", "1", "--json"),
            ]
        )
    printed = capsys.readouterr()
    if ended.value.code == 0:
        assert json.loads(printed.out)["requests"] > 20
    else:  # a machine that is too busy to send on time says so, and reports no number
        assert "bottleneck" in printed.err
        assert not printed.out


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_curve_is_drawn(tmp_path: Path, suffix: str) -> None:
    from test_load_search import report

    path = tmp_path / f"curve{suffix}"
    draw_curve([report(100, 2.0), report(200, 5.0)], path)
    assert path.stat().st_size > 2000
    with pytest.raises(LoadTestError, match=r"\.svg or \.png"):
        draw_curve([], tmp_path / "curve.gif")

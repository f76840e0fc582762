"""Versions loaded and unloaded while the service runs, in every worker."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from live_service import Server, Start, linear_model, starting
from serve_process import ServeProcess, make_deployment, promote
from speakers import LINEAR, SPEAKERS

from holdfast.clock import SystemClock
from holdfast.infer import CHALLENGER_ARM
from holdfast.prediction_log import PredictionLog, settle
from holdfast.serve.canary import Canary
from holdfast.serve.children import WorkerProcess
from holdfast.serve.control import Challenger

start = starting

INDEX = "/v2/repository/index"
LOAD = "/v2/repository/models/demo/load"
UNLOAD = "/v2/repository/models/demo/unload"
ROW = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [10, 0]}]}


def pinned(version: str) -> str:
    return f"/v2/models/demo/versions/{version}/infer"


def answer(service: ServeProcess, path: str) -> float:
    status, body = service.ask("POST", path, ROW)
    assert status == 200, body
    value: float = body["outputs"][0]["data"][0]
    return value


def states(service: ServeProcess) -> dict[str, str]:
    return {one["version"]: one["state"] for one in service.ask("POST", INDEX, {})[1]}


@pytest.mark.slow
def test_a_version_is_loaded_asked_promoted_and_unloaded_at_run_time(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path / "demo", "[compute]\ncores = 2\n", weights=(2.0, 5.0, 7.0))
    with ServeProcess(deployment.folder) as service:
        assert states(service) == {"1": "READY", "2": "UNAVAILABLE", "3": "UNAVAILABLE"}
        assert service.ask("POST", pinned("2"), ROW)[0] == 404
        assert service.ask("POST", LOAD, {"parameters": {"version": "2"}}) == (200, {})
        # Both workers answer at once: each new connection may meet either.
        assert {answer(service, pinned("2")) for _ in range(20)} == {50.0}
        assert {answer(service, "/v2/models/demo/infer") for _ in range(5)} == {20.0}
        assert states(service) == {"1": "READY", "2": "READY", "3": "UNAVAILABLE"}
        index = service.ask("POST", INDEX, {"ready": True})[1]
        assert [one["version"] for one in index] == ["1", "2"]
        # Of two workers, and without what onnxruntime itself takes, which comes with the first version.
        assert all(0 < one["memory_bytes"] < 2 * 16 * 1024 * 1024 for one in index)
        assert service.ask("GET", "/v2/models/demo")[1]["versions"] == ["1", "2"]
        # Without a version the newest is loaded.
        assert service.ask("POST", LOAD, {})[0] == 200
        assert answer(service, pinned("3")) == 70.0
        promote(deployment, "2")
        service.wait_for(lambda: {answer(service, "/v2/models/demo/infer") for _ in range(8)} == {50.0})
        assert service.ask("POST", pinned("1"), ROW)[0] == 404
        assert service.ask("POST", UNLOAD, {})[0] == 200
        assert states(service) == {"1": "UNAVAILABLE", "2": "READY", "3": "UNAVAILABLE"}
        assert service.ask("POST", pinned("3"), ROW)[0] == 404
        assert answer(service, pinned("2")) == 50.0
        status, body = service.ask("POST", UNLOAD, {"parameters": {"version": "2"}})
        assert (status, "champion" in body["error"]) == (409, True)
        assert service.ask("POST", LOAD, {"parameters": {"version": "9"}})[0] == 404
        assert service.ask("POST", LOAD, {"parameters": {"config": "{}"}})[0] == 422
        assert service.ask("POST", "/v2/repository/models/other/load", {})[0] == 404


@pytest.mark.slow
def test_a_worker_that_is_killed_comes_back_with_what_it_held(tmp_path: Path) -> None:
    import os
    import signal

    deployment = make_deployment(tmp_path / "demo")
    with ServeProcess(deployment.folder) as service:
        assert service.ask("POST", LOAD, {"parameters": {"version": 2}})[0] == 200
        old = service.workers()
        os.kill(old[0], signal.SIGKILL)
        service.wait_for(lambda: service.workers() not in ([], old))
        assert answer(service, pinned("2")) == 50.0


@pytest.mark.slow
def test_an_altered_version_and_one_beyond_the_memory_are_refused_and_harm_nobody(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path / "demo", weights=(2.0, 5.0))
    folders = sorted(deployment.artifacts_folder.iterdir())
    with ServeProcess(deployment.folder) as service:
        champion = answer(service, "/v2/models/demo/infer")
        for folder in folders:
            model = next(one for one in folder.iterdir() if one.suffix == ".onnx")
            model.chmod(0o644)
            model.write_bytes(model.read_bytes() + b"x")
        status, body = service.ask("POST", LOAD, {"parameters": {"version": "2"}})
        assert (status, bool(body["error"])) == (409, True)
        assert service.ask("POST", pinned("2"), ROW)[0] == 404
        assert answer(service, "/v2/models/demo/infer") == champion
    small = make_deployment(tmp_path / "small", "[compute]\nmemory_mb = 64\n")
    with ServeProcess(small.folder) as service:
        status, body = service.ask("POST", LOAD, {"parameters": {"version": "2"}})
        assert (status, "memory_mb" in body["error"]) == (409, True)
        assert service.ask("POST", pinned("2"), ROW)[0] == 404
        assert answer(service, "/v2/models/demo/infer") == 20.0


def test_what_a_worker_takes_is_asked_of_the_system_and_falls_when_memory_is_given_back() -> None:
    program = (
        "import sys; held = bytearray(b'x') * 2**26; print(flush=True); sys.stdin.readline();"
        "del held; print(flush=True); sys.stdin.readline()"
    )
    pipe = subprocess.PIPE
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        worker = WorkerProcess(0, "worker-0", process, ours)
        process.stdout.readline()
        full = worker.resident_bytes
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert full - worker.resident_bytes > 2**25
        process.kill()
        process.wait()
        assert worker.resident_bytes == 0


def pair(start: Start) -> Server:
    server = start(linear_model("1", (2.0, 3.0)))
    other = linear_model("2", (100.0, 1.0))
    other.warm_up()
    server.call(server.service.hold, other)
    return server


def test_a_held_version_answers_by_name_and_the_champion_without_one(start: Start, tmp_path: Path) -> None:
    server = pair(start)
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}]}
    for path, wanted in (
        ("/v2/models/demo/infer", 5.0),
        ("/v2/models/demo/versions/1/infer", 5.0),
        ("/v2/models/demo/versions/2/infer", 101.0),
    ):
        status, found, _ = server.ask("POST", path, body)
        assert (status, found["outputs"][0]["data"]) == (200, [wanted])
    _, found, _ = server.ask("POST", "/v1/models/demo/versions/2:predict", {"instances": [[1, 1]]})
    assert (found["predictions"], found["model_version"]) == ([[101.0]], "2")
    _, found, _ = server.ask("GET", "/v1/models/demo")
    assert [one["version"] for one in found["model_version_status"]] == ["1", "2"]
    settle(tmp_path / "log", SystemClock())
    rows = PredictionLog(tmp_path / "log").predictions().read_all().to_pylist()
    assert sorted((row["model_version"], row["arm"]) for row in rows) == [
        ("1", "champion"), ("1", "champion"), ("2", "pinned"), ("2", "pinned"),
    ]  # fmt: skip


def test_who_names_a_version_is_in_neither_arm_of_a_rollout_that_shares_the_traffic(
    start: Start, tmp_path: Path
) -> None:
    server = pair(start)
    service = server.service

    def share() -> None:
        endpoint = service.endpoint("2")
        endpoint.lane.arm = CHALLENGER_ARM
        route = Challenger("2", "", 7, canary=True, share=0.5, key=b"k" * 16)
        service.canary = Canary(
            endpoint, route, "", place=(0, 1), counts=service.counts, chance=iter((0.1, 0.9)).__next__
        )

    server.call(share)
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]}]}
    for path in ("infer", "infer", "versions/1/infer", "versions/2/infer"):
        assert server.ask("POST", f"/v2/models/demo/{path}", body)[0] == 200
    settle(tmp_path / "log", SystemClock())
    rows = PredictionLog(tmp_path / "log").predictions().read_all().to_pylist()
    assert sorted((row["model_version"], row["arm"]) for row in rows) == [
        ("1", "champion"), ("1", "pinned"), ("2", "challenger"), ("2", "pinned"),
    ]  # fmt: skip
    assert {name: count for name, count in service.counts.units.items() if count} == {
        "7 0.5 champion": 1,
        "7 0.5 challenger": 1,
    }
    # A second caller names versions in other protocols, badly too: the arms' counts do not move.
    assert server.ask("POST", "/v1/models/demo/versions/2:predict", {"instances": [[1, 1]]})[0] == 200
    assert server.ask("POST", "/v2/models/demo/versions/2/infer", {"inputs": []})[0] == 422
    counts, infer = service.counts, "/v2/models/{model}/infer"
    assert [counts.route(infer, version).statuses for version in ("1", "2")] == [{200: 1}, {200: 1}]
    assert {(one.route, one.version): one.statuses for one in counts.named.values()} == {
        (infer, "1"): {200: 1},
        (infer, "2"): {200: 1, 422: 1},
        ("/v1/models/{model}:predict", "2"): {200: 1},
    }
    # Metrics are about all callers, one series each.
    whole = {(one.route, one.version): one.statuses for one in counts.all_routes()}
    assert whole[infer, "1"] == {200: 2}
    text = server.ask("GET", "/metrics")[1].decode()
    shown = [
        line for line in text.splitlines() if line.startswith("holdfast_requests_total{") and infer in line
    ]
    assert sum(float(line.split()[1]) for line in shown if 'status="200"' in line) == 4
    assert len(shown) == 3


def test_two_versions_asked_at_once_are_never_mixed(start: Start) -> None:
    server = pair(start)
    wrong: list[Any] = []

    def call(number: int) -> None:
        client = server.client()
        version = str(1 + number % 2)
        weight = {"1": 2.0, "2": 100.0}[version]
        for turn in range(60):
            first = number * 100 + turn
            tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [first, 0]}
            body = json.dumps({"inputs": [tensor]}).encode()
            client.socket.sendall(
                f"POST {pinned(version)} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            found = json.loads(client.response()[2])
            if (found["model_version"], found["outputs"][0]["data"]) != (version, [weight * first]):
                wrong.append((number, turn, found))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_a_released_version_answers_what_it_was_asked_and_no_more(start: Start) -> None:
    server = pair(start)
    server.call(server.service.release, "2")
    assert server.ask("POST", pinned("2"), ROW)[0] == 404
    assert server.ask("POST", pinned("1"), ROW)[0] == 200
    server.call(server.service.release, "1")
    assert server.ask("POST", pinned("1"), ROW)[0] == 200


def test_a_held_version_that_is_promoted_is_not_loaded_twice_and_stays_when_it_falls_back(
    start: Start,
) -> None:
    server = pair(start)
    endpoint = server.service.find("2")
    assert endpoint is not None
    server.call(server.service.install, endpoint.lane.model, 2, [])
    assert server.service.champion is endpoint
    assert server.service.versions == ["2"]
    server.install(linear_model("3"))
    assert server.service.versions == ["3", "2"]


def test_without_a_supervisor_the_repository_says_so(start: Start) -> None:
    assert start(linear_model()).ask("POST", INDEX, {})[0] == 503


def test_every_other_protocol_is_served_by_the_champion(start: Start) -> None:
    server = pair(start)
    spoken = SPEAKERS["mlflow_records"](LINEAR, [{"a": 1, "b": 1}])
    assert server.ask("POST", spoken.path, spoken.body)[1]["predictions"] == [5.0]

"""Every protocol, every property: the same rows give the same numbers and the same rows in the log."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from grpc_service import ask_grpc
from live_service import Server, Start, linear_model, mixed_model, starting
from speakers import LINEAR, MIXED, SPEAKERS, Heard, Model, Row, hear
from speakers import ask as ask_http

from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog, settle

start = starting

over_http = pytest.mark.parametrize("name", SPEAKERS)
every_protocol = pytest.mark.parametrize("name", [*SPEAKERS, "grpc_raw", "grpc_typed"])
# Numbers that float32 holds exactly: a tensor of float32 can carry no others, and the log keeps what came.
LINEAR_ROWS = [{"a": 1.5, "b": -2.0}, {"a": 0.125, "b": 2.0**100}, {"a": 16777216.0, "b": 0.0}]
MIXED_ROWS = [
    {"age": 30, "city": "north", "income": 0.25},
    {"age": 2**53 + 1, "city": "Zürich", "income": None},
    {"age": -(2**63), "city": "never seen", "income": -1.5},
]


def ask(server: Server, name: str, model: Model, rows: list[Row], **headers: str) -> Heard:
    """Send the rows in that protocol."""
    if name in SPEAKERS:
        return ask_http(server, name, model, rows, **headers)
    return ask_grpc(server, model, rows, raw=name == "grpc_raw", key=headers.get("authorization"))


def logged(folder: Path, ids: list[str]) -> list[dict[str, Any]]:
    """The rows of the log, without what differs from call to call."""
    settle(folder / "log", SystemClock())
    rows = PredictionLog(folder / "log").predictions().read_all().to_pylist()
    by_id = {row["prediction_id"]: row for row in rows}
    varying = {"prediction_id", "time", "logged_at", "latency_us", "sequence"}
    return [
        {key: repr(value) for key, value in by_id[one].items() if key not in varying} for one in ids
    ]  # NaN is equal to nothing, its repr is


@every_protocol
@pytest.mark.parametrize("case", [(linear_model, LINEAR, LINEAR_ROWS), (mixed_model, MIXED, MIXED_ROWS)])
def test_the_same_rows_give_the_same_numbers_and_the_same_log(
    start: Start, tmp_path: Path, name: str, case: tuple[Any, Model, list[dict[str, Any]]]
) -> None:
    make, model, rows = case
    server = start(make())
    wanted = ask(server, "predict", model, rows)
    heard = ask(server, name, model, rows)
    assert heard.status == 200, heard.error
    if name.startswith("mlflow") and model is MIXED:
        # MLflow answers with the class, not with the output of the graph.
        _, plain, _ = server.ask("POST", "/predict", rows)
        assert heard.numbers == [row["prediction"] for row in plain]
    else:
        assert heard.numbers == wanted.numbers
    assert len(set(heard.ids)) == len(rows)
    assert logged(tmp_path, heard.ids) == logged(tmp_path, wanted.ids)


@every_protocol
def test_no_rows_give_no_rows_and_nothing_is_logged(start: Start, name: str) -> None:
    if name == "v1_columns":
        pytest.skip("inputs by column name no row where there is none")
    server = start(linear_model())
    heard = ask(server, name, LINEAR, [])
    assert (heard.status, heard.numbers, heard.ids) == (200, [], [])
    assert server.service.plane.writer is not None
    assert server.service.plane.writer.served == 0


@every_protocol
def test_more_rows_than_one_request_may_hold_are_refused(start: Start, name: str) -> None:
    server = start(linear_model(), "[predictions]\nmax_rows_per_request = 2\n")
    assert ask(server, name, LINEAR, LINEAR_ROWS).status == 413
    assert ask(server, name, LINEAR, LINEAR_ROWS[:2]).status == 200


@every_protocol
def test_a_missing_value_where_the_reference_had_none_is_refused_with_its_path(
    start: Start, name: str
) -> None:
    server = start(linear_model())
    heard = ask(server, name, LINEAR, [{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": None}])
    assert heard.status == 422
    assert heard.where is not None
    assert server.service.plane.writer is not None
    assert server.service.plane.writer.served == 0


@every_protocol
def test_without_a_champion_there_is_no_answer_and_the_caller_may_come_back(start: Start, name: str) -> None:
    heard = ask(start(), name, LINEAR, LINEAR_ROWS)
    assert heard.status == 503


@every_protocol
def test_keys_are_asked_for(start: Start, name: str) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    server = start(linear_model(), f'[security]\nauth = "keys"\napi_key_hashes = ["{digest}"]\n')
    assert ask(server, name, LINEAR, LINEAR_ROWS).status == 401
    assert ask(server, name, LINEAR, LINEAR_ROWS, authorization="Bearer secret").status == 200


@over_http
def test_a_body_that_is_cut_off_is_refused(start: Start, name: str) -> None:
    server = start(mixed_model())
    spoken = SPEAKERS[name](MIXED, MIXED_ROWS)
    garbage = b"" if name == "v2_binary" else b"\xff"
    status, body, _ = server.ask("POST", spoken.path, spoken.body[:-1] + garbage, spoken.headers)
    assert status in {400, 422}, body
    assert isinstance(body["error"], str)


@over_http
def test_behind_a_slow_request_on_one_connection_the_answer_is_the_same(start: Start, name: str) -> None:
    server = start(linear_model())
    spoken = SPEAKERS[name](LINEAR, LINEAR_ROWS)
    head = "".join(f"{key}: {value}\r\n" for key, value in spoken.headers.items())
    client = server.client()
    head += f"content-length: {len(spoken.body)}\r\n\r\n"
    client.socket.sendall(
        b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
        + f"POST {spoken.path} HTTP/1.1\r\nhost: x\r\n{head}".encode()
        + spoken.body
    )
    assert client.response()[0] == 200
    status, headers, body = client.response()
    size = headers.get("inference-header-content-length")
    heard = hear(name, LINEAR, status, json.loads(body) if size is None else body, size)
    assert heard.numbers == ask(server, "predict", LINEAR, LINEAR_ROWS).numbers


def test_callers_in_all_protocols_at_once_get_their_own_answers(start: Start) -> None:
    server = start(linear_model())
    wrong: list[str] = []

    def call(name: str, number: int) -> None:
        for turn in range(12):
            first = float(number * 1000 + turn)
            rows = [{"a": first, "b": 0.0}, {"a": first + 0.5, "b": 1.0}][: 1 + turn % 2]
            heard = ask(server, name, LINEAR, rows)
            wanted = [2 * row["a"] + 3 * row["b"] for row in rows]
            if heard.numbers != wanted:
                wrong.append(f"{name}: {heard} instead of {wanted}")

    threads = [threading.Thread(target=call, args=(name, i)) for i, name in enumerate(SPEAKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_every_metric_names_the_route(start: Start) -> None:
    server: Server = start(linear_model())
    for name in SPEAKERS:
        ask(server, name, LINEAR, LINEAR_ROWS)
    routes = {counts.route for counts in server.service.counts.routes.values()}
    assert routes >= {
        "/predict", "/v2/models/{model}/infer", "/v1/models/{model}:predict", "/invocations"
    }  # fmt: skip

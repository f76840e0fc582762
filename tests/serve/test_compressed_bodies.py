"""Bodies and answers in a content coding, over a socket, alone and among others."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from live_service import Client, Start, linear_model, mixed_model, starting

from holdfast.serve.content_coding import COMPRESSED_FROM_BYTES
from holdfast.serve.slices import MOST_WAITING

start = starting
ROW = b'{"a": 1, "b": 2}'
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
UNPACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}
V2 = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
TENSOR = np.array([[1, 2], [3, 4]], dtype="<f4").tobytes()
ENVELOPE = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}]}
).encode()
ASKED: list[tuple[str, bytes, dict[str, str]]] = [
    ("/predict", ROW, {}),
    ("/v2/models/demo/infer", json.dumps(V2).encode(), {}),
    ("/v2/models/demo/infer", ENVELOPE + TENSOR, {"inference-header-content-length": str(len(ENVELOPE))}),
    ("/v1/models/demo:predict", b'{"instances": [[1, 2]]}', {}),
    ("/invocations", b"a,b\n1,2\n", {"content-type": "text/csv"}),
    ("/labels", b'{"prediction_id": "p", "label": 1}', {}),
    ("/v2/repository/index", b"{}", {}),
]


def request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = {"content-type": "application/json", "content-length": str(len(body))} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n{head}\r\n".encode() + body


def without_ids(body: bytes) -> Any:
    value = json.loads(body)
    for one in value if isinstance(value, list) else [value]:
        one.pop("prediction_id", None), one.pop("prediction_ids", None), one.pop("parameters", None)
        one.pop("id", None)
    return value


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("cold", [False, True], ids=["hot", "behind another request"])
def test_every_route_reads_a_compressed_body_as_it_reads_the_plain_one(
    start: Start, coding: str, *, cold: bool
) -> None:
    server = start(linear_model())
    client = server.client()
    before = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" if cold else b""
    for path, body, headers in ASKED:
        answers = []
        packed = PACK[coding](body)
        compressed = headers | {"content-encoding": coding}
        for sent, lines in ((body, headers), (packed, compressed), (packed, compressed)):
            client.socket.sendall(before + request(path, sent, lines))
            if cold:
                assert client.response()[0] == 200
            status, _, answer = client.response()
            assert status in {200, 503}, (path, answer)  # nothing loads versions here
            answers.append(without_ids(answer))
        assert answers[1] == answers[2] == answers[0], path


def test_a_long_body_that_is_inflated_in_slices_keeps_its_place_among_the_answers(start: Start) -> None:
    server = start(
        linear_model(), "[predictions]\nmax_rows_per_request = 100000\n[speed]\ndeadline_ms = 9000\n"
    )
    client = server.client()
    rows = [{"a": number, "b": os.urandom(4)[0]} for number in range(60_000)]  # 1.5 MB, several slices
    packed = gzip.compress(json.dumps(rows).encode())
    client.socket.sendall(
        request("/predict", packed, {"content-encoding": "gzip"}) + request("/predict", ROW, {})
    )
    _, _, many = client.response()
    assert [one["prediction"] for one in json.loads(many)] == [2 * one["a"] + 3 * one["b"] for one in rows]
    assert client.prediction() == 8.0


@pytest.mark.parametrize("path", ["/predict", "/labels"])
def test_a_body_that_is_not_what_its_coding_says_is_told_and_counted_once(start: Start, path: str) -> None:
    server = start(linear_model())
    packed = gzip.compress(ROW)
    for body, coding, status in (
        (ROW, "gzip", 400),
        (packed[:-1], "gzip", 400),
        (packed + b"{}", "gzip", 400),
        (b"", "gzip", 400),
        (packed, "br", 415),
        (packed, "gzip, gzip", 415),
    ):
        answered, told, headers = server.ask("POST", path, body, {"content-encoding": coding})
        assert (answered, told["where"]) == (status, "Content-Encoding"), (body, coding)
        assert headers["accept-encoding"] == ("gzip, deflate" if status == 415 else None)
    counted = [
        one.statuses for one in server.service.counts.all_routes() if one.route == path and one.statuses
    ]
    assert counted == [{400: 4, 415: 2}]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("cold", [False, True], ids=["hot", "behind another request"])
def test_a_long_answer_is_compressed_for_those_who_ask_and_a_short_one_never(
    start: Start, coding: str, *, cold: bool
) -> None:
    server = start(linear_model())
    client = server.client()
    before = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" if cold else b""

    def ask(rows: int, accepted: str) -> tuple[dict[str, str], Any]:
        body = json.dumps([{"a": 1, "b": 2}] * rows).encode()
        client.socket.sendall(before + request("/predict", body, {"accept-encoding": accepted}))
        if cold:
            client.response()
        status, headers, answer = client.response()
        assert status == 200
        if "content-encoding" in headers:
            answer = UNPACK[headers["content-encoding"]](answer)
        assert [one["prediction"] for one in json.loads(answer)] == [8.0] * rows
        return headers, len(answer)

    for _ in range(2):  # of a head that is known too
        headers, size = ask(900, coding)
        assert size > COMPRESSED_FROM_BYTES
        assert headers["content-encoding"] == coding
        assert headers["vary"].lower() == "accept-encoding"
        assert int(headers["content-length"]) < size / 2
    assert "content-encoding" not in ask(900, "identity")[0]
    assert "content-encoding" not in ask(2, coding)[0]


def test_the_length_of_the_json_before_tensors_counts_the_plain_answer(start: Start) -> None:
    server = start(linear_model())
    rows = 8_000
    body = {"parameters": {"binary_data_output": True}, "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [rows, 2], "data": [1.0, 2.0] * rows}
    ]}  # fmt: skip
    client = server.client()
    client.socket.sendall(
        request("/v2/models/demo/infer", json.dumps(body).encode(), {"accept-encoding": "gzip"})
    )
    _, headers, packed = client.response()
    answer = gzip.decompress(packed)
    json_bytes = int(headers["inference-header-content-length"])
    assert json.loads(answer[:json_bytes])["outputs"][0]["parameters"] == {"binary_data_size": 4 * rows}
    assert np.frombuffer(answer[json_bytes:], "<f4").tolist() == [8.0] * rows


def test_others_are_answered_while_long_bodies_are_inflated(start: Start) -> None:
    server = start(linear_model(), "[speed]\ndeadline_ms = 60000\n")
    bomb = zlib.compress(b" " * (1 << 26), 9)  # 16 MiB of it are inflated until it is refused
    clients: list[Client] = [server.client() for _ in range(40)]
    for one in clients:
        one.socket.sendall(request("/predict", bomb, {"content-encoding": "deflate"}))
    assert server.ask("POST", "/predict", ROW)[0] == 200
    assert server.call(lambda: len(server.service.slices._waiting)) > 1
    assert [one.response()[0] for one in clients] == [413] * 40


def test_long_bodies_beyond_those_that_may_wait_are_refused_and_those_that_wait_too_long(
    start: Start,
) -> None:
    server = start(linear_model(), "[speed]\ndeadline_ms = 100\n")
    bomb = zlib.compress(b" " * (1 << 26), 9)
    clients = [server.client() for _ in range(MOST_WAITING + 20)]
    for one in clients:
        one.socket.sendall(request("/predict", bomb, {"content-encoding": "deflate"}))
    answers = [one.response() for one in clients]
    assert {status for status, _, _ in answers} <= {413, 503}
    assert server.ask("POST", "/predict", ROW)[0] == 200
    assert set(server.service.counts.refusals) >= {"expired"}


def test_a_client_that_leaves_while_its_body_is_inflated_costs_nobody_anything(start: Start) -> None:
    server = start(mixed_model())
    bomb = zlib.compress(b" " * (1 << 26), 9)
    for _ in range(5):
        one = server.client()
        one.socket.sendall(request("/predict", bomb, {"content-encoding": "deflate"}))
        one.close()
    assert server.ask("POST", "/predict", {"age": 1, "city": "north", "income": 1})[0] == 200

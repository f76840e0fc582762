"""Slow, silent, half-open and oversized clients cost their own connection, and nobody else anything."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from contextlib import ExitStack, suppress

import pytest
from live_service import Server, Start, linear_model, starting

from holdfast.serve import protocol, v1

start = starting
ROW = {"a": 1, "b": 1}
REAL = zlib.decompressobj
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\n"


def median_ms(server: Server, asks: int = 30) -> float:
    waits = []
    for _ in range(asks):
        began = time.perf_counter()
        assert server.ask("POST", "/predict", ROW)[0] == 200
        waits.append(time.perf_counter() - began)
    return sorted(waits)[asks // 2] * 1000


def test_hundreds_of_slow_and_half_open_connections_do_not_stop_others(start: Start) -> None:
    server = start(linear_model())
    alone_ms = median_ms(server)
    with ExitStack() as held:
        slow: list[socket.socket] = []
        for number in range(300):
            one = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            held.callback(one.close)
            if number % 3 == 0:
                one.sendall(HEAD[: 5 + number % 20])  # a head that never ends
            elif number % 3 == 1:
                one.sendall(HEAD + b"content-length: 1000\r\n\r\n{")  # a body that never ends
            slow.append(one)  # else: says nothing at all
        crowded_ms = median_ms(server)
        for one in slow[::3]:
            one.sendall(b"x")  # one byte at a time
        assert server.ask("POST", "/predict", ROW)[0] == 200
    # Generous: a server that one of them could block would not answer at all.
    assert crowded_ms < 50 * alone_ms + 500


@pytest.mark.interpreted
def test_a_client_that_dribbles_is_told_and_closed_while_others_go_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(protocol, "REQUEST_TIMEOUT_S", 0.4)
    server = start(linear_model())
    head, body, good = server.client(), server.client(), server.client()
    head.socket.sendall(HEAD[:9])
    body.socket.sendall(HEAD + b"content-length: 100\r\n\r\n{")
    deadline = time.monotonic() + 5
    open_ = {"head": head, "body": body}
    while open_ and time.monotonic() < deadline:
        time.sleep(0.05)
        server.call(sweep, server)
        for client in (head, body):
            with suppress(OSError):
                client.socket.sendall(b"x")
        for name, client in list(open_.items()):
            client.socket.settimeout(0.01)
            try:
                if client.socket.recv(1, socket.MSG_PEEK) in {b"H", b""}:
                    del open_[name]
            except TimeoutError:
                pass
            except OSError:
                del open_[name]
    assert not open_
    text = json.dumps(ROW).encode()
    good.socket.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(text) + text)
    assert good.response()[0] == 200


def sweep(server: Server) -> None:
    for connection in list(server.state.connections):
        connection.sweep(time.monotonic())  # type: ignore[union-attr]  # all are of the hot protocol


def test_json_nested_beyond_any_use_is_refused(start: Start) -> None:
    server = start(linear_model())
    for deep in (b"[" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b"[" * 5000 + b"]" * 5000):
        for path in ("/predict", "/labels", "/consent", "/v2/models/demo/infer", "/invocations"):
            status, _, _ = server.ask("POST", path, deep)
            assert 400 <= status < 500, (path, status)
    assert server.ask("POST", "/predict", ROW)[0] == 200


def test_a_bomb_is_refused_as_it_passes_the_limit_and_no_more_of_it_is_ever_made(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Counted:
        def __init__(self, form: int) -> None:
            self._stream = REAL(form)

        def decompress(self, data: bytes, most: int) -> bytes:
            part = self._stream.decompress(data, most)
            made[-1] += len(part)
            return part

        def __getattr__(self, name: str) -> object:
            return getattr(self._stream, name)

    monkeypatch.setattr(zlib, "decompressobj", Counted)
    server = start(linear_model(), "[predictions]\nmax_body_bytes = 65536\n")
    bomb = gzip.compress(b"[" + b"0," * 5_000_000 + b"0]")
    assert len(bomb) < 65536
    for path in (
        "/predict",
        "/labels",
        "/consent",
        "/invocations",
        "/v2/models/demo/infer",
        "/v2/repository/index",
    ):
        made.append(0)
        status, body, _ = server.ask("POST", path, bomb, {"content-encoding": "gzip"})
        assert (status, body["expected"]) == (413, "at most 65536 bytes"), path
        assert made[-1] <= 65536 + 1, path


def test_a_fault_in_reading_one_request_is_told_and_ends_nobody_elses(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of ours")

    server = start(linear_model())
    monkeypatch.setattr(v1, "_decode_slowly", broken)
    status, body, _ = server.ask("POST", "/v1/models/demo:predict", {"instances": [[1, 1]]})
    assert (status, body["received"]) == (500, "ZeroDivisionError")
    assert "of ours" not in json.dumps(body)
    assert "a request could not be read" in caplog.text
    assert server.ask("POST", "/predict", ROW)[0] == 200

"""HTTP/1.1 as clients really speak it, byte by byte."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

import pytest
from live_service import Client, Server, Start, linear_model, starting

from holdfast.serve import protocol as transport

start = starting


def request(a: float, path: str = "/predict", method: str = "POST", extra: str = "") -> bytes:
    body = b"" if method == "GET" else b'{"a": %r, "b": 0}' % a
    return (
        f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body
    )


@pytest.fixture
def server(start: Start) -> Server:
    return start(linear_model())


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


def test_a_connection_is_kept_for_further_requests(client: Client) -> None:
    for i in range(5):
        client.socket.sendall(request(i))
        assert client.prediction() == 2.0 * i


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    client.socket.sendall(b"".join(request(i) for i in range(300)))
    assert [client.prediction() for _ in range(300)] == [2.0 * i for i in range(300)]


def test_two_requests_in_one_segment_are_two_where_their_head_is_known(client: Client) -> None:
    client.socket.sendall(request(1))
    assert client.prediction() == 2.0
    client.socket.sendall(request(2) + request(3))
    assert [client.prediction(), client.prediction()] == [4.0, 6.0]


def test_hot_and_other_routes_keep_their_order_on_one_connection(client: Client) -> None:
    def live() -> bytes:
        return request(0, "/livez", "GET")

    client.socket.sendall(
        request(1)
        + live()
        + request(2)
        + request(3)
        + live()
        + live()
        + request(4)
        + request(0, "/nowhere", "GET")
    )
    seen: list[object] = []
    for _ in range(8):
        status, _, body = client.response()
        answer = json.loads(body)
        seen.append(answer.get("prediction", answer.get("live", status)))
    assert seen == [2.0, True, 4.0, 6.0, True, True, 8.0, 404]


def test_an_error_in_the_middle_of_a_pipeline_keeps_its_place(client: Client) -> None:
    bad = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    client.socket.sendall(request(1) + bad + request(2))
    assert client.prediction() == 2.0
    assert client.response()[0] == 422
    assert client.prediction() == 4.0


def test_a_request_may_arrive_byte_by_byte(client: Client) -> None:
    for byte in request(21):
        client.socket.sendall(bytes([byte]))
    assert client.prediction() == 42.0


def test_a_head_seen_before_means_the_same_again_and_nothing_more(server: Server) -> None:
    client = server.client()
    heads = server.state.known_heads
    client.socket.sendall(request(1))
    assert client.prediction() == 2.0
    assert len(heads) == 1, "a whole request in one read is learned"
    client.socket.sendall(request(3))
    assert client.prediction() == 6.0
    whole = request(4)
    for cut in (20, len(whole) - 3):  # the same head, but not the whole body with it
        client.socket.sendall(whole[:cut])
        time.sleep(0.02)
        client.socket.sendall(whole[cut:] + request(5))
        assert client.prediction() == 8.0
        assert client.prediction() == 10.0
    for extra in ("connection: close\r\n", "transfer-encoding: chunked\r\n", "content-type: text/csv\r\n"):
        other = server.client()
        other.socket.sendall(request(1, extra=extra))
        other.response()
    assert len(heads) == 1
    junk = server.client()
    junk.socket.sendall(b"junk\r\n\r\n")
    junk.response()
    junk.socket.sendall(request(1))
    assert junk.closed(), "after an error a connection answers nothing, known or not"


def test_of_heads_with_ids_the_rest_is_known_and_each_answer_has_its_own(server: Server) -> None:
    client = server.client()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e473%d-00f067aa0ba902b7-00"
    for i in range(100):  # of which the last are read by an expression of their own
        extra = f"x-request-id: id-{i}\r\ntraceparent: {trace % (i % 10)}\r\nx-request-timeout-ms: 5000\r\n"
        client.socket.sendall(request(i % 10, extra=extra))
        status, headers, body = client.response()
        assert (status, headers["x-request-id"]) == (200, f"id-{i}")
        assert json.loads(body)["prediction"] == 2.0 * (i % 10)
    assert len(server.state.known_heads) == 1
    assert server.service.counts.refusals == {}
    client.socket.sendall(request(1, extra=extra.replace("5000", "0")))
    assert client.response()[0] == 503, "whose patience is another has another head"


def test_callers_in_turn_on_one_connection_keep_their_ids_apart(server: Server) -> None:
    client = server.client()
    for i in range(150):
        other = "x-forwarded-for: 10.0.0.1\r\n" if i % 2 else ""
        name = f"id-{i}" if i % 3 else ""
        client.socket.sendall(request(i, extra=other + (f"x-request-id: {name}\r\n" if name else "")))
        _, headers, body = client.response()
        assert (headers.get("x-request-id", ""), json.loads(body)["prediction"]) == (name, 2.0 * i)


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        pytest.param("x-request-id: a b\r\n", None, id="not readable"),
        pytest.param("x-request-id: a\r\nx-request-id: b\r\n", "b", id="given twice"),
        pytest.param("x-request-id: a\r\nx-request-id: b c\r\n", None, id="given twice, not readable"),
        pytest.param("X-Request-ID:tight\r\n", "tight", id="without a space"),
        pytest.param("X-REQUEST-ID: loud\r\n", "loud", id="in capitals"),
        pytest.param("x-request-id: wide  \r\n", "wide", id="spaces behind it"),
        pytest.param("x-request-id: " + "a" * 201 + "\r\n", None, id="too long"),
        pytest.param("x-request-id: a\r\ntraceparent: none\r\n", "a", id="beside a malformed trace"),
    ],
)
def test_ids_are_read_the_same_way_whether_the_head_is_known_or_not(
    server: Server, lines: str, kept: str | None
) -> None:
    client = server.client()
    for before in ("", "x-request-id: first\r\n", "x-request-id: 1\r\nx-request-id: 2\r\n", lines):
        for extra in (*[before] * 40, lines, lines):
            client.socket.sendall(request(3, extra=extra))
            status, headers, _ = client.response()
            assert status == 200
        assert headers.get("x-request-id") == kept


def test_heads_that_never_repeat_do_not_fill_the_memory(client: Client, server: Server) -> None:
    for i in range(1500):
        client.socket.sendall(request(i, extra=f"x-nonce: {i}\r\n"))
        client.prediction()
    assert len(server.state.known_heads) <= 1024


def test_a_chunked_body_is_read(client: Client) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    client.socket.sendall(head + b'6\r\n{"a": \r\n' + b'9\r\n4, "b":0}\r\n' + b"0\r\n\r\n")
    assert client.prediction() == 8.0


def test_connection_close_is_obeyed_and_said(client: Client) -> None:
    client.socket.sendall(request(1, extra="connection: close\r\n") + request(2))
    status, headers, _ = client.response()
    assert (status, headers["connection"]) == (200, "close")
    assert client.closed()


def test_http_1_0_is_answered_and_closed_unless_it_asks_to_stay(server: Server) -> None:
    plain = server.client()
    plain.socket.sendall(request(1).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert plain.prediction() == 2.0
    assert plain.closed()
    stays = server.client()
    for i in range(2):
        stays.socket.sendall(request(i, extra="connection: Keep-Alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"))
        _, headers, _ = stays.response()
        assert headers["connection"] == "keep-alive"


def test_a_client_that_closes_its_sending_side_still_gets_its_answers(server: Server) -> None:
    for path in ("/predict", "/livez"):
        client = server.client()
        client.socket.sendall(request(1) + request(0, path, "POST" if path == "/predict" else "GET"))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.prediction() == 2.0
        assert client.response()[0] == 200
        assert client.closed()


def test_a_client_that_expects_100_continue_gets_it(client: Client) -> None:
    whole = request(3, extra="expect: 100-continue\r\n")
    head, body = whole[: whole.index(b"\r\n\r\n") + 4], whole[whole.index(b"\r\n\r\n") + 4 :]
    client.socket.sendall(head)
    assert client.response()[0] == 100
    client.socket.sendall(body)
    assert client.prediction() == 6.0


@pytest.mark.parametrize("extra", ["", "expect: 100-continue\r\n"])
def test_a_declared_length_over_the_limit_is_413_before_the_body(start: Start, extra: str) -> None:
    server = start(linear_model(), "[predictions]\nmax_body_bytes = 1024\n")
    client = server.client()
    client.socket.sendall(
        f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n{extra}\r\n".encode()
    )
    status, headers, body = client.response()
    assert (status, headers["connection"]) == (413, "close")
    assert b"1024" in body


def test_a_client_that_sends_a_too_large_body_to_its_end_can_read_why(start: Start) -> None:
    server = start(linear_model(), "[predictions]\nmax_body_bytes = 65536\n")
    client = server.client()
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n"
    client.socket.sendall(head + b" " * 500_000)
    assert client.response()[0] == 413


@pytest.mark.parametrize("path", ["/predict", "/labels"])
def test_an_endless_chunked_body_is_413(start: Start, path: str) -> None:
    server = start(linear_model(), "[predictions]\nmax_body_bytes = 4096\n")
    client = server.client()
    client.socket.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    with contextlib.suppress(ConnectionError):
        for _ in range(20):
            client.socket.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
    assert client.response()[0] == 413


def test_endless_headers_are_431(client: Client) -> None:
    client.socket.sendall(b"POST /predict HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionError):
        for i in range(20_000):  # more than one read can hold, however late it comes
            client.socket.sendall(b"x-%d: %s\r\n" % (i, b"y" * 40))
    assert client.response()[0] == 431


def test_one_endless_header_is_431(client: Client) -> None:
    client.socket.sendall(b"POST /predict HTTP/1.1\r\nx: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            client.socket.sendall(b"y" * 1024)
    assert client.response()[0] == 431


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /predict HTTP/1.1\r\n bad: folding\r\n\r\n",
    ],
)
def test_bytes_that_are_no_http_are_400_and_end_the_connection(server: Server, junk: bytes) -> None:
    client = server.client()
    client.socket.sendall(request(1) + junk)
    assert client.prediction() == 2.0
    assert client.response()[0] == 400
    assert server.ask("GET", "/livez")[0] == 200


@pytest.mark.interpreted
def test_a_client_that_dribbles_its_headers_is_closed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "HEAD_TIMEOUT_S", 0.1)
    client = server.client()
    client.socket.sendall(b"POST /predict HTTP/1.1\r\nhost: ")
    time.sleep(0.2)
    sweep(server)
    assert client.response()[0] == 408


@pytest.mark.interpreted
def test_an_idle_connection_is_closed_in_the_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "KEEP_ALIVE_S", 0.1)
    fresh, used = server.client(), server.client()
    used.socket.sendall(request(1))
    used.prediction()
    time.sleep(0.2)
    sweep(server)
    assert fresh.closed()
    assert used.closed()


def test_at_the_end_a_connection_that_spoke_a_moment_ago_may_speak_again(
    server: Server, client: Client
) -> None:
    def shut_down(silence_s: float) -> None:
        connections: list[Any] = list(server.state.connections)
        for connection in connections:
            connection.shutdown(silence_s)

    client.socket.sendall(request(1))
    assert client.prediction() == 2.0
    server.call(shut_down, 60.0)
    client.socket.sendall(request(2))
    assert client.prediction() == 4.0
    server.call(shut_down, 0.0)
    assert client.socket.recv(1) == b""


@pytest.mark.interpreted
def test_a_client_that_never_reads_is_cut_off_and_held_back_meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "WRITE_TIMEOUT_S", 0.1)
    client = server.client()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.socket.settimeout(0.5)
    block = b"".join(request(i) for i in range(500))
    sent = 0
    with contextlib.suppress(TimeoutError):
        for _ in range(2000):
            client.socket.sendall(block)
            sent += 500
    assert sent < 500 * 2000, "the server read everything although nobody read its answers"
    assert server.ask("GET", "/livez")[0] == 200
    deadline = time.monotonic() + 10
    while server.state.connections and time.monotonic() < deadline:
        sweep(server)
        time.sleep(0.05)
    assert not server.state.connections


def test_the_work_of_a_client_that_went_away_does_not_disturb_others(server: Server) -> None:
    for i in range(50):
        gone = server.connect()
        gone.sendall(request(i) + request(i)[:30])
        gone.close()
        assert server.ask("POST", "/predict", {"a": i, "b": 1})[1]["prediction"] == 2.0 * i + 3


def sweep(server: Server) -> None:
    def run() -> None:
        for connection in list(server.state.connections):
            connection.sweep(time.monotonic())  # type: ignore[union-attr]  # ours

    server.call(run)


H2C = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQ\r\n"
"""As Java's HttpClient and `curl --http2` send it with every request."""


def test_a_client_that_would_rather_speak_http_2_is_answered_in_http_1_1(client: Client) -> None:
    label = b'{"prediction_id": "1", "label": 1}'
    for a in (1, 2):
        client.socket.sendall(request(a, extra=H2C))
        assert client.prediction() == 2.0 * a
    client.socket.sendall(
        f"POST /labels HTTP/1.1\r\nhost: x\r\ncontent-length: {len(label)}\r\n{H2C}\r\n".encode() + label
    )
    assert json.loads(client.response()[2]) == {"accepted": 1}
    client.socket.sendall(request(3) + request(4, extra=H2C) + request(5))
    assert [client.prediction() for _ in range(3)] == [6.0, 8.0, 10.0]


def test_any_number_of_requests_that_ask_for_http_2_may_come_at_once(start: Start) -> None:
    client = start(linear_model(), "[speed]\np99_ms = 20000\ndeadline_ms = 30000\n").client()
    client.socket.sendall(b"".join(request(a, extra=H2C) for a in range(1500)))
    assert [client.prediction() for _ in range(1500)] == [2.0 * a for a in range(1500)]


def test_the_body_of_a_request_that_asks_for_http_2_may_come_in_any_pieces(client: Client) -> None:
    for byte in request(7, extra=H2C):
        client.socket.sendall(bytes([byte]))
    assert client.prediction() == 14.0


@pytest.mark.interpreted
def test_a_connection_is_not_idle_while_any_route_of_it_is_asked(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "KEEP_ALIVE_S", 0.2)
    for _ in range(4):
        time.sleep(0.1)
        client.socket.sendall(request(1, "/livez", "GET"))
        assert client.response()[0] == 200
        sweep(server)
    time.sleep(0.3)
    sweep(server)
    assert client.closed()

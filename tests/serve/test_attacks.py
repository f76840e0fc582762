"""Requests made to confuse or to fill the service: each ends in time, in little room and by itself."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import time
from typing import Any

import pytest
from live_service import Client, Server, Start, linear_model, starting

from holdfast.serve import protocol as transport
from holdfast.serve.heads import HEAD_BYTES

start = starting
ROW = b'{"a": 1, "b": 0}'
LABEL = b'{"prediction_id": "x", "label": 1}'
CHUNKED = b"host: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def server(start: Start) -> Server:
    return start(linear_model())


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


CHUNKED_ROW = b"\r\n" + chunk(ROW) + b"0\r\n\r\n"


def sweep(server: Server, now_s: float) -> None:
    def sweep_all() -> None:
        for one in list(server.state.connections):
            one.sweep(now_s)  # type: ignore[union-attr]  # of the service's own protocol, all of them

    server.call(sweep_all)


def wait_for_body(server: Server) -> None:
    """Until the service has read the head of a request, and waits for the rest."""

    def waits() -> bool:
        return any(
            one._message_began_s and not one._in_head  # type: ignore[union-attr]  # as above
            for one in server.state.connections
        )

    until_s = time.monotonic() + 10
    while not server.call(waits):
        assert time.monotonic() < until_s
        time.sleep(0.005)


def connections(server: Server) -> int:
    return len(server.call(lambda: list(server.state.connections)))


BROKEN = {
    "a size that is none": b"zz\r\n",
    "a negative size": b"-1\r\n",
    "a size with a line feed alone": b"5\nhello\n0\n\n",
    "an endless size": b"f" * 40 + b"\r\n",
    "no end of a chunk": b"2\r\nhello\r\n0\r\n\r\n",
    "a length among the trailers": b"2\r\n{}\r\n0\r\ncontent-length: 5\r\n\r\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("path", ["/predict", "/labels"])
def test_a_body_that_breaks_off_is_400_and_ends_its_connection_and_no_other(
    server: Server, path: str, broken: bytes
) -> None:
    client = server.client()
    client.socket.sendall(b"POST %b HTTP/1.1\r\n%b%b" % (path.encode(), CHUNKED, broken))
    status, headers, _ = client.response()
    assert (status, headers["connection"]) == (400, "close")
    assert server.ask("POST", "/predict", ROW)[0] == 200


@pytest.mark.interpreted
def test_a_broken_body_behind_hot_and_other_requests_is_answered_in_its_place(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "LINGER_S", 0.05)
    hot = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(ROW), ROW)
    cold = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
    broken = b"POST /labels HTTP/1.1\r\n" + CHUNKED + b"zz\r\n"
    for before, statuses in (
        (hot, [200]),
        (cold, [200]),
        (hot + cold + hot, [200] * 3),
        (cold * 3, [200] * 3),
    ):
        client = server.client()
        client.socket.sendall(before + broken)
        assert [client.response()[0] for _ in statuses] == statuses
        assert client.response()[0] == 400, before
        assert client.closed()


@pytest.mark.interpreted
@pytest.mark.parametrize("path", ["/predict", "/labels", "/consent"])
def test_a_body_that_does_not_come_is_408_on_every_route_and_the_connection_is_given_back(
    server: Server, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "LINGER_S", 0.05)
    client = server.client()
    client.socket.sendall(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{" % path.encode())
    wait_for_body(server)
    sweep(server, time.monotonic() + transport.REQUEST_TIMEOUT_S - 1)
    assert connections(server) == 1
    sweep(server, time.monotonic() + transport.REQUEST_TIMEOUT_S)
    assert client.response()[0] == 408
    assert client.closed()
    assert connections(server) == 0


@pytest.mark.parametrize("path", ["/predict", "/labels"])
@pytest.mark.parametrize("endless", [b"x-%d: " + b"y" * 1000 + b"\r\n", b"y" * 1000], ids=["many", "one"])
def test_endless_trailers_are_431(server: Server, path: str, endless: bytes) -> None:
    client = server.client()
    body = ROW if path == "/predict" else LABEL
    client.socket.sendall(b"POST %b HTTP/1.1\r\n%b%b0\r\nx: " % (path.encode(), CHUNKED, chunk(body)))
    if b"%d" in endless:
        client.socket.sendall(b"\r\n")
    with contextlib.suppress(ConnectionError):
        for number in range(2000):
            client.socket.sendall(endless.replace(b"%d", b"%d" % number))
    assert client.response()[0] == 431


def test_an_endless_extension_of_a_chunk_is_431(server: Server) -> None:
    client = server.client()
    client.socket.sendall(b"POST /predict HTTP/1.1\r\n" + CHUNKED + b"10;")
    with contextlib.suppress(ConnectionError):
        for _ in range(2000):
            client.socket.sendall(b"y" * 1000)
    assert client.response()[0] == 431


HOT = b"content-length: %d\r\n\r\n%b" % (len(ROW), ROW)
TWICE_READ = {
    "no host": (b"1.1", b"", 400),
    "two hosts": (b"1.1", b"host: x\r\nhost: y\r\n", 400),
    "the same host twice": (b"1.1", b"host: x\r\nHost: x\r\n", 400),
    "two hosts of HTTP/1.0": (b"1.0", b"host: x\r\nhost: y\r\n", 400),
    "a host that is none": (b"1.1", b"host: x/y@z\r\n", 400),
    "two hosts in one line": (b"1.1", b"host: x, y\r\n", 400),
    "chunks in HTTP/1.0": (b"1.0", b"host: x\r\ntransfer-encoding: chunked\r\n", 400),
    "a coding before chunked": (b"1.1", b"host: x\r\ntransfer-encoding: gzip, chunked\r\n", 501),
    "codings in two lines": (
        b"1.1",
        b"host: x\r\ntransfer-encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        501,
    ),
    "a coding after chunked": (b"1.1", b"host: x\r\ntransfer-encoding: chunked, gzip\r\n", 400),
}


@pytest.mark.parametrize(("version", "lines", "status"), TWICE_READ.values(), ids=TWICE_READ)
def test_a_head_that_two_readers_could_read_differently_is_refused_and_ends_its_connection(
    server: Server, version: bytes, lines: bytes, status: int
) -> None:
    rest = CHUNKED_ROW if b"ransfer" in lines else HOT
    hot = b"POST /predict HTTP/1.1\r\nhost: x\r\n" + HOT
    for path, before in ((b"/predict", 0), (b"/predict", 2), (b"/labels", 0), (b"/no/such/path", 1)):
        client = server.client()
        bad = b"POST %b HTTP/%b\r\n%b%b" % (path, version, lines, rest)
        client.socket.sendall(hot * before + bad + hot)
        client.socket.shutdown(socket.SHUT_WR)
        for _ in range(before):
            assert client.response()[0] == 200
        answered, headers, _ = client.response()
        assert (answered, headers["connection"]) == (status, "close"), path
        assert client.file.read() == b""


@pytest.mark.parametrize("lines", [b"Host: [::1]:80 \r\n", b"host:\r\n", b"HOST: a-b_c.example:8080\r\n"])
def test_a_host_of_any_right_form_is_taken_and_http_1_0_needs_none(server: Server, lines: bytes) -> None:
    client = server.client()
    for _ in range(2):  # the second time it is known
        client.socket.sendall(b"POST /predict HTTP/1.1\r\n" + lines + HOT)
        assert client.response()[0] == 200
    client.socket.sendall(b"POST /predict HTTP/1.0\r\n" + HOT)
    assert client.response()[0] == 200


@pytest.mark.parametrize("path", [b"/predict", b"/labels"])
@pytest.mark.parametrize("behind", [0, 3])
def test_a_head_over_64_kib_is_431_though_one_read_has_all_of_it(
    server: Server, path: bytes, behind: int
) -> None:
    hot = b"POST /predict HTTP/1.1\r\nhost: x\r\n" + HOT
    client = server.client()
    one = server.call(lambda: next(iter(server.state.connections)))
    for size, status in ((HEAD_BYTES - 200, 200), (HEAD_BYTES, 431)):
        long = b"POST %b HTTP/1.1\r\nhost: x\r\nx: %b\r\n" % (path, b"y" * size)
        body = HOT if path == b"/predict" else b"content-length: %d\r\n\r\n%b" % (len(LABEL), LABEL)
        server.call(lambda read=hot * behind + long + body: one.data_received(read))
        for _ in range(behind):
            assert client.response()[0] == 200
        assert client.response()[0] == status


def test_a_long_body_in_small_chunks_and_trailers_of_a_usual_size_are_read(server: Server) -> None:
    client = server.client()
    body = b"[" + b",".join([ROW] * 2000) + b"]"
    pieces = [chunk(body[start : start + 7]) for start in range(0, len(body), 7)]
    client.socket.sendall(b"POST /predict HTTP/1.1\r\n" + CHUNKED)
    for start in range(0, len(pieces), 500):
        client.socket.sendall(b"".join(pieces[start : start + 500]))
        time.sleep(0.002)
    client.socket.sendall(b"0\r\nx-checksum: 1\r\n\r\n")
    status, _, answer = client.response()
    assert (status, len(json.loads(answer))) == (200, 2000)


def test_trailers_are_no_headers(server: Server) -> None:
    client = server.client()
    for _ in range(2):
        trailers = b"x-request-id: evil\r\n"
        client.socket.sendall(b"POST /predict HTTP/1.1\r\n%b%b0\r\n%b\r\n" % (CHUNKED, chunk(ROW), trailers))
        status, headers, _ = client.response()
        assert (status, "x-request-id" in headers) == (200, False)


def test_a_request_for_websocket_that_is_none_is_refused(server: Server) -> None:
    upgrade = b"host: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    for rest, status in ((b"content-length: 2\r\n\r\n{}", 400), (b"\r\n", 405)):
        client = server.client()
        client.socket.sendall(b"POST /v2/models/demo/stream HTTP/1.1\r\n" + upgrade + rest)
        line = client.file.readline()
        assert int(line.split()[1]) == status, rest
        client.file.read()


@pytest.mark.interpreted
def test_a_websocket_behind_an_unanswered_request_is_refused_in_its_place(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "LINGER_S", 0.05)
    client = server.client()
    hot = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(ROW), ROW)
    ask = b"GET /v2/models/demo/stream HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    client.socket.sendall(
        hot + ask + b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert client.response()[0] == 200
    assert client.response()[0] == 400
    assert client.closed()


OPEN_STREAM = (
    b"GET /v2/models/%b/stream HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def open_raw_stream(server: Server) -> Client:
    client = server.client()
    client.socket.sendall(OPEN_STREAM % b"demo")
    while client.file.readline() != b"\r\n":
        pass
    return client


def frame(opcode: int, content: bytes = b"", *, final: bool = True) -> bytes:
    head = bytes([opcode | (0x80 if final else 0), 0x80 | len(content)])
    return head + b"\0\0\0\0" + content


def test_endless_fragments_without_content_end_the_stream(server: Server) -> None:
    client = open_raw_stream(server)
    client.socket.sendall(frame(1, b"{", final=False))
    with contextlib.suppress(ConnectionError):
        for _ in range(200):
            client.socket.sendall(frame(0, final=False) * 1000)
    assert client.file.read(4)[2:4] == (1009).to_bytes(2, "big")
    assert server.ask("POST", "/predict", ROW)[0] == 200


def test_a_flood_of_pings_whose_answers_nobody_reads_is_held_back(server: Server) -> None:
    client = open_raw_stream(server)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.socket.settimeout(0.5)
    pings, sent = frame(9, b"x" * 125) * 1000, 0
    with contextlib.suppress(TimeoutError):
        for _ in range(400):
            sent += client.socket.send(pings)
    (stream,) = server.call(lambda: list(server.state.connections))
    waiting: Any = server.call(stream.transport.get_write_buffer_size)
    assert waiting < 1 << 20
    assert sent < 50_000_000
    assert server.ask("POST", "/predict", ROW)[0] == 200


def unread(server: Server) -> Client:
    """A client that reads nothing of what the service has for it, of which little fits on the way."""
    client = server.client()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.socket.settimeout(0.5)
    until_s = time.monotonic() + 10
    while not connections(server):
        assert time.monotonic() < until_s
        time.sleep(0.005)
    (connection,) = server.call(lambda: list(server.state.connections))
    far_end = connection.transport.get_extra_info("socket")
    far_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return client


def goes_when_nothing_is_read(server: Server) -> bool:
    """Whether the only connection, closed but for what waits to be sent, goes in time and no sooner."""
    until_s = time.monotonic() + 10
    while not all(one.transport.is_closing() for one in server.call(lambda: list(server.state.connections))):
        assert time.monotonic() < until_s
        time.sleep(0.005)
    began_s = time.monotonic()
    sweep(server, began_s)
    sweep(server, began_s + transport.WRITE_TIMEOUT_S - 1.0)
    assert connections(server) == 1, "it may still read"
    sweep(server, began_s + transport.WRITE_TIMEOUT_S + 1.0)
    while connections(server) and time.monotonic() < until_s:
        time.sleep(0.005)
    return not connections(server)


def test_who_reads_nothing_of_the_last_answer_of_a_connection_is_cut_off(server: Server) -> None:
    client = unread(server)
    rows = b"[" + b",".join([ROW] * 1000) + b"]"
    last = b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
    client.socket.sendall(last % (len(rows), rows))
    assert goes_when_nothing_is_read(server)


def test_a_stream_that_is_ended_as_its_client_reads_nothing_is_given_back(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    client = unread(server)
    client.socket.sendall(OPEN_STREAM % b"demo")
    frames = frame(1, b'{"frame": {"a": 1, "b": 1}}') * 1000
    rest, until_s = frames, time.monotonic() + 20
    stream: Any = None
    # More than the kernels at both ends take up.
    while stream is None or server.call(stream.transport.get_write_buffer_size) < 32_768:
        assert time.monotonic() < until_s
        with contextlib.suppress(TimeoutError):
            rest = rest[client.socket.send(rest) :] or frames
        (stream,) = server.call(lambda: list(server.state.connections))
    server.call(stream.keepalive_timeout)  # as after a ping without an answer
    assert goes_when_nothing_is_read(server)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_what_anybody_can_do_to_a_stream_writes_no_error_to_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    client = open_raw_stream(server)
    client.socket.sendall(frame(1, b"\xff\xfe"))
    assert client.file.read(4)[2:4] == (1007).to_bytes(2, "big")
    denied = server.client()
    denied.socket.sendall(OPEN_STREAM % b"other")
    assert denied.response()[0] == 404
    assert denied.closed()
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]

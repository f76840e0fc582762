"""The traffic counts what really came back over the wire, also from a server that misbehaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from holdfast.demo import traffic as traffic_module
from holdfast.demo.traffic import Answered, LabelToSend, Traffic, TrafficError

Reply = Callable[[str, bytes, asyncio.StreamWriter], Awaitable[None]]


def ok(body: object, *headers: str) -> bytes:
    text = json.dumps(body).encode()
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(text)}", *headers])
    return head.encode() + b"\r\n\r\n" + text


def answer_for(body: bytes) -> dict[str, object]:
    row = json.loads(body)["row"]
    return {"prediction_id": f"id-{row}", "score": row / 1000, "model_version": "1", "prediction": 0}


async def serve(reply: Reply) -> tuple[asyncio.Server, int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length:")[1].split()[0])
                await reply(head.split()[1], await reader.readexactly(length), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def play(reply: Reply, rows: int, connections: int = 4) -> tuple[list[Answered | None], Traffic]:
    async def run() -> tuple[list[Answered | None], Traffic]:
        server, port = await serve(reply)
        traffic = Traffic("127.0.0.1", port, connections)
        try:
            return await traffic.play([json.dumps({"row": i}).encode() for i in range(rows)]), traffic
        finally:
            traffic.close()
            server.close()

    return asyncio.run(run())


def test_every_answer_goes_to_the_record_that_asked_although_connections_race() -> None:
    async def reply(path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        assert path == "/predict"
        await asyncio.sleep(0.001 * (json.loads(body)["row"] % 3))
        writer.write(ok(answer_for(body)))

    answers, traffic = play(reply, 200, connections=7)
    assert [one and one.prediction_id for one in answers] == [f"id-{i}" for i in range(200)]
    assert not traffic.errors
    assert len(traffic.latencies_s) == 200


def test_an_answer_in_pieces_is_put_together() -> None:
    async def reply(path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        whole = ok(answer_for(body))
        for i in range(0, len(whole), 11):
            writer.write(whole[i : i + 11])
            await writer.drain()
            await asyncio.sleep(0)

    answers, _ = play(reply, 20)
    assert all(one is not None for one in answers)


def test_a_request_whose_connection_is_cut_is_counted_once_and_not_repeated() -> None:
    asked: list[int] = []

    async def reply(path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        row = json.loads(body)["row"]
        asked.append(row)
        if row % 10 == 3:
            writer.transport.abort()
            raise ConnectionError
        writer.write(ok(answer_for(body)))

    answers, traffic = play(reply, 50)
    assert sorted(asked) == list(range(50))
    assert traffic.errors == {"connection lost": 5}
    assert [i for i, one in enumerate(answers) if one is None] == [3, 13, 23, 33, 43]


def test_a_refusal_is_counted_by_its_status_and_its_words_are_kept() -> None:
    async def reply(path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if json.loads(body)["row"] < 3:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
        else:
            writer.write(ok(answer_for(body)))

    answers, traffic = play(reply, 10, connections=1)
    assert traffic.errors == {"503": 3}
    assert traffic.error_texts[0] == "503: busy"
    assert sum(one is None for one in answers) == 3


def test_a_server_that_closes_after_every_answer_still_gets_everything_answered() -> None:
    async def reply(path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(answer_for(body), "Connection: close"))
        await writer.drain()
        writer.close()

    answers, traffic = play(reply, 30, connections=3)
    assert all(one is not None for one in answers)
    assert not traffic.errors


def test_labels_go_in_blocks_and_the_accepted_ones_are_added_up() -> None:
    sizes: list[int] = []

    async def reply(path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        assert path == "/labels"
        labels = json.loads(body)
        sizes.append(len(labels))
        assert labels[0] == {"prediction_id": "id-0", "label": 1, "observed_at": "2026-01-05T00:00:00Z"}
        writer.write(ok({"accepted": len(labels)}))

    async def run() -> int:
        server, port = await serve(reply)
        traffic = Traffic("127.0.0.1", port, 2)
        try:
            return await traffic.send_labels([LabelToSend("id-0", 1, "2026-01-05T00:00:00Z")] * 4500)
        finally:
            traffic.close()
            server.close()

    assert asyncio.run(run()) == 4500
    assert sorted(sizes) == [500, 2000, 2000]


def test_a_service_that_stops_answering_is_an_error_and_not_an_endless_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffic_module, "PATIENCE_S", 0.2)

    async def reply(path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    with pytest.raises(TrafficError, match="no answer for"):
        play(reply, 3)


def test_nobody_listening_is_an_error_that_names_the_place() -> None:
    async def run() -> None:
        server, port = await serve(lambda *_: asyncio.sleep(0))
        server.close()
        await server.wait_closed()
        await Traffic("127.0.0.1", port, 1).play([b"{}"])

    with pytest.raises(TrafficError, match=r"127\.0\.0\.1:"):
        asyncio.run(run())

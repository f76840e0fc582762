"""What a caller says in its headers: patience, request id, trace; and what is noted of it."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_service import Server, Start, linear_model, starting
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast.artifact.packing import Answer
from holdfast.clock import SystemClock
from holdfast.infer import AnsweredBatch, Job
from holdfast.serve.books import Books
from holdfast.serve.caller import Caller, read_caller
from holdfast.serve.errors import RequestError
from holdfast.serve.jobs import PredictJob
from holdfast.serve.sink import Sink
from holdfast.serve.watch import TracedSink, Watch
from holdfast.telemetry import AccessLog, RouteCounts, ServiceCounts, Traces

start = starting
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of the W3C recommendation."""
UNSAMPLED = TRACE[:-1] + "0"
ROW = {"a": 1, "b": 0}


@pytest.fixture
def server(start: Start) -> Server:
    return start(linear_model())


def watched(server: Server, access: AccessLog | None, traces: Traces | None) -> None:
    server.service.books.watch = Watch(access, traces, ServiceCounts())


def traces_of(exporter: InMemorySpanExporter, fraction: float, per_s: float = 1e9) -> Traces:
    chance = random.Random(1).random
    return Traces("demo", "w", fraction=fraction, per_s=per_s, chance=chance, exporter=exporter)


@pytest.mark.parametrize("name", [b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms"])
def test_a_timeout_is_read_in_milliseconds(name: bytes) -> None:
    assert read_caller([(name, b"250")]).patience_s == 0.25
    assert read_caller([(name, b"0.5")]).patience_s == 0.0005


def test_of_two_timeouts_the_shorter_counts() -> None:
    both = [(b"x-request-timeout-ms", b"80"), (b"x-envoy-expected-rq-timeout-ms", b"50")]
    assert read_caller(both).patience_s == read_caller(both[::-1]).patience_s == 0.05


@pytest.mark.parametrize("value", [b"soon", b"-1", b"1e3", b"nan", b"", b"1" * 40])
def test_a_timeout_that_is_no_number_of_milliseconds_is_an_error(value: bytes) -> None:
    with pytest.raises(RequestError, match=r"x-request-timeout-ms.*milliseconds"):
        read_caller([(b"x-request-timeout-ms", value)])


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + "-01",
        TRACE.upper(),
        "ff" + TRACE[2:],
        TRACE + "-x",
    ],
)
def test_a_malformed_traceparent_is_not_kept(traceparent: str) -> None:
    assert read_caller([(b"traceparent", traceparent.encode())]) == Caller()
    assert read_caller([(b"traceparent", TRACE.encode())]).traceparent == TRACE.encode()


@pytest.mark.parametrize(("method", "path", "body"), [("POST", "/predict", ROW), ("GET", "/livez", None)])
def test_the_request_id_comes_back(server: Server, method: str, path: str, body: Any) -> None:
    for given in ("a-1", "b-2"):
        assert server.ask(method, path, body, {"x-request-id": given})[2]["x-request-id"] == given
    assert server.ask(method, path, body)[2]["x-request-id"] is None
    assert server.ask(method, path, body, {"x-request-id": "not readable"})[2]["x-request-id"] is None


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("POST", "/predict", {}, 422),
        ("POST", "/predict", {"x-request-timeout-ms": "soon"}, 400),
        ("POST", "/predict", {"content-length": "999999999"}, 413),
        ("POST", "/predict", {"x-long": "a" * 70_000}, 431),
        ("POST", "/nowhere", {}, 404),
        ("GET", "/predict", {}, 405),
        ("GET", "/livez", {"x-request-timeout-ms": "soon"}, 400),
    ],
)
def test_the_request_id_comes_back_with_errors_too(
    server: Server, method: str, path: str, more: dict[str, str], status: int
) -> None:
    found, _, headers = server.ask(method, path, {"a": 1}, {"x-request-id": "q", **more})
    assert (found, headers["x-request-id"]) == (status, "q")


def test_request_ids_of_pipelined_requests_stay_with_their_answers(server: Server) -> None:
    client = server.client()
    body = json.dumps(ROW).encode()
    head = "POST /predict HTTP/1.1\r\nhost: x\r\nx-request-id: {}\r\ncontent-length: {}\r\n\r\n"
    client.socket.sendall(b"".join(head.format(i, len(body)).encode() + body for i in range(30)))
    assert [client.response()[1]["x-request-id"] for _ in range(30)] == [str(i) for i in range(30)]


def test_a_caller_that_waits_for_less_than_a_run_takes_is_refused_at_once(server: Server) -> None:
    status, answer, headers = server.ask("POST", "/predict", ROW, {"x-request-timeout-ms": "0"})
    assert (status, headers["retry-after"]) == (503, "1")
    assert "deadline of 0 ms" in answer["error"]
    assert server.ask("POST", "/predict", ROW, {"x-request-timeout-ms": "5000"})[0] == 200
    assert server.ask("POST", "/predict", ROW, {"x-request-timeout-ms": "soon"})[0] == 400
    assert server.service.counts.refusals == {"deadline": 1}


def test_the_access_log_has_one_line_per_request_and_no_value(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "access"
    with path.open("wb") as file:
        log = AccessLog(file.fileno(), SystemClock())
        watched(server, log, None)
        server.ask(
            "POST", "/predict", [ROW, {"a": 123456, "b": 0}], {"x-request-id": "r", "traceparent": TRACE}
        )
        server.ask("POST", "/predict", {"a": 123456})
        server.ask("GET", "/livez")
        server.ask("POST", "/predict", [])
        server.ask("POST", "/elsewhere", ROW)
        server.ask("PUT", "/predict", ROW)
        server.call(log.write)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    seen = [(one["route"], one["status"], one["rows"], one["model_version"]) for one in lines]
    assert seen == [
        ("POST /predict", 200, 2, "1"),
        ("POST /predict", 422, 0, "1"),
        ("GET /livez", 200, 0, ""),
        ("POST /predict", 200, 0, "1"),
        ("POST /{path}", 404, 0, ""),
        ("PUT /{path}", 405, 0, ""),
    ]
    assert (lines[0]["request_id"], lines[0]["trace_id"]) == ("r", TRACE[3:35])
    assert lines[0]["time"].endswith("Z")
    assert 0 <= lines[0]["duration_ms"] < 10_000
    assert "123456" not in path.read_text()


def test_the_queue_of_the_access_log_is_bounded_and_losses_are_counted(server: Server) -> None:
    read, write = os.pipe()
    log = AccessLog(write, SystemClock(), most_waiting=3)
    watched(server, log, None)
    for _ in range(5):
        server.ask("POST", "/predict", ROW)
    assert server.call(lambda: log.lost) == 2
    os.close(read)
    log.write()
    assert log.lost == 5, "nobody reads, so no line was written"
    os.close(write)


def test_lines_for_a_pipe_are_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    pieces: list[bytes] = []
    log = AccessLog(-1, SystemClock())
    watched(server, log, None)
    for _ in range(60):
        server.ask("POST", "/predict", ROW)
    server.call(len, pieces)  # what follows from the last answer is done

    def write(_: int, data: bytes) -> int:
        pieces.append(data)
        return len(data)

    monkeypatch.setattr(os, "write", write)
    log.write()
    monkeypatch.undo()
    assert len(pieces) > 1
    assert all(len(piece) <= 4096 and piece.endswith(b"\n") for piece in pieces)
    assert sum(piece.count(b"\n") for piece in pieces) == 60


def test_requests_of_one_batch_have_each_their_own_line(server: Server, tmp_path: Path) -> None:
    infer = {"inputs": [{"name": "x", "shape": [3, 2], "datatype": "FP32", "data": [1] * 6}]}
    kinds: list[tuple[str, Any, int, int]] = [
        ("/predict", ROW, 200, 1), ("/predict", [ROW, ROW], 200, 2), ("/predict", {"a": 1}, 422, 0),
        ("/v2/models/{model}/infer", infer, 200, 3),
    ]  # fmt: skip
    path = tmp_path / "access"
    client = server.client()
    asked = {f"id-{i}": kinds[i % 4] for i in range(40)}
    sent = b""
    for i, (name, (route, body, *_)) in enumerate(asked.items()):
        content = json.dumps(body).encode()
        lines = (
            f"x-request-id: {name}\r\ntraceparent: {UNSAMPLED[:33]}{i:02}{UNSAMPLED[35:]}\r\n"
            if i % 5
            else ""
        )
        head = (
            f"POST {route.format(model='demo')} HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(content)}"
        )
        sent += head.encode() + b"\r\n\r\n" + content
    with path.open("wb") as file:
        log = AccessLog(file.fileno(), SystemClock())
        watched(server, log, None)
        client.socket.sendall(sent)
        for i, (name, (_, _, status, _)) in enumerate(asked.items()):
            found, headers, _ = client.response()
            assert (found, headers.get("x-request-id")) == (status, name if i % 5 else None)
        server.call(log.write)
    noted = [json.loads(line) for line in path.read_text().splitlines()]
    told = sorted(
        (one["request_id"], one["trace_id"][30:], one["route"], one["status"], one["rows"]) for one in noted
    )
    assert told == sorted(
        (name if i % 5 else "", f"{i:02}" if i % 5 else "", f"POST {route}", status, rows)
        for i, (name, (route, _, status, rows)) in enumerate(asked.items())
    )
    assert server.service.counts.route("/predict", "1").statuses == {200: 20, 422: 10}
    assert server.service.counts.route("/v2/models/{model}/infer", "1").statuses == {200: 10}


def test_of_a_batch_only_what_was_answered_is_counted_as_answered(server: Server) -> None:
    counts, other = RouteCounts("/predict", "1"), RouteCounts("/invocations", "1")
    service, endpoint = server.service, server.service.champion
    assert endpoint is not None
    jobs: list[Job] = []
    for i in range(5):
        job = PredictJob(1, None, None, (), i / 10)
        job.service, job.endpoint, job.counts, job.sink, job.alone = service, endpoint, counts, Sink(), True
        jobs.append(job)
    jobs[1].cancelled = True
    jobs[2].counts = other  # type: ignore[attr-defined]  # of a job of ours
    batch = AnsweredBatch(endpoint.lane.model, Answer(np.zeros(5), None, {}), ["x"] * 5, 5)
    Books().answered(jobs, batch, [job.arrived_s for job in jobs], 0.5)
    assert (counts.statuses, other.statuses) == ({200: 3}, {200: 1})
    assert counts.latency_s.total == pytest.approx(0.5 + 0.2 + 0.1)
    assert other.latency_s.total == pytest.approx(0.3)


def test_a_trace_goes_on_from_the_callers_and_comes_back(server: Server) -> None:
    exporter = InMemorySpanExporter()
    traces = traces_of(exporter, fraction=0.0)
    watched(server, None, traces)
    _, _, headers = server.ask("POST", "/predict", ROW, {"traceparent": TRACE, "x-request-id": "r"})
    _, _, silent = server.ask("POST", "/predict", ROW, {"traceparent": UNSAMPLED})
    _, _, bare = server.ask("POST", "/predict", ROW)
    traces.close()
    (span,) = exporter.get_finished_spans()
    assert span.parent is not None
    assert span.context is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE[3:35], TRACE[36:52])
    assert headers["traceparent"] == f"00-{TRACE[3:35]}-{span.context.span_id:016x}-01"
    assert silent["traceparent"] is None
    assert bare["traceparent"] is None
    assert span.attributes is not None
    assert span.attributes["http.route"] == "/predict"
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["holdfast.model_version"] == "1"
    assert span.start_time is not None
    assert span.end_time is not None
    assert 0 < span.end_time - span.start_time < 10**10


@pytest.mark.parametrize("cold", [False, True], ids=["hot", "behind another request"])
def test_a_tracestate_goes_on_with_its_trace_and_never_without(server: Server, *, cold: bool) -> None:
    exporter = InMemorySpanExporter()
    traces = traces_of(exporter, fraction=0.0)
    watched(server, None, traces)
    client, body = server.client(), json.dumps(ROW).encode()
    before = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" if cold else b""

    def ask(*lines: str) -> dict[str, str]:
        head = "".join(f"{line}\r\n" for line in ("host: x", f"content-length: {len(body)}", *lines))
        client.socket.sendall(before + b"POST /predict HTTP/1.1\r\n" + head.encode() + b"\r\n" + body)
        if cold:
            client.response()
        return client.response()[1]

    later = f"traceparent: cc{TRACE[2:]}-more"
    for i in range(40):  # of which the last are read by an expression of their own
        assert ask(later, f"tracestate: rojo={i}, congo=t61")["tracestate"] == f"rojo={i},congo=t61"
        assert (
            ask(later, f"tracestate: rojo={i}", "tracestate: congo=t61")["tracestate"]
            == f"rojo={i},congo=t61"
        )
    for lines in ((later,), (later, "tracestate: rojo"), (f"traceparent: {TRACE}", "tracestate: a=1,a=2")):
        answer = ask(*lines)
        assert answer["traceparent"][3:35] == TRACE[3:35]
        assert "tracestate" not in answer
    assert "tracestate" not in ask("tracestate: rojo=1", "traceparent: none")
    traces.close()
    spans = exporter.get_finished_spans()
    assert len(spans) == 83
    for i, span in enumerate(spans[:80]):
        assert span.context is not None
        assert span.parent is not None
        assert dict(span.context.trace_state) == {"rojo": str(i // 2), "congo": "t61"}
        assert dict(span.parent.trace_state) == {"rojo": str(i // 2), "congo": "t61"}
    if not cold:
        assert len(server.state.known_heads) < 10


def test_the_access_log_names_the_trace_that_a_request_began(server: Server, tmp_path: Path) -> None:
    traces = traces_of(InMemorySpanExporter(), fraction=1.0)
    with (tmp_path / "access").open("wb") as file:
        log = AccessLog(file.fileno(), SystemClock())
        watched(server, log, traces)
        answers = [server.ask("POST", "/predict", body) for body in (ROW, {"a": 1})]
        server.call(log.write)
    traces.close()
    made = [headers["traceparent"][3:35] for _, _, headers in answers]
    lines = [json.loads(line) for line in (tmp_path / "access").read_text().splitlines()]
    assert [(one["trace_id"], one["status"]) for one in lines] == list(zip(made, (200, 422), strict=True))
    assert made[0] != made[1]


def test_a_share_of_requests_without_a_trace_begins_one(server: Server) -> None:
    exporter = InMemorySpanExporter()
    traces = traces_of(exporter, fraction=0.25)
    watched(server, None, traces)
    for _ in range(100):
        server.ask("POST", "/predict", ROW)
    traces.close()
    assert 10 < len(exporter.get_finished_spans()) < 45


@pytest.mark.parametrize("sizes", [[1] * 400, [7] * 57 + [1], [400], [1, 99, 3, 297]])
def test_which_requests_begin_a_trace_does_not_depend_on_how_they_are_batched(sizes: list[int]) -> None:
    traces = traces_of(InMemorySpanExporter(), fraction=0.1)
    watch = Watch(None, traces, ServiceCounts())
    chance = random.Random(1)  # the same numbers, drawn for each request that is traced
    until_next: list[int] = []
    while sum(until_next) + len(until_next) < 400:
        until_next.append(int(math.log(1.0 - chance.random()) / math.log1p(-0.1)))
    expected = list(itertools.accumulate(until_next, lambda at, passed: at + 1 + passed))
    traced, at = [], 0
    for size in sizes:
        jobs: list[Any] = [PredictJob(1, None, None, (), 0.0) for _ in range(size)]
        for job in jobs:
            job.sink, job.counts = Sink(), RouteCounts("/predict", "1")
        watch.answering(jobs, size)
        traced += [at + i for i, job in enumerate(jobs) if isinstance(job.sink, TracedSink)]
        at += size
    traces.close()
    assert traced == [one for one in expected if one < 400]


def test_all_requests_of_a_batch_are_traced_where_all_are_asked_for(server: Server) -> None:
    exporter = InMemorySpanExporter()
    traces = traces_of(exporter, fraction=1.0)
    watched(server, None, traces)
    client, body = server.client(), json.dumps(ROW).encode()
    client.socket.sendall(
        b"".join(
            [b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)] * 20
        )
    )
    assert len({client.response()[1]["traceparent"] for _ in range(20)}) == 20
    traces.close()
    assert len(exporter.get_finished_spans()) == 20


def test_a_busy_service_begins_no_more_traces_than_it_may_in_a_second(server: Server) -> None:
    exporter = InMemorySpanExporter()
    traces = traces_of(exporter, fraction=1.0, per_s=0.001)
    watched(server, None, traces)
    for _ in range(20):
        server.ask("POST", "/predict", ROW)
    server.ask("POST", "/predict", ROW, {"traceparent": TRACE})
    traces.close()
    made = exporter.get_finished_spans()
    assert [span.parent is None for span in made] == [True, False], "the caller's own is always followed"


def test_metrics_tell_queue_run_log_and_encode_time_and_the_depth_of_the_spool(server: Server) -> None:
    for _ in range(3):
        server.ask("POST", "/predict", ROW)
    _, text, _ = server.ask("GET", "/metrics")
    lines = text.decode().splitlines()
    for stage in ("queue", "run", "record", "encode"):
        assert any(
            line.startswith(f"holdfast_{stage}_duration_seconds_count") and line.endswith(" 3.0")
            for line in lines
        )
    assert 'holdfast_spool_segments{model="demo"} 1.0' in lines
    (size,) = [line for line in lines if line.startswith("holdfast_spool_bytes{")]
    assert float(size.split()[-1]) > 100

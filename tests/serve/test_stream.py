"""Streams over WebSocket, with the client of the `websockets` library."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_service import GraphRuntime, Server, Start, linear_model, starting
from serve_process import ServeProcess, make_deployment
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from holdfast.artifact.signature import Column, Signature, Tensor
from holdfast.clock import SystemClock
from holdfast.infer import LoadedModel
from holdfast.prediction_log import PredictionLog, settle
from holdfast.serve.stream import Windows

start = starting

STATE = '[stream]\nframe_ms = 5000\nstate = { h = "h_next" }\n'
WINDOW = "[stream]\nframe_ms = 5000\nwindow_values = 4\nhop_values = 2\n"


def summing_model(version: str = "1", factor: float = 1.0) -> LoadedModel:
    """Answers `factor` times the sum of all values of `a` that it was given, by a state of two values."""
    graph = f"""
        <ir_version: 9, opset_import: ["": 18]>
        summing (float[N] a, float[N,2] h) => (float[N,1] y, float[N,2] h_next)
        <float[2] spread = {{1.0, 0.5}}, float[2,1] pick = {{{factor}, 0.0}},
         int64[2] column = {{-1, 1}}>
        {{
            tall = Reshape(a, column)
            wide = Mul(tall, spread)
            h_next = Add(h, wide)
            y = MatMul(h_next, pick)
        }}
    """
    signature = Signature(
        columns=(
            Column(name="a", dtype="float32", kind="numeric"),
            Column(name="h", dtype="float32", kind="embedding", shape=(2,)),
        ),
        inputs=(
            Tensor(name="a", dtype="float32", shape=(-1,), columns=("a",)),
            Tensor(name="h", dtype="float32", shape=(-1, 2), columns=("h",)),
        ),
        outputs=(
            Tensor(name="y", dtype="float32", shape=(-1, 1)),
            Tensor(name="h_next", dtype="float32", shape=(-1, 2)),
        ),
        task="regression",
        prediction_output="y",
    )
    return LoadedModel(version, signature, GraphRuntime(graph))


def window_model() -> LoadedModel:
    """Answers the sum of a window of four samples, as a bare tensor."""
    graph = """
        <ir_version: 9, opset_import: ["": 18]>
        window (float[N,4] samples) => (float[N,1] total)
        <int64[1] axis = {1}>
        { total = ReduceSum(samples, axis) }
    """
    signature = Signature(
        columns=(Column(name="samples", dtype="float32", kind="audio", shape=(4,)),),
        inputs=(Tensor(name="samples", dtype="float32", shape=(-1, 4), columns=("samples",)),),
        outputs=(Tensor(name="total", dtype="float32", shape=(-1, 1)),),
        task="tensor",
    )
    return LoadedModel("1", signature, GraphRuntime(graph))


def open_stream(server: Server, path: str = "/v2/models/demo/stream", **headers: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers, proxy=None)


def say(stream: ClientConnection, message: Any) -> Any:
    """Send one message, hear one."""
    stream.send(message if isinstance(message, bytes) else json.dumps(message))
    return json.loads(stream.recv(20))


def test_state_is_carried_from_frame_to_frame_and_begins_anew_after_the_end(
    start: Start, tmp_path: Path
) -> None:
    server = start(summing_model(), STATE)
    with open_stream(server) as stream:
        for utterance in range(2):
            total = 0.0
            for frame in range(1, 4):
                total += frame
                heard = say(stream, {"frame": {"a": frame, "prediction_id": f"{utterance}-{frame}"}})
                assert (heard["type"], heard["frame"], heard["prediction"]) == ("partial", frame, total)
                assert heard["prediction_id"] == f"{utterance}-{frame}"
            heard = say(stream, {"end": True})
            assert (heard["type"], heard["frame"], heard["prediction"]) == ("final", 3, 6.0)
    settle(tmp_path / "log", SystemClock())
    rows = PredictionLog(tmp_path / "log").predictions().read_all().to_pylist()
    logged = {row["prediction_id"]: (row["input_a"], row["input_h"], row["prediction"]) for row in rows}
    assert len(logged) == 6
    assert logged["1-3"] == (3.0, [3.0, 1.5], 6.0)


def test_frames_may_be_records_lists_or_bytes(start: Start) -> None:
    server = start(summing_model(), STATE)
    with open_stream(server) as stream:
        assert say(stream, {"frame": {"a": 1.5}})["prediction"] == 1.5
        assert say(stream, np.array([2.5], "<f4").tobytes())["prediction"] == 4.0
    server = start(window_model(), WINDOW)
    with open_stream(server) as stream:
        for frame in ([1, 2, 3, 4], {"samples": [1, 2, 3, 4]}):
            assert say(stream, {"frame": frame})["outputs"] == {"total": [10.0]}
            stream.send(json.dumps({"reset": True}))


def test_a_reset_forgets_without_a_last_word(start: Start) -> None:
    server = start(summing_model(), STATE)
    with open_stream(server) as stream:
        assert say(stream, {"frame": {"a": 5}})["prediction"] == 5.0
        stream.send(json.dumps({"reset": True}))
        assert say(stream, {"frame": {"a": 1}})["prediction"] == 1.0
        stream.send(json.dumps({"reset": True}))
        assert say(stream, {"end": True}) == {"type": "final", "frame": 0}


def test_windows_are_cut_from_frames_of_any_length(start: Start) -> None:
    server = start(window_model(), WINDOW)
    with open_stream(server) as stream:
        stream.send(np.arange(3, dtype="<f4").tobytes())
        heard = say(stream, np.arange(3, 7, dtype="<f4").tobytes())
        assert (heard["frame"], heard["outputs"]) == (2, {"total": [6.0]})
        assert json.loads(stream.recv(20))["outputs"] == {"total": [14.0]}
        # 6 is in no window yet: filled up with zeros after the 4 and 5 that are in hand.
        assert say(stream, {"end": True})["outputs"] == {"total": [15.0]}
        assert json.loads(stream.recv(20))["type"] == "final"
        heard = say(stream, {"frame": [1, 1, 1, 1]})
        assert (heard["frame"], heard["outputs"]) == (1, {"total": [4.0]})
        assert say(stream, {"end": True})["type"] == "final"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 6), st.data())
def test_every_value_is_in_a_window_whatever_the_frames(
    frames: list[int], window: int, data: st.DataObject
) -> None:
    hop = data.draw(st.integers(1, window))
    cut = Windows(window, hop)
    values = np.arange(1, sum(frames) + 1)
    found, at = [], 0
    for size in frames:
        part = values[at : at + size]
        expected = cut.windows_in(len(part))
        fed = cut.feed(part)
        assert len(fed) == expected
        found += fed
        at += size
    rest = cut.rest()
    for i, one in enumerate(found):
        assert one.tolist() == values[i * hop : i * hop + window].tolist()
    seen = set(np.concatenate([*found, np.zeros(0, int)]).tolist())
    missing = set(values.tolist()) - seen
    if rest is None:
        assert not missing
    else:
        assert missing
        start = len(found) * hop
        assert rest.tolist() == [*values[start:].tolist(), *[0] * (window - len(values) + start)]


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ({"frame": {"a": "1"}}, "$.frame.a"),
        ({"frame": {"a": None}}, "$.frame.a"),
        ({"frame": {"b": 1}}, "$.frame.b"),
        ({"frame": {"a": 1, "h": [0, 0]}}, "$.frame.h"),
        ({"frame": 3}, "$.frame"),
        ({"frame": {"a": 1}, "end": True}, "$"),
        ([], "$"),
        (b"\0\0\0", "$.frame"),
        (b"\0" * 8, "$.frame"),
        (np.array([np.nan], "<f4").tobytes(), "$.frame"),
    ],
)
def test_a_wrong_frame_is_an_error_and_leaves_the_state_as_it_was(
    start: Start, message: Any, where: str
) -> None:
    server = start(summing_model(), STATE)
    with open_stream(server) as stream:
        say(stream, {"frame": {"a": 2}})
        heard = say(stream, message)
        assert (heard["type"], heard.get("where")) == ("error", where)
        assert say(stream, {"frame": {"a": 3}})["prediction"] == 5.0


def test_text_that_is_no_json_is_an_error_and_the_stream_goes_on(start: Start) -> None:
    server = start(summing_model(), STATE)
    with open_stream(server) as stream:
        stream.send("{")
        assert json.loads(stream.recv(20))["type"] == "error"
        assert say(stream, {"frame": {"a": 3}})["prediction"] == 3.0


def test_a_frame_beyond_its_budget_is_refused_and_leaves_the_state_as_it_was(start: Start) -> None:
    server = start(summing_model(), STATE)
    with open_stream(server, **{"x-request-timeout-ms": "0.0001"}) as stream:
        heard = say(stream, {"frame": {"a": 2}})
        assert heard["type"] == "error"
        assert "deadline" in heard["error"]


def test_many_streams_share_batches_and_never_mix_their_states(start: Start) -> None:
    server = start(summing_model(), STATE)
    wrong: list[Any] = []

    def talk(number: int) -> None:
        with open_stream(server) as stream:
            for frame in range(1, 31):
                heard = say(stream, {"frame": {"a": number * 100}})
                if heard.get("prediction") != number * 100.0 * frame:
                    wrong.append((number, frame, heard))

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_an_utterance_stays_with_its_version_and_the_next_begins_on_the_new_champion(start: Start) -> None:
    server = start(summing_model("1"), STATE)
    with open_stream(server) as stream:
        assert say(stream, {"frame": {"a": 1}})["model_version"] == "1"
        server.install(summing_model("2", factor=10.0))
        heard = say(stream, {"frame": {"a": 1}})
        assert (heard["model_version"], heard["prediction"]) == ("1", 2.0)
        assert server.service.versions == ["2", "1"]
        assert say(stream, {"end": True})["prediction"] == 2.0
        assert server.service.versions == ["2"]
        assert say(stream, {"frame": {"a": 1}})["prediction"] == 10.0
    deadline_s = time.monotonic() + 10
    while server.service._pins and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not server.service._pins


class SlowRuntime(GraphRuntime):
    """Takes 30 ms a run."""

    def run(self, feeds: Any) -> dict[str, Any]:
        time.sleep(0.03)
        return super().run(feeds)


def test_a_caller_who_sends_too_fast_is_held_back(start: Start) -> None:
    model = summing_model()
    model._runtime.__class__ = SlowRuntime
    server = start(model, STATE)
    with open_stream(server) as stream:
        for _ in range(40):
            stream.send(json.dumps({"frame": {"a": 1}}))
        most = 0
        for frame in range(1, 41):
            heard = json.loads(stream.recv(20))
            assert heard["prediction"] == float(frame)
            most = max(most, server.service.batcher.queued_rows)
        assert most <= 1


def refused(server: Server, path: str = "/v2/models/demo/stream", **headers: str) -> int:
    with pytest.raises(InvalidStatus) as caught:
        open_stream(server, path, **headers)
    return caught.value.response.status_code


def test_streams_need_a_key_a_model_and_a_page_of_this_site(start: Start) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    keys = f'[security]\nauth = "keys"\napi_key_hashes = ["{digest}"]\n'
    server = start(summing_model(), STATE + "most_streams = 1\n" + keys)
    assert refused(server) == 401
    good = {"authorization": "Bearer secret"}
    assert refused(server, "/v2/models/other/stream", **good) == 404
    assert refused(server, "/v2/models/demo/versions/9/stream", **good) == 404
    assert refused(server, origin="https://elsewhere.example", **good) == 403
    with open_stream(server, "/v2/models/demo/versions/1/stream", **good) as stream:
        assert say(stream, {"frame": {"a": 1}})["prediction"] == 1.0
        assert refused(server, **good) == 503
    own = f"http://127.0.0.1:{server.port}"
    with open_stream(server, origin=own, **good) as stream:
        assert say(stream, {"frame": {"a": 1}})["prediction"] == 1.0


def test_a_caller_at_its_limit_of_streams_is_told_so_and_hinders_no_other(start: Start) -> None:
    digests = [hashlib.sha256(key).hexdigest() for key in (b"one", b"two")]
    keys = f'[security]\nauth = "keys"\napi_key_hashes = {json.dumps(digests)}\n'
    server = start(summing_model(), STATE + "most_streams_per_caller = 2\n" + keys)
    one, two = ({"authorization": f"Bearer {key}"} for key in ("one", "two"))
    with open_stream(server, **one), open_stream(server, **one) as leaves:
        assert refused(server, **one) == 429
        with open_stream(server, **two) as stream:
            assert say(stream, {"frame": {"a": 1}})["prediction"] == 1.0
        leaves.close()
        with open_stream(server, **one) as stream:
            assert say(stream, {"frame": {"a": 2}})["prediction"] == 2.0
            assert refused(server, **one) == 429
    assert server.service.counts.refusals == {"toomanystreams": 2}


def test_without_keys_a_caller_is_an_address(start: Start) -> None:
    server = start(summing_model(), STATE + "most_streams_per_caller = 1\n")
    with open_stream(server):
        assert refused(server) == 429
        url = f"ws://127.0.0.1:{server.port}/v2/models/demo/stream"
        with connect(url, source_address=("127.0.0.2", 0), proxy=None) as stream:
            assert say(stream, {"frame": {"a": 1}})["prediction"] == 1.0


def test_the_request_id_of_a_stream_comes_back_when_it_is_opened_and_when_it_is_refused(start: Start) -> None:
    server = start(summing_model(), STATE)
    mine = {"x-request-id": "mine"}
    with open_stream(server, **mine) as stream:
        assert stream.response is not None
        assert stream.response.headers["x-request-id"] == "mine"
        assert say(stream, {"frame": {"a": 1}})["prediction"] == 1.0
        assert say(stream, {"end": False})["type"] == "error", "no end of the utterance"
        assert say(stream, {"frame": {"a": 1}})["prediction"] == 2.0
    with pytest.raises(InvalidStatus) as caught:
        open_stream(server, "/v2/models/other/stream", **mine)
    assert caught.value.response.headers["x-request-id"] == "mine"


@pytest.mark.parametrize(
    "toml",
    [
        '[stream]\nstate = { g = "h_next" }\n',
        '[stream]\nstate = { h = "y" }\n',
        '[stream]\nfield = "b"\n',
        '[stream]\nwindow_values = 4\nstate = { h = "h_next" }\n',
    ],
)
def test_a_checklist_that_does_not_fit_the_version_is_said_at_the_door(start: Start, toml: str) -> None:
    assert refused(start(summing_model(), toml)) == 503


def test_without_state_and_windows_each_frame_is_a_row(start: Start) -> None:
    with open_stream(start(linear_model(), "[stream]\nframe_ms = 5000\n")) as stream:
        assert say(stream, {"frame": {"a": 1, "b": 1}})["prediction"] == 5.0
        assert say(stream, b"\0" * 8)["type"] == "error"


def test_other_requests_are_answered_on_the_same_port_meanwhile(start: Start) -> None:
    server = start(summing_model(), STATE)
    with open_stream(server) as stream:
        say(stream, {"frame": {"a": 1}})
        assert server.ask("POST", "/predict", {"a": 2, "h": [1, 0]})[1]["prediction"] == 3.0
        assert say(stream, {"frame": {"a": 1}})["prediction"] == 2.0


def talk_until_closed(stream: ClientConnection) -> None:
    while True:
        assert say(stream, {"frame": {"a": 1, "b": 0}})["prediction"] == 2.0


@pytest.mark.slow
def test_a_stop_answers_the_frame_in_hand_and_closes_the_stream(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    make_deployment(folder)
    with ServeProcess(folder) as service:
        url = f"ws://127.0.0.1:{service.port}/v2/models/demo/stream"
        with connect(url, proxy=None) as stream:
            assert say(stream, {"frame": {"a": 1, "b": 0}})["prediction"] == 2.0
            service.process.terminate()
            with pytest.raises(ConnectionClosed) as caught:
                talk_until_closed(stream)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code in {1001, 1012}
        assert service.process.wait(20) == 0

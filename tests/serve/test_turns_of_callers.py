"""Callers whose requests make one turn each get the answers to their own rows, in every protocol."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from live_service import Start, linear_model, starting

from holdfast.infer import LoadedModel

start = starting
CALLERS = 6
FIRST = 1_000_000
"""Answers of seven digits: four are in an id by chance now and then."""
PATIENT = "[speed]\np99_ms = 5000\ndeadline_ms = 20000\n"
"""So that a machine that stands still for a moment refuses nobody."""


class Slow:
    """A runtime that takes ten milliseconds, so that callers come meanwhile."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run(self, feeds: Any) -> Any:
        time.sleep(0.01)
        return self._inner.run(feeds)


def infer(a: int) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [a, 0]}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", lambda a: {"a": a, "b": 0}),
        ("/predict", lambda a: [{"a": a, "b": 0}]),
        ("/v1/models/demo:predict", lambda a: {"instances": [[a, 0]]}),
        ("/invocations", lambda a: {"dataframe_split": {"columns": ["a", "b"], "data": [[a, 0]]}}),
        ("/v2/models/demo/infer", infer),
    ],
)
def test_callers_of_one_turn_get_their_own_answers(start: Start, path: str, body: Any) -> None:
    model = linear_model()
    slow: Any = Slow(model._runtime)
    server = start(LoadedModel("1", model.signature, slow, examples=model.examples), PATIENT)
    clients = [server.client() for _ in range(CALLERS)]
    for number, client in enumerate(clients):
        content = json.dumps(body(FIRST + number)).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        client.socket.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    for number, client in enumerate(clients):
        status, _, answer = client.response()
        assert status == 200, answer
        own, others = str(2 * (FIRST + number)), [str(2 * (FIRST + one)) for one in range(CALLERS)]
        text = answer.decode()
        assert [one for one in others if one in text] == [own]
    sizes = server.service.counts.version("1").batch_rows
    assert sizes.total == CALLERS
    assert sum(sizes.counts) < CALLERS, "each was a turn by itself"

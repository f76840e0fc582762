"""Whatever is sent, the answer is an answer or a 4xx with words, and the next caller is served."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_service import Server, Start, mixed_model, starting

start = starting

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)
good = {"age": st.just(30), "city": st.just("north"), "income": st.just(None)}
records = st.fixed_dictionaries({}, optional={name: one | values for name, one in good.items()})
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["age", "city", "income"]) | values,
        "shape": st.just([1]) | st.lists(st.integers(-2, 4), max_size=3) | values,
        "datatype": st.sampled_from(["INT64", "BYTES", "FP32"]) | values,
        "data": st.lists(values, max_size=4) | values,
        "parameters": values,
    },
)
calls = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(tensors, max_size=4) | values,
        "id": values,
        "outputs": values,
        "parameters": values,
    },
)
labels = st.fixed_dictionaries(
    {}, optional={"prediction_id": values, "label": values, "y": values, "observed_at": values}
)
bodies = st.one_of(
    values.map(json.dumps),
    records.map(json.dumps),
    st.lists(records, max_size=3).map(json.dumps),
    calls.map(json.dumps),
    labels.map(json.dumps),
    st.text(max_size=50),
).map(lambda text: text.encode("utf-8", "surrogatepass"))


def test_no_body_gives_a_5xx_on_any_route(start: Start) -> None:
    server = start(mixed_model())
    client: list[Any] = [server.client()]

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(["/predict", "/v2/models/demo/infer", "/labels"]),
        st.one_of(bodies, st.binary(max_size=60)),
    )
    def check(path: str, body: bytes) -> None:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        client[0].socket.sendall(head + body)
        status, _, content = client[0].response()
        assert status == 200 or 400 <= status < 500, content
        if status != 200:
            assert json.loads(content)["error"]

    check()
    assert server.ask("POST", "/predict", {"age": 1, "city": "x", "income": 2})[0] == 200
    assert_counted(server)


def assert_counted(server: Server) -> None:
    statuses = {status for route in server.service.counts.routes.values() for status in route.statuses}
    assert 422 in statuses
    assert not any(status >= 500 for status in statuses)

"""What TensorFlow Serving, KServe v1 and MLflow callers rely on beside the numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_service import Start, linear_model, mixed_model, starting

start = starting

V1 = "/v1/models/demo:predict"
MIXED = {"age": 1, "city": "north", "income": None}


def test_v1_describes_its_models(start: Start) -> None:
    server = start(linear_model())
    assert server.ask("GET", "/v1/models")[1] == {"models": ["demo"]}
    status, body, _ = server.ask("GET", "/v1/models/demo")
    assert (status, body["name"], body["ready"]) == (200, "demo", True)
    assert body["model_version_status"][0]["version"] == "1"
    assert body["model_version_status"][0]["state"] == "AVAILABLE"
    assert server.ask("GET", "/v1/models/demo/versions/1")[0] == 200
    assert server.ask("GET", "/v1/models/other")[0] == 404
    assert server.ask("POST", "/v1/models/other:predict", {"instances": []})[0] == 404
    assert server.ask("POST", "/v1/models/demo/versions/9:predict", {"instances": []})[0] == 404
    assert server.ask("POST", "/v1/models/demo/versions/1:predict", {"instances": [[1, 2]]})[0] == 200


def test_v1_keeps_ids_that_the_rows_bring_and_names_the_version(start: Start) -> None:
    rows = [{"a": 1, "b": 1, "prediction_id": "mine"}, {"a": 1, "b": 2}]
    _, body, _ = start(linear_model("7")).ask("POST", V1, {"instances": rows})
    assert body["prediction_ids"][0] == "mine"
    assert body["model_version"] == "7"
    assert body["predictions"] == [[5.0], [8.0]]


def test_a_bare_nan_is_a_missing_value_and_infinity_is_refused(start: Start) -> None:
    server = start(mixed_model())
    text = b'{"instances": [{"age": 1, "city": "north", "income": %b}]}'
    _, wanted, _ = server.ask("POST", V1, text % b"null")
    assert server.ask("POST", V1, text % b"NaN")[1]["predictions"] == wanted["predictions"]
    assert server.ask("POST", V1, text % b"Infinity")[0] == 400
    assert server.ask("POST", "/invocations", text % b"-Infinity")[0] == 400


@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        (V1, [], 400, "$"),
        (V1, {}, 400, "$"),
        (V1, {"instances": [], "inputs": {}}, 400, "$"),
        (V1, {"instances": {}}, 422, "$.instances"),
        (V1, {"instances": [[1, "x", None]] * 2 + [[1, "x"]]}, 422, "$.instances[2]"),
        (V1, {"instances": [MIXED, MIXED | {"age": "1"}]}, 422, "$.instances[1].age"),
        (V1, {"instances": [MIXED | {"agee": 1}]}, 422, "$.instances[0].agee"),
        (V1, {"instances": [MIXED | {"city": {"b64": "!"}}]}, 422, "$.instances[0].city.b64"),
        (V1, {"instances": [MIXED | {"city": {"b64": "/w=="}}]}, 422, "$.instances[0].city.b64"),
        (V1, {"inputs": {"age": [1], "city": ["x"], "income": ["y"]}}, 422, "$.inputs.income[0]"),
        (V1, {"inputs": {"age": [1], "city": ["x", "y"], "income": [1]}}, 422, "$.inputs.city"),
        (V1, {"inputs": {"age": 1}}, 422, "$.inputs.age"),
        (V1, {"instances": [MIXED], "signature_name": "other"}, 422, "$.signature_name"),
        ("/invocations", [], 400, "$"),
        ("/invocations", {}, 400, "$"),
        ("/invocations", {"inputs": [], "instances": []}, 400, "$"),
        ("/invocations", {"inputs": [], "more": 1}, 422, "$.more"),
        ("/invocations", {"inputs": [], "params": 1}, 422, "$.params"),
        ("/invocations", {"dataframe_records": [MIXED | {"age": 1.5}]}, 422, "$.dataframe_records[0].age"),
        ("/invocations", {"dataframe_split": []}, 422, "$.dataframe_split"),
        ("/invocations", {"dataframe_split": {"columns": "a", "data": []}}, 422, "$.dataframe_split.columns"),
        (
            "/invocations",
            {"dataframe_split": {"columns": ["age", "age"], "data": []}},
            422,
            "$.dataframe_split.columns",
        ),
        (
            "/invocations",
            {"dataframe_split": {"columns": ["age", "city", "income"], "data": [[1, "x", 1], [1, "x"]]}},
            422,
            "$.dataframe_split.data[1]",
        ),
    ],
)
def test_a_wrong_request_gets_its_status_and_path(
    start: Start, path: str, body: Any, status: int, where: str
) -> None:
    found, answer, _ = start(mixed_model()).ask("POST", path, body)
    assert (found, answer.get("where")) == (status, where), answer


def test_mlflow_answers_with_classes_and_takes_context_from_params(start: Start) -> None:
    server = start(mixed_model(), '[logging]\ncontext_fields = ["shop"]\n')
    body = {"dataframe_records": [MIXED, MIXED | {"shop": "own"}], "params": {"shop": "north", "beam": 3}}
    status, answer, _ = server.ask("POST", "/invocations", body)
    assert status == 200
    assert answer["predictions"] == ["yes", "yes"]
    assert len(set(answer["prediction_ids"])) == 2


def test_csv_is_read_with_types_quotes_and_missing_values(start: Start) -> None:
    server = start(mixed_model())
    text = '\ufeffcity,income,age\n"north, and ""more""",,3\nsouth,1e-1,7.0\n'
    _, plain, _ = server.ask(
        "POST",
        "/predict",
        [
            {"age": 3, "city": 'north, and "more"', "income": None},
            {"age": 7, "city": "south", "income": 0.1},
        ],
    )
    for kind in ("text/csv", "application/csv; charset=utf-8"):
        status, body, _ = server.ask("POST", "/invocations", text.encode(), {"content-type": kind})
        assert status == 200, body
        assert body["predictions"] == [row["prediction"] for row in plain]


@pytest.mark.parametrize(
    "text", ["", "age,city\n1,x", "age,city,income\n1,x,ten", "age,city,income\n1,x", "age,age,age\n1,2,3"]
)
def test_csv_that_does_not_fit_is_refused(start: Start, text: str) -> None:
    status, body, _ = start(mixed_model()).ask(
        "POST", "/invocations", text.encode(), {"content-type": "text/csv"}
    )
    assert status in {400, 422}, body


@pytest.mark.parametrize(
    ("head", "word"), [("age;city;income", "semicolons"), ('"age"\t"city"\t"income"\r', "tabs")]
)
def test_csv_of_another_delimiter_is_refused_by_its_name(start: Start, head: str, word: str) -> None:
    status, body, _ = start(mixed_model()).ask(
        "POST", "/invocations", f"{head}\n40;north;1,5\n".encode(), {"content-type": "text/csv"}
    )
    assert (status, body["where"], body["received"]) == (400, "line 1", word)


def test_probes_and_version_are_open_and_follow_readiness(start: Start) -> None:
    server = start()
    assert server.ask("GET", "/ping")[0] == 503
    server.install(linear_model())
    assert server.ask("GET", "/ping")[0] == 200
    assert server.ask("GET", "/health")[0] == 200
    assert server.ask("GET", "/version")[0] == 200


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["age", "city", "income", "b64", "z"]), inner, max_size=4)
    ),
    max_leaves=12,
)
names = st.sampled_from(
    ["instances", "inputs", "dataframe_split", "dataframe_records", "params", "signature_name"]
)
tables = st.fixed_dictionaries(
    {}, optional={"columns": st.lists(st.sampled_from(["age", "city", "income"])) | values, "data": values}
)
bodies = (
    st.dictionaries(names, values | st.lists(st.just(MIXED) | values, max_size=3) | tables, max_size=2)
    | values
)


def test_no_body_gives_a_5xx(start: Start) -> None:
    server = start(mixed_model())
    client: Any = server.client()

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from([(V1, "application/json"), ("/invocations", "application/json")]),
        bodies.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=40),
    )
    def check(route: tuple[str, str], body: bytes) -> None:
        head = f"POST {route[0]} HTTP/1.1\r\nhost: x\r\ncontent-type: {route[1]}\r\n"
        client.socket.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status, _, content = client.response()
        assert status == 200 or 400 <= status < 500, content

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.binary(max_size=60)
        | st.text('age,city\n"1.', max_size=60).map(lambda text: f"age,city,income\n{text}".encode())
    )
    def check_csv(body: bytes) -> None:
        head = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\n"
        client.socket.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status, _, content = client.response()
        assert status == 200 or 400 <= status < 500, content

    check()
    check_csv()

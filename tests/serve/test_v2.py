"""Open Inference Protocol v2 over JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from live_service import GraphRuntime, Start, linear_model, mixed_model, starting

from holdfast.artifact.signature import Column, Signature, Tensor
from holdfast.infer import LoadedModel

start = starting

INFER = "/v2/models/demo/infer"


def pair(data: Any, shape: list[int], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data}], **more}


def mixed(age: Any, city: Any, income: Any, rows: int = 2) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "income", "shape": [rows], "datatype": "FP32", "data": income},
            {"name": "age", "shape": [rows, 1], "datatype": "INT64", "data": age},
            {"name": "city", "shape": [rows], "datatype": "BYTES", "data": city},
        ]
    }


def test_flat_and_nested_data_give_the_same_answer(start: Start) -> None:
    server = start(linear_model())
    answers = [server.ask("POST", INFER, pair(data, [2, 2])) for data in ([1, 2, 3, 4], [[1, 2], [3, 4]])]
    for status, body, _ in answers:
        assert status == 200
        assert body["model_name"] == "demo"
        assert body["model_version"] == "1"
        assert body["outputs"] == [{"name": "y", "shape": [2, 1], "datatype": "FP32", "data": [8.0, 18.0]}]


def test_an_id_comes_back_and_names_the_predictions(start: Start) -> None:
    server = start(linear_model())
    _, body, _ = server.ask("POST", INFER, pair([1, 2], [1, 2], id="abc"))
    assert body["id"] == "abc"
    assert body["parameters"]["prediction_ids"] == "abc"
    _, body, _ = server.ask("POST", INFER, pair([1, 2, 3, 4], [2, 2], id="abc"))
    assert body["parameters"]["prediction_ids"] == "abc/0,abc/1"
    _, body, _ = server.ask("POST", INFER, pair([1, 2, 3, 4], [2, 2]))
    assert len(body["parameters"]["prediction_ids"].split(",")) == 2


def test_text_whole_numbers_and_missing_values_reach_the_model_as_in_the_plain_route(start: Start) -> None:
    server = start(mixed_model())
    rows = [{"age": 30, "city": "north", "income": None}, {"age": 2**53 + 1, "city": "ü", "income": 0.5}]
    _, plain, _ = server.ask("POST", "/predict", rows)
    status, body, _ = server.ask("POST", INFER, mixed([30, 2**53 + 1], ["north", "ü"], [None, 0.5]))
    assert status == 200
    assert body["outputs"][0]["data"] == [row["score"] for row in plain]


def test_chosen_outputs_only(start: Start) -> None:
    server = start(linear_model())
    _, body, _ = server.ask("POST", INFER, pair([1, 2], [1, 2], outputs=[{"name": "y"}]))
    assert [one["name"] for one in body["outputs"]] == ["y"]
    status, body, _ = server.ask("POST", INFER, pair([1, 2], [1, 2], outputs=[{"name": "z"}]))
    assert (status, body["where"]) == (422, "$.outputs[0].name")


def test_no_rows_give_no_rows(start: Start) -> None:
    status, body, _ = start(linear_model()).ask("POST", INFER, pair([], [0, 2], id="e"))
    assert (status, body["id"], body["outputs"][0]["shape"]) == (200, "e", [0, 1])


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ([], 400, "$"),
        ({}, 400, "$"),
        ({"inputs": [{"name": "x"}]}, 400, "$.inputs[0]"),
        (pair([1, 2], [1, 2]) | {"id": 7}, 400, "$.id"),
        ({"inputs": []}, 422, "$.inputs"),
        (pair([1, 2], [1, 2, 1]), 422, "$.inputs[0].shape"),
        (pair([1, 2], [-1, 2]), 422, "$.inputs[0].shape"),
        (pair([1, 2, 3], [1, 3]), 422, "$.inputs[0].shape"),
        (pair([1], [1, 2]), 422, "$.inputs[0].data"),
        (pair([[1, 2], [3]], [2, 2]), 422, "$.inputs[0].data[1]"),
        (pair([1, "2"], [1, 2]), 422, "$.inputs[0].data[1]"),
        (pair([1, True], [1, 2]), 422, "$.inputs[0].data[1]"),
        (pair([1, None], [1, 2]), 422, "$.inputs[0].data[1]"),
        (pair([1, 1e39], [1, 2]), 422, "$.inputs[0].data[1]"),
        (pair("12", [1, 2]), 422, "$.inputs[0].data"),
        (pair([1, 2], [10**9, 2]), 413, "$.inputs[0].shape[0]"),
        ({"inputs": [pair([1, 2], [1, 2])["inputs"][0] | {"datatype": "FP64"}]}, 422, "$.inputs[0].datatype"),
        ({"inputs": [pair([1, 2], [1, 2])["inputs"][0] | {"name": "y"}]}, 422, "$.inputs[0].name"),
        ({"inputs": pair([1, 2], [1, 2])["inputs"] * 2}, 422, "$.inputs[1].name"),
    ],
)
def test_a_wrong_request_gets_its_status_path_and_an_error_text(
    start: Start, body: Any, status: int, where: str
) -> None:
    found, answer, _ = start(linear_model()).ask("POST", INFER, body)
    assert (found, answer.get("where")) == (status, where)
    assert isinstance(answer["error"], str)


def test_a_wrong_datatype_is_told_with_how_to_send_the_right_one(start: Start) -> None:
    server = start(mixed_model())
    body = mixed([1, 2], ["a", "b"], [1, 2])
    for at, steps in (
        (0, ".astype('float32'), and declare them as FP32"),
        (2, "texts and declare them as BYTES"),
    ):
        inputs = [one | ({"datatype": "FP64"} if i == at else {}) for i, one in enumerate(body["inputs"])]
        status, answer, _ = server.ask("POST", INFER, {"inputs": inputs})
        assert (status, answer["received"]) == (422, "FP64")
        assert steps in answer["next_step"]


def test_inputs_must_have_equally_many_rows(start: Start) -> None:
    body = mixed([1, 2], ["a", "b"], [1, 2])
    body["inputs"][0]["shape"], body["inputs"][0]["data"] = [1], [1]
    status, answer, _ = start(mixed_model()).ask("POST", INFER, body)
    assert (status, answer["where"]) == (422, "$.inputs[1].shape[0]")


def test_versions_are_pinned_in_the_path_and_unknown_ones_are_404(start: Start) -> None:
    server = start(linear_model("7"))
    good = pair([1, 2], [1, 2])
    assert server.ask("POST", "/v2/models/demo/versions/7/infer", good)[0] == 200
    assert server.ask("POST", "/v2/models/demo/versions/6/infer", good)[0] == 404
    assert server.ask("POST", "/v2/models/other/infer", good)[0] == 404
    assert server.ask("GET", "/v2/models/demo/versions/6")[0] == 404
    assert server.ask("GET", "/v2/models/other/ready")[0] == 404


def test_server_and_model_describe_themselves(start: Start) -> None:
    server = start(mixed_model())
    assert server.ask("GET", "/v2")[1]["name"] == "holdfast"
    assert server.ask("GET", "/v2/health/live")[:2] == (200, {"live": True})
    assert server.ask("GET", "/v2/health/ready")[:2] == (200, {"ready": True})
    assert server.ask("GET", "/v2/models/demo/ready")[:2] == (200, {"name": "demo", "ready": True})
    status, body, _ = server.ask("GET", "/v2/models/demo/versions/1")
    assert status == 200
    assert body["versions"] == ["1"]
    assert body["inputs"] == [
        {"name": "age", "datatype": "INT64", "shape": [-1]},
        {"name": "city", "datatype": "BYTES", "shape": [-1]},
        {"name": "income", "datatype": "FP32", "shape": [-1]},
    ]
    assert body["outputs"] == [{"name": "p", "datatype": "FP32", "shape": [-1]}]


def test_both_protocols_share_a_batch_without_mixing(start: Start) -> None:
    server = start(linear_model())
    plain = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
    content = b""
    for i in range(20):
        row = b'{"a": %d, "b": 0}' % i
        content += plain % (len(row), row)
        tensor = b'{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[%d,1,%d,2]}]}' % (i, i)
        content += (plain % (len(tensor), tensor)).replace(b"/predict", INFER.encode())
    client = server.client()
    client.socket.sendall(content)
    import json

    for i in range(20):
        assert client.prediction() == 2.0 * i
        body = json.loads(client.response()[2])
        assert body["outputs"][0]["data"] == [2.0 * i + 3, 2.0 * i + 6]


@pytest.mark.parametrize("shape", [[0, 10**30], [0, 2**62], [3, 0]])
def test_of_no_values_only_shapes_that_an_array_can_have_are_read(start: Start, shape: list[int]) -> None:
    graph = """
        <ir_version: 9, opset_import: ["": 18]>
        g (float[N,M] x) => (float[N,M] y) { y = Relu(x) }
    """
    signature = Signature(
        columns=(Column(name="x", dtype="float32", kind="embedding", shape=(-1,)),),
        inputs=(Tensor(name="x", dtype="float32", shape=(-1, -1), columns=("x",)),),
        outputs=(Tensor(name="y", dtype="float32", shape=(-1, -1)),),
        task="tensor",
    )
    server = start(LoadedModel("1", signature, GraphRuntime(graph), examples={"x": [[1.0, 2.0]]}))
    about = {"name": "x", "datatype": "FP32", "shape": shape}
    head = json.dumps({"inputs": [about | {"parameters": {"binary_data_size": 0}}]}).encode()
    binary = server.ask("POST", INFER, head, {"inference-header-content-length": str(len(head))})
    for status, body, _ in (server.ask("POST", INFER, {"inputs": [about | {"data": []}]}), binary):
        if max(shape) < 2**40:
            assert (status, body["outputs"][0]["shape"]) == (200, shape)
        else:
            assert (status, body["where"]) == (422, "$.inputs[0].shape")


@pytest.mark.parametrize(
    ("where", "parameter"),
    [("inputs", "shared_memory_region"), ("outputs", "shared_memory_region"), ("outputs", "classification")],
)
def test_what_is_not_offered_is_refused_and_not_left_out(start: Start, where: str, parameter: str) -> None:
    server = start(linear_model())
    asked = pair([1, 2], [1, 2], outputs=[{"name": "y"}])
    asked[where][0]["parameters"] = {parameter: 2}
    status, answer, _ = server.ask("POST", INFER, asked)
    assert (status, answer["where"]) == (422, f"$.{where}[0].parameters.{parameter}")
    assert "is not offered" in answer["error"]


def test_text_that_mlserver_wrote_as_base64_is_the_text(start: Start) -> None:
    server = start(mixed_model())
    plain = mixed([30, 40], ["north", "ü"], [None, 0.5])
    coded = mixed([30, 40], ["bm9ydGg=", "w7w="], [None, 0.5])
    coded["inputs"][2]["parameters"] = {"content_type": "base64"}
    answers = [server.ask("POST", INFER, one)[1]["outputs"] for one in (plain, coded)]
    assert answers[0] == answers[1]
    coded["inputs"][2]["data"] = ["bm9ydGg=", "no base64"]
    status, answer, _ = server.ask("POST", INFER, coded)
    assert (status, answer["where"]) == (422, "$.inputs[2].data[1]")

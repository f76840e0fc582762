"""The binary tensor extension of protocol v2."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_service import Server, Start, linear_model, mixed_model, starting

from holdfast.infer import InputError
from holdfast.serve.v2_binary import read_tensor, read_texts

start = starting

INFER = "/v2/models/demo/infer"


def binary(server: Server, envelope: dict[str, Any], *tensors: bytes, path: str = INFER) -> Any:
    """Status, JSON part, bytes behind it."""
    head = json.dumps(envelope).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    status, body, found = server.ask("POST", path, head + b"".join(tensors), headers)
    size = found.get("inference-header-content-length")
    if size is None:
        return status, body, b""
    assert found["content-type"] == "application/octet-stream"
    return status, json.loads(body[: int(size)]), body[int(size) :]


def tensor(name: str, shape: list[int], datatype: str, size: int) -> dict[str, Any]:
    return {
        "name": name,
        "shape": shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": size},
    }


def x(values: Any) -> tuple[dict[str, Any], bytes]:
    array = np.asarray(values, "<f4")
    return tensor("x", list(array.shape), "FP32", array.nbytes), array.tobytes()


def texts(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(one)) + one for one in values)


def mixed(age: list[int], city: bytes, income: list[float]) -> tuple[dict[str, Any], list[bytes]]:
    ages, incomes = np.asarray(age, "<i8").tobytes(), np.asarray(income, "<f4").tobytes()
    rows = len(age)
    inputs = [
        tensor("age", [rows], "INT64", len(ages)),
        tensor("city", [rows], "BYTES", len(city)),
        tensor("income", [rows], "FP32", len(incomes)),
    ]
    return {"inputs": inputs}, [ages, city, incomes]


def test_bytes_in_and_bytes_out(start: Start) -> None:
    server = start(linear_model())
    given_x, data = x([[1, 2], [3, 4]])
    envelope = {"id": "mine", "inputs": [given_x], "parameters": {"binary_data_output": True}}
    status, answer, tail = binary(server, envelope, data)
    assert status == 200
    assert answer["id"] == "mine"
    assert answer["parameters"]["prediction_ids"] == "mine/0,mine/1"
    assert answer["outputs"] == [tensor("y", [2, 1], "FP32", 8)]
    assert np.frombuffer(tail, "<f4").tolist() == [8.0, 18.0]


def test_each_output_chooses_and_overrides_the_whole_request(start: Start) -> None:
    server = start(linear_model())
    given_x, data = x([[1, 2]])
    asked = {"name": "y", "parameters": {"binary_data": False}}
    envelope = {"inputs": [given_x], "outputs": [asked], "parameters": {"binary_data_output": True}}
    assert binary(server, envelope, data)[1]["outputs"][0]["data"] == [8.0]
    plain = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    asked["parameters"] = {"binary_data": True}
    _, body, headers = server.ask("POST", INFER, {"inputs": [plain], "outputs": [asked]})
    size = int(headers["inference-header-content-length"])
    assert np.frombuffer(body[size:], "<f4").tolist() == [8.0]


def test_text_whole_numbers_beyond_2_53_and_nan_reach_the_model_as_in_json(start: Start) -> None:
    server = start(mixed_model())
    rows = [{"age": 30, "city": "north", "income": None}, {"age": 2**53 + 1, "city": "ü", "income": 0.5}]
    _, plain, _ = server.ask("POST", "/predict", rows)
    envelope, data = mixed([30, 2**53 + 1], texts(b"north", "ü".encode()), [float("nan"), 0.5])
    status, answer, _ = binary(server, envelope, *data)
    assert status == 200
    assert answer["outputs"][0]["data"] == [row["score"] for row in plain]


def test_nan_is_refused_where_the_reference_had_none_and_infinity_is_answered(start: Start) -> None:
    server = start(linear_model())
    given_x, data = x([[1, 2], [np.nan, 4]])
    status, answer, _ = binary(server, {"inputs": [given_x]}, data)
    assert (status, answer["where"]) == (422, "$.inputs[0], row 1, field 'a'")
    given_x, data = x([[np.inf, 2]])
    status, answer, tail = binary(
        server, {"inputs": [given_x], "parameters": {"binary_data_output": True}}, data
    )
    assert (status, np.frombuffer(tail, "<f4").tolist()) == (200, [np.inf])


def test_no_rows_give_no_bytes(start: Start) -> None:
    given_x, data = x(np.empty((0, 2)))
    envelope = {"inputs": [given_x], "parameters": {"binary_data_output": True}}
    status, answer, tail = binary(start(linear_model()), envelope, data)
    assert (status, answer["outputs"], tail) == (200, [tensor("y", [0, 1], "FP32", 0)], b"")


def test_both_kinds_of_input_may_stand_in_one_request(start: Start) -> None:
    server = start(mixed_model())
    envelope, data = mixed([30], texts(b"north"), [1.0])
    _, wanted, _ = binary(server, envelope, *data)
    envelope["inputs"][1] = {"name": "city", "shape": [1], "datatype": "BYTES", "data": ["north"]}
    _, answer, _ = binary(server, envelope, data[0], data[2])
    assert answer["outputs"] == wanted["outputs"]


@pytest.mark.parametrize(
    ("change", "data", "status", "where"),
    [
        ({"parameters": {"binary_data_size": 12}}, b"\0" * 12, 422, "$.inputs[0] (binary)"),
        ({"parameters": {"binary_data_size": 16}}, b"\0" * 8, 422, "$.inputs[0].parameters.binary_data_size"),
        ({"parameters": {"binary_data_size": -1}}, b"\0" * 8, 422, "$.inputs[0].parameters.binary_data_size"),
        (
            {"parameters": {"binary_data_size": "8"}},
            b"\0" * 8,
            422,
            "$.inputs[0].parameters.binary_data_size",
        ),
        ({"data": [1, 2]}, b"\0" * 8, 422, "$.inputs[0].parameters.binary_data_size"),
        ({"parameters": None}, b"\0" * 8, 422, "$.inputs"),
        ({}, b"\0" * 9, 422, "$.inputs"),
        ({"datatype": "FP16"}, b"\0" * 8, 422, "$.inputs[0].datatype"),
        ({"shape": [10**9, 2]}, b"\0" * 8, 413, "$.inputs[0].shape[0]"),
    ],
)
def test_a_wrong_request_gets_its_status_and_path(
    start: Start, change: dict[str, Any], data: bytes, status: int, where: str
) -> None:
    envelope = {"inputs": [tensor("x", [1, 2], "FP32", 8) | change]}
    found, answer, _ = binary(start(linear_model()), envelope, data)
    assert (found, answer.get("where")) == (status, where)


@pytest.mark.parametrize("city", [b"\x05\0\0\0nor", b"\x01", texts(b"\xff"), texts(b"a", b"b"), b""])
def test_text_that_is_cut_off_wrong_or_too_much_is_refused(start: Start, city: bytes) -> None:
    envelope, data = mixed([30], city, [1.0])
    assert binary(start(mixed_model()), envelope, *data)[0] == 422


@pytest.mark.parametrize("length", ["99999", "-1", "x", "1e3", "9" * 30, ""])
def test_a_wrong_length_of_the_json_is_refused(start: Start, length: str) -> None:
    headers = {"inference-header-content-length": length}
    assert start(linear_model()).ask("POST", INFER, b"{}", headers)[0] == 400


def test_the_extension_is_announced(start: Start) -> None:
    assert "binary_tensor_data" in start(linear_model()).ask("GET", "/v2")[1]["extensions"]


def test_no_bytes_give_a_5xx(start: Start) -> None:
    server = start(mixed_model())
    envelope, data = mixed([30], texts(b"north"), [1.0])
    head, tail = json.dumps(envelope).encode(), b"".join(data)
    client: Any = server.client()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(draw: st.DataObject) -> None:
        body = bytearray(head + tail)
        for _ in range(draw.draw(st.integers(0, 4))):
            body[draw.draw(st.integers(0, len(body) - 1))] = draw.draw(st.integers(0, 255))
        body = body[: draw.draw(st.integers(0, len(body)) | st.just(len(body)))]
        length = draw.draw(st.integers(0, len(body) + 5) | st.just(len(head)))
        client.socket.sendall(
            f"POST {INFER} HTTP/1.1\r\nhost: x\r\ninference-header-content-length: {length}\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        status, _, content = client.response()
        assert status == 200 or 400 <= status < 500, content

    check()
    assert binary(server, envelope, *data)[0] == 200


def test_a_byte_that_is_no_boolean_is_refused_and_the_others_are_views() -> None:
    flags = memoryview(b"\0\1\1")
    read = read_tensor("bool", flags, [3], "$")
    assert (read.tolist(), read.base is not None) == ([False, True, True], True)
    for wrong in (b"\0\2\1", b"\0\xff\1"):
        with pytest.raises(InputError, match="neither 0 nor 1"):
            read_tensor("bool", memoryview(wrong), [3], "$")


@pytest.mark.parametrize("size", [7, 9, 0, 16])
def test_bytes_that_do_not_fill_the_shape_are_refused(size: int) -> None:
    with pytest.raises(InputError, match="do not fill the shape"):
        read_tensor("float32", memoryview(bytes(size)), [2, 1], "$")


@pytest.mark.parametrize(("count", "error"), [(1, "more elements"), (3, "do not fill")])
def test_another_number_of_texts_than_the_shape_holds_is_refused(count: int, error: str) -> None:
    two = memoryview(b"\1\0\0\0a\0\0\0\0")
    assert read_texts(two, 2, "$") == ["a", ""]
    with pytest.raises(InputError, match=error):
        read_texts(two, count, "$")


def test_a_text_of_which_one_byte_is_missing_is_cut_off() -> None:
    for cut in (b"\2\0\0\0a", b"\1\0\0\0", b"\1\0\0"):
        with pytest.raises(InputError, match="cut off"):
            read_texts(memoryview(cut), 1, "$")

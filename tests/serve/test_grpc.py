"""gRPC: the v2 protocol over protobuf."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_service import GrpcClient, StartGrpc, grpc_starting, http
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_service import linear_model, mixed_model

from holdfast.serve.grpc_messages import SERVICE, message_class

start = grpc_starting
__all__ = ["http"]
Request = message_class("ModelInferRequest")
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def typed(values: list[list[float]], **more: Any) -> Any:
    request = Request(model_name="demo", **more)
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[len(values), 2])
    tensor.contents.fp32_contents.extend(np.ravel(values))
    return request


def raw(values: list[list[float]], **more: Any) -> Any:
    request = Request(model_name="demo", **more)
    request.inputs.add(name="x", datatype="FP32", shape=[len(values), 2])
    request.raw_input_contents.append(np.array(values, "<f4").tobytes())
    return request


def test_typed_and_raw_contents_give_the_same_numbers_each_in_its_own_form(start: StartGrpc) -> None:
    client = start(linear_model())
    answer = client.call("ModelInfer", typed([[1, 2], [3, 4]], id="mine"))
    assert (answer.model_name, answer.model_version, answer.id) == ("demo", "1", "mine")
    assert answer.parameters["prediction_ids"].string_param == "mine/0,mine/1"
    assert list(answer.outputs[0].shape) == [2, 1]
    assert list(answer.outputs[0].contents.fp32_contents) == [8.0, 18.0]
    answer = client.call("ModelInfer", raw([[1, 2], [3, 4]]))
    assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [8.0, 18.0]
    assert not answer.outputs[0].HasField("contents")


def test_every_one_of_many_connections_gets_its_own_answers_and_finds_health_and_reflection(
    start: StartGrpc,
) -> None:
    client = start(linear_model())
    options = [("grpc.use_local_subchannel_pool", 1)]  # or all would share one connection
    channels = [grpc.insecure_channel(f"127.0.0.1:{client.port}", options) for _ in range(16)]
    clients = [GrpcClient(client.server, client.port, channel) for channel in channels]
    asked = [
        one.channel.unary_unary(f"/{SERVICE}/ModelInfer").future(
            raw([[number, 0]]).SerializeToString(), timeout=20
        )
        for number, one in enumerate(clients)
    ]
    found = [message_class("ModelInferResponse").FromString(one.result()) for one in asked]
    scores = [np.frombuffer(one.raw_output_contents[0], "<f4")[0] for one in found]
    first, second = scores[:2]
    assert scores == [first + number * (second - first) for number in range(16)]
    for channel in channels:
        health = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=SERVICE), timeout=20
        )
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        listed = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([question]), timeout=20
        )
        assert SERVICE in {one.name for one in next(iter(listed)).list_services_response.service}
        channel.close()


def test_text_whole_numbers_and_missing_values_as_in_the_plain_route(start: StartGrpc) -> None:
    client = start(mixed_model())
    rows = [{"age": 30, "city": "north", "income": None}, {"age": 2**53 + 1, "city": "ü", "income": 0.5}]
    _, plain, _ = client.server.ask("POST", "/predict", rows)
    request = Request(model_name="demo")
    request.inputs.add(name="age", datatype="INT64", shape=[2]).contents.int64_contents.extend(
        [30, 2**53 + 1]
    )
    request.inputs.add(name="city", datatype="BYTES", shape=[2]).contents.bytes_contents.extend(
        [b"north", "ü".encode()]
    )
    request.inputs.add(name="income", datatype="FP32", shape=[2]).contents.fp32_contents.extend(
        [float("nan"), 0.5]
    )
    answer = client.call("ModelInfer", request)
    assert list(answer.outputs[0].contents.fp32_contents) == [np.float32(row["score"]) for row in plain]


def test_a_wrong_request_is_refused_with_its_path(start: StartGrpc) -> None:
    client = start(mixed_model())
    wrong = Request(model_name="demo")
    wrong.inputs.add(name="age", datatype="INT64", shape=[1]).contents.fp32_contents.extend([1.0])
    code, text = client.refused("ModelInfer", wrong)
    assert (code, "$.inputs[0]" in text) == (INVALID, True)
    both = raw([[1, 2]])
    both.inputs[0].contents.fp32_contents.extend([1, 2])
    assert client.refused("ModelInfer", both)[0] == INVALID
    two = raw([[1, 2]])
    two.raw_input_contents.append(b"")
    assert client.refused("ModelInfer", two)[0] == INVALID
    half = Request(model_name="demo")
    half.inputs.add(name="age", datatype="FP16", shape=[1])
    assert client.refused("ModelInfer", half)[0] == INVALID
    assert client.refused("ModelInfer", b"\xff\xff\xff")[0] == INVALID
    other = typed([[1, 2]])
    other.model_name = "other"
    assert client.refused("ModelInfer", other)[0] == grpc.StatusCode.NOT_FOUND
    assert client.refused("ModelInfer", typed([[1, 2]], model_version="9"))[0] == grpc.StatusCode.NOT_FOUND


def test_no_rows_give_no_rows(start: StartGrpc) -> None:
    answer = start(linear_model()).call("ModelInfer", typed([], id="e"))
    assert (answer.id, list(answer.outputs[0].shape)) == ("e", [0, 1])


def test_unknown_outputs_are_refused_and_pinned_versions_answer(start: StartGrpc) -> None:
    client = start(linear_model("7"))
    request = typed([[1, 2]], model_version="7")
    assert client.call("ModelInfer", request).model_version == "7"
    request.outputs.add(name="z")
    code, text = client.refused("ModelInfer", request)
    assert (code, "$.outputs[0].name" in text) == (INVALID, True)


def test_server_and_model_describe_themselves(start: StartGrpc) -> None:
    client = start(mixed_model())
    assert client.call("ServerLive").live
    assert client.call("ServerReady").ready
    assert client.call("ModelReady", message_class("ModelReadyRequest")(name="demo")).ready
    assert not client.call("ModelReady", message_class("ModelReadyRequest")(name="other")).ready
    assert "binary_tensor_data" in client.call("ServerMetadata").extensions
    described = client.call("ModelMetadata", message_class("ModelMetadataRequest")(name="demo"))
    assert [(one.name, one.datatype, list(one.shape)) for one in described.inputs] == [
        ("age", "INT64", [-1]), ("city", "BYTES", [-1]), ("income", "FP32", [-1]),
    ]  # fmt: skip
    assert list(described.versions) == ["1"]


def test_health_follows_readiness(start: StartGrpc) -> None:
    client = start()
    stub = health_pb2_grpc.HealthStub(client.channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    watched = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)
    assert next(watched).status != serving
    client.server.install(linear_model())
    assert any(one.status == serving for one in watched)
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status == serving


def test_the_service_can_be_explored_by_reflection(start: StartGrpc) -> None:
    client = start(linear_model())
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
    ]
    listed, ours, health = list(stub.ServerReflectionInfo(iter(asked), timeout=20))
    assert SERVICE in {one.name for one in listed.list_services_response.service}
    assert b"ModelInferRequest" in ours.file_descriptor_response.file_descriptor_proto[0]
    assert health.file_descriptor_response.file_descriptor_proto


def test_keys_are_asked_for(start: StartGrpc) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    client = start(linear_model(), f'[security]\nauth = "keys"\napi_key_hashes = ["{digest}"]\n')
    assert client.call("ServerReady").ready
    for method in ("ModelInfer", "ModelMetadata", "RepositoryIndex", "RepositoryModelLoad"):
        assert client.refused(method)[0] == grpc.StatusCode.UNAUTHENTICATED
    key = [("authorization", "Bearer secret")]
    assert client.call("ModelInfer", raw([[1, 2]]), key).model_name == "demo"
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        with pytest.raises(grpc.RpcError) as caught:
            client.call(method, None, key)
        error: Any = caught.value
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED


def test_the_caller_is_known_by_its_metadata_and_its_deadline(start: StartGrpc) -> None:
    client = start(linear_model())
    asked = client.channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        request_serializer=Request.SerializeToString,
        response_deserializer=message_class("ModelInferResponse").FromString,
    )
    _, call = asked.with_call(raw([[1, 2]]), timeout=20, metadata=[("x-request-id", "mine-1")])
    assert ("x-request-id", "mine-1") in [(one.key, one.value) for one in call.trailing_metadata()]
    with pytest.raises(grpc.RpcError) as caught:
        asked(raw([[1, 2]]), timeout=20, metadata=[("x-request-timeout-ms", "soon")])
    error: Any = caught.value
    assert error.code() == INVALID


def test_without_a_champion_calls_are_refused_for_now(start: StartGrpc) -> None:
    assert start().refused("ModelInfer", raw([[1, 2]]))[0] == grpc.StatusCode.UNAVAILABLE


def test_no_message_gives_an_internal_error(start: StartGrpc) -> None:
    client: GrpcClient = start(mixed_model())
    numbers = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3)
    tensors = st.tuples(
        st.sampled_from(["age", "city", "income", "x"]),
        st.sampled_from(["INT64", "INT8", "UINT8", "BYTES", "FP32", "FP16", "BOOL", "?"]),
        st.lists(st.integers(-2, 3), max_size=3),
        numbers,
    )

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(tensors, max_size=4), st.lists(st.binary(max_size=20), max_size=4), st.booleans())
    def check(given_tensors: Any, contents: list[bytes], use_raw: bool) -> None:
        request = Request(model_name="demo")
        for name, datatype, shape, values in given_tensors:
            tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
            if not use_raw:
                tensor.contents.int_contents.extend(values)
                tensor.contents.int64_contents.extend(values)
                tensor.contents.uint_contents.extend(abs(one) for one in values)
                tensor.contents.fp32_contents.extend(values)
                tensor.contents.bool_contents.extend(one > 0 for one in values)
                tensor.contents.bytes_contents.extend(str(one).encode() for one in values)
        if use_raw:
            request.raw_input_contents.extend(contents)
        assert client.code("ModelInfer", request) in {INVALID, grpc.StatusCode.OK}

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=60))
    def check_bytes(body: bytes) -> None:
        assert client.code("ModelInfer", body) in {INVALID, grpc.StatusCode.NOT_FOUND}

    check()
    check_bytes()


@pytest.mark.parametrize("rows", [1, 2])
def test_both_transports_share_a_batch_without_mixing(start: StartGrpc, rows: int) -> None:
    client = start(linear_model())
    futures = []
    asked = client.channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        request_serializer=Request.SerializeToString,
        response_deserializer=message_class("ModelInferResponse").FromString,
    )
    for number in range(50):
        futures.append(asked.future(raw([[number, row] for row in range(rows)]), timeout=20))
        status, body, _ = client.server.ask("POST", "/predict", {"a": number, "b": 0})
        assert (status, body["prediction"]) == (200, 2.0 * number)
    for number, future in enumerate(futures):
        found = np.frombuffer(future.result().raw_output_contents[0], "<f4").tolist()
        assert found == [2.0 * number + 3.0 * row for row in range(rows)]


def test_shared_memory_and_classes_are_refused_and_not_left_out(start: StartGrpc) -> None:
    client = start(linear_model())
    request = Request(model_name="demo")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    tensor.parameters["shared_memory_region"].string_param = "region"
    code, details = client.refused("ModelInfer", request)
    assert (code, "shared memory is not offered" in details) == (INVALID, True)
    request = raw([[1, 2]])
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    code, details = client.refused("ModelInfer", request)
    assert (code, "classification is not offered" in details) == (INVALID, True)

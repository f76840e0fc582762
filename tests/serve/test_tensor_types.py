"""FP16, BOOL and BYTES, in and out, in every form of protocol v2, and gRPC over TLS."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc_service import GrpcClient, StartGrpc, grpc_starting, http
from live_service import GraphRuntime, Start, linear_model

from holdfast.artifact.signature import Column, Signature, Tensor
from holdfast.infer import LoadedModel
from holdfast.serve.grpc_messages import message_class
from holdfast.serve.grpc_server import GrpcServer
from holdfast.serve.services import Services

start = grpc_starting
__all__ = ["http"]
INFER = "/v2/models/demo/infer"
Request = message_class("ModelInferRequest")
HALVES = [1.5, -0.25, 65504.0]  # the largest of its kind
FLAGS = [True, False, True]
TEXTS = ["", "Straße", 'say "\n"']
DOUBLED = [3.0, -0.5, float("inf")]
NOT = [False, True, False]


def echo_model() -> LoadedModel:
    """Twice the half, not the flag, and the text as it is."""
    graph = """
        <ir_version: 9, opset_import: ["": 18]>
        echo (float16[N] half, bool[N] flag, string[N] text)
            => (float16[N] twice, bool[N] not, string[N] same)
        {
            twice = Add(half, half)
            not = Not(flag)
            same = Identity(text)
        }
    """
    signature = Signature(
        columns=(
            Column(name="half", dtype="float16", kind="numeric"),
            Column(name="flag", dtype="bool", kind="categorical"),
            Column(name="text", dtype="string", kind="text"),
        ),
        inputs=(
            Tensor(name="half", dtype="float16", shape=(-1,), columns=("half",)),
            Tensor(name="flag", dtype="bool", shape=(-1,), columns=("flag",)),
            Tensor(name="text", dtype="string", shape=(-1,), columns=("text",)),
        ),
        outputs=(
            Tensor(name="twice", dtype="float16", shape=(-1,)),
            Tensor(name="not", dtype="bool", shape=(-1,)),
            Tensor(name="same", dtype="string", shape=(-1,)),
        ),
        task="tensor",
    )
    return LoadedModel("1", signature, GraphRuntime(graph))


def packed(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(one.encode())) + one.encode() for one in texts)


RAW = [np.array(HALVES, "<f2").tobytes(), np.array(FLAGS, np.uint8).tobytes(), packed(TEXTS)]
RAW_ANSWER = [np.array(DOUBLED, "<f2").tobytes(), np.array(NOT, np.uint8).tobytes(), packed(TEXTS)]
KINDS = (("half", "FP16"), ("flag", "BOOL"), ("text", "BYTES"))
OUT_KINDS = [("twice", "FP16"), ("not", "BOOL"), ("same", "BYTES")]


def test_in_json(http: Start) -> None:
    halves = [1.5, -0.25, 1000.0]  # JSON has no infinity for the doubled largest
    data: list[Any] = [halves, FLAGS, TEXTS]
    inputs = [
        {"name": name, "datatype": kind, "shape": [3], "data": values}
        for (name, kind), values in zip(KINDS, data, strict=True)
    ]
    status, body, _ = http(echo_model()).ask("POST", INFER, {"inputs": inputs})
    assert status == 200
    assert [(one["name"], one["datatype"]) for one in body["outputs"]] == OUT_KINDS
    assert [one["shape"] for one in body["outputs"]] == [[3]] * 3
    assert [one["data"] for one in body["outputs"]] == [[3.0, -0.5, 2000.0], NOT, TEXTS]


def test_as_binary_tensors(http: Start) -> None:
    inputs = [
        {"name": name, "datatype": kind, "shape": [3], "parameters": {"binary_data_size": len(raw)}}
        for (name, kind), raw in zip(KINDS, RAW, strict=True)
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    status, body, found = http(echo_model()).ask("POST", INFER, head + b"".join(RAW), headers)
    assert status == 200
    size = int(found["inference-header-content-length"])
    outputs = json.loads(body[:size])["outputs"]
    assert [(one["name"], one["datatype"]) for one in outputs] == OUT_KINDS
    assert [one["parameters"]["binary_data_size"] for one in outputs] == list(map(len, RAW_ANSWER))
    assert body[size:] == b"".join(RAW_ANSWER)


def test_as_raw_contents_of_grpc(start: StartGrpc) -> None:
    request = Request(model_name="demo")
    for name, kind in KINDS:
        request.inputs.add(name=name, datatype=kind, shape=[3])
    request.raw_input_contents.extend(RAW)
    answer = start(echo_model()).call("ModelInfer", request)
    assert [(one.name, one.datatype) for one in answer.outputs] == OUT_KINDS
    assert list(answer.raw_output_contents) == RAW_ANSWER


def test_halves_have_no_typed_contents_in_grpc_and_are_refused_there(start: StartGrpc) -> None:
    client = start(echo_model())
    request = Request(model_name="demo")
    request.inputs.add(name="half", datatype="FP16", shape=[3]).contents.fp32_contents.extend(HALVES)
    request.inputs.add(name="flag", datatype="BOOL", shape=[3]).contents.bool_contents.extend(FLAGS)
    texts = request.inputs.add(name="text", datatype="BYTES", shape=[3])
    texts.contents.bytes_contents.extend(one.encode() for one in TEXTS)
    code, text = client.refused("ModelInfer", request)
    assert (code, "$.inputs[0]" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def certificate(folder: Path) -> tuple[bytes, bytes]:
    """Private key and certificate of `localhost`."""
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "key.pem").read_bytes(), (folder / "certificate.pem").read_bytes()


def test_grpc_over_tls_answers_whoever_trusts_its_certificate_and_nobody_in_the_clear(
    http: Start, tmp_path: Path
) -> None:
    server = http(linear_model())
    pair = certificate(tmp_path)

    async def begin() -> tuple[GrpcServer, int]:
        started = GrpcServer(Services([server.service]), "0")
        return started, await started.start("127.0.0.1:0", pair)

    started, port = asyncio.run_coroutine_threadsafe(begin(), server.loop).result(20)
    request = Request(model_name="demo")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    options = [("grpc.ssl_target_name_override", "localhost")]
    try:
        trusting = grpc.ssl_channel_credentials(pair[1])
        with grpc.secure_channel(f"127.0.0.1:{port}", trusting, options) as channel:
            answer = GrpcClient(server, port, channel).call("ModelInfer", request)
            assert list(answer.outputs[0].contents.fp32_contents) == [8.0]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            in_clear = GrpcClient(server, port, channel).code("ModelInfer", request)
        stranger = grpc.ssl_channel_credentials(certificate(tmp_path)[1])
        with grpc.secure_channel(f"127.0.0.1:{port}", stranger, options) as channel:
            distrusting = GrpcClient(server, port, channel).code("ModelInfer", request)
        assert (in_clear, distrusting) == (grpc.StatusCode.UNAVAILABLE,) * 2
    finally:
        asyncio.run_coroutine_threadsafe(started.stop(0.1), server.loop).result(20)

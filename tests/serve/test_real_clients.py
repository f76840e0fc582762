"""Clients that others wrote, unchanged, against the service as operators run it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from serve_process import ServeProcess, make_deployment

pytestmark = pytest.mark.slow

VALUES = np.array([[1.5, 2.0], [-3.0, 0.0], [1e30, 4.0]], dtype=np.float32)
WANTED = (VALUES[:, :1] * np.float32(2.0)).tolist()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    folder = tmp_path_factory.mktemp("clients") / "demo"
    make_deployment(folder, "grpc_port = 0\n[compute]\ncores = 2\n")
    with ServeProcess(folder) as running:
        yield running


def grpc_address(service: ServeProcess) -> str:
    found: str = msgspec.json.decode((service.folder / "run" / "serve.json").read_bytes())["grpc"]
    return found


@pytest.fixture
def over_http(service: ServeProcess) -> Iterator[Any]:
    with triton_http.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client


@pytest.fixture
def over_grpc(service: ServeProcess) -> Iterator[Any]:
    with triton_grpc.InferenceServerClient(grpc_address(service)) as client:
        yield client


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_tritonclient_over_http_in_json_and_binary(
    over_http: Any,
    binary_in: bool,
    binary_out: bool | None,
) -> None:
    given = triton_http.InferInput("x", list(VALUES.shape), "FP32")
    given.set_data_from_numpy(VALUES, binary_data=binary_in)
    wanted = None
    if binary_out is not None:
        wanted = [triton_http.InferRequestedOutput("y", binary_data=binary_out)]
    answer = over_http.infer("demo", [given], outputs=wanted, request_id="mine")
    assert answer.as_numpy("y").tolist() == WANTED
    assert answer.get_response()["id"] == "mine"
    assert answer.get_response()["model_version"] == "1"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("rows", [3, 4000], ids=["short", "long"])
def test_tritonclient_over_http_with_compressed_bodies(
    over_http: Any, coding: str, binary: bool, rows: int
) -> None:
    values = np.resize(VALUES, (rows, 2))
    given = triton_http.InferInput("x", [rows, 2], "FP32")
    given.set_data_from_numpy(values, binary_data=binary)
    wanted = [triton_http.InferRequestedOutput("y", binary_data=binary)]
    answer = over_http.infer(
        "demo",
        [given],
        outputs=wanted,
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert np.array_equal(answer.as_numpy("y"), values[:, :1] * np.float32(2.0))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_tritonclient_over_grpc_with_compressed_messages(over_grpc: Any, coding: str) -> None:
    given = triton_grpc.InferInput("x", list(VALUES.shape), "FP32")
    given.set_data_from_numpy(VALUES)
    answer = over_grpc.infer("demo", [given], compression_algorithm=coding)
    assert answer.as_numpy("y").tolist() == WANTED
    long = triton_grpc.InferInput("x", [3_000_000, 2], "FP32")  # 24 MB, of which next to nothing travels
    long.set_data_from_numpy(np.zeros((3_000_000, 2), np.float32))
    with pytest.raises(triton_grpc.InferenceServerException, match="the body is too large; expected at most"):
        over_grpc.infer("demo", [long], compression_algorithm=coding)
    longer = triton_grpc.InferInput("x", [9_000_000, 2], "FP32")
    longer.set_data_from_numpy(np.zeros((9_000_000, 2), np.float32))
    with pytest.raises(triton_grpc.InferenceServerException, match="RESOURCE_EXHAUSTED"):
        over_grpc.infer("demo", [longer], compression_algorithm=coding)


def test_tritonclient_over_grpc(over_grpc: Any) -> None:
    given = triton_grpc.InferInput("x", list(VALUES.shape), "FP32")
    given.set_data_from_numpy(VALUES)
    for outputs in (None, [triton_grpc.InferRequestedOutput("y")]):
        answer = over_grpc.infer("demo", [given], outputs=outputs, request_id="mine")
        assert answer.as_numpy("y").tolist() == WANTED
        assert answer.get_response().id == "mine"


@pytest.mark.parametrize("transport", ["over_http", "over_grpc"])
def test_tritonclient_asks_about_the_server_and_loads_and_unloads(
    transport: str, request: pytest.FixtureRequest
) -> None:
    client = request.getfixturevalue(transport)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("demo")
    assert client.is_model_ready("demo", "1")
    assert not client.is_model_ready("other")
    library = triton_http if transport == "over_http" else triton_grpc
    as_json = {} if transport == "over_http" else {"as_json": True}
    assert "binary_tensor_data" in client.get_server_metadata(**as_json)["extensions"]
    assert client.get_model_metadata("demo", **as_json)["inputs"][0]["name"] == "x"
    client.load_model("demo")
    assert client.is_model_ready("demo", "2")
    index = client.get_model_repository_index(**as_json)
    index = index if isinstance(index, list) else index["models"]
    assert [(one["version"], one["state"]) for one in index] == [("1", "READY"), ("2", "READY")]
    given = library.InferInput("x", list(VALUES.shape), "FP32")
    given.set_data_from_numpy(VALUES)
    answer = client.infer("demo", [given], model_version="2")
    assert answer.as_numpy("y").tolist() == (VALUES[:, :1] * np.float32(5.0)).tolist()
    client.unload_model("demo")
    assert not client.is_model_ready("demo", "2")


def test_tritonclient_is_told_what_is_wrong(over_http: Any, over_grpc: Any) -> None:
    for client, library in ((over_http, triton_http), (over_grpc, triton_grpc)):
        given = library.InferInput("z", [1, 2], "FP32")
        given.set_data_from_numpy(VALUES[:1])
        with pytest.raises(triton_http.InferenceServerException, match=r"\$\.inputs\[0\]\.name"):
            client.infer("demo", [given])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("path", "arguments", "key"),
    [
        ("/predict", ["-d", '{"a": 3, "b": 1}'], "prediction"),
        ("/v1/models/demo:predict", ["-d", '{"instances": [[3, 1]]}'], "predictions"),
        ("/invocations", ["-H", "Content-Type: text/csv", "--data-binary", "a,b\n3,1\n"], "predictions"),
        ("/invocations", ["--json", '{"dataframe_records": [{"a": 3, "b": 1}]}'], "predictions"),
    ],
)
def test_curl(service: ServeProcess, path: str, arguments: list[str], key: str) -> None:
    url = f"http://127.0.0.1:{service.port}{path}"
    done = subprocess.run(["curl", "-sS", url, *arguments], capture_output=True, check=True, timeout=30)
    assert np.ravel(json.loads(done.stdout)[key]).tolist() == [6.0]


def test_grpc_calls_during_a_stop_are_answered_or_refused_and_never_lost(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    make_deployment(folder, "grpc_port = 0\n")
    given = triton_grpc.InferInput("x", list(VALUES.shape), "FP32")
    given.set_data_from_numpy(VALUES)
    ends: list[str] = []

    def note(result: Any, error: Any) -> None:
        ends.append("answered" if error is None else str(error.status()))

    with ServeProcess(folder) as running:
        with triton_grpc.InferenceServerClient(grpc_address(running)) as client:
            client.infer("demo", [given])
            for number in range(200):
                client.async_infer("demo", [given], note)
                if number == 100:
                    running.process.terminate()
            running.wait_for(lambda: len(ends) == 200)
        assert running.process.wait(20) == 0
    # gRPC cancels calls that it has read and not yet handed on; callers repeat those as well.
    assert set(ends) <= {"answered", "StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"}
    assert "answered" in ends

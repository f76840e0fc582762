"""Each refusal is counted once by its reason, each refused request by its status, over any transport."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
import pytest
from grpc_service import StartGrpc, grpc_starting, http, infer_request
from live_service import Server, Start, linear_model, starting
from speakers import LINEAR

from holdfast.serve.grpc_messages import message_class

start = starting
start_grpc = grpc_starting
__all__ = ["http"]
KEYS = f'[security]\nauth = "keys"\napi_key_hashes = ["{hashlib.sha256(b"secret").hexdigest()}"]\n'
KEY = {"authorization": "Bearer secret"}
SMALL = "[predictions]\nmax_body_bytes = 1024\nmax_rows_per_request = 2\n"


def statuses(server: Server, route: str) -> dict[int, int]:
    """Of a route, over all versions."""
    total: dict[int, int] = {}
    for counts in server.service.counts.all_routes():
        if counts.route == route:
            for status, number in counts.statuses.items():
                total[status] = total.get(status, 0) + number
    return total


def test_a_call_over_grpc_without_a_key_is_counted_by_reason_and_by_status(start_grpc: StartGrpc) -> None:
    client = start_grpc(linear_model(), KEYS)
    assert client.refused("ModelInfer")[0] == grpc.StatusCode.UNAUTHENTICATED
    assert client.refused("ModelMetadata")[0] == grpc.StatusCode.UNAUTHENTICATED
    assert client.server.service.counts.refusals == {"unauthorised": 2}
    assert statuses(client.server, "grpc ModelInfer") == {401: 1}
    assert statuses(client.server, "grpc ModelMetadata") == {401: 1}


def test_a_call_over_grpc_that_is_too_large_is_told_the_limit_and_counted(start_grpc: StartGrpc) -> None:
    client = start_grpc(linear_model(), SMALL)
    large = infer_request(LINEAR, [{"a": 1.0, "b": 2.0}], raw=True)
    large.id = "x" * (64 * 1024 + 1024)
    code, text = client.refused("ModelInfer", large)
    assert (code, "at most 1024 bytes" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    rows = infer_request(LINEAR, [{"a": 1.0, "b": 2.0}] * 3, raw=True)
    assert "too many rows" in client.refused("ModelInfer", rows)[1]
    assert client.server.service.counts.refusals == {"bodytoolarge": 1, "toomanyrows": 1}
    assert statuses(client.server, "grpc ModelInfer") == {413: 2}


def test_a_call_over_grpc_that_would_be_late_is_counted_by_reason(start_grpc: StartGrpc) -> None:
    client = start_grpc(linear_model())
    request = infer_request(LINEAR, [{"a": 1.0, "b": 2.0}], raw=True)
    with pytest.raises(grpc.RpcError):
        client.call("ModelInfer", request, [("x-request-timeout-ms", "0.000001")])
    assert client.server.service.counts.refusals == {"deadline": 1}
    assert statuses(client.server, "grpc ModelInfer") == {503: 1}


def test_calls_over_grpc_that_describe_are_counted_too(start_grpc: StartGrpc) -> None:
    client = start_grpc(linear_model())
    client.call("ModelReady", message_class("ModelReadyRequest")(name="demo"))
    client.call("ModelReady", message_class("ModelReadyRequest")(name="other"))
    assert client.refused("ModelMetadata", message_class("ModelMetadataRequest")(name="other"))
    assert statuses(client.server, "grpc ModelReady") == {200: 2}
    assert statuses(client.server, "grpc ModelMetadata") == {404: 1}


@pytest.mark.parametrize("cold", [False, True], ids=["hot", "behind another request"])
def test_every_refused_request_over_http_is_counted_once(start: Start, *, cold: bool) -> None:
    server = start(linear_model(), KEYS + SMALL)
    client = server.client()

    def ask(body: bytes, *lines: str) -> int:
        before = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" if cold else b""
        head = "".join(f"{line}\r\n" for line in ("host: x", f"content-length: {len(body)}", *lines))
        client.socket.sendall(before + b"POST /predict HTTP/1.1\r\n" + head.encode() + b"\r\n" + body)
        if cold:
            assert client.response()[0] == 200
        status, headers, _ = client.response()
        assert headers["x-request-id"] == "mine", status
        return status

    key, mine = "authorization: Bearer secret", "x-request-id: mine"
    assert ask(b'{"a": 1, "b": 2}', key, mine) == 200
    assert ask(b"{}", mine) == 401
    assert ask(b"{}", key, mine, "content-type: image/png") == 415
    assert ask(b"{}", key, mine, "content-encoding: br") == 415
    assert ask(b'[{"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1, "b": 2}]', key, mine) == 413
    assert ask(b"{}", key, mine) == 422
    assert statuses(server, "/predict") == {200: 1, 401: 1, 413: 1, 415: 2, 422: 1}
    assert server.service.counts.refusals == {"unauthorised": 1, "toomanyrows": 1}


def test_a_body_over_the_limit_is_counted_by_reason_and_by_status(start: Start) -> None:
    server = start(linear_model(), SMALL)
    assert server.ask("POST", "/v2/models/demo/infer", b" " * 2000)[0] == 413
    assert server.ask("POST", "/labels", b" " * 2000)[0] == 413
    assert server.service.counts.refusals == {"bodytoolarge": 2}
    assert statuses(server, "/v2/models/{model}/infer") == {413: 1}
    assert statuses(server, "/labels") == {413: 1}


@pytest.mark.parametrize("path", ["/%70redict", "/v2/models/dem%6f/infer", "/v1/models/demo%3Apredict"])
def test_a_path_with_escapes_is_the_path_and_has_no_metric_of_its_own(start: Start, path: str) -> None:
    server = start(linear_model())
    asked: dict[str, Any] = {
        "/v2": {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    }
    asked["/v1"] = {"instances": [{"a": 1, "b": 2}]}
    assert server.ask("POST", path, asked.get(path[:3], {"a": 1, "b": 2}))[0] == 200
    assert server.ask("POST", path, {"a": 1}, {"content-type": "image/png"})[0] == 415
    assert not [one.route for one in server.service.counts.all_routes() if "%" in one.route]


def test_the_request_id_of_a_call_over_grpc_comes_back_also_with_an_error(start_grpc: StartGrpc) -> None:
    client = start_grpc(linear_model())
    good, bad = (infer_request(LINEAR, [{"a": 1.0, "b": 2.0}], raw=True) for _ in range(2))
    bad.inputs[0].datatype = "FP64"
    method = client.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    mine = ("x-request-id", "mine")
    asked = ((good, [mine]), (bad, [mine]), (good, [mine, ("x-request-timeout-ms", "soon")]))
    for request, metadata in asked:
        call = method.future(request.SerializeToString(), timeout=20, metadata=metadata)
        call.exception()  # waits for the answer, whichever it is
        assert mine in [tuple(one) for one in call.trailing_metadata()], call.code()

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
from pathlib import Path

import msgspec
import pytest
from live_service import Start, linear_model, starting

from holdfast.serve.errors import ExposureError, ServeError
from holdfast.serve.security import check_exposure, tls_context
from holdfast.spec import parse_checklist
from holdfast.spec.checklist import Security, Target

start = starting

KEY, OTHER = "hf_first-key-of-two", "hf_second-key-of-two"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


KEYS = f"""
[security]
auth = "keys"
api_key_hashes = ["{sha256(KEY)}", "{sha256(OTHER)}"]
"""
ROW = {"a": 1, "b": 1}


def test_with_keys_everything_but_the_probes_needs_one(start: Start) -> None:
    server = start(linear_model(), KEYS)
    for method, path in [
        ("POST", "/predict"),
        ("POST", "/v2/models/demo/infer"),
        ("POST", "/labels"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/v2/models/demo"),
        ("GET", "/"),
    ]:
        status, _, headers = server.ask(method, path, ROW)
        assert status == 401, path
        assert headers["www-authenticate"].startswith("Bearer")
    for path in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert server.ask("GET", path)[0] == 200


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_each_accepted_key_opens_both_ways_in(start: Start, key: str) -> None:
    server = start(linear_model(), KEYS)
    bearer = {"authorization": f"Bearer {key}"}
    assert server.ask("POST", "/predict", ROW, bearer)[0] == 200
    assert server.ask("GET", "/metrics", None, bearer)[0] == 200
    for wrong in (
        f"Bearer {key}x",
        f"Basic {key}",
        key,
        "Bearer",
        "Bearer " + sha256(key),
    ):
        assert server.ask("POST", "/predict", ROW, {"authorization": wrong})[0] == 401


def test_a_refused_caller_keeps_its_connection_and_learns_nothing_of_the_model(start: Start) -> None:
    server = start(linear_model(), KEYS)
    client = server.client()
    body = json.dumps({"wrong": 1}).encode()
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n".encode()
    client.socket.sendall(
        (head + b"\r\n" + body) + head + f"authorization: Bearer {KEY}\r\n\r\n".encode() + body
    )
    status, _, text = client.response()
    assert status == 401
    assert b"wrong" not in text
    assert client.response()[0] == 422


def test_an_open_address_needs_keys_and_tls() -> None:
    closed = parse_checklist('[model]\nname = "demo"\n', source="test")
    check_exposure(closed)
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org"):
        outside = msgspec.structs.replace(closed, target=Target(host=host))
        with pytest.raises(ExposureError, match="without a key"):
            check_exposure(outside)
        with_keys = msgspec.structs.replace(
            outside, security=Security(auth="keys", api_key_hashes=("0" * 64,))
        )
        with pytest.raises(ExposureError, match="unencrypted"):
            check_exposure(with_keys)
        check_exposure(
            msgspec.structs.replace(
                with_keys,
                security=Security(auth="keys", api_key_hashes=("0" * 64,), tls_certificate="c", tls_key="k"),
            )
        )


def test_tls_is_modern_and_a_bad_certificate_is_named(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = tls_context(Security(tls_certificate=str(certificate), tls_key=str(key)))
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert tls_context(Security()) is None
    with pytest.raises(ServeError, match="cannot be used"):
        tls_context(Security(tls_certificate=str(key), tls_key=str(key)))

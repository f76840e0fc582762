from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from live_service import Start, linear_model, starting

from holdfast.serve.errors import ExposureError, ServeError
from holdfast.serve.security import Tls, check_exposure, make_tls
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


def certificate(folder: Path, name: str, signer: Path | None = None) -> tuple[Path, Path]:
    """A certificate and its key, signed by itself or by another one."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    by: list[str | Path] = ["-CA", signer, "-CAkey", signer.with_suffix(".key")] if signer else []
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", *by,
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Serve one connection; the common name of the certificate that the client sees."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with (
            contextlib.suppress(OSError),
            listening.accept()[0] as accepted,
            server.wrap_socket(accepted, server_side=True) as secured,
        ):
            secured.sendall(b"x")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with (
            socket.create_connection(listening.getsockname(), timeout=10) as plain,
            client.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            assert secured.recv(1) == b"x"
            subject: Any = (secured.getpeercert() or {})["subject"]
            return str(dict(one[0] for one in subject)["commonName"])
    finally:
        thread.join(10)
        listening.close()


def test_tls_is_modern_and_a_bad_certificate_is_named(tmp_path: Path) -> None:
    certificate(tmp_path, "service")
    tls = make_tls(Security(tls_certificate="service.pem", tls_key="service.key"), tmp_path)
    assert tls is not None
    assert tls.context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert make_tls(Security(), tmp_path) is None
    with pytest.raises(ServeError, match="cannot be used"):
        make_tls(Security(tls_certificate="service.key", tls_key="service.key"), tmp_path)
    with pytest.raises(ServeError, match="authority"):
        Tls(
            Security(tls_certificate="service.pem", tls_key="service.key", tls_client_ca="service.key"),
            tmp_path,
        )


def test_a_renewed_certificate_is_taken_over_only_once_its_key_fits(tmp_path: Path) -> None:
    first = certificate(tmp_path, "service")
    tls = Tls(Security(tls_certificate="service.pem", tls_key="service.key"), tmp_path)
    trusting = ssl.create_default_context(cafile=str(first[0]))
    assert handshake(tls.context, trusting) == "service"
    assert not tls.renew()
    second = certificate(tmp_path, "renewed")
    second[0].replace(tmp_path / "service.pem")
    for _ in range(2):
        with pytest.raises(ServeError, match="cannot be used"):
            tls.renew()
        assert handshake(tls.context, trusting) == "service"
    second[1].replace(tmp_path / "service.key")
    assert tls.renew()
    trusting.load_verify_locations(tmp_path / "service.pem")
    assert handshake(tls.context, trusting) == "renewed"
    (tmp_path / "service.key").unlink()
    assert not tls.renew()
    assert handshake(tls.context, trusting) == "renewed"


def test_with_an_authority_of_clients_nobody_without_its_certificate_gets_past_the_handshake(
    tmp_path: Path,
) -> None:
    service = certificate(tmp_path, "service")
    authority = certificate(tmp_path, "authority")
    certificate(tmp_path, "shop", authority[0])
    certificate(tmp_path, "stranger")
    tls = Tls(
        Security(tls_certificate="service.pem", tls_key="service.key", tls_client_ca="authority.pem"),
        tmp_path,
    )
    client = ssl.create_default_context(cafile=str(service[0]))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(tls.context, client)
    client.load_cert_chain(tmp_path / "stranger.pem", tmp_path / "stranger.key")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(tls.context, client)
    client = ssl.create_default_context(cafile=str(service[0]))
    client.load_cert_chain(tmp_path / "shop.pem", tmp_path / "shop.key")
    assert handshake(tls.context, client) == "service"
    outside = parse_checklist(
        '[model]\nname = "demo"\n[target]\nhost = "0.0.0.0"\n[security]\ntls_certificate = "a"\n'
        'tls_key = "b"\ntls_client_ca = "c"\n',
        source="test",
    )
    check_exposure(outside)

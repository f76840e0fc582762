from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from holdfast.clock import ManualClock
from holdfast.serve.admission import Admission
from holdfast.serve.errors import ServeError, UnauthorisedError
from holdfast.serve.tokens import TokenVerifier
from holdfast.spec.checklist import Security

SECURITY = Security(
    auth="keys", jwt_jwks="jwks.json", jwt_issuer="https://login.example.org", jwt_audience="fraud"
)
Make = Callable[..., bytes]


class Provider:
    """An identity provider with keys of two kinds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: dict[str, Any] = {
            "first": rsa.generate_private_key(65537, 2048),
            "second": ec.generate_private_key(ec.SECP256R1()),
        }
        self.publish("first", "second")

    def document(self, *names: str) -> str:
        published = []
        for name in names:
            public = self.keys[name].public_key()
            rsa_key = isinstance(public, rsa.RSAPublicKey)
            algorithm: Any = jwt.algorithms.RSAAlgorithm if rsa_key else jwt.algorithms.ECAlgorithm
            kind = {"kid": name, "use": "sig", "alg": "RS256" if rsa_key else "ES256"}
            published.append({**json.loads(algorithm.to_jwk(public)), **kind})
        return json.dumps({"keys": published})

    def publish(self, *names: str) -> None:
        self.path.write_text(self.document(*names))

    def token(self, name: str = "first", algorithm: str | None = None, **changes: Any) -> bytes:
        claims = {
            "iss": "https://login.example.org",
            "aud": "fraud",
            "sub": "ann",
            "exp": int(time.time()) + 60,
            "scope": "openid predict",
        }
        claims = {key: value for key, value in {**claims, **changes}.items() if value is not None}
        key = self.keys.get(name) or self.keys["first"]
        algorithm = algorithm or ("ES256" if name == "second" else "RS256")
        return jwt.encode(claims, key, algorithm, headers={"kid": name}).encode()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Provider:
    return Provider(tmp_path_factory.mktemp("provider") / "jwks.json")


@pytest.fixture
def verifier(provider: Provider) -> TokenVerifier:
    provider.publish("first", "second")
    return TokenVerifier(SECURITY, provider.path.parent)


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_token_of_the_provider_says_who_and_for_what(
    provider: Provider, verifier: TokenVerifier, name: str
) -> None:
    said = verifier.verify(provider.token(name, scope=["holdfast:label", "read"]))
    assert said.subject == "ann"
    assert said.scopes == {"label", "read"}


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example.org"},
        {"iss": None},
        {"aud": "house"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"sub": None},
        {"nbf": 32503680000},
    ],
)
def test_a_token_for_others_or_out_of_its_time_is_refused(
    provider: Provider, verifier: TokenVerifier, changes: dict[str, Any]
) -> None:
    if "exp" in changes and changes["exp"] == "soon":
        token = jwt.encode(
            {"iss": "https://login.example.org", "aud": "fraud", "sub": "a", "exp": "soon"},
            provider.keys["first"], "RS256", headers={"kid": "first"},
        ).encode()  # fmt: skip
    else:
        token = provider.token(**changes)
    with pytest.raises(UnauthorisedError) as refused:
        verifier.verify(token)
    assert token.decode() not in str(refused.value)


def test_a_token_not_signed_by_the_provider_is_refused(provider: Provider, verifier: TokenVerifier) -> None:
    token = provider.token()
    head, claims, signature = token.split(b".")
    public = jwt.PyJWKSet.from_json(provider.document("first")).keys[0].key
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    text = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    import base64
    import hashlib
    import hmac

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    confused = part({"alg": "HS256", "kid": "first"}) + b"." + claims  # the public key as a shared secret
    mac = base64.urlsafe_b64encode(hmac.digest(text, confused, hashlib.sha256)).rstrip(b"=")
    for wrong in (
        head + b"." + claims + b"." + signature[:-4] + b"AAAA",
        head + b"." + part({"sub": "eve"}) + b"." + signature,
        part({"alg": "none", "kid": "first"}) + b"." + claims + b".",
        confused + b"." + mac,
        provider.token("unknown"),
        b"a.b.c",
        b"..",
        b"\xff.\xff.\xff",
        token + b"x" * 9000,
    ):
        with pytest.raises(UnauthorisedError):
            verifier.verify(wrong)
    assert verifier.unknown_key_seen


def test_a_withdrawn_key_is_no_longer_honoured(provider: Provider, verifier: TokenVerifier) -> None:
    clock = ManualClock(start_us=time.time_ns() // 1000)
    admission = Admission(SECURITY, clock, tokens=verifier)
    ours, others = (b"Bearer " + provider.token(name) for name in ("first", "second"))
    assert admission.find(ours).scopes == admission.find(others).scopes == {"predict"}
    assert admission.find(ours) is admission.find(ours)
    assert not verifier.refresh()
    time.sleep(0.01)
    provider.publish("second")
    assert verifier.refresh()
    admission.forget_tokens()
    with pytest.raises(UnauthorisedError):
        admission.find(ours)
    assert admission.find(others).scopes == {"predict"}
    clock.advance_s(61)
    with pytest.raises(UnauthorisedError):
        admission.find(others)


def test_a_caller_is_the_subject_of_the_token_whichever_token_it_is(
    provider: Provider, verifier: TokenVerifier
) -> None:
    admission = Admission(SECURITY, ManualClock(start_us=time.time_ns() // 1000), tokens=verifier)
    ann, again, bob = (
        admission.find(b"Bearer " + provider.token(sub=name, jti=str(number))).caller
        for number, name in enumerate(("ann", "ann", "bob"))
    )
    assert ann == again != bob
    assert "ann" not in ann


@pytest.fixture
def url(provider: Provider) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            body = provider.path.read_bytes()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    server.server_close()


def test_keys_come_from_a_url_and_stay_when_it_is_down(provider: Provider, url: str) -> None:
    import msgspec

    provider.publish("first", "second")
    verifier = TokenVerifier(msgspec.structs.replace(SECURITY, jwt_jwks=url), Path())
    with pytest.raises(UnauthorisedError):
        verifier.verify(provider.token())
    assert verifier.refresh()
    assert not verifier.refresh()
    assert verifier.verify(provider.token()).subject == "ann"
    provider.path.write_text("<html>")
    with pytest.raises(ServeError, match="jwt_jwks"):
        verifier.refresh()
    assert verifier.verify(provider.token()).subject == "ann"


def test_a_file_that_is_no_key_set_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="jwt_jwks"):
        TokenVerifier(SECURITY, tmp_path)
    for text in ("{}", "[]", "null", '{"keys": {"a": 1}}', '{"keys": [null, 3]}'):
        (tmp_path / "jwks.json").write_text(text)
        with pytest.raises(ServeError, match="jwt_jwks"):
            TokenVerifier(SECURITY, tmp_path)

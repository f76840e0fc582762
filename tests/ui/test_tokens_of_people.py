"""People signed in by an identity provider: a token pasted once, or set as a header by a proxy."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cookie_caller import Caller
from cryptography.hazmat.primitives.asymmetric import ec

from holdfast.clock import ManualClock, SystemClock
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.ui import make_dashboard

SECURITY = """
[security]
auth = "keys"
jwt_jwks = "jwks.json"
jwt_issuer = "https://login.example.org"
jwt_audience = "ward"
"""
Token = Callable[..., str]


@pytest.fixture(scope="module")
def keys() -> dict[str, Any]:
    return {name: ec.generate_private_key(ec.SECP256R1()) for name in ("first", "second")}


@pytest.fixture
def token(keys: dict[str, Any]) -> Token:
    def made(scope: str, name: str = "first", **changes: Any) -> str:
        claims = {
            "iss": "https://login.example.org",
            "aud": "ward",
            "sub": "ann@example.org",
            "exp": int(time.time()) + 600,
            "scope": scope,
        }
        return jwt.encode(claims | changes, keys[name], "ES256", headers={"kid": name})

    return made


def publish(folder: Path, keys: dict[str, Any], *names: str) -> None:
    found = [
        {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(keys[name].public_key())), "kid": name, "use": "sig"}
        for name in names
    ]
    (folder / "jwks.json").write_text(json.dumps({"keys": found}))


@pytest.fixture
def registry(tmp_path: Path, keys: dict[str, Any]) -> Iterator[Registry]:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "ward"\n' + SECURITY)
    publish(tmp_path, keys, "first")
    with Registry.open(Deployment.open(tmp_path, {}).registry_url, SystemClock()) as found:
        yield found


@pytest.fixture
def caller(tmp_path: Path, registry: Registry) -> Caller:
    app = make_dashboard(Deployment.open(tmp_path, {}), registry, SystemClock())
    return Caller(app)


def sign_in(caller: Caller, credential: str) -> httpx.Response:
    return caller.post("/ui/sign-in", {"key": credential})


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


def test_a_token_opens_a_session_in_the_name_of_its_subject(
    caller: Caller, registry: Registry, token: Token
) -> None:
    assert sign_in(caller, token("openid read")).status_code == 303
    assert caller.get("/ui/").status_code == 200
    assert caller.get("/ui/predictions").status_code == 403
    assert registry.audit.entries()[-1].actor == "token ann@example.org"


def test_a_session_of_a_token_ends_with_the_token(tmp_path: Path, registry: Registry, token: Token) -> None:
    began_s = int(time.time())
    clock = ManualClock(began_s * 1_000_000)
    caller = Caller(make_dashboard(Deployment.open(tmp_path, {}), registry, clock))
    assert sign_in(caller, token("read", exp=began_s + 300)).status_code == 303
    clock.advance_s(299)
    assert caller.get("/ui/").status_code == 200
    clock.advance_s(1)
    assert caller.get("/ui/").status_code == 303


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aud": "house"}, "the token is not accepted: InvalidAudienceError"),
        ({"exp": 1}, "the token is not accepted: ExpiredSignatureError"),
        ({"name": "second"}, "signed with a key that the provider does not publish"),
        ({"scope": "openid predict"}, "this token may not look at the dashboard"),
    ],
)
def test_a_token_that_is_not_right_is_refused_with_why_and_not_repeated(
    caller: Caller, token: Token, changes: dict[str, Any], words: str
) -> None:
    wrong = token(**{"scope": "read"} | changes)
    answer = sign_in(caller, wrong)
    assert answer.status_code == 401
    assert words in answer.text[:5000].replace("The token", "the token").replace("This token", "this token")
    assert wrong not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_key_that_the_provider_publishes_later_is_fetched(
    caller: Caller, tmp_path: Path, keys: dict[str, Any], token: Token
) -> None:
    assert sign_in(caller, token("read", "second")).status_code == 401
    publish(tmp_path, keys, "first", "second")
    assert sign_in(caller, token("read", "second")).status_code == 303


def test_a_header_shows_the_pages_without_a_session_and_only_while_it_is_sent(
    caller: Caller, token: Token
) -> None:
    answer = caller.get("/ui/", **bearer(token("read")))
    assert answer.status_code == 200
    assert "Signed in as token ann@example.org" in answer.text
    assert "set-cookie" not in answer.headers
    assert caller.get("/ui/").status_code == 303
    assert caller.get("/ui/", **bearer("wrong")).status_code == 303


def test_an_act_by_header_needs_a_form_of_the_same_person_whatever_the_token(
    caller: Caller, registry: Registry, token: Token
) -> None:
    registry.add_version(name="ward", sha256="ab" * 32, created_at_us=0, created_by="t", metadata={})
    page = caller.get("/ui/versions", **bearer(token("admin"))).text
    form = re.search(r'name="form" value="([0-9a-f]+)"', page)
    fields = {"act": "comment", "text": "mine", "version": "1"}
    assert caller.post("/ui/remark", fields, **bearer(token("admin"))).status_code == 403
    assert form is not None
    later = token("admin", exp=int(time.time()) + 900)
    taken = caller.post("/ui/remark", {**fields, "form": form[1]}, **bearer(later))
    assert taken.status_code == 303
    other = token("admin", sub="bob")
    assert caller.post("/ui/remark", {**fields, "form": form[1]}, **bearer(other)).status_code == 403
    assert [entry.actor for entry in registry.audit.entries(begins="diagnosis.")] == ["token ann@example.org"]


def test_the_form_says_that_tokens_are_taken(caller: Caller) -> None:
    assert "API key or token" in caller.get("/ui/sign-in").text

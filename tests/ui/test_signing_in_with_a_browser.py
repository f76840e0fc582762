"""People sign in with a key or a token, in a real browser at a real service that asks for them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hostile_ward import make_ward
from playwright.sync_api import Browser, Page, expect
from test_pages import keep
from watched_ward import chromium

from holdfast.clock import SystemClock
from holdfast.demo.service import ServiceProcess
from holdfast.registry import Registry

browser = chromium
SECURITY = """
[security]
auth = "keys"
jwt_jwks = "jwks.json"
jwt_issuer = "https://login.example.org"
jwt_audience = "ward"
"""
SECRET = ec.generate_private_key(ec.SECP256R1())


def token(scope: str, seconds: int = 600) -> str:
    claims: dict[str, Any] = {
        "iss": "https://login.example.org",
        "aud": "ward",
        "sub": "ann@example.org",
        "exp": int(time.time()) + seconds,
        "scope": scope,
    }
    return jwt.encode(claims, SECRET, "ES256", headers={"kid": "first"})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceProcess, str]]:
    """A service with keys and tokens that has answered nothing yet, and a key that may look."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(SECRET.public_key()))
    (folder / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "first", "use": "sig"}]}))
    deployment = make_ward(folder, SECURITY)
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        key = registry.api_keys.create(name="on call", scopes=("read",), actor="test").key
    with ServiceProcess(folder, "--no-monitor") as service:
        yield service, key


@pytest.fixture
def page(browser: Browser, guarded: tuple[ServiceProcess, str]) -> Iterator[Page]:
    context = browser.new_context(base_url=f"http://127.0.0.1:{guarded[0].port}", locale="en-GB")
    yield context.new_page()
    context.close()


def sign_in(page: Page, credential: str) -> None:
    page.fill("#key", credential)
    page.get_by_role("button", name="Sign in").click()


def test_a_token_opens_the_page_that_was_asked_for_and_signing_out_ends_it(page: Page) -> None:
    page.goto("/ui/drift")
    expect(page.locator("h1")).to_have_text("Sign in")
    expect(page.locator("label[for=key]")).to_contain_text("API key or token")
    keep(page, "sign-in")
    sign_in(page, token("read rows"))
    page.wait_for_url("**/ui/drift")
    expect(page.locator("footer")).to_contain_text("Signed in as token ann@example.org")
    keep(page, "nothing-judged-drift")
    page.goto("/ui/")
    expect(page.locator("h1")).to_contain_text("nothing of it has been judged yet")
    keep(page, "nothing-judged-overview")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("h1")).to_have_text("Sign in")
    page.goto("/ui/drift")
    expect(page.locator("h1")).to_have_text("Sign in")


def test_a_key_sees_what_its_scopes_allow_and_is_told_what_else_it_would_need(
    page: Page, guarded: tuple[ServiceProcess, str]
) -> None:
    page.goto("/ui/")
    sign_in(page, guarded[1])
    expect(page.locator("footer")).to_contain_text("Signed in as key")
    page.get_by_role("link", name="Predictions").click()
    expect(page.locator("h1")).to_have_text("This key may not see that page.")
    expect(page.locator("main")).to_contain_text("holdfast key create NAME --scope rows")
    keep(page, "not-allowed")
    page.goto("/ui/versions")
    expect(page.locator("h1")).to_have_text("Versions and rollout")
    assert page.locator("form[action='/ui/promote']").count() == 0


@pytest.mark.parametrize("credential", [token("read", seconds=-60), "hf_no_such_key"])
def test_what_is_expired_or_unknown_opens_nothing_and_the_form_says_so(page: Page, credential: str) -> None:
    page.goto("/ui/")
    sign_in(page, credential)
    expect(page.get_by_role("alert")).to_contain_text(re.compile("expired nor revoked|fresh token"))
    expect(page.locator("h1")).to_have_text("Sign in")
    assert credential not in page.content()
    keep(page, "sign-in-refused")

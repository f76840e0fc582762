"""Who gets in with keys: over HTTP to the app itself, without a browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cookie_caller import Caller
from starlette.applications import Starlette

from holdfast.clock import ManualClock
from holdfast.prediction_log import ErasedPredictionError, LogFullError, PredictionLogError
from holdfast.registry import Registry, Scope
from holdfast.spec import Deployment
from holdfast.ui import make_dashboard
from holdfast.ui.actions import label_of
from holdfast.ui.app import status_of
from holdfast.ui.errors import FormError, SignInError
from holdfast.ui.session import Sessions

HOUR_S = 3600.0
Answer = httpx.Response


@dataclass
class Place:
    deployment: Deployment
    registry: Registry
    clock: ManualClock
    app: Starlette
    client: Caller

    def key(self, *scopes: Scope) -> str:
        return self.registry.api_keys.create(name="test", scopes=scopes, actor="test").key

    def sign_in(self, key: str, **fields: str) -> Answer:
        return self.post("/ui/sign-in", {"key": key, **fields})

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        return self.client.post(path, fields, **headers)

    def get(self, path: str, **headers: str) -> Answer:
        return self.client.get(path, **headers)

    def form_token(self, path: str = "/ui/") -> str:
        found = re.search(r'name="form" value="([0-9a-f]+)"', self.get(path).text)
        assert found is not None
        return found[1]


def opened(folder: Path, toml: str, **options: Any) -> Place:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "holdfast.toml").write_text('[model]\nname = "ward"\n' + toml)
    deployment = Deployment.open(folder, {})
    clock = ManualClock(1_700_000_000_000_000)
    registry = Registry.open(deployment.registry_url, clock)
    app = make_dashboard(deployment, registry, clock, **options)
    return Place(deployment, registry, clock, app, Caller(app))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = opened(tmp_path, '[security]\nauth = "keys"\n')
    yield found
    found.registry.close()


@pytest.fixture
def open_place(tmp_path: Path) -> Iterator[Place]:
    found = opened(tmp_path, "")
    yield found
    found.registry.close()


PAGES = ["/ui/", "/ui/drift", "/ui/column?name=a", "/ui/diagnosis", "/ui/versions", "/ui/predictions",
         "/ui/prediction?id=a", "/ui/review", "/ui/checklist"]  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_every_page_leads_to_the_form(place: Place, path: str) -> None:
    answer = place.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/ui/sign-in")


def test_a_key_opens_a_session_that_scripts_and_other_sites_cannot_use(place: Place) -> None:
    answer = place.sign_in(place.key("read"), to="/ui/drift")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/drift")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    assert place.get("/ui/").status_code == 200
    assert place.registry.audit.entries()[-1].action == "dashboard.sign_in"


def test_over_tls_the_cookie_is_bound_to_this_host(place: Place) -> None:
    answer = place.post("/ui/sign-in", {"key": place.key("read")}, **{"x-holdfast-scheme": "https"})
    assert answer.headers["set-cookie"].startswith("__Host-holdfast-ward=")
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("key", ["", "hfk_000000000000_wrong", "é", "x" * 10_000])
def test_a_wrong_key_opens_nothing_and_is_not_repeated(place: Place, key: str) -> None:
    answer = place.sign_in(key)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert not key or key not in answer.text


def test_a_session_ends_with_its_time(place: Place) -> None:
    place.sign_in(place.key("read"))
    place.clock.advance_s(HOUR_S - 1)
    assert place.get("/ui/").status_code == 200
    place.clock.advance_s(1)
    assert place.get("/ui/").status_code == 303


def test_revoking_a_key_ends_the_sessions_that_it_opened(place: Place) -> None:
    kept, lost = place.key("read"), place.key("read")
    place.sign_in(lost)
    place.registry.api_keys.revoke(lost.split("_")[1], actor="test")
    assert place.get("/ui/").status_code == 303
    place.sign_in(kept)
    assert place.get("/ui/").status_code == 200


def test_signing_out_ends_the_session_even_for_who_kept_the_cookie(place: Place) -> None:
    place.sign_in(place.key("read"))
    kept = dict(place.client.cookies)
    token = place.form_token()
    assert place.post("/ui/sign-out", {"form": token}).status_code == 303
    place.client.cookies.update(kept)
    assert place.get("/ui/").status_code == 303


def test_two_callers_see_each_what_their_own_key_lets_them(place: Place) -> None:
    other = Caller(place.app)
    place.sign_in(place.key("read"))
    other.post("/ui/sign-in", {"key": place.key("rows")})
    assert [place.get(path).status_code for path in ("/ui/", "/ui/predictions")] == [200, 403]
    assert [other.get(path).status_code for path in ("/ui/", "/ui/predictions")] == [403, 200]
    views = [entry.actor for entry in place.registry.audit.entries(begins="read.rows")]
    assert len(views) == 1


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/ui/promote", {"version": "1", "reason": "x"}),
        ("/ui/roll-back", {"reason": "x"}),
        ("/ui/remark", {"act": "comment", "text": "x", "version": "1"}),
        ("/ui/label", {"prediction_id": "a", "label": "1"}),
    ],
)
def test_acts_need_their_scope_and_a_form_of_the_same_session(
    place: Place, path: str, fields: dict[str, str]
) -> None:
    place.sign_in(place.key("read", "rows"))
    reader = place.post(path, {**fields, "form": place.form_token()})
    assert reader.status_code == 403
    place.sign_in(place.key("admin"))
    assert place.post(path, fields).status_code == 403
    assert place.post(path, {**fields, "form": "0" * 64}).status_code == 403
    elsewhere = place.post(path, {**fields, "form": place.form_token()}, origin="http://evil.example")
    assert elsewhere.status_code == 403
    assert place.registry.route().champion is None
    assert place.registry.audit.entries(begins="diagnosis.") == []


def test_a_form_of_one_session_is_not_taken_in_another(place: Place) -> None:
    place.sign_in(place.key("admin"))
    token = place.form_token()
    place.sign_in(place.key("admin"))
    answer = place.post("/ui/remark", {"act": "comment", "text": "x", "version": "1", "form": token})
    assert answer.status_code == 403


def test_signing_in_goes_on_to_pages_of_ours_only(place: Place) -> None:
    for target in ("https://evil.example/", "//evil.example", "/ui/../\\evil.example", "javascript:alert(1)"):
        assert place.sign_in(place.key("read"), to=target).headers["location"] == "/ui/"


def test_an_open_dashboard_answers_only_under_a_loopback_name(open_place: Place) -> None:
    assert open_place.get("/ui/").status_code == 200
    assert open_place.get("/ui/", host="localhost:8080").status_code == 200
    assert open_place.get("/ui/", host="evil.example").status_code == 403
    assert open_place.get("/ui/live", host="evil.example").status_code == 403


def test_an_open_dashboard_still_refuses_forms_of_other_sites(open_place: Place) -> None:
    open_place.get("/ui/")
    fields = {"act": "comment", "text": "x", "version": "1", "form": "0" * 64}
    assert open_place.post("/ui/remark", fields).status_code == 403


def test_a_read_only_dashboard_takes_no_act(tmp_path: Path) -> None:
    place = opened(tmp_path, "", read_only=True)
    page = place.get("/ui/versions")
    assert "Read-only" in page.text
    assert place.post("/ui/remark", {"act": "comment"}).status_code == 403
    place.registry.close()


def test_every_answer_carries_the_policy(place: Place) -> None:
    for answer in (place.get("/ui/sign-in"), place.get("/ui/"), place.get("/ui/nothing"), place.sign_in("x")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
    page = place.get("/ui/sign-in").text
    assert " style=" not in page
    assert re.search(r"<script(?![^>]* src=)", page) is None


def test_a_page_that_is_not_there_shows_the_others_to_those_who_may_see_them(place: Place) -> None:
    assert "<nav" not in place.get("/ui/nothing").text
    place.sign_in(place.key("read"))
    answer = place.get("/ui/nothing")
    assert answer.status_code == 404
    assert "<nav" in answer.text
    refused = place.get("/ui/predictions").text
    assert "<code>holdfast key create NAME --scope rows</code>" in refused


def test_a_large_form_is_refused(open_place: Place) -> None:
    open_place.get("/ui/")
    assert open_place.post("/ui/remark", {"text": "x" * 70_000}).status_code == 400


def test_an_empty_deployment_says_on_each_page_what_to_do(open_place: Place) -> None:
    assert "holdfast register" in open_place.get("/ui/").text
    assert "holdfast monitor" in open_place.get("/ui/drift").text
    assert "holdfast register" in open_place.get("/ui/versions").text
    assert "holdfast check" in open_place.get("/ui/checklist").text
    assert open_place.get("/ui/predictions").status_code == 200
    assert open_place.get("/ui/review").status_code == 404


@pytest.mark.parametrize(
    ("error", "status"),
    [(ErasedPredictionError("erased"), 410), (LogFullError("full"), 503), (PredictionLogError("no"), 409)],
)
def test_a_refused_label_has_the_status_that_the_service_gives_it(
    error: PredictionLogError, status: int
) -> None:
    assert status_of(error) == status


def test_a_session_may_end_while_another_begins(place: Place) -> None:
    """The one that ends is met while the old ones are looked through."""
    sessions = Sessions(place.deployment, place.registry, place.clock, read_only=False)
    key = place.key("read")
    ending = sessions.sign_in(key)
    others: list[threading.Thread] = []

    class Met(float):
        def __le__(self, other: float) -> bool:
            others.append(threading.Thread(target=sessions.sign_out, args=(ending,)))
            others[-1].start()
            others[-1].join(0.2)  # where it must wait for its turn, it does
            return super().__le__(other)

    digest, first = next(iter(sessions._sessions.items()))
    sessions._sessions[digest] = replace(first, expires_s=Met(first.expires_s))
    begun = sessions.sign_in(key)
    others[0].join()
    assert sessions.viewer(begun).name
    with pytest.raises(SignInError):
        sessions.viewer(ending)


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1e999", "", "seven"])
def test_a_label_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(FormError, match="not a number"):
        label_of(text, ())


def test_a_label_is_a_class_of_the_model_or_a_finite_number() -> None:
    assert label_of("7", (5, 7)) == 7
    assert label_of("-2.5e3", ()) == -2500.0
    with pytest.raises(FormError, match="no class"):
        label_of("8", (5, 7))

"""Every page and act in a real browser against a real service, in which every text tries to become markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from hostile_score import CATEGORIES, NUMBER, WORD
from hostile_ward import FIRST_ID, post
from playwright.sync_api import Browser, Page, expect
from watched_ward import chromium, running_ward

from holdfast.clock import SystemClock
from holdfast.demo.service import ServiceProcess
from holdfast.prediction_log import PredictionLog, erase, settle
from holdfast.registry import AuditEntry, Registry
from holdfast.spec import Deployment
from holdfast.ui import make_report
from holdfast.ui.facts import Facts

browser = chromium
ward = running_ward
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
PAGES = {
    "overview": "/ui/",
    "drift": "/ui/drift",
    "column": f"/ui/column?name={quote(NUMBER)}",
    "category": f"/ui/column?name={quote(WORD)}&window=12",
    "slice": f"/ui/drift?slice={quote(WORD)}&value={quote(CATEGORIES[0])}",
    "diagnosis": "/ui/diagnosis",
    "versions": "/ui/versions",
    "predictions": "/ui/predictions",
    "prediction": f"/ui/prediction?id={quote(FIRST_ID)}",
    "review": "/ui/review",
    "checklist": "/ui/checklist",
    "error": "/ui/prediction?id=nothing",
}
SCREENS: dict[str, tuple[Literal["light", "dark"], int, int]] = {
    "desktop-light": ("light", 1280, 900),
    "desktop-dark": ("dark", 1280, 900),
    "phone-light": ("light", 390, 844),
    "phone-dark": ("dark", 390, 844),
}
DARK = frozenset({"overview", "drift", "diagnosis"})
"""Between them they hold every colour."""
Ward = tuple[Deployment, ServiceProcess]


class Visit:
    """A page of the dashboard, and what went wrong on it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.expose_function("pwned", lambda number: self.faults.append(f"script {number} of the data ran"))

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and "404 (Not Found)" not in text:
            self.faults.append(text)

    def go(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page


@pytest.fixture
def visit(browser: Browser, ward: Ward) -> Iterator[Visit]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, timezone_id="Asia/Tokyo", locale="en-GB"
    )
    page = context.new_page()
    found = Visit(page, f"http://127.0.0.1:{ward[1].port}")
    yield found
    context.close()
    assert found.faults == []


def keep(page: Page, name: str) -> None:
    """A picture on every screen, each wide enough, and no serious finding in light and dark."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    for screen, (scheme, width, height) in SCREENS.items():
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=SHOTS / f"{name}-{screen}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, screen)
        if screen.startswith("desktop"):
            rules = {} if scheme == "light" else {"runOnly": ["color-contrast"]}
            violations = Axe().run(page, options=rules).response["violations"]
            assert [one["id"] for one in violations if one["impact"] in {"serious", "critical"}] == [], name
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def audit_of(ward: Ward, action: str) -> list[AuditEntry]:
    with Registry.open(ward[0].registry_url, SystemClock()) as registry:
        return registry.audit.entries(100, begins=action)


@pytest.mark.slow
@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_is_free_of_serious_findings_fits_the_screen_and_runs_nothing_of_the_data(
    screen: str, browser: Browser, ward: Ward
) -> None:
    scheme, width, height = SCREENS[screen]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        timezone_id="Europe/Berlin",
        locale="en-GB",
    )
    found = Visit(context.new_page(), f"http://127.0.0.1:{ward[1].port}")
    SHOTS.mkdir(parents=True, exist_ok=True)
    for name, path in PAGES.items():
        if screen == "phone-dark" and name not in DARK:
            continue
        page = found.go(path)
        page.screenshot(path=SHOTS / f"{name}-{screen}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.locator("body.scripted").count() == 1, name
        # Names, roles and structure are the same on all screens; colours differ between light and dark.
        rules = {"desktop-light": {}, "desktop-dark": {"runOnly": ["color-contrast"]}}.get(screen)
        if rules is None or (rules and name not in DARK) or name == "category":
            continue
        violations = Axe().run(page, options=rules).response["violations"]
        serious = [one for one in violations if one["impact"] in {"serious", "critical"}]
        assert serious == [], (
            name,
            [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in serious],
        )
    context.close()
    assert found.faults == []


def test_the_first_page_says_what_has_changed_and_shows_live_numbers(visit: Visit, ward: Ward) -> None:
    page = visit.go("/")
    expect(page.locator("h1")).to_contain_text("drift")
    expect(page.locator("#live")).to_contain_text("Live")
    post(
        ward[1],
        "/predict",
        [
            {"prediction_id": f"late{n}", "at": "2026-05-01T00:00:00Z", NUMBER: 0.1, WORD: "'south'"}
            for n in range(3)
        ],
    )
    expect(page.locator('[data-number="over"]')).to_contain_text("last", timeout=8000)
    expect(page.locator('[data-number="p99"]')).to_contain_text("ms", timeout=8000)


def test_times_are_in_the_viewers_zone_with_utc_when_pointed_at(visit: Visit) -> None:
    time = visit.go("/ui/versions").locator("time").first
    stamp = time.get_attribute("datetime")
    assert stamp is not None
    assert (time.get_attribute("title") or "").endswith("UTC")
    assert (
        visit.page.evaluate("new Date(document.querySelector('time').dateTime).getTimezoneOffset()") == -540
    )
    assert "UTC" not in (time.text_content() or "")


def test_the_switch_of_light_and_dark_stays(visit: Visit) -> None:
    page = visit.go("/ui/")
    page.get_by_role("button", name="Switch to dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    visit.go("/ui/drift")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_slider_goes_through_time_by_keyboard(visit: Visit) -> None:
    page = visit.go(PAGES["column"])
    slider = page.locator("#window")
    last = int(slider.get_attribute("max") or 0)
    expect(page.locator("label[for=window]")).to_contain_text(f"Window {last + 1} of")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("label[for=window]")).to_contain_text(f"Window {last} of")
    assert f"window={last - 1}" in page.url
    page.keyboard.press("ArrowLeft")
    expect(page.locator("label[for=window]")).to_contain_text(f"Window {last - 1} of")


def test_remarks_stand_in_the_audit_and_a_snooze_shows_on_the_first_page(visit: Visit, ward: Ward) -> None:
    page = visit.go("/ui/diagnosis")
    page.fill("#text", "<script>pwned(4)</script> on it")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("section[aria-labelledby=remarks]")).to_contain_text(
        "<script>pwned(4)</script> on it"
    )
    page.get_by_role("button", name="Snooze").click()
    page.wait_for_url("**/ui/diagnosis#remarks")
    expect(visit.go("/ui/").locator(".verdict")).to_contain_text("snoozed until")
    keep(page, "snoozed")
    acts = [entry.action for entry in audit_of(ward, "diagnosis.")]
    assert acts == ["diagnosis.acknowledge", "diagnosis.snooze"]


def test_a_promotion_needs_a_reason_and_a_check_or_a_waiver_and_reaches_the_service(
    visit: Visit, ward: Ward
) -> None:
    page = visit.go("/ui/versions?beside=2")
    page.get_by_text("Promote version 2").first.click()
    page.get_by_role("button", name="Promote version 2").click()
    assert page.evaluate("document.activeElement.id") == "why2"  # the browser asks for the reason
    page.fill("#why2", "judged better <i>by hand</i>")
    page.get_by_role("button", name="Promote version 2").click()
    expect(page.locator("main")).to_contain_text("Version 2 is not ready: it was never checked")
    assert "409 (Conflict)" in visit.faults.pop()
    page = visit.go("/ui/versions?beside=2")
    page.get_by_text("Promote version 2").first.click()
    page.fill("#why2", "judged better <i>by hand</i>")
    page.fill("#waive2", "the machine to check on is <b>away</b>")
    page.get_by_role("button", name="Promote version 2").click()
    decisions = page.locator("section[aria-labelledby=decisions]")
    expect(decisions).to_contain_text("judged better <i>by hand</i>")
    expect(decisions).to_contain_text("the machine to check on is <b>away</b>")
    assert page.locator("h2 .badge.good").text_content() == "champion"
    page.get_by_text("Roll back to the champion before").click()
    page.fill("#back", "worse after all")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("section[aria-labelledby=decisions]")).to_contain_text("worse after all")
    assert [entry.actor for entry in audit_of(ward, "rollback")] == ["dashboard"]


def test_a_rollout_is_held_resumed_and_taken_away_with_reasons(visit: Visit, ward: Ward) -> None:
    with Registry.open(ward[0].registry_url, SystemClock()) as registry:
        if registry.route().champion != "1":
            registry.promote("1", reason="for this test", actor="test")
        registry.rollouts.start(
            "2",
            kind="update",
            baseline={},
            assignment_key=bytes(16),
            deadline_us=2**51,
            earliest_decision_us=2**51,
            reason="retrained",
            actor="test",
            checklist_hash="",
            report={},
        )
    page = visit.go("/ui/versions")
    expect(page.locator("#rollout")).to_contain_text("version 2 against 1")
    page.locator("summary", has_text="Hold").click()
    page.fill("#whyhold", "<b>the on-call asked</b>")
    page.get_by_role("button", name="Hold the rollout").click()
    expect(page.locator("#rollout")).to_contain_text("held")
    page.locator("summary", has_text="Let it go on").click()
    page.fill("#whyhold", "all clear")
    page.get_by_role("button", name="Let it go on").click()
    expect(page.locator("#rollout")).not_to_contain_text("held")
    page.locator("summary", has_text="Take the challenger away").click()
    page.fill("#whyback", "not today")
    page.get_by_role("button", name="Take version 2 away").click()
    expect(page.locator("#rollout")).to_contain_text("rolled back")
    with Registry.open(ward[0].registry_url, SystemClock()) as registry:
        steps = registry.rollouts.steps(1)
        assert [(step.actor, step.reason) for step in steps[-3:]] == [
            ("dashboard", "<b>the on-call asked</b>"),
            ("dashboard", "all clear"),
            ("dashboard", "not today"),
        ]
        assert registry.route().champion == "1"


def test_the_log_is_searched_by_id_and_slice_and_each_view_is_audited(visit: Visit, ward: Ward) -> None:
    before = len(audit_of(ward, "read.rows"))
    page = visit.go("/ui/predictions")
    page.fill("#id", FIRST_ID)
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#rows")).to_have_text("1 prediction")
    page.get_by_role("link", name=re.compile("pwned")).click()
    expect(page.locator("h1")).to_contain_text(FIRST_ID)
    visit.go(f"/ui/predictions?column={quote('input_' + WORD)}&value={quote(CATEGORIES[1])}&labelled=no")
    expect(page.locator("#rows")).to_contain_text("prediction")
    assert page.get_by_role("cell", name="'south'").count() > 0
    assert page.get_by_role("cell", name="<b>north</b>").count() == 0
    visit.go("/ui/predictions?since=yesterday")
    expect(page.get_by_role("alert")).to_contain_text("not a time")
    views = audit_of(ward, "read.rows")[before:]
    assert [entry.target.split()[1] for entry in views] == [
        "search",
        "search",
        "prediction",
        "search",
        "search",
    ]
    assert FIRST_ID not in str([entry.detail for entry in views])


def test_labels_are_given_by_keyboard_and_reach_the_log(visit: Visit, ward: Ward) -> None:
    page = visit.go("/ui/review")
    expect(page.locator("#left")).to_contain_text("1 of")
    labelled = page.locator("#queue > li.at .id").text_content()
    page.keyboard.press("2")
    expect(page.locator("#left")).to_contain_text("2 of")
    page.keyboard.press("s")
    expect(page.locator("#left")).to_contain_text("3 of")
    page.keyboard.press("b")
    expect(page.locator("#left")).to_contain_text("2 of")
    keep(page, "review-at-work")
    settle(ward[0], SystemClock())
    stored = (
        PredictionLog(ward[0])
        .query("SELECT prediction_id, y FROM labels WHERE replica LIKE 'review%'")
        .read_all()
    )
    assert stored.to_pylist() == [{"prediction_id": labelled, "y": "1"}]


def test_a_slice_is_followed_through_time_with_its_own_distributions(visit: Visit, ward: Ward) -> None:
    page = visit.go("/ui/drift")
    page.locator("section[aria-labelledby=slices]").get_by_role("link", name="<b>north</b>").click()
    expect(page.locator("h1")).to_have_text(f"Drift where {WORD} = {CATEGORIES[0]}")
    page.locator("section[aria-labelledby=columns]").get_by_role("link", name=NUMBER).click()
    expect(page.locator("h1")).to_contain_text(f"where {WORD} = {CATEGORIES[0]}")
    slider = page.locator("#window")
    last = int(slider.get_attribute("max") or 0)
    rows = page.locator("label[for=window]").text_content()
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("label[for=window]")).to_contain_text(f"Window {last} of")
    expect(page.locator("h1")).to_contain_text(f"where {WORD} = {CATEGORIES[0]}")
    assert page.locator("label[for=window]").text_content() != rows
    keep(page, "slice-column")
    with Registry.open(ward[0].registry_url, SystemClock()) as registry:
        facts = Facts(ward[0], registry, SystemClock())
        drift = make_report(facts, (WORD, CATEGORIES[0])).drift
        stored = facts.diagnosis("1")
    assert drift.part is not None
    assert drift.part.value == CATEGORIES[0]
    assert {row.name for row in drift.rows} == {NUMBER, WORD, "score"}
    assert stored is not None
    assert f"{WORD} = {CATEGORIES[0]} (" in stored.diagnosis.notes[-1]
    expect(visit.go("/ui/drift?slice=no&value=where").locator("h1")).to_contain_text("no such slice")


def test_when_a_column_changed_is_said_with_its_interval(visit: Visit) -> None:
    page = visit.go("/ui/")
    expect(page.locator("h1.say")).to_contain_text(re.compile(r"since .*\(± \d+ (day|days|h)\)"))
    found = visit.go(PAGES["column"]).locator(".verdict")
    expect(found).to_contain_text("Began")
    assert page.locator("svg.plot .onset").count() > 0


def test_alerts_are_shown_with_what_became_of_them(visit: Visit, ward: Ward) -> None:
    with Registry.open(ward[0].registry_url, SystemClock()) as registry:
        content = {"title": "data drift <b>of north</b>", "kind": "opened"}
        sent, lost, _ = registry.outbox.write(content, ["mail", "pager", "chat"], hold_us=0)
        registry.outbox.sent(sent.number)
        registry.outbox.failed(lost.number, "the receiver answered with status 503", None)
    page = visit.go("/ui/")
    told = page.locator("section[aria-labelledby=told]")
    expect(told).to_contain_text("1 sent, 1 waiting, 1 given up")
    expect(told).to_contain_text("status 503")
    keep(page, "alerts")


def test_labels_that_were_revised_are_all_shown_and_the_last_one_counts(visit: Visit, ward: Ward) -> None:
    for label, day in ((0, 1), (1, 2)):
        said = {"prediction_id": "p00003", "label": label, "observed_at": f"2026-06-0{day}T00:00:00Z"}
        post(ward[1], "/labels", [said])
    settle(ward[0], SystemClock())
    page = visit.go("/ui/prediction?id=p00003")
    labels = page.locator("section[aria-labelledby=labels] tbody tr")
    assert [row.locator("td").nth(1).text_content() for row in labels.all()][1:] == ["0", "1"]
    expect(page.locator("section[aria-labelledby=answer] dd").nth(3)).to_contain_text("1")
    keep(page, "label-revisions")


def test_what_was_erased_is_gone_and_said_to_be(visit: Visit, ward: Ward) -> None:
    assert visit.go("/ui/prediction?id=p00007").locator("h1").text_content() == "Prediction p00007"
    erase(ward[0], SystemClock(), prediction_ids=["p00007"])
    page = visit.go("/ui/prediction?id=p00007")
    expect(page.locator("h1")).to_have_text("This prediction was erased.")
    keep(page, "erased")
    neighbours = visit.go("/ui/prediction?id=p00008").locator("section[aria-labelledby=near]")
    expect(neighbours).to_contain_text("p00006")
    expect(neighbours).not_to_contain_text("p00007")
    visit.go("/ui/predictions?prediction_id=p00007")
    expect(page.locator("#rows")).to_have_text("0 predictions")


def test_any_version_is_chosen_to_stand_beside_the_champion(visit: Visit, ward: Ward) -> None:
    with Registry.open(ward[0].registry_url, SystemClock()) as registry:
        registry.add_version(
            name="ward", sha256="cd" * 32, created_at_us=0, created_by="<i>ann</i>", metadata={}
        )
    page = visit.go("/ui/versions")
    expect(page.locator("section[aria-labelledby=all]")).to_contain_text("All 3 versions")
    shown = page.locator("#beside h2").all_text_contents()
    other = "3" if any("Version 2" in one for one in shown) else "2"
    page.get_by_role("link", name=f"Show version {other}").click()
    page.wait_for_url(f"**/ui/versions?beside={other}#beside")
    assert [text.split()[1] for text in page.locator("#beside h2").all_text_contents()] == ["1", other]
    keep(page, "beside")


def test_every_link_and_control_is_reached_by_keyboard(visit: Visit) -> None:
    page = visit.go("/ui/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.outerHTML"))
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href], button:not([hidden])')].map(one => one.outerHTML)"
    )
    assert set(wanted) - reached <= {wanted[0]}


def test_pages_work_without_any_script(browser: Browser, ward: Ward) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{ward[1].port}{PAGES['column']}&window=3")
    expect(page.locator("label[for=window]")).to_contain_text("Window 4 of")
    page.goto(f"http://127.0.0.1:{ward[1].port}/ui/review")
    assert page.locator("#queue > li").count() > 5
    assert page.locator("#queue > li").nth(4).is_visible()
    context.close()


def test_the_browser_is_asked_for_nothing_from_elsewhere(visit: Visit) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    for path in PAGES.values():
        visit.go(path)
    assert {url.split("/")[2] for url in asked} == {visit.address.removeprefix("http://")}

"""What the overview says of alerts, and what the page of drift shows of runs before columns were recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from cookie_caller import Caller

from holdfast.clock import ManualClock
from holdfast.monitor import Coverage, Diagnosis, FeatureFinding, Onset, WindowEvidence
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.ui import make_dashboard
from holdfast.ui.decisions import make_diagnosis
from holdfast.ui.drift import places_of
from holdfast.ui.facts import Facts
from holdfast.ui.remarks import remark

DAYS = tuple(f"2026-03-{number:02d}T00:00:00Z" for number in range(1, 8))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "ward"\n')
    clock = ManualClock(1_780_000_000_000_000)
    with Registry.open(Deployment.open(tmp_path, {}).registry_url, clock) as found:
        found.add_version(name="ward", sha256="ab" * 32, created_at_us=0, created_by="t", metadata={})
        found.promote("1", reason="first", actor="t")
        yield found


@pytest.fixture
def caller(tmp_path: Path, registry: Registry) -> Caller:
    return Caller(make_dashboard(Deployment.open(tmp_path, {}), registry, ManualClock(1_780_000_000_000_000)))


def test_the_overview_says_that_nobody_is_told_where_no_channel_is_named(caller: Caller) -> None:
    assert "Nobody is told of alarms" in caller.get("/ui/").text


def test_the_overview_shows_alerts_with_what_became_of_them(caller: Caller, registry: Registry) -> None:
    content = {"title": "data <b>drift</b>", "kind": "opened"}
    sent, lost = registry.outbox.write(content, ["mail", "pager"], hold_us=0)
    registry.outbox.sent(sent.number)
    registry.outbox.failed(lost.number, "status 503", None)
    page = caller.get("/ui/").text
    assert "1 sent, 0 waiting, 1 given up" in page
    assert "Data &lt;b&gt;drift&lt;/b&gt;" in page
    assert "status 503" in page


def test_a_snooze_is_shown_as_long_as_it_silences_however_much_was_said_since(
    tmp_path: Path, registry: Registry
) -> None:
    clock = ManualClock(1_780_000_000_000_000)
    said = partial(remark, registry, actor="ann", version="1", evidence=1, now_us=clock.now_us())
    said("snooze", text="", hours=24)
    for number in range(60):
        said("comment", text=f"looked again, {number}")
    facts = Facts(Deployment.open(tmp_path, {}), registry, clock)
    assert make_diagnosis(facts).snoozed_until_us == clock.now_us() + 24 * 3_600_000_000


def test_a_diagnosis_without_the_history_of_columns_still_fills_the_page_of_drift(
    caller: Caller, registry: Registry
) -> None:
    windows = tuple(
        WindowEvidence(
            start=start, end=end, rows=100, labelled=50, log_e_data=2.0, log_e_concept=0.5, alarm=True
        )
        for start, end in pairwise(DAYS)
    )
    found = FeatureFinding(
        name="amount", kinds=("data drift",), log_e=9.0, shift_sd=0.4, psi=None, description="amount higher"
    )
    diagnosis = Diagnosis(
        verdict="data drift",
        kinds=("data drift",),
        alarm=True,
        shape=None,
        since=None,
        features=(found,),
        quality=None,
        coverage=Coverage(reference_rows=100, rows=600, windows=6, labelled=300, label_coverage=0.5),
        advice=(),
        summary="Data drift.",
        windows=windows,
        model_version="1",
    )
    registry.attach_evidence("1", "diagnosis", json.loads(diagnosis.to_json()))
    page = caller.get("/ui/drift").text
    assert "6 windows of version 1" in page
    assert "Evidence by window" in page
    assert "amount higher" in page
    assert "judged before columns were recorded" in page


def test_any_version_is_shown_beside_the_champion_and_all_stand_in_one_table(
    caller: Caller, registry: Registry
) -> None:
    for number in range(3):
        registry.add_version(
            name="ward", sha256=f"{number:02d}" * 32, created_at_us=0, created_by="t", metadata={}
        )
    page = caller.get("/ui/versions").text
    assert "All 4 versions" in page
    assert 'id="v1"' in page
    assert 'id="v4"' in page  # the newest
    assert 'id="v2"' not in page
    chosen = caller.get("/ui/versions?beside=2").text
    assert 'id="v2"' in chosen
    assert 'id="v4"' not in chosen
    assert caller.get("/ui/versions?beside=9").status_code == 404


def test_a_rollout_shows_where_it_stands_and_how_far_it_had_come_when_it_ended(
    caller: Caller, registry: Registry
) -> None:
    registry.add_version(name="ward", sha256="cd" * 32, created_at_us=0, created_by="t", metadata={})
    rollout = registry.rollouts.start(
        "2",
        kind="update",
        baseline={},
        assignment_key=bytes(16),
        deadline_us=2**51,
        earliest_decision_us=2**51,
        reason="retrained",
        actor="t",
        checklist_hash="",
        report={},
    )
    assert stages(caller) == [("shadow", "now"), ("1 %", ""), ("10 %", ""), ("50 %", ""), ("100 %", ""),
                              ("decision", "")]  # fmt: skip
    registry.rollouts.advance(rollout.number, 0.1, reason="quiet", actor="policy")
    assert stages(caller)[:3] == [("shadow", "done"), ("1 %", "done"), ("10 %", "now")]
    registry.rollouts.end(rollout.number, "rolled back", reason="errors", actor="policy")
    assert stages(caller) == [("shadow", "done"), ("1 %", "done"), ("10 %", "done"), ("50 %", ""),
                              ("100 %", ""), ("rolled back", "now")]  # fmt: skip


def stages(caller: Caller) -> list[tuple[str, str]]:
    found = re.search(r'<ol class="ramp".*?</ol>', caller.get("/ui/versions").text, re.DOTALL)
    assert found is not None
    items = re.findall(r'<li(?: class="(\w+)")?[^>]*>([^<]*)</li>', found[0])
    return [(name.replace("\u202f", " "), state) for state, name in items]


def test_a_change_older_than_the_windows_of_a_picture_has_no_mark_in_it() -> None:
    history = SimpleNamespace(starts=[f"2026-04-0{day}T00:00:00Z" for day in range(1, 5)])
    before, within = (Onset(*[f"2026-{day}T00:00:00Z"] * 3) for day in ("03-01", "04-02"))
    assert places_of(before, history) is None  # type: ignore[arg-type]  # only the starts are read
    assert places_of(within, history) == (0.0, 0.25, 0.5)  # type: ignore[arg-type]  # as above

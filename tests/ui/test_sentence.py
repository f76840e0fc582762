"""The sentence on top of the overview, in each state of a deployment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cookie_caller import Caller

from holdfast.clock import ManualClock
from holdfast.monitor import Coverage, Diagnosis, FeatureFinding, Onset, WindowEvidence
from holdfast.monitor.explained import ChangedRegion, Cost
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.stats import Estimate
from holdfast.ui import make_dashboard

HOURS = tuple(f"2026-03-14T{hour:02d}:00:00Z" for hour in range(10))
NONE = Estimate(0.0, 0.0, 0.0, 0)


def finding(name: str, kind: Any, description: str) -> FeatureFinding:
    return FeatureFinding(
        name=name, kinds=(kind,), log_e=9.0, shift_sd=None, psi=None, description=description
    )


def cost(low: float, value: float, high: float, currency: str | None = None) -> Cost:
    told = Estimate(value, low, high, 900)
    return Cost(
        loss="error rate",
        basis="labels",
        per_row=NONE,
        rows=900,
        so_far=told,
        per_day=told,
        currency=currency or "EUR",
        money_so_far=told if currency else None,
        money_per_day=told if currency else None,
    )


QUIET = Diagnosis(
    verdict="healthy",
    kinds=(),
    alarm=False,
    shape=None,
    since=None,
    features=(),
    quality=None,
    coverage=Coverage(reference_rows=900, rows=900, windows=9, labelled=450, label_coverage=0.5),
    advice=(),
    summary="Healthy.",
    windows=tuple(
        WindowEvidence(
            start=start, end=end, rows=100, labelled=50, log_e_data=0.1, log_e_concept=0.1, alarm=False
        )
        for start, end in pairwise(HOURS)
    ),
    model_version="1",
)
UNLABELLED = Coverage(reference_rows=900, rows=900, windows=9, labelled=0, label_coverage=0.0)


def alarm(*kinds: Any, **parts: Any) -> Diagnosis:
    found = {
        "verdict": " and ".join(kinds),
        "kinds": kinds,
        "alarm": True,
        "shape": "sudden",
        "since": Onset(HOURS[2], HOURS[2], HOURS[2]),
    }
    return msgspec.structs.replace(QUIET, **(found | parts))


ONLINE = finding("online", "data drift", "share of online: 21.2% → 51.4%")
STATES = {
    "healthy": (QUIET, "Nothing has drifted beyond tolerance for 9 h. Judged on 900 rows"),
    "without labels": (
        msgspec.structs.replace(QUIET, coverage=UNLABELLED),
        "Whether its answers are still right cannot be seen without labels: holdfast label FILE",
    ),
    "harmless data drift": (
        alarm("data drift", features=(ONLINE,), cost=cost(-11, -3, 6), advice=("Watch the quality.",)),
        (
            "Data drift, sudden, since 14 Mar 2026, 02:00 UTC (± 1 h): share of online: 21.2% → 51.4%. It "
            "may cost nothing: -3 more errors a day (-11 to 6). Suggested: Watch the quality."
        ),
    ),
    "data drift without labels": (
        alarm("data drift", features=(ONLINE,), coverage=UNLABELLED),
        "21.2% → 51.4%. What it costs is not known: no row is labelled.",
    ),
    "concept drift": (
        alarm(
            "concept drift",
            features=(finding("score", "concept drift", "at score 0.9, rarer"), ONLINE),
            regions=(
                ChangedRegion(
                    words="online is 1",
                    columns=("online",),
                    share=0.2,
                    change=NONE,
                    moved="positives are rarer than the reference leads to expect by 20 points",
                ),
            ),
            cost=cost(300, 410, 520, "EUR"),
            advice=("Retrain: tried on the labelled rows, that saves 0.8 (0.6 to 1.0) points.", "Later."),
        ),
        (
            "Concept drift, sudden, since 14 Mar 2026, 02:00 UTC (± 1 h): where online is 1, positives are "
            "rarer than the reference leads to expect by 20 points. Costs about 410 EUR a day (300 to 520). "
            "Suggested: Retrain: tried on the labelled rows, that saves 0.8 (0.6 to 1.0) points."
        ),
    ),
    "a change that costs less than before": (
        alarm("data drift", features=(ONLINE,), cost=cost(-50, -40, -30, "EUR")),
        "It costs nothing: -40 EUR a day (-50 to -30) against the reference.",
    ),
    "data fault": (
        alarm(
            "data fault", "data drift",
            features=(ONLINE, finding("amount", "data fault", "amount is stuck at 0.25 in every row")),
            since=Onset(HOURS[1], HOURS[2], HOURS[5]),
        ),
        "since 14 Mar 2026, 02:00 UTC (± 3 h): amount is stuck at 0.25 in every row.",
    ),
    "too few data": (
        msgspec.structs.replace(
            QUIET, verdict="too early to tell", windows=(), summary="No window of 1d has closed yet."
        ),
        "Too early to tell No window of 1d has closed yet.",
    ),
}  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "ward"\n')
    with Registry.open(
        Deployment.open(tmp_path, {}).registry_url, ManualClock(1_780_000_000_000_000)
    ) as found:
        yield found


def said(folder: Path, registry: Registry) -> str:
    """The words of the box on top."""
    app = make_dashboard(Deployment.open(folder, {}), registry, ManualClock(1_780_000_000_000_000))
    box = re.search(r'<section class="card verdict.*?</section>', Caller(app).get("/ui/").text, re.DOTALL)
    assert box is not None
    text = unescape(re.sub(r"<[^>]*>", " ", box[0])).replace("\u202f", " ").replace("\u2212", "-")
    return re.sub(r"\s+([.,:;)])", r"\1", re.sub(r"\s+", " ", text))


def champion(registry: Registry) -> None:
    registry.add_version(name="ward", sha256="ab" * 32, created_at_us=0, created_by="t", metadata={})
    registry.promote("1", reason="first", actor="t")


@pytest.mark.parametrize("state", STATES)
def test_the_sentence_says_what_since_when_where_at_what_cost_and_what_to_do(
    state: str, tmp_path: Path, registry: Registry
) -> None:
    champion(registry)
    diagnosis, words = STATES[state]
    registry.attach_evidence("1", "diagnosis", json.loads(diagnosis.to_json()))
    assert words in said(tmp_path, registry)


def test_before_anything_is_judged_the_next_step_is_said(tmp_path: Path, registry: Registry) -> None:
    assert "No model version answers yet. Register one" in said(tmp_path, registry)
    champion(registry)
    assert "nothing of it has been judged yet. The monitor judges a window" in said(tmp_path, registry)

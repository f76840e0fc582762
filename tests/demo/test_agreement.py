"""Agreement is strict: every kind, no other, and the day."""

from __future__ import annotations

import pytest

from holdfast.demo.agreement import disagreements
from holdfast.demo.world import Truth
from holdfast.monitor.diagnosis import Coverage, Diagnosis, DriftKind, Onset

CHANGED = Truth(
    kinds=("data drift", "concept drift"),
    since="2026-05-04T00:00:00.000000Z",
    shape="sudden",
    features=("online",),
)
STILL = Truth(kinds=(), since=None, shape=None, features=())


def found(*kinds: DriftKind, since: str | None = None) -> Diagnosis:
    return Diagnosis(
        verdict=" and ".join(kinds) or "healthy",
        kinds=kinds,
        alarm=bool(kinds),
        shape="sudden" if kinds else None,
        since=None if since is None else Onset(since, since, since),
        features=(),
        quality=None,
        coverage=Coverage(reference_rows=1, rows=1, windows=1, labelled=1, label_coverage=1.0),
        advice=(),
        summary="",
    )


def test_the_true_kinds_on_the_true_day_agree_in_any_order() -> None:
    assert disagreements(CHANGED, found("concept drift", "data drift", since="2026-05-04T00:00:00Z")) == ()


def test_silence_agrees_with_a_world_that_stays() -> None:
    assert disagreements(STILL, found()) == ()


@pytest.mark.parametrize("since", ["2026-05-03T00:00:00Z", "2026-05-05T00:00:00.000000+00:00"])
def test_one_window_away_still_agrees(since: str) -> None:
    assert disagreements(CHANGED, found("data drift", "concept drift", since=since)) == ()


@pytest.mark.parametrize(
    ("truth", "diagnosis", "words"),
    [
        (STILL, found("data drift", since="2026-05-04T00:00:00Z"), "without a change"),
        (CHANGED, found(), "no alarm"),
        (CHANGED, found("data drift", since="2026-05-04T00:00:00Z"), "missed: concept drift"),
        (
            CHANGED,
            found("data drift", "concept drift", "label shift", since="2026-05-04T00:00:00Z"),
            "made up: label shift",
        ),
        (CHANGED, found("data drift", "concept drift"), "since when"),
        (CHANGED, found("data drift", "concept drift", since="2026-05-06T00:00:00Z"), "2.0 days"),
        (CHANGED, found("data drift", "concept drift", since="2026-05-02T00:00:00Z"), "2.0 days"),
    ],
)
def test_anything_else_disagrees_and_says_why(truth: Truth, diagnosis: Diagnosis, words: str) -> None:
    assert any(words in one for one in disagreements(truth, diagnosis))

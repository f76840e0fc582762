"""What is shown is what was measured and found."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from holdfast.demo.report import DemoReport
from holdfast.demo.screen import LiveScreen, Standing
from holdfast.demo.world import Truth
from holdfast.monitor.diagnosis import Coverage, Diagnosis, Onset, WindowEvidence

SINCE = "2026-05-04T00:00:00.000000Z"
DIAGNOSIS = Diagnosis(
    verdict="data drift",
    kinds=("data drift",),
    alarm=True,
    shape="sudden",
    since=Onset(SINCE, SINCE, SINCE),
    features=(),
    quality=None,
    coverage=Coverage(reference_rows=1, rows=1, windows=1, labelled=1, label_coverage=1.0),
    advice=("Look at the shop.",),
    summary="Something has moved.",
    windows=(
        WindowEvidence(
            start=SINCE,
            end=SINCE,
            rows=1234,
            labelled=7,
            log_e_data=1.5,
            log_e_concept=None,
            alarm=True,
            quality=0.75,
        ),
    ),
)
STANDING = Standing(
    day=3, days=28, date="2026-05-04", predictions=12345, labels=678, errors=2,
    predictions_per_s=999.0, latency_p50_ms=1.5, latency_p99_ms=9.5,
)  # fmt: skip
REPORT = DemoReport(
    seed=1,
    change=True,
    fast=True,
    truth=Truth(kinds=("data drift", "concept drift"), since=SINCE, shape="sudden", features=("online",)),
    diagnosis=DIAGNOSIS.to_dict(),
    agrees=False,
    disagreements=("missed: concept drift",),
    predictions=12345,
    labels=678,
    unaccounted=4,
    verified=True,
    errors={"503": 2},
    error_texts=("503: busy",),
    predictions_per_s=999.0,
    latency_p50_ms=1.5,
    latency_p99_ms=9.5,
    reference_auc=0.9,
    timings_s={"total": 21.0},
    folder="kept",
)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120, force_terminal=True, record=True)


def test_the_moving_part_shows_progress_speed_and_evidence(console: Console) -> None:
    screen = LiveScreen(console)
    with screen:
        screen.phase("Playing")
        screen.standing(STANDING)
        screen.judged(DIAGNOSIS)
    text = console.export_text()
    for shown in (
        "Playing",
        "day 3 of 28",
        "12,345 predictions",
        "999/s",
        "p99 9.5 ms",
        "2 errors",
        "1,234",
        "0.750",
        "an alarm stands at 1",
    ):
        assert shown in text


def test_the_end_shows_the_diagnosis_the_truth_and_what_is_wrong(console: Console) -> None:
    screen = LiveScreen(console)
    with screen:
        screen.phase("Playing")
    screen.finished(REPORT, DIAGNOSIS)
    text = console.export_text()
    for shown in (
        "Something has moved", "Look at the shop", "In the night to 2026-05-04", "They do not agree",
        "missed: concept drift", "4 not in the log", "2 requests without a good answer (503)", "kept",
    ):  # fmt: skip
        assert shown in text


def test_a_world_without_change_and_agreement_are_shown_as_such(console: Console) -> None:
    still = msgspec.structs.replace(
        REPORT,
        agrees=True,
        disagreements=(),
        unaccounted=0,
        errors={},
        truth=Truth(kinds=(), since=None, shape=None, features=()),
    )
    LiveScreen(console).finished(still, DIAGNOSIS)
    text = console.export_text()
    assert "Nothing changed" in text
    assert "They agree" in text
    assert "every one of them in the log" in text


def test_the_report_in_words_says_the_same() -> None:
    text = str(REPORT)
    assert "Something has moved." in text
    assert f"Truth: data drift and concept drift since {SINCE}." in text
    assert "They do not agree: missed: concept drift." in text
    assert "4 unaccounted" in text

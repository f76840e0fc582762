"""The honest test: the whole loop over HTTP, judged against a truth that the service is never told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from holdfast.demo import DemoError, DemoReport, run_demo

pytestmark = pytest.mark.slow


def must_be_sound(report: DemoReport) -> None:
    assert report.errors == {}, report.error_texts
    assert report.unaccounted == 0
    assert report.verified
    assert report.predictions > 25_000
    assert report.labels > 0.85 * report.predictions
    assert msgspec.json.decode(msgspec.json.encode(report))["agrees"] is report.agrees


def test_it_finds_what_changed_and_when() -> None:
    report = run_demo(seed=1, fast=True, headless=True)
    must_be_sound(report)
    assert report.disagreements == ()
    assert report.diagnosis["shape"] == "sudden"
    assert report.diagnosis["features"][0]["name"] in report.truth.features


def test_it_is_silent_when_nothing_changed(tmp_path: Path) -> None:
    report = run_demo(seed=2, change=False, fast=True, headless=True, folder=tmp_path / "kept")
    must_be_sound(report)
    assert report.truth.kinds == ()
    assert report.disagreements == ()
    assert (tmp_path / "kept" / "holdfast.toml").exists()
    with pytest.raises(DemoError, match="not empty"):
        run_demo(folder=tmp_path / "kept")

"""The report: one page that needs nothing, a PDF, and numbers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from holdfast.clock import ManualClock
from holdfast.errors import MissingExtraError
from holdfast.monitor import Coverage, Diagnosis, FeatureFinding
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.ui import Report, ReportError, make_report, write_report
from holdfast.ui.facts import Facts

HOSTILE = '<script>alert(1)</script> #set page(fill: red) $x$ *b* \\ " é → 日本'


@pytest.fixture
def report(tmp_path: Path) -> Report:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "ward"\n')
    deployment = Deployment.open(tmp_path, {})
    diagnosis = Diagnosis(
        verdict="data drift",
        kinds=("data drift",),
        alarm=True,
        shape=None,
        since=None,
        features=(
            FeatureFinding(
                name=HOSTILE, kinds=("data drift",), log_e=9.0, shift_sd=None, psi=None, description=HOSTILE
            ),
        ),
        quality=None,
        coverage=Coverage(reference_rows=100, rows=1234567, windows=3, labelled=0, label_coverage=0.0),
        advice=(HOSTILE,),
        summary=HOSTILE,
        model_version="1",
    )
    clock = ManualClock(1_700_000_000_000_000)
    with Registry.open(deployment.registry_url, clock) as registry:
        registry.add_version(name="ward", sha256="ab" * 32, created_at_us=0, created_by="t", metadata={})
        registry.promote("1", reason=HOSTILE, actor="t")
        registry.attach_evidence("1", "diagnosis", json.loads(diagnosis.to_json()))
        return make_report(Facts(deployment, registry, clock))


def test_the_page_needs_nothing_else_and_runs_nothing(report: Report, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    write_report(report, target)
    text = target.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == []
    assert "1,234,567" in text
    assert "@import" not in text


def test_the_pdf_holds_hostile_text_as_text(report: Report, tmp_path: Path) -> None:
    target = tmp_path / "report.pdf"
    write_report(report, target)
    assert target.read_bytes().startswith(b"%PDF-")
    assert list(tmp_path.glob(".*")) == []


def test_a_missing_typst_names_the_extra(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(MissingExtraError, match=r"holdfast\[pdf\]"):
        write_report(report, tmp_path / "report.pdf")


def test_another_ending_is_refused(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"expected \.html or \.pdf; received \.docx"):
        write_report(report, tmp_path / "report.docx")

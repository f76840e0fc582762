"""The report: one page that needs nothing, a PDF, and numbers."""

from __future__ import annotations

import json
import re
import sys
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from holdfast.cli.pages import report_command
from holdfast.clock import ManualClock
from holdfast.errors import MissingExtraError
from holdfast.monitor import ColumnHistory, Coverage, Diagnosis, FeatureFinding, History, WindowEvidence
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.stats import Estimate
from holdfast.ui import Report, ReportError, charts, make_report, write_report
from holdfast.ui.drift import Drift, drift_row
from holdfast.ui.facts import Facts
from holdfast.ui.printing import standalone

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


def test_the_pdf_shows_evidence_quality_and_every_column_as_pictures(report: Report, tmp_path: Path) -> None:
    windows, alone = 12, write_pdf(report, tmp_path / "alone.pdf")
    column = ColumnHistory(
        name="amount \x01 <svg>",
        role="input",
        numeric=True,
        cells=("0 to 1", "missing"),
        outside=1,
        reference=(90, 10),
        counts=((80, 20),) * windows,
        data=tuple(0.2 * number for number in range(windows)),
        concept=(None,) * windows,
    )
    history = History(
        format=1,
        model_version="1",
        metric="accuracy",
        starts=tuple(f"2026-03-{number:02d}T00:00:00Z" for number in range(1, 1 + windows)),
        ends=tuple(f"2026-03-{number:02d}T00:00:00Z" for number in range(2, 2 + windows)),
        rows=(100,) * windows,
        labelled=(50,) * windows,
        quality=(Estimate(0.9, 0.85, 0.95, 50),) * windows,
        reference_quality=Estimate(0.9, 0.89, 0.91, 1000),
        overall=(None,) * windows,
        columns=(column,),
    )
    stored = report.diagnosis.stored
    assert stored is not None
    diagnosis = replace(
        stored.diagnosis,
        windows=tuple(
            WindowEvidence(
                start=start, end=end, rows=100, labelled=50, log_e_data=2.0, log_e_concept=None, alarm=True
            )
            for start, end in zip(history.starts, history.ends, strict=True)
        ),
    )
    stored = replace(stored, diagnosis=diagnosis)
    drawn = replace(
        report,
        diagnosis=replace(report.diagnosis, stored=stored, history=history),
        drift=Drift(
            stored=stored,
            part=None,
            diagnosis=diagnosis,
            history=history,
            rows=(drift_row(column, None),),
            slices=(),
            sliced_by=(),
        ),
    )
    # Strokes of a curve: with pictures the document holds many more of Typst's drawing operators.
    assert strokes(write_pdf(drawn, tmp_path / "drawn.pdf")) > strokes(alone) + 5


def write_pdf(report: Report, target: Path) -> bytes:
    write_report(report, target)
    return target.read_bytes()


def strokes(pdf: bytes) -> int:
    """How often a path is stroked, over all content streams."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    found = 0
    for stream in streams:
        try:
            found += len(re.findall(rb"(?m)^S$", zlib.decompress(stream)))
        except zlib.error:
            continue
    return found


def test_a_picture_for_paper_keeps_shapes_and_says_nothing_of_the_data() -> None:
    picture = standalone(charts.sparkline([0.0, 4.0], name="x \x01 <b>"), width_pt=200.0, height_pt=50.0)
    assert "x \x01" not in picture
    # Two windows: their middles are at a quarter and three quarters of the width; the scale is square root.
    assert 'd="M50.00 48.50L150.00 1.50"' in picture


def test_a_missing_typst_names_the_extra(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(MissingExtraError, match=r"holdfast\[pdf\]"):
        write_report(report, tmp_path / "report.pdf")


def test_another_ending_is_refused(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"expected \.html or \.pdf; received \.docx"):
        write_report(report, tmp_path / "report.docx")


@pytest.mark.parametrize("said", ["country", "=home"])
def test_a_slice_is_a_column_and_its_value(said: str, tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "ward"\n')
    found = CliRunner().invoke(report_command, ["--json", "--slice", said, "-C", str(tmp_path)])
    assert found.exit_code == 2
    assert "a column and its value" in found.output

"""The diagnosis as one file: HTML that needs nothing else, a PDF, or the numbers as JSON.

The PDF is set by Typst from the same values, handed over as data and never as markup, so that nothing in a
name or a reason can become a command.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

import holdfast
from holdfast.clock import iso_utc
from holdfast.errors import MissingExtraError
from holdfast.monitor import Diagnosis
from holdfast.ui import words
from holdfast.ui.checks import ChecklistPage, make_checklist
from holdfast.ui.decisions import DiagnosisPage, make_diagnosis, make_versions
from holdfast.ui.drift import Drift, make_drift, onset_places
from holdfast.ui.errors import ReportError
from holdfast.ui.facts import Facts
from holdfast.ui.files import static_text
from holdfast.ui.overview import Headline, headline
from holdfast.ui.render import render

_SUFFIXES = (".html", ".pdf")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the pages say of one deployment, raw rows and live traffic apart."""

    deployment: str
    at_us: int
    holdfast: str
    headline: Headline
    diagnosis: DiagnosisPage
    drift: Drift
    checklist: ChecklistPage
    versions: Any
    """As on the versions page."""


def make_report(facts: Facts) -> Report:
    """Read all of it."""
    diagnosis = make_diagnosis(facts)
    return Report(
        deployment=facts.deployment.name,
        at_us=facts.clock.now_us(),
        holdfast=holdfast.__version__,
        headline=headline(diagnosis.champion, diagnosis.stored, diagnosis.snoozed_until_us),
        diagnosis=diagnosis,
        drift=make_drift(facts),
        checklist=make_checklist(facts),
        versions=make_versions(facts),
    )


def write_report(report: Report, target: Path) -> None:
    """Write the report to one file, whole or not at all.

    Raises:
        ReportError: the name ends neither in `.html` nor in `.pdf`, or Typst refuses.
        MissingExtraError: a PDF is asked for and Typst is not installed.
    """
    if target.suffix == ".html":
        content = report_html(report).encode()
    elif target.suffix == ".pdf":
        content = report_pdf(report)
    else:
        raise ReportError(
            "the file's name does not say what it is to be",
            where=str(target),
            expected=" or ".join(_SUFFIXES),
            received=target.suffix or "no ending",
        )
    unfinished = target.with_name(f".{target.name}.partial")
    unfinished.write_bytes(content)
    unfinished.replace(target)


def report_html(report: Report) -> str:
    """One page with its style in it and no script; times are in UTC."""
    return render("report.html", report=report, style=static_text("app.css"), onset_places=onset_places)


def report_pdf(report: Report) -> bytes:
    """An A4 document, about 50 ms.

    Raises:
        MissingExtraError: Typst is not installed.
        ReportError: Typst refuses.
    """
    try:
        import typst
    except ImportError as error:
        raise MissingExtraError("typst", "pdf") from error
    source = files("holdfast.ui").joinpath("templates", "report.typ").read_bytes()
    data = msgspec.json.encode(_document(report)).decode()
    try:
        made: bytes = typst.compile(source, sys_inputs={"report": data})
    except RuntimeError as error:
        raise ReportError(f"the PDF cannot be set: {error}") from error
    return made


def _document(report: Report) -> dict[str, Any]:
    """The PDF's words and tables: all text, in the order of the page."""
    stored = report.diagnosis.stored
    diagnosis = None if stored is None else stored.diagnosis
    state = report.headline.state
    found: dict[str, Any] = {
        "deployment": report.deployment,
        "at": _time(report.at_us),
        "holdfast": report.holdfast,
        "state": words.capital(state),
        "alarm": state == "alarm",
        "summary": diagnosis.summary if diagnosis else "Nothing has been judged yet: run holdfast monitor.",
        "advice": list(diagnosis.advice) if diagnosis else [],
        "notes": list(diagnosis.notes) if diagnosis else [],
        "sections": [],
    }
    if diagnosis is not None:
        found["sections"] += _of_diagnosis(diagnosis)
    found["sections"].append(
        {
            "title": "Decisions and what came of them",
            "columns": ["When (UTC)", "Decision", "By", "Reason", "Now", "Quality since"],
            "rows": [
                [
                    _time(one.decision.at_us),
                    f"{one.decision.action} version {one.decision.version}",
                    one.decision.actor,
                    one.decision.reason,
                    one.verdict or "not judged",
                    _estimate(one.quality),
                ]
                for one in report.diagnosis.outcomes
            ],
        }
    )
    remarks = report.diagnosis.remarks
    found["sections"].append(
        {
            "title": "Remarks",
            "columns": ["When (UTC)", "Act", "By", "Text"],
            "rows": [[_time(one.at_us), one.act, one.actor, one.text] for one in remarks],
        }
    )
    found["sections"].append(
        {
            "title": "Checklist",
            "columns": ["Line", "Asked", "Measured", "Verdict", "What to do"],
            "rows": [
                [one.line, words.raw(one.asked), words.raw(one.measured), one.verdict, one.advice]
                for one in report.checklist.lines
            ],
        }
    )
    return found


def _of_diagnosis(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    sections = [
        {
            "title": "What was found",
            "columns": ["Column", "Kind", "Found", "Since (UTC)"],
            "rows": [
                [one.name, ", ".join(one.kinds), one.description, _moment(one.since)]
                for one in diagnosis.features
            ],
        }
    ]
    if diagnosis.loss_change is not None:
        change = diagnosis.loss_change
        parts = (
            ("In all", change.total),
            ("Changed mapping from x to y", change.changed_mapping),
            ("Harder, but known inputs", change.harder_inputs),
            ("New inputs", change.new_inputs),
        )
        sections.append(
            {
                "title": f"Why the {change.loss} changed",
                "columns": ["Part", "Change, 95 % interval"],
                "rows": [[name, _estimate(part, 4)] for name, part in parts],
            }
        )
    if diagnosis.options:
        sections.append(
            {
                "title": "Options, tried on the past",
                "columns": ["Option", f"Saves per row, {diagnosis.options[0].unit}", "Sure"],
                "rows": [
                    [
                        f"{one.action} {one.detail}".strip(),
                        _estimate(one.gain, 4),
                        "yes" if one.sure else "no",
                    ]
                    for one in diagnosis.options
                ],
            }
        )
    qualities = ([diagnosis.quality] if diagnosis.quality else []) + list(diagnosis.estimated)
    sections.append(
        {
            "title": "Quality",
            "columns": ["Metric", "Reference", "Before", "Since the change"],
            "rows": [
                [
                    one.metric
                    + (", expected without labels" if hasattr(one, "assumption") else ", on labels"),
                    _estimate(one.reference),
                    _estimate(one.before),
                    _estimate(one.after),
                ]
                for one in qualities
            ],
        }
    )
    coverage = diagnosis.coverage
    sections.append(
        {
            "title": "What it rests on",
            "columns": ["", ""],
            "rows": [
                ["Rows", f"{coverage.rows:,} in {coverage.windows} windows"],
                ["Reference", f"{coverage.reference_rows:,} rows"],
                ["Labelled", f"{coverage.labelled:,} ({words.share(coverage.label_coverage)})"],
                ["Unaccounted for", "unknown" if coverage.unaccounted is None else str(coverage.unaccounted)],
            ],
        }
    )
    return sections


def _estimate(estimate: Any, digits: int = 3) -> str:
    if estimate is None:
        return words.DASH
    return f"{words.number(estimate.value, digits)} ({words.interval(estimate, digits)})"


def _moment(text: str | None) -> str:
    """A time of the diagnosis, the day alone at midnight."""
    return "" if text is None else text.partition(".")[0].replace("T", " ").removesuffix(" 00:00:00")


def _time(at_us: int) -> str:
    return iso_utc(at_us)[:16].replace("T", " ")

"""The diagnosis as one file: HTML that needs nothing else, a PDF, or the numbers as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

import holdfast
from holdfast.files import write_whole
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


def make_report(facts: Facts, sliced: tuple[str, str] = ("", "")) -> Report:
    """Read all of it.

    Args:
        facts: of the deployment.
        sliced: column and value of the slice whose drift it tells; ("", ""): that of all rows.

    Raises:
        PageNotFoundError: there is no such slice.
    """
    diagnosis = make_diagnosis(facts)
    return Report(
        deployment=facts.deployment.name,
        at_us=facts.clock.now_us(),
        holdfast=holdfast.__version__,
        headline=headline(diagnosis.champion, diagnosis.stored, diagnosis.snoozed_until_us),
        diagnosis=diagnosis,
        drift=make_drift(facts, *sliced),
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
        from holdfast.ui.paper import report_pdf

        content = report_pdf(report)
    else:
        raise ReportError(
            "the file's name does not say what it is to be",
            where=str(target),
            expected=" or ".join(_SUFFIXES),
            received=target.suffix or "no ending",
        )
    write_whole(target, content)


def report_html(report: Report) -> str:
    """One page with its style in it and no script; times are in UTC."""
    return render("report.html", report=report, style=static_text("app.css"), onset_places=onset_places)

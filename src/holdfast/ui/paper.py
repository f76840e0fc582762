"""The report on paper: A4, set by Typst, with the pictures of the pages.

Words and numbers are handed over as data and never as markup, so that nothing in a name or reason can become
a command; pictures are SVG made here, without any of those words in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.clock import iso_utc
from holdfast.errors import MissingExtraError
from holdfast.monitor import Diagnosis, FeatureFinding, History
from holdfast.ui import charts, words
from holdfast.ui.drift import Drift, onset_places, slice_evidence
from holdfast.ui.errors import ReportError
from holdfast.ui.load import LoadView
from holdfast.ui.printing import standalone
from holdfast.ui.render import estimated_of, labelled_shares, newest

if TYPE_CHECKING:
    from markupsafe import Markup

    from holdfast.stats import Estimate
    from holdfast.ui.report import Report

_WIDE: Final = (440.0, 92.0)
"""Points, of a picture as wide as the text; its axis stands beside it."""
_LOW: Final = (440.0, 20.0)
_IN_CELL: Final = (110.0, 10.0)
_MOST_COLUMNS: Final = 400
"""Of the table of all columns, 12 pages of them; what matters comes first."""
_LONG_WORD: Final = re.compile(r"\S{16}(?=\S{4})")
Picture = dict[str, Any]


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
    data = msgspec.json.encode(_breakable(_document(report))).decode()
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
        "pictures": [],
        "sections": [],
    }
    history = report.diagnosis.history
    if diagnosis is not None:
        if history is not None:
            found["pictures"] = _pictures(diagnosis, history)
        found["sections"] += _of_diagnosis(diagnosis)
    if report.checklist.load is not None:
        found["pictures"] = [*found["pictures"], _load(report.checklist.load)]
    if report.drift.rows:
        found["sections"].append(_columns(report.drift))
    if report.drift.slices:
        found["sections"].append(_slices(report.drift))
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
                [one.name, ", ".join(one.kinds), one.description, _began(one)] for one in diagnosis.features
            ],
        }
    ]
    if diagnosis.loss_change is not None:
        change = diagnosis.loss_change
        second = change.changed_mapping.value
        parts = (
            ("Changed mapping from x to y (concept drift)", change.changed_mapping, 0.0),
            ("Harder, but known inputs (data drift)", change.harder_inputs, second),
            ("New inputs (data drift)", change.new_inputs, second + change.harder_inputs.value),
            ("In all", change.total, 0.0),
        )
        drawn = _whiskers([part for _, part, _ in parts], [start for _, _, start in parts])
        sections.append(
            {
                "title": f"Why the {change.loss} changed",
                "columns": ["Part", "Change, 95 % interval", ""],
                "rows": [
                    _cells(name, _change(part, change.loss), picture)
                    for (name, part, _), picture in zip(parts, drawn, strict=True)
                ],
            }
        )
    if diagnosis.options:
        options = diagnosis.options
        gains = _whiskers([one.gain for one in options], [0.0] * len(options))
        sections.append(
            {
                "title": "Options, tried on the past",
                "columns": ["Option", f"Saves per row, {options[0].unit}", "", "Sure"],
                "rows": [
                    _cells(
                        words.capital(f"{one.action} {one.detail}".strip()),
                        _estimate(one.gain, 4),
                        picture,
                        "yes" if one.sure else "no",
                    )
                    for one, picture in zip(options, gains, strict=True)
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


def _breakable(value: Any) -> Any:
    """The same with places to break in words that are longer than a narrow cell; pictures as they are."""
    if isinstance(value, str):
        return _LONG_WORD.sub(lambda found: found[0] + "\u200b", value)
    if isinstance(value, list):
        return [_breakable(one) for one in value]
    if isinstance(value, dict):
        return {name: one if name == "svg" else _breakable(one) for name, one in value.items()}
    return value


def _pictures(diagnosis: Diagnosis, history: History) -> list[Picture]:
    """Evidence and quality through time, as on the page of drift."""
    windows = newest(diagnosis.windows, history)
    onset = onset_places(diagnosis, history)
    data = [one.log_e_data for one in windows]
    concept = [one.log_e_concept for one in windows]
    strongest = max([4.0, *data, *(one for one in concept if one is not None)])
    began = [{"kind": "onset", "text": "Began, with its interval"}] if onset else []
    span = [_moment(history.starts[0]), _moment(history.ends[-1])] if history.starts else ["", ""]
    found = [
        {
            "title": "Evidence of change, window by window",
            "rows": [
                {
                    "svg": _picture(charts.evidence(data, concept, onset=onset, label=""), _WIDE),
                    "axis": [words.number(strongest, 2), words.number(strongest / 4, 2), "0"],
                }
            ],
            "span": span,
            "legend": [
                {"kind": "data", "text": "Inputs and outputs (data drift)"},
                {"kind": "concept", "text": "Truth given the inputs (concept drift)"},
                {"kind": "level", "text": "Alarm at 1"},
                *began,
            ],
        }
    ]
    estimated = estimated_of(history, diagnosis.windows)
    known = [one for one in (*history.quality, *estimated, history.reference_quality) if one is not None]
    if not known:
        return found
    low, high = min(one.low for one in known), max(one.high for one in known)
    room = 0.06 * (high - low)
    low, high = low - room, high + room
    if all(one.value >= 0 for one in known):
        low = max(low, 0.0)
    if all(one.value <= 1 for one in known):
        high = min(high, 1.0)  # a share; only the ends of intervals may lie beyond
    level = history.reference_quality
    picture = charts.quality(
        [_triple(one) for one in history.quality],
        [_triple(one) for one in estimated],
        reference=None if level is None else level.value,
        bounds=(low, high),
        onset=onset,
        label="",
    )
    covered = charts.columns(labelled_shares(history), top=1.0, label="")
    legend = [{"kind": "data", "text": f"{words.capital(history.metric)}, on labels, with 95 % interval"}]
    if any(one is not None for one in estimated):
        legend.append({"kind": "estimated", "text": "Expected without labels"})
    if level is not None:
        legend.append({"kind": "level", "text": "On the reference"})
    found.append(
        {
            "title": "Quality, and the share of rows with a label under it",
            "rows": [
                {
                    "svg": _picture(picture, _WIDE),
                    "axis": [words.number(high), words.number((low + high) / 2), words.number(low)],
                },
                {"svg": _picture(covered, _LOW), "axis": ["100 %", "0"]},
            ],
            "span": span,
            "legend": [*legend, *began],
        }
    )
    return found


def _load(view: LoadView) -> dict[str, Any]:
    curve = view.curve
    most, least = view.latencies_ms[1], view.latencies_ms[0]
    legend = [
        {"kind": "data", "text": "99th percentile"},
        {"kind": "estimated", "text": "Median, each with its 95 % interval"},
        {
            "kind": "level",
            "text": f"Asked: {words.number(curve.p99_ms)} ms, {words.number(curve.qps)} requests/s",
        },
    ]
    if curve.rate_per_s:
        text = f"Highest rate that keeps [speed]: {words.number(curve.rate_per_s)}/s"
        legend.append({"kind": "onset", "text": text})
    return {
        "title": "Latency in ms against load, both scales logarithmic",
        "rows": [
            {
                "svg": _picture(view.picture, _WIDE),
                "axis": [words.number(one, 2) for one in (most, view.middle(view.latencies_ms), least)],
            }
        ],
        "span": [f"{words.number(end, 2)} requests/s" for end in view.rates],
        "legend": legend,
    }


def _columns(drift: Drift) -> dict[str, Any]:
    left_out = len(drift.rows) - _MOST_COLUMNS
    note = (
        f"The {_MOST_COLUMNS} that matter most. {left_out:,} more columns have less evidence of a change; "
        "the HTML report has them all: holdfast report FILE.html"
    )
    of = "" if drift.part is None else f" where {drift.part.column} = {drift.part.value}"
    count = "Every column" if left_out <= 0 else f"{_MOST_COLUMNS} of {len(drift.rows):,} columns"
    return {
        "title": f"{count}{of}",
        "note": note if left_out > 0 else "",
        "columns": ["Column", "Evidence over time", "Data", "Concept", "Outside the reference"],
        "rows": [
            [
                row.name,
                _spark(row.evidence),
                words.number(row.recent_data, 2),
                words.number(row.recent_concept, 2),
                words.share(row.outside),
            ]
            for row in drift.rows[:_MOST_COLUMNS]
        ],
    }


def _slices(drift: Drift) -> dict[str, Any]:
    return {
        "title": f"Slices by {', '.join(drift.sliced_by)}",
        "columns": ["Slice", "Evidence over time", "Share of rows", "Quality, 95 % interval", "Found"],
        "rows": [
            [
                one.name,
                _spark(slice_evidence(one)),
                words.share(one.recent_share),
                _estimate(one.quality),
                f"{', '.join(one.kinds)}: {one.description}" if one.kinds else words.DASH,
            ]
            for one in drift.slices
        ],
    }


def _spark(evidence: Sequence[float]) -> Picture:
    return {"svg": _picture(charts.sparkline(evidence), (110.0, 16.0)), "width": 110.0}


def _whiskers(parts: Sequence[Estimate], starts: Sequence[float]) -> list[Picture]:
    """Numbers with their intervals on one scale, for the cells of a table."""
    least = min(0.0, *(start + part.low for part, start in zip(parts, starts, strict=True)))
    most = max(0.0, *(start + part.high for part, start in zip(parts, starts, strict=True)))
    return [
        {
            "svg": _picture(
                charts.whisker(part.value, part.low, part.high, least=least, most=most, start=start), _IN_CELL
            ),
            "width": _IN_CELL[0],
        }
        for part, start in zip(parts, starts, strict=True)
    ]


def _cells(*cells: str | Picture) -> list[Any]:
    """A row of words and pictures."""
    return list(cells)


def _picture(picture: Markup, size_pt: tuple[float, float]) -> str:
    return standalone(picture, width_pt=size_pt[0], height_pt=size_pt[1])


def _triple(estimate: Estimate | None) -> tuple[float, float, float] | None:
    return None if estimate is None else (estimate.value, estimate.low, estimate.high)


def _change(part: Estimate, loss: str) -> str:
    low, high = words.change(part.low, loss), words.change(part.high, loss)
    return f"{words.change(part.value, loss)} ({low} to {high})"


def _estimate(estimate: Any, digits: int = 3) -> str:
    if estimate is None:
        return words.DASH
    return f"{words.number(estimate.value, digits)} ({words.interval(estimate, digits)})"


def _moment(text: str | None) -> str:
    """A time of the diagnosis, the day alone at midnight."""
    return "" if text is None else text.partition(".")[0].replace("T", " ").removesuffix(" 00:00:00")


def _began(finding: FeatureFinding) -> str:
    """When a column changed, with its interval where that is wider than one window."""
    onset = finding.onset
    if onset is None or onset.earliest == onset.latest:
        return _moment(finding.since)
    return f"{_moment(onset.estimate)} ({_moment(onset.earliest)} to {_moment(onset.latest)})"


def _time(at_us: int) -> str:
    return iso_utc(at_us)[:16].replace("T", " ")

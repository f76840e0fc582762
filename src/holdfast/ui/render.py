"""Templates to pages. Everything that comes from data is escaped; only our own markup is not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup

from holdfast.monitor import Diagnosis, FeatureFinding, History, WindowEvidence
from holdfast.stats import Estimate
from holdfast.ui import charts, words
from holdfast.ui.decisions import Bounds
from holdfast.ui.drift import slice_evidence
from holdfast.ui.overview import quiet_days
from holdfast.ui.sentence import also_in, cause, none_at_all, unsure, within

NAVIGATION: Final = (
    ("overview", "/ui/", "Overview"),
    ("drift", "/ui/drift", "Drift"),
    ("diagnosis", "/ui/diagnosis", "Diagnosis"),
    ("versions", "/ui/versions", "Versions"),
    ("predictions", "/ui/predictions", "Predictions"),
    ("checklist", "/ui/checklist", "Checklist"),
)


@cache
def environment() -> jinja2.Environment:
    """The templates of this package, with escaping on and unknown names refused."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("holdfast.ui", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        number=words.number,
        share=words.share,
        interval=words.interval,
        duration=words.duration,
        size=words.size,
        when=words.when,
        capital=words.capital,
        change=words.change,
        metric=words.metric,
        raw=words.raw,
        own_name=words.own_name,
        soft=words.soft,
    )
    made.globals["estimated_of"] = estimated_of
    made.globals.update(cause=cause, also_in=also_in, within=within, unsure=unsure, none_at_all=none_at_all)
    made.globals["narrowed"] = _narrowed
    made.globals["slice_evidence"] = slice_evidence
    made.filters["triple"] = _triple
    made.globals.update(labelled_shares=labelled_shares, newest=newest, beyond_columns=_beyond_columns)
    made.globals["style_of"] = _style_of
    made.globals.update(
        charts=charts, navigation=NAVIGATION, link=link, tree=tree, zip=zip, quiet_days=quiet_days
    )
    return made


_FIRST: Final = ("base.html", "parts.html", "verdict.html", "overview.html")


def template_names() -> list[str]:
    """Those of the first page first."""
    return sorted(environment().list_templates(extensions=["html"]), key=lambda name: name not in _FIRST)


def compile_template(name: str) -> None:
    """Once, so that a view is spared it: about 10 ms each."""
    environment().get_template(name)


def _style_of(text: str) -> Markup:
    """Our own style sheet within a page; nothing else may go this way."""
    if "</" in text:
        raise ValueError("a style sheet holds no end tag")
    return Markup(text)  # noqa: S704 - a file of this package


def _triple(estimate: Estimate | None) -> tuple[float, float, float] | None:
    return None if estimate is None else (estimate.value, estimate.low, estimate.high)


def _narrowed(bounds: Sequence[Bounds | None]) -> list[tuple[float, float, float] | None]:
    return [
        None
        if one is None
        else (one.mean if one.mean is not None else (one.lower + one.upper) / 2, one.lower, one.upper)
        for one in bounds
    ]


def estimated_of(history: History, windows: Sequence[WindowEvidence]) -> list[Estimate | None]:
    """The quality to be expected without labels, by window of the history."""
    known = {window.start: window.estimated_quality for window in windows}
    return [known.get(start) for start in history.starts]


def newest(windows: Sequence[WindowEvidence], history: History) -> Sequence[WindowEvidence]:
    """Those of the windows that a picture of the history shows."""
    return windows[-len(history.starts) :] if history.starts else ()


def labelled_shares(history: History) -> list[float]:
    """The share of rows that have a label, by window."""
    return [some / rows if rows else 0.0 for some, rows in zip(history.labelled, history.rows, strict=True)]


def _beyond_columns(diagnosis: Diagnosis) -> list[FeatureFinding]:
    """Findings about no single column: the truth overall, and how columns hang together."""
    return [found for found in diagnosis.features if found.name == "overall" or " ~ " in found.name]


def render(template: str, **values: Any) -> str:
    """A whole page."""
    return environment().get_template(template).render(**values)


def link(path: str, **query: Any) -> str:
    """A path with a query; parts that are None are left out.

    Example:
        >>> link("/ui/column", name="a & b", window=None)
        '/ui/column?name=a+%26+b'
    """
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


_DEEPEST: Final = 6
_LONGEST: Final = 200


def tree(value: Any, depth: int = 0) -> Markup:
    """Any JSON value as nested lists, as far as a person reads."""
    if depth >= _DEEPEST:
        return Markup("…")
    if isinstance(value, dict):
        if {"value", "low", "high"} <= value.keys():
            return Markup('<span class="num">{}</span> <span class="quiet">{}</span>').format(
                words.number(value["value"]), words.interval(value)
            )
        parts = [
            Markup("<dt>{}</dt><dd>{}</dd>").format(str(key).replace("_", " "), tree(each, depth + 1))
            for key, each in list(value.items())[:_LONGEST]
        ]
        return Markup('<dl class="tree">{}</dl>').format(Markup("").join(parts))
    if isinstance(value, list | tuple):
        if all(not isinstance(each, dict | list | tuple) for each in value):
            return Markup("{}").format(", ".join(_leaf(each) for each in value[:_LONGEST]) or "none")
        parts = [Markup("<li>{}</li>").format(tree(each, depth + 1)) for each in value[:_LONGEST]]
        return Markup('<ul class="tree">{}</ul>').format(Markup("").join(parts))
    return Markup("{}").format(_leaf(value))


def _leaf(value: Any) -> str:
    if value is None:
        return words.DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return words.number(value) if isinstance(value, int | float) else str(value)

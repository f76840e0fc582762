"""A diagnosis as Markdown and as HTML."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final

from holdfast.monitor.picture import pictures
from holdfast.monitor.plain import plain

if TYPE_CHECKING:
    from holdfast.monitor.diagnosis import Diagnosis
    from holdfast.monitor.explained import Option

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "td,th{padding:.3rem .8rem;text-align:left;vertical-align:top;border-bottom:1px solid #8884}"
)
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~])")


def as_markdown(diagnosis: Diagnosis) -> str:
    """A heading, the paragraph, what was found by column, the options, what to do, and the notes."""
    lines = [f"## {_plain(diagnosis.verdict.capitalize())}", "", _plain(diagnosis.summary), ""]
    if diagnosis.features:
        lines += ["| column | kind | found |", "| --- | --- | --- |"]
        lines += [
            f"| {_plain(one.name)} | {', '.join(one.kinds)} | {_plain(one.description)} |"
            for one in diagnosis.features
        ]
        lines.append("")
    if diagnosis.options:
        lines += ["| option | gain for each row (95 %) |", "| --- | --- |"]
        lines += [f"| {_plain(_name(one))} | {_gain(one)} |" for one in diagnosis.options]
        lines.append("")
    lines += [f"- {_plain(one)}" for one in diagnosis.advice]
    lines += [""] if diagnosis.advice else []
    lines += [f"> {_plain(one)}" for one in diagnosis.notes]
    return "\n".join(lines).rstrip() + "\n"


def as_fragment(diagnosis: Diagnosis) -> str:
    """HTML without a page around it, as a notebook shows it: pictures are SVG, nothing is loaded."""
    found = "".join(
        f"<tr><td>{html.escape(one.name)}</td><td>{html.escape(', '.join(one.kinds))}</td>"
        f"<td>{html.escape(one.description)}</td></tr>"
        for one in diagnosis.features
    )
    table = f"<table><tr><th>column</th><th>kind</th><th>found</th></tr>{found}</table>" if found else ""
    tried = "".join(
        f"<tr><td>{html.escape(_name(one))}</td><td>{html.escape(_gain(one))}</td></tr>"
        for one in diagnosis.options
    )
    if tried:
        table += f"<table><tr><th>option</th><th>gain for each row (95 %)</th></tr>{tried}</table>"
    table += _measures(diagnosis)
    advice = "".join(f"<li>{html.escape(line)}</li>" for line in diagnosis.advice)
    notes = "".join(f"<p><small>{html.escape(line)}</small></p>" for line in diagnosis.notes)
    drawn = "".join(f"<div>{one}</div>" for one in pictures(diagnosis))
    advised = f"<ul>{advice}</ul>" if advice else ""
    return (
        f"<h3>{html.escape(diagnosis.verdict.capitalize())}</h3><p>{html.escape(diagnosis.summary)}</p>"
        f"{drawn}{table}{advised}{notes}"
    )


def _measures(diagnosis: Diagnosis) -> str:
    """Every column's distances, folded away."""
    rows = "".join(
        f"<tr><td>{html.escape(one.name)}</td>"
        + "".join(f"<td>{_number(value)}</td>" for value in (
            one.psi, one.jensen_shannon, one.kolmogorov_smirnov, one.wasserstein,
            one.median_before, one.median,
        ))
        + f"<td>{one.missing_before:.1%}</td><td>{one.missing:.1%}</td></tr>"
        for one in diagnosis.measures
    )  # fmt: skip
    if not rows:
        return ""
    heads = "".join(
        f"<th>{head}</th>"
        for head in (
            "column", "PSI", "Jensen-Shannon", "Kolmogorov-Smirnov", "Wasserstein",
            "median before", "median", "missing before", "missing",
        )
    )  # fmt: skip
    return f"<details><summary>All columns</summary><table><tr>{heads}</tr>{rows}</table></details>"


def _number(value: float | None) -> str:
    return "" if value is None else plain(value)


def as_page(diagnosis: Diagnosis) -> str:
    """One self-contained page without scripts."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>holdfast diagnosis</title>'
        f"<style>{_STYLE}</style></head><body>{as_fragment(diagnosis)}</body></html>"
    )


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to interpret, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _name(option: Option) -> str:
    return f"{option.action} {option.detail}".strip()


def _gain(option: Option) -> str:
    gain = option.gain
    if option.action in {"leave", "wait"}:
        return "0"
    return f"{plain(gain.value)} ({plain(gain.low)} to {plain(gain.high)}) {option.unit}"

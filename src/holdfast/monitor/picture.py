"""Evidence and quality by window, as SVG that needs no script and no style sheet around it."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from holdfast.monitor.words import shown

if TYPE_CHECKING:
    from holdfast.monitor.diagnosis import Diagnosis, WindowEvidence

WIDTH: Final = 720
HEIGHT: Final = 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 24
_DATA, _CONCEPT = "#0072b2", "#d55e00"
"""Told apart by every eye (Okabe and Ito), and on white and black ground."""
Values = Sequence[float | None]
Place = Callable[[float], float]


def pictures(diagnosis: Diagnosis) -> list[str]:
    """A picture of the evidence, and one of the quality where it is known; none of fewer than two windows."""
    windows = diagnosis.windows
    if len(windows) < 2:
        return []
    starts = [window.start for window in windows]
    since = None if diagnosis.since is None else diagnosis.since.estimate
    onset = starts.index(since) if since in starts else None
    found = [_evidence(windows, onset)]
    measured = [window.quality for window in windows]
    expected = [window.estimated_quality for window in windows]
    if any(one is not None for one in [*measured, *expected]):
        metric = diagnosis.quality.metric if diagnosis.quality is not None else ""
        metric = metric or (diagnosis.estimated[0].metric if diagnosis.estimated else "quality")
        found.append(_quality(windows, onset, metric))
    return found


def _evidence(windows: Sequence[WindowEvidence], onset: int | None) -> str:
    data: Values = [window.log_e_data for window in windows]
    concept: Values = [window.log_e_concept for window in windows]
    top = max([4.0, *(one for one in [*data, *concept] if one is not None and math.isfinite(one))])

    def height(value: float) -> float:  # a root, so that what is near the alarm is seen beside what is far
        return _inside(math.sqrt(min(max(value, 0.0), top) / top))

    lines = [_level(height(1.0), "alarm")]
    legend = [(_DATA, "data drift")]
    lines.append(_line(data, height, _DATA))
    if any(one is not None for one in concept):
        legend.append((_CONCEPT, "concept drift"))
        lines.append(_line(concept, height, _CONCEPT))
    return _frame("Evidence by window", windows, [*lines, *_legend(legend)], onset)


def _quality(windows: Sequence[WindowEvidence], onset: int | None, metric: str) -> str:
    measured: Values = [window.quality for window in windows]
    expected = [window.estimated_quality for window in windows]
    known = [one for one in measured if one is not None]
    for estimate in expected:
        if estimate is not None:
            known += [one for one in (estimate.low, estimate.high) if math.isfinite(one)]
    low, high = min(known), max(known)
    spread = (high - low) or 1.0
    low, high = low - 0.05 * spread, high + 0.05 * spread

    def height(value: float) -> float:
        return _inside((value - low) / (high - low))

    lines, legend = [], []
    if any(one is not None for one in expected):
        lines.append(_band([None if one is None else (one.low, one.high) for one in expected], height))
        lines.append(_line([None if one is None else one.value for one in expected], height, _CONCEPT, "4 3"))
        legend.append((_CONCEPT, "expected without labels, 95 %"))
    if any(one is not None for one in measured):
        lines.append(_line(measured, height, _DATA))
        legend.append((_DATA, "by labels"))
    marks = [_text(_LEFT - 6, height(value) + 4, f"{value:.3g}", "end") for value in (min(known), max(known))]
    return _frame(
        f"{metric[:1].upper()}{metric[1:]} by window", windows, [*lines, *marks, *_legend(legend)], onset
    )


def _frame(title: str, windows: Sequence[WindowEvidence], parts: Sequence[str], onset: int | None) -> str:
    count = len(windows)
    base = HEIGHT - _BOTTOM
    body = [f'<path d="M{_LEFT} {base}H{WIDTH - _RIGHT}" stroke="currentColor" stroke-opacity=".4"/>']
    if onset is not None:
        x = _across(onset, count)
        body.append(
            f'<path d="M{x:.1f} {_TOP}V{base}" stroke="currentColor" stroke-opacity=".5" '
            'stroke-dasharray="2 3"/>'
        )
        middle = min(max(x, _LEFT + 170.0), WIDTH - _RIGHT - 170.0)  # between the first time and the last
        body.append(_text(middle, HEIGHT - 6, f"since {shown(windows[onset].start)}", "middle"))
    body += parts
    body.append(_text(_LEFT, HEIGHT - 6, shown(windows[0].start), "start"))
    body.append(_text(WIDTH - _RIGHT, HEIGHT - 6, shown(windows[-1].end), "end"))
    label = html.escape(title, quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" style="max-width:{WIDTH}px" role="img" '
        f'aria-label="{label}" font-family="system-ui,sans-serif" font-size="12" fill="none">'
        f'<text x="{_LEFT}" y="14" fill="currentColor" font-weight="600">{label}</text>{"".join(body)}</svg>'
    )


def _inside(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _BOTTOM - _TOP)


def _across(number: int, count: int) -> float:
    return _LEFT + number / max(count - 1, 1) * (WIDTH - _LEFT - _RIGHT)


def _text(x: float, y: float, words: str, side: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{side}" fill="currentColor">{html.escape(words)}</text>'
    )


def _level(y: float, words: str) -> str:
    path = f"M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"
    line = f'<path class="level" d="{path}" stroke="currentColor" stroke-opacity=".5"/>'
    return line + _text(_LEFT - 6, y + 4, words, "end")


def _line(values: Values, height: Place, colour: str, dashes: str = "") -> str:
    """A line through the known values, broken where one is not; a value between two gaps is a dot."""
    count, path, dots, after_gap = len(values), "", "", True
    for number, value in enumerate(values):
        if value is None or not math.isfinite(value):
            after_gap = True
            continue
        x, y = _across(number, count), height(value)
        path += f"{'M' if after_gap else 'L'}{x:.1f} {y:.1f}"
        following = values[number + 1] if number + 1 < count else None
        if after_gap and following is None:
            dots += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>'
        after_gap = False
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path class="line" d="{path}" stroke="{colour}" stroke-width="1.8"{dash}/>{dots}' if path else ""


def _band(bounds: Sequence[tuple[float, float] | None], height: Place) -> str:
    count = len(bounds)
    known = [(number, one) for number, one in enumerate(bounds) if one is not None]
    known = [(number, one) for number, one in known if all(map(math.isfinite, one))]
    if len(known) < 2:
        return ""
    upper = [f"{_across(number, count):.1f} {height(high):.1f}" for number, (_, high) in known]
    lower = [f"{_across(number, count):.1f} {height(low):.1f}" for number, (low, _) in reversed(known)]
    return f'<path d="M{"L".join([*upper, *lower])}Z" fill="{_CONCEPT}" fill-opacity=".18"/>'


def _legend(entries: Sequence[tuple[str, str]]) -> list[str]:
    x, parts = float(WIDTH - _RIGHT), []
    for colour, words in reversed(entries):
        parts.append(_text(x, 14, words, "end"))
        x -= 6.3 * len(words) + 6
        parts.append(f'<path d="M{x - 16:.1f} 10H{x:.1f}" stroke="{colour}" stroke-width="3"/>')
        x -= 30
    return parts

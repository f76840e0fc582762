"""The curve of latency against load: what `holdfast loadtest --search` found, and its picture."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
from markupsafe import Markup

from holdfast.registry import Evidence
from holdfast.ui.charts import HEIGHT, WIDTH
from holdfast.ui.facts import Facts

LOAD_CURVE: Final = "load curve"
_EDGE: Final = 0.04
"""Of the picture's width and height, left free around the points."""


class Latency(msgspec.Struct, frozen=True):
    """A percentile of latency with its interval."""

    ms: float | None
    low_ms: float | None
    high_ms: float | None


class LoadPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One load."""

    rate_per_s: float
    p50: Latency
    p99: Latency
    failed_share: float = 0.0
    kept: bool = False
    disturbed: str | None = None


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """As the evidence has it, so far as the page needs it."""

    points: tuple[LoadPoint, ...]
    p99_ms: float
    qps: float
    rate_per_s: float | None = None
    confirmations: int = 0
    stopped_by: str = ""
    seconds: float = 0.0
    machine: str = ""
    checklist_hash: str = ""


class LoadView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    version: str
    at_us: int
    curve: Curve
    rates: tuple[float, float]
    """Ends of the horizontal scale, requests per second; it is logarithmic, and so is the other."""
    latencies_ms: tuple[float, float]
    picture: Markup

    def middle(self, scale: tuple[float, float]) -> float:
        """What stands half way on a logarithmic scale."""
        return math.sqrt(scale[0] * scale[1])


def make_load(facts: Facts) -> LoadView | None:
    """The newest curve of the champion, else of any version; None before the first search."""
    champion = facts.champion()
    found = (None if champion is None else facts.newest(LOAD_CURVE, champion)) or facts.newest(LOAD_CURVE)
    return None if found is None else load_view(found)


def load_view(found: Evidence) -> LoadView | None:
    """The view of a piece of evidence; None where it holds no curve."""
    try:
        curve = msgspec.convert(found.payload, Curve)
    except msgspec.ValidationError:
        return None  # of a release that wrote it otherwise
    shown = [one for one in curve.points if one.rate_per_s > 0 and _known(one)]
    if not shown:
        return None
    rates = _scale([one.rate_per_s for one in shown] + [curve.qps])
    latencies = [ms for one in shown for part in (one.p50, one.p99) for ms in _values(part)]
    scale = _scale([*latencies, curve.p99_ms])
    return LoadView(
        version=found.version,
        at_us=found.at_us,
        curve=curve,
        rates=rates,
        latencies_ms=scale,
        picture=_picture(curve, shown, rates, scale),
    )


def _known(point: LoadPoint) -> bool:
    return bool(point.p50.ms or point.p99.ms)


def _values(part: Latency) -> list[float]:
    return [ms for ms in (part.ms, part.low_ms, part.high_ms) if ms]


def _scale(values: list[float]) -> tuple[float, float]:
    """Ends of a logarithmic scale with a little room beside what it shows."""
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    low, high = math.log(min(positive)), math.log(max(positive))
    room = max(high - low, 0.1) * _EDGE
    return math.exp(low - room), math.exp(high + room)


def _picture(
    curve: Curve, points: list[LoadPoint], rates: tuple[float, float], latencies: tuple[float, float]
) -> Markup:
    def across(rate: float) -> float:
        return WIDTH * _place(rate, rates)

    def down(ms: float) -> float:
        return HEIGHT * (1 - _place(ms, latencies))

    parts = [
        Markup('<path class="level" d="M0 {:.1f}H1000"/>').format(down(curve.p99_ms)),
        Markup('<path class="level" d="M{:.1f} 0V100"/>').format(across(curve.qps)),
    ]
    if curve.rate_per_s:
        parts.append(Markup('<path class="began" d="M{:.1f} 0V100"/>').format(across(curve.rate_per_s)))
    for name in ("p50", "p99"):
        looks = "estimated" if name == "p50" else "measured"
        middle: dict[float, list[float]] = {}
        marks = []
        for point in points:
            part: Latency = getattr(point, name)
            if not part.ms:
                continue
            x = across(point.rate_per_s)
            middle.setdefault(point.rate_per_s, []).append(part.ms)
            marks.append(f"M{x:.1f} {down(part.ms):.1f}h.01")
            parts.append(
                Markup('<path class="whisker {}" d="M{:.1f} {:.1f}V{:.1f}"/>').format(
                    looks, x, down(part.low_ms or part.ms), down(part.high_ms or part.ms)
                )
            )
        line = "".join(
            f"{'L' if number else 'M'}{across(rate):.1f} {down(sorted(values)[len(values) // 2]):.1f}"
            for number, (rate, values) in enumerate(sorted(middle.items()))
        )
        parts.append(Markup('<path class="line {}" d="{}"/>').format(looks, line))
        parts.append(Markup('<path class="mark {}" d="{}"/>').format(looks, "".join(marks)))
    return Markup(
        '<svg class="plot" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{}">'
        "{}</svg>"
    ).format(_said(points), Markup("").join(parts))


def _place(value: float, scale: tuple[float, float]) -> float:
    low, high = (math.log(end) for end in scale)
    return min(max((math.log(value) - low) / (high - low), 0.0), 1.0) if value > 0 else 0.0


def _said(points: list[LoadPoint]) -> str:
    ends: list[Any] = [points[0], points[-1]]
    told = " to ".join(
        f"{one.p99.ms:.3g} ms at {one.rate_per_s:.0f} requests per second" for one in ends if one.p99.ms
    )
    return f"99th percentile of latency against load: {told}" if told else "Latency against load"

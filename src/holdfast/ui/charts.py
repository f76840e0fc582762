"""Pictures as SVG, made on the server: no script draws, and a strict content security policy holds.

All geometry is in attributes and all looks are in classes of the style sheet. Plots stretch to the width of
the page (`preserveAspectRatio="none"`, strokes do not scale), so text stands beside them in HTML.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from markupsafe import Markup

WIDTH: Final = 1000.0
HEIGHT: Final = 100.0
_MOST_POINTS: Final = 60
"""Of a sparkline: one for every two or three pixels."""
Values = Sequence[float | None]


def sparkline(values: Values, *, name: str = "") -> Markup:
    """Evidence over time with the alarm's level; marks where it was reached.

    The scale is square root, up to the greater of four alarms and the largest value, so that what is near the
    alarm can be told from what is far beyond it.
    """
    blocks = _blocks(values)
    most = max((value for value in blocks if value is not None), default=0.0)
    top = max(4.0, most)

    def height(value: float) -> float:
        return HEIGHT - (HEIGHT - 6) * math.sqrt(max(value, 0.0) / top) - 3

    lines = _lines(blocks, height)
    marks = _dots([(x, height(v)) for x, v in _points(blocks) if v >= 1.0])
    level = height(1.0)
    return Markup(
        '<svg class="spark" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<path class="level" d="M0 {:.1f}H1000"/><path class="line" d="{}"/><path class="mark" d="{}"/></svg>'
    ).format(f"Evidence for {name}, up to {most:.3g}", level, lines, marks)


def evidence(
    data: Values, concept: Values, *, onset: tuple[float, float, float] | None, label: str
) -> Markup:
    """Evidence of data drift and of concept drift over time, the alarm's level, and when the change began.

    Args:
        data: by window.
        concept: by window.
        onset: earliest, estimate and latest, as places 0 to 1 in the picture.
        label: what a screen reader says.
    """
    known = [value for value in (*data, *concept) if value is not None]
    top = max(4.0, *known) if known else 4.0

    def height(value: float) -> float:
        return HEIGHT - (HEIGHT - 6) * math.sqrt(max(value, 0.0) / top) - 3

    parts = [_onset(onset)]
    parts.append(Markup('<path class="level" d="M0 {:.1f}H1000"/>').format(height(1.0)))
    for name, values in (("data", data), ("concept", concept)):
        parts.append(Markup('<path class="line {}" d="{}"/>').format(name, _lines(values, height)))
        marks = [(x, height(v)) for x, v in _points(values) if v >= 1]
        parts.append(Markup('<path class="mark {}" d="{}"/>').format(name, _dots(marks)))
    return _plot(parts, label)


def quality(
    measured: Sequence[tuple[float, float, float] | None],
    estimated: Sequence[tuple[float, float, float] | None],
    *,
    reference: float | None,
    bounds: tuple[float, float],
    onset: tuple[float, float, float] | None,
    label: str,
) -> Markup:
    """Quality over time: measured on labels, and expected without them, each with its 95 % band.

    Args:
        measured: value, low and high by window.
        estimated: the same without labels.
        reference: the level on the reference.
        bounds: of the scale.
        onset: as in `evidence`.
        label: what a screen reader says.
    """
    low, high = bounds
    span = high - low or 1.0

    def height(value: float) -> float:
        return HEIGHT - HEIGHT * (min(max(value, low), high) - low) / span

    parts = [_onset(onset)]
    if reference is not None:
        parts.append(Markup('<path class="level" d="M0 {:.1f}H1000"/>').format(height(reference)))
    for name, points in (("estimated", estimated), ("measured", measured)):
        for run in _runs(points):
            band = [(x, height(point[2])) for x, point in run]
            band += [(x, height(point[1])) for x, point in reversed(run)]
            if len(run) == 1:
                x = run[0][0]
                parts.append(
                    Markup('<path class="whisker {}" d="M{:.1f} {:.1f}V{:.1f}"/>').format(
                        name, x, band[0][1], band[1][1]
                    )
                )
            else:
                d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in band) + "Z"
                parts.append(Markup('<path class="band {}" d="{}"/>').format(name, d))
        values = [None if point is None else point[0] for point in points]
        parts.append(Markup('<path class="line {}" d="{}"/>').format(name, _lines(values, height)))
        alone = [(run[0][0], height(run[0][1][0])) for run in _runs(points) if len(run) == 1]
        if alone:
            parts.append(Markup('<path class="mark {}" d="{}"/>').format(name, _dots(alone)))
    return _plot(parts, label)


def columns(values: Sequence[float], *, top: float, label: str) -> Markup:
    """A low bar for each window, such as the share of rows that have a label."""
    width = WIDTH / max(len(values), 1)
    bars = [
        Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>').format(
            number * width + width * 0.1,
            HEIGHT * (1 - min(value / top, 1.0)),
            width * 0.8,
            HEIGHT * min(value / top, 1.0),
        )
        for number, value in enumerate(values)
        if top > 0 and value > 0
    ]
    return Markup(
        '<svg class="plot columns" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(label, Markup("").join(bars))


def pair(before: float, now: float, top: float) -> Markup:
    """Two bars on top of each other: a cell's share in the reference, and in the window."""
    scale = 100 / top if top > 0 else 0.0
    return Markup(
        '<svg class="pair" aria-hidden="true"><rect class="reference" y="0" width="{:.2f}%" height="46%"/>'
        '<rect class="now" y="54%" width="{:.2f}%" height="46%"/></svg>'
    ).format(before * scale, now * scale)


def whisker(
    value: float,
    low: float,
    high: float,
    *,
    least: float,
    most: float,
    kind: str = "",
    start: float = 0.0,
    limit: float | None = None,
) -> Markup:
    """A number with its interval, on a scale that its neighbours share.

    Args:
        value: length of the bar.
        low: lower end of its interval.
        high: upper end of its interval.
        least: left end of the scale.
        most: right end of the scale.
        kind: class for its looks.
        start: where the bar begins: a part of a sum begins where the part before it ends.
        limit: marked by a dashed line; None: there is none.
    """
    span = most - least or 1.0

    def place(number: float) -> float:
        return 100 * (min(max(number, least), most) - least) / span

    left, right = sorted((place(start), place(start + value)))
    bound = (
        Markup("")
        if limit is None
        else Markup('<line class="limit" x1="{:.2f}%" x2="{:.2f}%" y1="0" y2="100%"/>').format(
            place(limit), place(limit)
        )
    )
    return Markup(
        '<svg class="whisker {}" aria-hidden="true">'
        '<rect class="bar" x="{:.2f}%" y="25%" width="{:.2f}%" height="50%"/>'
        '<line class="zero" x1="{:.2f}%" x2="{:.2f}%" y1="0" y2="100%"/>'
        '{}<line class="range" x1="{:.2f}%" x2="{:.2f}%" y1="50%" y2="50%"/></svg>'
    ).format(kind, left, right - left, place(0.0), place(0.0), bound, place(start + low), place(start + high))


def meter(value: float) -> Markup:
    """A share of 0 to 1 as a filled bar."""
    return Markup(
        '<svg class="meter" aria-hidden="true"><rect class="whole" width="100%" height="100%"/>'
        '<rect class="part" width="{:.2f}%" height="100%"/></svg>'
    ).format(100 * min(max(value, 0.0), 1.0))


def _plot(parts: Sequence[Markup], label: str) -> Markup:
    return Markup(
        '<svg class="plot" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{}">'
        "{}</svg>"
    ).format(label, Markup("").join(parts))


def _onset(onset: tuple[float, float, float] | None) -> Markup:
    if onset is None:
        return Markup("")
    earliest, estimate, latest = (WIDTH * min(max(place, 0.0), 1.0) for place in onset)
    return Markup(
        '<rect class="onset" x="{:.1f}" y="0" width="{:.1f}" height="100"/>'
        '<path class="began" d="M{:.1f} 0V100"/>'
    ).format(earliest, max(latest - earliest, 0.0), estimate)


def _blocks(values: Values) -> list[float | None]:
    """The largest of each block, so that no alarm is lost between two points."""
    step = -(-len(values) // _MOST_POINTS) or 1
    blocks: list[float | None] = []
    for start in range(0, len(values), step):
        known = [value for value in values[start : start + step] if value is not None]
        blocks.append(max(known) if known else None)
    return blocks


def _points(values: Values) -> list[tuple[float, float]]:
    """Middle of each window on the x axis, with its value."""
    step = WIDTH / max(len(values), 1)
    return [((number + 0.5) * step, value) for number, value in enumerate(values) if value is not None]


def _runs(
    points: Sequence[tuple[float, float, float] | None],
) -> list[list[tuple[float, tuple[float, float, float]]]]:
    step = WIDTH / max(len(points), 1)
    runs: list[list[tuple[float, tuple[float, float, float]]]] = []
    before = None
    for number, point in enumerate(points):
        if point is not None:
            if before is None:
                runs.append([])
            runs[-1].append(((number + 0.5) * step, point))
        before = point
    return runs


def _lines(values: Values, height: Callable[[float], float]) -> str:
    step = WIDTH / max(len(values), 1)
    path: list[str] = []
    drawn = False
    for number, value in enumerate(values):
        if value is None:
            drawn = False
            continue
        path.append(f"{'L' if drawn else 'M'}{(number + 0.5) * step:.1f} {height(value):.1f}")
        drawn = True
    return "".join(path)


def _dots(points: Sequence[tuple[float, float]]) -> str:
    """Round whatever the stretch, being the caps of strokes without length."""
    return "".join(f"M{x:.1f} {y:.1f}h.01" for x, y in points)

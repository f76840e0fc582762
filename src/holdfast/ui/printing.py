"""The pages' pictures for paper: the same geometry at a size in points, with their looks in them.

On a page a picture stretches to the column and its strokes do not. Typst knows no strokes that do not scale,
so coordinates are scaled here, and strokes and dots stay as they are.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree as ET

from markupsafe import Markup

from holdfast.ui.charts import HEIGHT, WIDTH

_SVG: Final = "http://www.w3.org/2000/svg"
_SAID: Final = re.compile(r' aria-label="[^"]*"')
_STEP: Final = re.compile(r"([MLHVhZ])([^MLHVhZ]*)")
ACCENT, ALARM, REFERENCE = "#0b6b66", "#a83a0a", "#8a9a97"
_INK, _WARN, _WARN_WASH, _HAIR = "#16211f", "#7a5b00", "#fbf3d9", "#c9d2cf"
STYLE: Final = f"""
path {{ fill: none; stroke-linejoin: round; stroke-linecap: round; }}
.line {{ stroke: {ACCENT}; stroke-width: 1.3; }}
.line.concept {{ stroke: {ALARM}; stroke-dasharray: 4 3; stroke-linecap: butt; }}
.line.estimated {{ stroke: {REFERENCE}; }}
.mark {{ stroke: {ACCENT}; stroke-width: 3.6; }}
.mark.concept {{ stroke: {ALARM}; }}
.mark.estimated {{ stroke: {REFERENCE}; }}
.level {{ stroke: {REFERENCE}; stroke-width: 1; stroke-dasharray: 2 2.5; stroke-linecap: butt; }}
.band {{ stroke: none; fill: {ACCENT}; fill-opacity: .17; }}
.band.estimated {{ fill: {REFERENCE}; fill-opacity: .22; }}
.onset {{ fill: {_WARN_WASH}; }}
.began {{ stroke: {_WARN}; stroke-width: 1; }}
path.whisker {{ stroke: {ACCENT}; stroke-width: 1; }}
path.whisker.estimated {{ stroke: {REFERENCE}; }}
.spark .line {{ stroke: #566462; stroke-width: .9; }}
.spark .mark {{ stroke: {ALARM}; stroke-width: 2.4; }}
.spark .level {{ stroke-width: .6; }}
.columns rect {{ fill: {REFERENCE}; }}
.bar {{ fill: {ACCENT}; fill-opacity: .3; }}
.whole .bar {{ fill: {_INK}; fill-opacity: .22; }}
.zero {{ stroke: {_HAIR}; stroke-width: .7; }}
.limit {{ stroke: {REFERENCE}; stroke-width: 1; stroke-dasharray: 2 2; }}
.range {{ stroke: {_INK}; stroke-width: 1.5; stroke-linecap: round; }}
"""


def standalone(picture: Markup, *, width_pt: float, height_pt: float) -> str:
    """An SVG document of one of the pictures.

    Args:
        picture: of `holdfast.ui.charts`.
        width_pt: of the document, in points.
        height_pt: of the document, in points.

    Example:
        >>> from holdfast.ui import charts
        >>> "H200.0" in standalone(charts.sparkline([]), width_pt=200, height_pt=50)
        True
    """
    # What a screen reader says is left out: a column's name may hold what XML cannot.
    root = ET.fromstring(_SAID.sub("", str(picture)))  # noqa: S314 - made by this package, escaped
    if root.get("viewBox") is None:
        # Its lengths are shares of its size.
        for element in root.iter():
            for name, full in (("x", width_pt), ("width", width_pt), ("x1", width_pt), ("x2", width_pt)):
                _resolve(element, name, full)
            for name, full in (("y", height_pt), ("height", height_pt), ("y1", height_pt), ("y2", height_pt)):
                _resolve(element, name, full)
    else:
        across, down = width_pt / WIDTH, height_pt / HEIGHT
        for element in root.iter():
            if element.tag == "path":
                element.set("d", _scaled(element.get("d", ""), across, down))
            for name, factor in (("x", across), ("width", across), ("y", down), ("height", down)):
                value = element.get(name)
                if value is not None:
                    element.set(name, f"{float(value) * factor:.2f}")
    looks = root.get("class", "")
    inner = "".join(ET.tostring(child, encoding="unicode") for child in root)
    return (
        f'<svg xmlns="{_SVG}" width="{width_pt:g}" height="{height_pt:g}" '
        f'viewBox="0 0 {width_pt:g} {height_pt:g}"><style>{STYLE}</style><g class="{looks}">{inner}</g></svg>'
    )


def _resolve(element: ET.Element, name: str, full: float) -> None:
    value = element.get(name)
    if value is not None and value.endswith("%"):
        element.set(name, f"{float(value[:-1]) / 100 * full:.2f}")


def _scaled(path: str, across: float, down: float) -> str:
    """A path of the pictures: absolute moves and lines, and dots as strokes without length."""
    steps = []
    for command, text in _STEP.findall(path):
        numbers = [float(one) for one in text.split()]
        if command in "ML":
            x, y = numbers
            steps.append(f"{command}{x * across:.2f} {y * down:.2f}")
        elif command == "H":
            steps.append(f"H{numbers[0] * across:.1f}")
        elif command == "V":
            steps.append(f"V{numbers[0] * down:.2f}")
        else:
            steps.append(command + text)
    return "".join(steps)

"""Coarser values: enough for a monitor, too little to recognise somebody by."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Final

MASK: Final = "***"
"""What stands for a masked value that was present; a missing one stays missing."""

_DATES: Final = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}
Generalise = Callable[[object], object]


def generaliser(how: str) -> Generalise:
    """What makes one value coarser; a value that it cannot read becomes `***`.

    Args:
        how: `width 10` (a number becomes the lower end of its bin: 47 becomes 40), `prefix 3` (a text keeps
            its first characters: postcodes, phone codes), or `year`, `month`, `day`, `hour` (an ISO 8601 time
            is cut there).

    >>> generaliser("width 10")(47), generaliser("width 0.5")(-0.2)
    (40, -0.5)
    >>> generaliser("prefix 3")("SW1A 2AA"), generaliser("month")("2026-03-14T02:00:00Z")
    ('SW1', '2026-03')
    """
    kind, _, size = how.partition(" ")
    if kind == "width":
        width = float(size)
        return lambda value: _bin(value, width)
    if kind == "prefix":
        length = int(size)
        return lambda value: _prefix(value, length)
    return lambda value: _cut(value, _DATES[kind])


def _bin(value: object, width: float) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return MASK
    lower = math.floor(value / width) * width
    return int(lower) if isinstance(value, int) and lower.is_integer() else lower


def _prefix(value: object, length: int) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return MASK
    return str(value).strip()[:length]


def _cut(value: object, form: str) -> object:
    if not isinstance(value, str):
        return MASK
    try:
        return datetime.fromisoformat(value.strip()).strftime(form)
    except ValueError:
        return MASK

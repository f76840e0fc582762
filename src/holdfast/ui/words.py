"""Numbers, times and states as people read them: units and intervals beside every number."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup

from holdfast.clock import iso_utc

DASH: Final = "\u2013"
_DAY_S: Final = 86_400
_LONGEST_WHOLE: Final = 1e12


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many digits, thousands apart, and a true minus; a dash for none.

    Below one the digits are those behind the point.

    Example:
        >>> number(1234567), number(73.062), number(0.91234), number(12.0)
        ('1,234,567', '73.1', '0.912', '12')
    """
    if value is None or not math.isfinite(value):
        return DASH
    size_of = abs(value)
    if float(value).is_integer() and size_of < 1e15:
        text = f"{int(value):,}"
    elif size_of >= 1:
        text = f"{value:,.{max(0, digits - 1 - math.floor(math.log10(size_of)))}f}"
    elif size_of < 10.0**-digits:
        text = f"{value:.{max(1, digits - 1)}g}"
    else:
        text = f"{value:.{digits}f}"
    return text.replace("-", "\u2212")


def share(value: float | None, digits: int = 1) -> str:
    """A share of 0 to 1 as per cent; never 100 % or 0 % unless it is exactly that.

    Example:
        >>> [share(one).replace("\N{NARROW NO-BREAK SPACE}", " ") for one in (0.123, 1.0, 0.99999, 0.00001)]
        ['12.3 %', '100 %', '> 99.9 %', '< 0.1 %']
    """
    if value is None or not math.isfinite(value):
        return DASH
    least = 10.0**-digits
    percent = 100 * value
    if 0 < percent < least:
        return f"< {least:.{digits}f}\u202f%"
    if 100 - least < percent < 100:
        return f"> {100 - least:.{digits}f}\u202f%"
    return f"{percent:.0f}\u202f%" if percent in {0.0, 100.0} else f"{percent:.{digits}f}\u202f%"


def interval(estimate: Any, digits: int = 3) -> str:
    """The 95 % interval of an estimate.

    Example:
        >>> from holdfast.stats import Estimate
        >>> interval(Estimate(0.9, 0.88, 0.92, 100))
        '0.880 to 0.920'
    """
    return f"{number(_get(estimate, 'low'), digits)} to {number(_get(estimate, 'high'), digits)}"


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name)


def change(value: float | None, of: str, digits: int = 3) -> str:
    """A change with its sign; of a rate in percentage points.

    Example:
        >>> change(0.0486, "error rate").replace("\N{NO-BREAK SPACE}", " "), change(-0.25, "log loss")
        ('+4.86 points', '\u22120.250')
    """
    if value is None or not math.isfinite(value):
        return DASH
    points = of.endswith("rate")
    text = number(100 * value if points else value, digits)
    return ("+" if value > 0 else "") + text + ("\u00a0points" if points else "")


def duration(seconds: float | None) -> str:
    """A stretch of time in the largest unit that keeps it above one.

    Example:
        >>> duration(0.0021), duration(90), duration(7200), duration(86400), duration(23 * 86400)
        ('2.1 ms', '90 s', '2 h', '1 day', '23 days')
    """
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 0.9995:  # what is nearer to a second is one
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds == 3600:
        return "1 h"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    if seconds == _DAY_S:
        return "1 day"
    if seconds < 2 * _DAY_S:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / _DAY_S:.0f} days"


def size(value: float | None) -> str:
    """Bytes in the unit that fits.

    Example:
        >>> size(512), size(3_400_000)
        ('512 B', '3.4 MB')
    """
    if value is None:
        return DASH
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= 0.9995 * factor:  # which rounds to one of this unit
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


def when(moment: int | str | None, *, day: bool = False) -> Markup:
    """A `<time>` in UTC, which the page's script turns into the viewer's zone, with UTC when pointed at.

    Args:
        moment: microseconds since the epoch, ISO 8601 text (UTC where it names no zone), or the number of a
            row as text; text that is none of them is shown as it is.
        day: whether the time of day may be left out at midnight.
    """
    if moment is None:
        return Markup("\u2013")
    text = iso_utc(moment) if isinstance(moment, int) else moment
    if text.isdecimal():
        return Markup("row {}").format(f"{int(text):,}")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return Markup("{}").format(text)
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    midnight = (found.hour, found.minute, found.second) == (0, 0, 0)
    shown = f"{found.day} {found:%b %Y}" if day and midnight else f"{found.day} {found:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        found.strftime("%Y-%m-%dT%H:%M:%SZ"),
        found.strftime("%Y-%m-%d %H:%M:%S UTC"),
        Markup(" data-day") if day and midnight else "",
        shown,
    )


def soft(name: str) -> Markup:
    """A name that may be broken after its joints rather than within its words.

    Example:
        >>> str(soft("seconds_since_last"))
        'seconds_<wbr>since_<wbr>last'
    """
    return Markup(re.sub(r"([_./-])(?=\w)", r"\1<wbr>", str(Markup("{}").format(name))))  # noqa: S704 - escaped first


def capital(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


_NAMES: Final = {
    "roc_auc": "area under the ROC curve",
    "r_squared": "R\u00b2",
    "positive_share": "share of positives",
}


def metric(name: str) -> str:
    """A metric's name in words.

    Example:
        >>> metric("log_loss"), metric("roc_auc")
        ('log loss', 'area under the ROC curve')
    """
    return _NAMES.get(name, name.replace("_", " "))


def raw(value: Any) -> str:
    """A value of the log as it is, numbers to six digits; a dash for none.

    Example:
        >>> raw(89.34), raw(1209600.0), raw(417771), raw(True), raw("sunday"), raw([0.25, 0.75])
        ('89.34', '1209600', '417771', 'yes', 'sunday', '0.25, 0.75')
    """
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:.6g}"
        return f"{value:.0f}" if "e+" in text and abs(value) < _LONGEST_WHOLE else text
    if isinstance(value, list):
        return ", ".join(raw(each) for each in value[:16]) + (", ..." if len(value) > 16 else "")
    if isinstance(value, bytes):
        return size(len(value))
    return str(value)


def own_name(column: str) -> str:
    """An input's own name: the log puts `input_` before it.

    Example:
        >>> own_name("input_amount"), own_name("context_shop")
        ('amount', 'context shop')
    """
    return column.removeprefix("input_") if column.startswith("input_") else column.replace("_", " ", 1)

"""Windows whose labels are still coming, where nobody has said how long labels take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.monitor.profiling import WindowProfile

_ENOUGH: Final = 0.9
"""Share of the labels that are usual, from which on a window counts as labelled."""
_OLDEST: Final = 4
"""One window in so many, the oldest: labels have had the most time there, and say what is usual."""
_ERRORS: Final = 3.0
"""Standard errors by which a window must have fewer labels: few rows have few by chance."""


def still_coming(windows: Sequence[WindowProfile]) -> int:
    """How many windows at the end have clearly fewer labels than the oldest quarter has in any window.

    Args:
        windows: in order of time; fewer than 8 say nothing.
    """
    oldest = windows[: len(windows) // _OLDEST]
    if len(oldest) < 2 or not all(window.labelled for window in oldest):
        return 0
    usual = sum(window.labelled for window in oldest) / sum(window.rows for window in oldest)
    least = min(window.labelled / window.rows for window in oldest)
    for number, window in enumerate(reversed(windows)):
        chance = _ERRORS * (usual * (1 - usual) * window.rows) ** 0.5
        if window.labelled >= min(_ENOUGH * usual, least) * window.rows - chance:
            return number
    return 0


def describe(windows: Sequence[WindowProfile], coming: int) -> str:
    """What is left out, in words; empty for none that has labels."""
    newest, others = windows[len(windows) - coming :], windows[: len(windows) - coming]
    if not any(window.labelled for window in newest):
        return ""
    shares = [sum(one.labelled for one in some) / sum(one.rows for one in some) for some in (newest, others)]
    return (
        f"The newest {coming} windows count as unlabelled: {shares[0]:.0%} of their rows have a label, "
        f"{shares[1]:.0%} of those before, and labels that come first may not be like those that come late. "
        "If no more will come, say so with label_delay."
    )


def describe_short_delay(windows: Sequence[WindowProfile]) -> str:
    """That labels take longer than was said, in words; empty where nothing shows it.

    Args:
        windows: older than the label delay, in order of time.
    """
    late = still_coming(windows)
    if not late:
        return ""
    newest, others = windows[len(windows) - late :], windows[: len(windows) - late]
    shares = [sum(one.labelled for one in some) / sum(one.rows for one in some) for some in (newest, others)]
    return (
        f"Labels may take longer than label_delay says: of the newest {late} windows that are older, "
        f"{shares[0]:.0%} of the rows have a label, {shares[1]:.0%} of those before. If one class is known "
        "earlier, it looks as if there were more of it there: say a longer label_delay."
    )

"""How much memory a service took at most: between what was seen and what cannot have been exceeded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from holdfast.check.lines import Line, judge_at_most
from holdfast.stats import Z95

_MB: Final = 1e6
_STARTS_DIFFER: Final = 0.04
"""Standard deviation of the logarithm of the peak from one start to another: of 8 starts, 0.039."""


_NEAR: Final = 0.95
"""Of the peak seen: what is shared then is shared at a higher one between two samples too."""


class Resident(msgspec.Struct, frozen=True):
    """The memory of all processes of a session at one moment, in bytes."""

    pss: int
    """Proportional set sizes: a page that several processes share is counted once."""
    rss: int
    """Resident set sizes: such a page is counted for each."""
    highest_rss: int
    """What each has taken at most since it began, as the kernel has it."""


class Peak(msgspec.Struct, frozen=True):
    """Of a whole run, in bytes."""

    seen: int
    """Largest sum that was sampled: it was reached."""
    bound: int
    """Largest that may have been reached between two samples."""

    def interval_mb(self, first: Peak | None = None) -> tuple[float, float]:
        """Widened for what another start of the same service takes.

        Args:
            first: the peak when the first load had ended: a service grows while it is asked, and another
                check may ask no more than once. None: it was asked once.
        """
        spread = math.exp(Z95 * _STARTS_DIFFER)
        least = self.seen if first is None else min(first.seen, self.seen)
        return least / _MB / spread, self.bound / _MB * spread


def peak_of(samples: Sequence[Resident]) -> Peak | None:
    """The peak of what was sampled; None without a sample.

    The kernel keeps the highest resident size of each process, so the sum of these is never exceeded. It
    counts shared pages several times: as many bytes as resident and proportional sizes differ by. The least
    such difference while the service was near its peak is taken off.

    Example:
        >>> peak_of([Resident(90, 100, 100), Resident(100, 130, 150)])
        Peak(seen=100, bound=120)
    """
    if not samples:
        return None
    seen = max(one.pss for one in samples)
    near = [one for one in samples if one.pss >= _NEAR * seen]
    shared = min(one.rss - one.pss for one in near)
    return Peak(seen, max(seen, max(one.highest_rss for one in near) - shared))


def memory_line(asked_mb: int, peak: Peak | None, *, first: Peak | None = None, note: str = "") -> Line:
    """The line `compute.memory_mb`.

    Args:
        asked_mb: the limit.
        peak: as measured; None: this system does not tell.
        first: the peak when the first of several loads had ended.
        note: how it was measured, for the advice.
    """
    if peak is None:
        return Line(
            line="compute.memory_mb",
            asked=asked_mb,
            measured=None,
            verdict="unknown",
            advice="This system does not tell what a process takes: check on Linux.",
        )
    low, high = peak.interval_mb(first)
    enough = f"memory_mb = {math.ceil(high)}"
    return judge_at_most(
        "compute.memory_mb",
        asked_mb,
        round(peak.seen / _MB, 1),
        (round(low, 1), round(high, 1)),
        nearest=f"nearest possible: {enough}{note}",
        unsure=f"It took {peak.seen / _MB:.0f} MB, and may take up to {high:.0f}: {enough} is surely enough.",
    )

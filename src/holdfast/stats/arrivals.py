"""How long events take to come when some have not come yet: the Kaplan-Meier curve, from counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holdfast.stats.errors import StatisticsError
from holdfast.stats.quality import Z95


@dataclass(frozen=True, slots=True)
class ArrivalCurve:
    """Share of events that have come by each delay, `[K]` each, at the delays at which one came.

    The interval is pointwise, 95 %, from Greenwood's variance on the log-log scale, so it stays within 0
    and 1; it is NaN where the share is 1.
    """

    delay: NDArray[np.float64]
    """In the unit given, rising."""
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def at(self, delay: float) -> float:
        """Share that has come by this delay.

        Example:
            >>> arrival_curve([1, 2], [1, 1], [0, 2]).at(1.5)
            0.25
        """
        place = int(np.searchsorted(self.delay, delay, side="right"))
        return float(self.share[place - 1]) if place else 0.0

    def quantile(self, share: float) -> float | None:
        """Smallest delay by which this share has come; None if the data do not reach so far.

        Example:
            >>> arrival_curve([1, 2], [1, 1], [0, 2]).quantile(0.25)
            1.0
            >>> arrival_curve([1, 2], [1, 1], [0, 2]).quantile(0.9) is None
            True
        """
        place = int(np.searchsorted(self.share, share - 1e-12))
        return float(self.delay[place]) if place < len(self.delay) else None


def arrival_curve(delay: ArrayLike, arrived: ArrayLike, waiting: ArrayLike) -> ArrivalCurve:
    """The Kaplan-Meier estimate of the distribution of a delay, with events that have not come yet.

    Of n events that had not come before delay d, and a that came at d, the share still to come shrinks by the
    factor 1 - a / n. An event that was last seen waiting at d counts among the n of d. Unbiased as long as
    how long an event was watched says nothing about its delay; rows that are watched shorter because they
    are hard to label break that.

    Args:
        delay: `[K]`, not negative, in any unit and order; equal ones are added up.
        arrived: `[K]`, events that came after exactly this delay.
        waiting: `[K]`, events that had not come when they were last looked at, at this age.

    Raises:
        StatisticsError: a delay or a count is negative or not finite, or the lengths differ.

    Example:
        Remission of 21 patients on 6-mercaptopurine, in weeks (Freireich et al. 1963):

        >>> weeks = [6, 7, 9, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 34, 35]
        >>> ended = [3, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0]
        >>> still = [1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 2, 1, 1]
        >>> curve = arrival_curve(weeks, ended, still)
        >>> (1 - curve.share).round(3).tolist()
        [0.857, 0.807, 0.753, 0.69, 0.627, 0.538, 0.448]

    Reference:
        Kaplan and Meier, Nonparametric Estimation from Incomplete Observations, JASA 53 (1958).
    """
    at, came, left = (np.asarray(values, dtype=np.float64) for values in (delay, arrived, waiting))
    if not at.shape == came.shape == left.shape or at.ndim != 1:
        raise StatisticsError("delay, arrived and waiting must be lists of one length")
    for name, values in (("delay", at), ("arrived", came), ("waiting", left)):
        if not np.all(np.isfinite(values)) or np.any(values < 0):
            raise StatisticsError("a value is negative or not finite", where=name)
    times, places = np.unique(at, return_inverse=True)
    events = np.bincount(places, came, len(times))
    seen = np.bincount(places, came + left, len(times))
    at_risk = np.cumsum(seen[::-1])[::-1]
    kept = events > 0
    times, events, at_risk = times[kept], events[kept], at_risk[kept]
    remaining = np.cumprod(1 - events / at_risk, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(events / (at_risk * (at_risk - events)))
        spread = Z95 * np.sqrt(variance) / np.log(remaining)
        low, high = 1 - remaining ** np.exp(spread), 1 - remaining ** np.exp(-spread)
    return ArrivalCurve(times, 1 - remaining, low, high)

"""Confidence sequences for the mean of bounded values: bounds that hold at every time at once.

An interval of fixed size looked at again and again is wrong more often than it says. A confidence sequence
may be looked at after every row, and stopped on, and still misses the mean with probability alpha at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

STAKES: Final = 2.0 ** -np.arange(1.0, 13.0)
"""Shares of the capital that the gamblers stake: a half down to 1/4096, the best for some ten rows up to
some hundred million. A stake wrong by the square root of 2 still earns five sixths of the best."""
_STEPS: Final = 40
"""Halvings of the search for a bound: it is then found to 1e-12 of the range."""


@dataclass(frozen=True, slots=True)
class MeanBounds:
    """Bounds of a mean that hold at all times at once."""

    n: int
    mean: float
    """Of the values; NaN for none."""
    lower: float
    upper: float


def betting_bounds(
    values: NDArray[Any],
    alpha: float = 0.05,
    *,
    low: float = 0.0,
    high: float = 1.0,
    counts: NDArray[Any] | None = None,
) -> MeanBounds:
    """Bounds of the mean after these values, at a time chosen in any way, from the capital of gamblers.

    For a candidate mean m each gambler stakes a fixed share c of the capital on each value: the capital is
    the product of 1 + c (x/m - 1) for those who bet that the mean is above, 1 + c ((1 - x)/(1 - m) - 1) for
    those who bet that it is below. If m is the mean, nobody can expect to gain, and the chance that the
    average of either side ever reaches 2/alpha is alpha at most (Ville). The bounds are the candidates
    against which neither has. Needs values whose mean given the past is the same, and no distribution.
    Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 2024, arXiv
    2010.09686): the diversified Kelly bets of section 5, over `STAKES`, hedged over both sides.

    Args:
        values: N numbers in [low, high]; their order does not matter, when one looks may.
        alpha: chance that the mean is ever outside, over both sides.
        low: smallest possible value.
        high: largest possible value.
        counts: how often each value was seen; None: once.

    Returns:
        The whole range where there is nothing to say, as for no values. Cost: 80 passes over the different
        values.

    Raises:
        StatisticsError: a value is outside the range or not a number, or alpha is not in (0, 1).

    Example:
        >>> import numpy as np
        >>> bounds = betting_bounds(np.tile([0.0, 1.0], 500))
        >>> bounds.mean, bounds.lower < 0.5 < bounds.upper
        (0.5, True)
        >>> from scipy.optimize import brentq  # seven ones: the mean over c of (1 + c (1/m - 1))^7 is 2/0.05
        >>> c = 0.5 ** np.arange(1, 13)
        >>> edge = brentq(lambda m: np.mean((1 + c * (1 / m - 1)) ** 7) - 40, 0.01, 1)
        >>> abs(betting_bounds(np.ones(7)).lower - edge) < 1e-9
        True
    """
    if not 0 < alpha < 1:
        raise StatisticsError(
            "no such error rate", where="alpha", expected="0 < alpha < 1", received=str(alpha)
        )
    x = (np.asarray(values, dtype=np.float64) - low) / (high - low)
    if not len(x) or (counts is not None and not counts.sum()):
        return MeanBounds(0, float("nan"), low, high)
    if not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
        raise StatisticsError(
            "values outside the range for which the bounds hold",
            expected=f"numbers from {low:g} to {high:g}",
            next_step="Clip the loss to its bound",
        )
    if counts is None:
        points, counts = np.unique(x, return_counts=True)
    else:
        points = x
    n = int(counts.sum())
    width, mean = high - low, float(points @ counts) / n
    lower = _lower_bound(points, counts, alpha, mean)
    upper = 1.0 - _lower_bound(1.0 - points, counts, alpha, 1.0 - mean)
    return MeanBounds(n, low + width * mean, low + width * lower, low + width * upper)


def log_capital(
    points: NDArray[np.float64], counts: NDArray[Any], mean: float, *, above: bool
) -> NDArray[np.float64]:
    """Log of the average capital of those who bet that the true mean is above (below) a candidate.

    Args:
        points: K different values in [0, 1].
        counts: how often each was seen; K along the last axis, any axes before it.
        mean: the candidate, in (0, 1).
        above: which way is bet.

    Returns:
        One number for each set of counts. With log(2/alpha) reached at any time, the candidate is refuted.

    Example:
        >>> import numpy as np
        >>> found = log_capital(np.array([0.0, 1.0]), np.array([0, 2]), 0.5, above=True)
        >>> c = 0.5 ** np.arange(1, 13)  # against 1/2 each one multiplies the capital by 1 + c
        >>> bool(abs(found - np.log(np.mean((1 + c) ** 2))) < 1e-12)
        True
    """
    candidate, seen = (mean, points) if above else (1.0 - mean, 1.0 - points)
    gains = np.log1p(STAKES * (seen[:, None] / candidate - 1.0))
    totals = counts @ gains
    top = totals.max(axis=-1)
    capital: NDArray[np.float64] = top + np.log(np.exp(totals - top[..., None]).mean(axis=-1))
    return capital


def _lower_bound(points: NDArray[np.float64], counts: NDArray[Any], alpha: float, mean: float) -> float:
    """The largest candidate against which betting upwards made 2/alpha; 0 if none is refuted."""
    enough = np.log(2 / alpha)
    below, beyond = 1e-12, mean
    if mean <= below or log_capital(points, counts, below, above=True) < enough:
        return 0.0
    for _ in range(_STEPS):
        middle = (below + beyond) / 2
        if log_capital(points, counts, middle, above=True) >= enough:  # it falls with the candidate
            below = middle
        else:
            beyond = middle
    return below

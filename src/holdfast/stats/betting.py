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

_MOST_SHARE: Final = 0.5
"""Of the capital that one bet may lose, c of the paper."""
_STEPS: Final = 40
"""Halvings of the search for a bound: the range is then found to 1e-12 of itself."""


@dataclass(frozen=True, slots=True)
class MeanBounds:
    """Bounds of a mean that hold at all times at once."""

    n: int
    mean: float
    """Of the values; NaN for none."""
    lower: float
    upper: float


def betting_bounds(
    values: NDArray[Any], alpha: float = 0.05, *, low: float = 0.0, high: float = 1.0
) -> MeanBounds:
    """The hedged capital confidence sequence after the last value, intersected over all times before.

    For a candidate mean m two gamblers bet, one that the mean is above, one that it is below: the capital of
    the first is the product of 1 + min(lambda_t, c/m) (x_t - m), lambda_t predicted from the values before.
    If m is the mean neither can expect to gain, and the chance that either ever has 2/alpha is alpha at most
    (Ville). The bounds are the candidates against which nobody ever had that much. Needs values whose mean
    given the past is the same, and no distribution. Waudby-Smith and Ramdas, "Estimating means of bounded
    random variables by betting" (JRSS B 2024, arXiv 2010.09686), theorem 3 with the bets of equation 26.

    Args:
        values: N numbers in [low, high], in the order in which they came.
        alpha: chance that the mean is ever outside, over both sides.
        low: smallest possible value.
        high: largest possible value.

    Returns:
        The whole range where there is nothing to say, as for no values. Cost: about 80 passes.

    Raises:
        StatisticsError: a value is outside the range or not a number, or alpha is not in (0, 1).

    Example:
        >>> import numpy as np
        >>> values = np.tile([0.0, 1.0], 500)
        >>> bounds = betting_bounds(values)
        >>> bounds.mean, bounds.lower < 0.5 < bounds.upper
        (0.5, True)
        >>> edge = 1 / (2 * 40 ** (1 / 7) - 1)  # each bet of half the capital won: ((1 + m) / 2m)^7 = 40
        >>> abs(betting_bounds(np.ones(7)).lower - edge) < 1e-9
        True
    """
    x = _unit(values, alpha, low, high)
    if not len(x):
        return MeanBounds(0, float("nan"), low, high)
    bets = bets_of(x, alpha)
    lower = _lower_bound(x, bets, alpha)
    upper = 1.0 - _lower_bound(1.0 - x, bets, alpha)
    width = high - low
    return MeanBounds(len(x), low + width * float(x.mean()), low + width * lower, low + width * upper)


def bets_of(x: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """The predictable bets of values in [0, 1], along the last axis: each knows only the values before it.

    lambda_t = sqrt(2 log(2/alpha) / (s2_{t-1} t log(1 + t))), where s2 is the variance so far, begun with one
    imagined value of mean 1/2 and variance 1/4.

    Example:
        >>> import numpy as np
        >>> bets_of(np.array([1.0, 1.0]), 0.05)[0].round(6).item()  # sqrt(2 log 40 / (0.25 log 2))
        6.524985
    """
    count = np.arange(1, x.shape[-1] + 1)
    means = (0.5 + np.cumsum(x, axis=-1)) / (count + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2, axis=-1)) / (count + 1)
    before = np.empty_like(variances)
    before[..., 0] = 0.25
    before[..., 1:] = variances[..., :-1]
    bets: NDArray[np.float64] = np.sqrt(2 * np.log(2 / alpha) / (before * count * np.log1p(count)))
    return bets


def log_capital(
    x: NDArray[np.float64], bets: NDArray[np.float64], mean: float, *, above: bool
) -> NDArray[np.float64]:
    """Log of the capital over time of the gambler who bets that the true mean is above (below) `mean`.

    Args:
        x: values in [0, 1]; time along the last axis.
        bets: of `bets_of`, of the same shape.
        mean: the candidate, in [0, 1].
        above: which way is bet.

    Returns:
        Of the same shape. With log(2/alpha) reached at any time, the candidate is refuted.

    Example:
        >>> import numpy as np
        >>> x = np.array([1.0, 1.0])
        >>> log_capital(x, bets_of(x, 0.05), 0.5, above=True).round(6).tolist()  # half is bet: 1.5, 1.5^2
        [0.405465, 0.81093]
    """
    candidate, seen = (mean, x) if above else (1.0 - mean, 1.0 - x)
    capped = bets if candidate <= 0 else np.minimum(bets, _MOST_SHARE / candidate)
    gains: NDArray[np.float64] = np.cumsum(np.log1p(capped * (seen - candidate)), axis=-1)
    return gains


def _lower_bound(x: NDArray[np.float64], bets: NDArray[np.float64], alpha: float) -> float:
    """The largest candidate against which betting upwards ever made 2/alpha; 0 if none is refuted."""
    enough = np.log(2 / alpha)

    def refuted(mean: float) -> bool:
        return bool(log_capital(x, bets, mean, above=True).max() >= enough)

    below, beyond = 0.0, 1.0
    if not refuted(1e-12):
        return 0.0
    for _ in range(_STEPS):
        middle = (below + beyond) / 2
        if refuted(middle):  # the capital falls with the candidate, so one search finds the edge
            below = middle
        else:
            beyond = middle
    return below


def _unit(values: NDArray[Any], alpha: float, low: float, high: float) -> NDArray[np.float64]:
    if not 0 < alpha < 1:
        raise StatisticsError(
            "no such error rate", where="alpha", expected="0 < alpha < 1", received=f"{alpha}"
        )
    x = (np.asarray(values, dtype=np.float64) - low) / (high - low)
    if len(x) and not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
        raise StatisticsError(
            "values outside the range for which the bounds hold",
            expected=f"numbers from {low:g} to {high:g}",
            next_step="Clip the loss to its bound",
        )
    return x

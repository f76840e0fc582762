"""Anytime-valid bounds from counts alone: shares, quantiles and the ratio of two arms.

All rest on one martingale. Of n trials with probability p, s succeeded; the likelihood averaged over a beta
distribution of other probabilities, divided by the likelihood of p, is a martingale while p is true, and so
reaches 1/alpha with probability alpha at most, ever (Ville; Robbins 1970). It needs no order of the trials.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.betting import MeanBounds
from holdfast.stats.errors import StatisticsError

_STEPS: Final = 60
PRIOR_ROWS: Final = 100.0
"""Weight of the mixture for quantiles: bounds are tightest near 900 rows at alpha 0.05, and within a tenth
of the best from 200 to 5000."""
RATIO_ROWS: Final = 1000.0
"""Weight of the mixture for ratios of arms: a fault of assignment is rarely below some per cent."""


def log_mixture(successes: float, n: float, p: float, a: float, b: float) -> float:
    """Log of the mixture likelihood ratio of n trials against probability p, mixed over Beta(a, b).

    Example:
        >>> from scipy.stats import betabinom, binom
        >>> expected = betabinom.logpmf(7, 10, 1, 1) - binom.logpmf(7, 10, 0.5)
        >>> bool(abs(log_mixture(7, 10, 0.5, 1, 1) - expected) < 1e-12)
        True
    """
    failures = n - successes
    if (p <= 0 and successes) or (p >= 1 and failures):
        return math.inf
    likelihood = (successes * math.log(p) if successes else 0.0) + (
        failures * math.log1p(-p) if failures else 0.0
    )
    return _log_beta(a + successes, b + failures) - _log_beta(a, b) - likelihood


def share_bounds(successes: int, n: int, alpha: float = 0.05) -> MeanBounds:
    """Bounds of a probability that hold at all times at once, from how often it happened.

    Args:
        successes: from 0 to n.
        n: trials so far.
        alpha: chance that the probability is ever outside.

    Raises:
        StatisticsError: not 0 <= successes <= n, or alpha is not in (0, 1).

    Example:
        >>> bounds = share_bounds(0, 19)  # 0 of 19: (1 - p)^19 = 0.05 / 20
        >>> round(bounds.upper, 6) == round(1 - (0.05 / 20) ** (1 / 19), 6), bounds.lower
        (True, 0.0)
    """
    _check(successes, n, alpha)
    if not n:
        return MeanBounds(0, math.nan, 0.0, 1.0)
    enough, mean = math.log(1 / alpha), successes / n

    def edge(inside: float, outside: float) -> float:
        if log_mixture(successes, n, outside, 1.0, 1.0) < enough:
            return outside
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            if log_mixture(successes, n, middle, 1.0, 1.0) < enough:
                inside = middle
            else:
                outside = middle
        return outside

    return MeanBounds(n, mean, edge(mean, 0.0), edge(mean, 1.0))


@dataclass(frozen=True, slots=True)
class QuantileBounds:
    """Bounds of a quantile that hold at all times at once; infinite where the data say nothing."""

    n: int
    lower: float
    upper: float


def quantile_bounds(
    values: NDArray[Any], p: float, alpha: float = 0.05, *, prior_rows: float = PRIOR_ROWS
) -> QuantileBounds:
    """Bounds of the p-quantile, for any distribution.

    How many values are at or below the quantile is a sum of trials with probability p, so their count stays
    between two boundaries at all times; the order statistics at the boundaries are the bounds. Howard and
    Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm identification"
    (Bernoulli 2022, arXiv 1906.09712), with the beta-binomial mixture.

    Args:
        values: N numbers, in any order.
        p: which quantile, in (0, 1).
        alpha: chance that the quantile is ever outside.
        prior_rows: weight of the mixture; the bounds are tightest near nine times as many rows.

    Raises:
        StatisticsError: p or alpha is not in (0, 1).

    Example:
        >>> import numpy as np
        >>> bounds = quantile_bounds(np.arange(1, 1001), 0.5)
        >>> bounds.lower < 500 < bounds.upper, quantile_bounds(np.array([3.0]), 0.5).upper
        (True, inf)
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    below, above = count_boundaries(len(ordered), p, alpha, prior_rows)
    lower = float(ordered[below]) if below >= 0 else -math.inf
    upper = float(ordered[above - 1]) if above <= len(ordered) else math.inf
    return QuantileBounds(len(ordered), lower, upper)


def quantile_bounds_of_counts(
    edges: Sequence[float],
    counts: Sequence[int],
    p: float,
    alpha: float = 0.05,
    *,
    prior_rows: float = PRIOR_ROWS,
) -> QuantileBounds:
    """Bounds of the p-quantile from a histogram, as `quantile_bounds`; never tighter than the edges.

    Args:
        edges: K upper edges, increasing; a value equal to an edge is below it.
        counts: K + 1, the last one above all edges.
        p: which quantile.
        alpha: chance that the quantile is ever outside.
        prior_rows: weight of the mixture.

    Example:
        >>> bounds = quantile_bounds_of_counts([1.0, 2.0, 5.0], [900, 90, 10, 0], 0.5)
        >>> bounds.lower, bounds.upper
        (-inf, 1.0)
    """
    cumulated = np.cumsum(counts)
    n = int(cumulated[-1])
    below, above = count_boundaries(n, p, alpha, prior_rows)
    lower_at = int(np.searchsorted(cumulated, below + 1)) if below >= 0 else 0
    upper_at = int(np.searchsorted(cumulated, above)) if above <= n else len(edges)
    lower = -math.inf if lower_at == 0 else float(edges[lower_at - 1])
    upper = math.inf if upper_at >= len(edges) else float(edges[upper_at])
    return QuantileBounds(n, lower, upper)


def count_boundaries(n: int, p: float, alpha: float, prior_rows: float = PRIOR_ROWS) -> tuple[int, int]:
    """Counts out of n that trials of probability p reach at no time but with probability alpha.

    Returns:
        The largest impossible count below n p (-1: none) and the smallest above (n + 1: none).

    Example:
        >>> count_boundaries(3, 0.5, 0.05)
        (-1, 4)
    """
    _check(0, n, alpha)
    if not 0 < p < 1:
        raise StatisticsError("no such quantile", where="p", expected="0 < p < 1", received=f"{p}")
    a, b, enough = p * prior_rows, (1 - p) * prior_rows, math.log(1 / alpha)

    def impossible(count: int) -> bool:
        return log_mixture(count, n, p, a, b) >= enough

    centre = min(max(round(n * p), 0), n)
    below, inside = -1, centre
    while inside - below > 1:
        middle = (below + inside) // 2
        below, inside = (middle, inside) if impossible(middle) else (below, middle)
    inside, above = centre, n + 1
    while above - inside > 1:
        middle = (inside + above) // 2
        inside, above = (inside, middle) if impossible(middle) else (middle, above)
    return below, above


def sample_ratio_evidence(
    counts: Sequence[int], shares: Sequence[float], *, prior_rows: float = RATIO_ROWS
) -> float:
    """How many times likelier the counts of the arms are if assignment is broken: an e-process.

    While units go to the arms with these shares it reaches 1/alpha with probability alpha at most, however
    often it is looked at. Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS
    2022): a Dirichlet mixture around the shares.

    Args:
        counts: units in each arm; units, not requests, where one unit sends several.
        shares: intended, summing to 1.
        prior_rows: weight of the mixture.

    Raises:
        StatisticsError: shares and counts do not belong together.

    Example:
        >>> from scipy.stats import betabinom, binom
        >>> expected = betabinom.pmf(5400, 10000, 500, 500) / binom.pmf(5400, 10000, 0.5)
        >>> bool(abs(sample_ratio_evidence([5400, 4600], [0.5, 0.5]) / expected - 1) < 1e-6)
        True
    """
    if len(counts) != len(shares) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise StatisticsError("one positive share per arm, summing to 1", received=f"{list(shares)}")
    total = math.lgamma(prior_rows) - math.lgamma(prior_rows + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        weight = prior_rows * share
        total += math.lgamma(weight + count) - math.lgamma(weight) - count * math.log(share)
    return math.exp(min(total, 700.0))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _check(successes: int, n: int, alpha: float) -> None:
    if not 0 < alpha < 1:
        raise StatisticsError(
            "no such error rate", where="alpha", expected="0 < alpha < 1", received=f"{alpha}"
        )
    if not 0 <= successes <= n:
        raise StatisticsError("counts do not fit", expected=f"0 to {n}", received=f"{successes}")

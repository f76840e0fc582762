"""Two models on the same rows: both values of a metric, and the interval of their difference.

The difference of paired rows is known far better than either value: what makes a row hard is hard for both.
See docs/methods/paired.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError
from holdfast.stats.quality import Z95, area_under_curve, require_order

Numbers = NDArray[np.float64]
REPLICATES: Final = 400
"""Of the bootstrap: the ends of a 95 % interval are then known to a tenth of its half-width."""


class Paired(msgspec.Struct, frozen=True):
    """A metric of two models on the same rows, and second minus first with its 95 % interval."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    rows: int
    clusters: int | None = None
    """Groups of rows that were taken as one observation each; None: every row by itself."""


def paired_mean(first: NDArray[Any], second: NDArray[Any], clusters: NDArray[Any] | None = None) -> Paired:
    """Means of two losses of the same rows, with Student's interval of their difference.

    With clusters, rows of one cluster may depend on each other in any way: the variance is the sum over
    clusters of squared sums of residuals (Liang and Zeger 1986) with G / (G - 1), and Student's quantile has
    G - 1 degrees of freedom. With few clusters (fewer than 20) it is still somewhat narrow where their sizes
    differ much.

    Args:
        first: `[N]`.
        second: `[N]`.
        clusters: `[N]`, such as the subject of each row; any values that can be compared.

    Raises:
        StatisticsError: no row.

    Example:
        >>> import numpy as np
        >>> found = paired_mean(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1.0, 2.0, 2.0]))
        >>> found.difference, round(found.low, 6), round(found.high, 6)
        (-1.0, -2.299228, 0.299228)
    """
    from scipy.stats import t as student

    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.size == 0 or a.shape != b.shape:
        raise StatisticsError("two losses of the same rows are needed", received=f"{a.size} and {b.size}")
    change = b - a
    mean = float(change.mean())
    sums: Numbers = change - mean
    if clusters is not None:
        _, codes = np.unique(clusters, return_inverse=True)
        sums = np.bincount(codes, sums).astype(np.float64)
    groups = len(sums)
    count = None if clusters is None else groups
    if groups < 2:
        return Paired(float(a.mean()), float(b.mean()), mean, float("-inf"), float("inf"), a.size, count)
    error = float(np.sqrt(groups / (groups - 1) * float(sums @ sums))) / a.size
    half = float(student.ppf(0.975, groups - 1)) * error
    return Paired(float(a.mean()), float(b.mean()), mean, mean - half, mean + half, a.size, count)


def paired_area(labels: NDArray[np.bool_], first: NDArray[Any], second: NDArray[Any]) -> Paired:
    """Areas under two ROC curves of the same rows, as in DeLong, DeLong and Clarke-Pearson (1988).

    Args:
        labels: `[N]`, True for positives.
        first: `[N]` scores.
        second: `[N]` scores.

    Raises:
        StatisticsError: one class is absent.

    Example:
        >>> import numpy as np
        >>> labels = np.array([True, False, True, False])
        >>> paired_area(labels, np.array([0.9, 0.1, 0.4, 0.6]), np.array([0.9, 0.1, 0.7, 0.6])).difference
        0.25
    """
    areas = area_under_curve(labels, first).value, area_under_curve(labels, second).value
    variance = 0.0
    for one, other in zip(_placements(labels, first), _placements(labels, second), strict=True):
        moved = one - other
        variance += float(moved.var(ddof=1)) / moved.size if moved.size > 1 else 0.25
    half = Z95 * float(np.sqrt(variance))
    change = areas[1] - areas[0]
    return Paired(areas[0], areas[1], change, change - half, change + half, int(labels.size))


def _placements(labels: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[Numbers, Numbers]:
    """For each positive the share of negatives below it, and for each negative that of positives above it."""
    positive, negative = np.asarray(scores)[labels], np.asarray(scores)[~labels]

    def share_below(values: NDArray[Any], others: NDArray[Any]) -> Numbers:
        ordered = np.sort(others)
        left = np.searchsorted(ordered, values, side="left")
        right = np.searchsorted(ordered, values, side="right")
        share: Numbers = (left + right) / (2.0 * ordered.size)
        return share

    return share_below(positive, negative), 1 - share_below(negative, positive)


def paired_bootstrap(
    metric: Callable[[NDArray[np.intp]], tuple[float, float]],
    rows: int,
    clusters: NDArray[Any] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Paired:
    """Any metric of two models, with the percentile interval of its difference over redrawn rows.

    Whole clusters are redrawn where they are given. Replicates in which the metric does not exist (NaN) are
    left out; where that are more than half of them, the interval is endless.

    Args:
        metric: of the rows with these numbers, which may repeat: the first model's and the second's.
        rows: N.
        clusters: `[N]`.
        replicates: how often rows are redrawn; the cost is so many evaluations.
        seed: of the drawing.

    Raises:
        StatisticsError: no row.

    Example:
        The mean of 4 and of 2 for every row: there is nothing uncertain.

        >>> import numpy as np
        >>> found = paired_bootstrap(lambda chosen: (4.0, 2.0), 10)
        >>> found.difference, found.low, found.high
        (-2.0, -2.0, -2.0)
    """
    if rows < 1:
        raise StatisticsError("no labelled row")
    random = np.random.default_rng([seed, 23])
    members: list[NDArray[np.intp]] | None = None
    if clusters is not None:
        _, codes = np.unique(clusters, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    changes = np.empty(replicates)
    for number in range(replicates):
        if members is None:
            chosen = random.integers(0, rows, rows)
        else:
            chosen = np.concatenate([members[one] for one in random.integers(0, len(members), len(members))])
        first, second = metric(chosen)
        changes[number] = second - first
    first, second = metric(np.arange(rows))
    known = changes[np.isfinite(changes)]
    low, high = float("-inf"), float("inf")
    if len(known) > replicates / 2:
        low, high = (float(one) for one in np.quantile(known, [0.025, 0.975]))
    return Paired(first, second, second - first, low, high, rows, None if members is None else len(members))


def average_precision(labels: NDArray[np.bool_], scores: NDArray[Any]) -> float:
    """Mean precision over the positives, each where the threshold takes it in; NaN without one.

    The step-wise sum of scikit-learn, in a tenth of its time on short lists: a bootstrap asks often.

    Args:
        labels: `[N]`, True for positives.
        scores: `[N]`.

    Raises:
        StatisticsError: a score is missing.

    Example:
        >>> import numpy as np
        >>> average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
        0.8333333333333333
    """
    numbers = np.asarray(scores, dtype=np.float64)
    require_order(numbers)
    order = np.argsort(-numbers, kind="stable")
    ranked, positive = numbers[order], np.asarray(labels)[order]
    if not positive.any():
        return float("nan")
    last = np.r_[np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1]
    found = np.cumsum(positive)[last].astype(np.float64)
    return float(np.diff(np.r_[0.0, found]) @ (found / (last + 1)) / found[-1])

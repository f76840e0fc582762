"""How much worse one model may be than another on the same rows: a one-sided bound."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

_RESAMPLES = 2000
_CELLS = 20_000_000


class LossBound(msgspec.Struct, frozen=True):
    """The mean of paired differences of loss (new minus old) and an upper bound of its expectation."""

    value: float
    upper: float
    rows: int


def loss_bound(
    differences: NDArray[Any], *, alpha: float = 0.05, tries: int = 1, rng: np.random.Generator | None = None
) -> LossBound:
    """Upper confidence bound, level `1 - alpha / tries`, of the mean paired difference of losses.

    Differences of 0/1 losses (-1, 0 and 1) get an exact bound: the share of rows that got worse is bounded
    from above and the share that got better from below, each by Clopper and Pearson (1934) at half the level,
    and the bounds are subtracted. Other differences get the larger of Student's bound and the bootstrap's
    percentile, so that neither skewness nor few rows make it too small. Dividing `alpha` by the number of
    candidates (Bonferroni) keeps it valid for the one that is chosen because it looks best.

    Args:
        differences: `[N]`, loss of the new model minus loss of the old one, row by row.
        alpha: chance that a bound lies below the truth.
        tries: how many candidates are judged on these rows.
        rng: of the bootstrap; needed unless the losses are 0/1.

    Raises:
        StatisticsError: no row, or a difference that is missing or endless.

    Example:
        >>> import numpy as np
        >>> bound = loss_bound(np.zeros(100))  # the rule of three at a level of 0.975: 1 - 0.025 ** (1 / 100)
        >>> round(bound.upper, 4), round(1 - 0.025 ** (1 / 100), 4)
        (0.0362, 0.0362)
    """
    numbers = np.asarray(differences, dtype=np.float64)
    rows = numbers.size
    if rows == 0:
        raise StatisticsError("no row to compare on")
    if not np.isfinite(numbers).all():
        raise StatisticsError(
            "a difference is missing or endless",
            received=f"{int((~np.isfinite(numbers)).sum())} of {rows}",
            next_step="Leave those rows out",
        )
    level = alpha / tries
    mean = float(numbers.mean())
    if bool(np.isin(numbers, (-1.0, 0.0, 1.0)).all()):
        worse, better = int((numbers > 0).sum()), int((numbers < 0).sum())
        upper = _upper_share(worse, rows, level / 2) - _lower_share(better, rows, level / 2)
        return LossBound(mean, max(upper, mean), rows)
    if rows == 1:
        return LossBound(mean, float("inf"), rows)
    from scipy.stats import t

    student = mean + float(t.ppf(1 - level, rows - 1)) * float(numbers.std(ddof=1)) / np.sqrt(rows)
    drawn = _resampled_means(numbers, rng or np.random.default_rng(0))
    upper = max(student, float(np.quantile(drawn, 1 - level, method="higher")))
    return LossBound(mean, upper, rows)


def _upper_share(count: int, rows: int, level: float) -> float:
    from scipy.stats import beta

    return 1.0 if count >= rows else float(beta.ppf(1 - level, count + 1, rows - count))


def _lower_share(count: int, rows: int, level: float) -> float:
    from scipy.stats import beta

    return 0.0 if count == 0 else float(beta.ppf(level, count, rows - count + 1))


def _resampled_means(numbers: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    rows = numbers.size
    step = max(1, _CELLS // rows)
    means = []
    for start in range(0, _RESAMPLES, step):
        count = min(step, _RESAMPLES - start)
        means.append(numbers[rng.integers(0, rows, size=(count, rows))].mean(axis=1))
    return np.concatenate(means)

"""Quality of answers against labels, each with an interval."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

Z95: Final = 1.959963984540054


class Estimate(msgspec.Struct, frozen=True):
    """A number with its 95 % interval and the rows it rests on."""

    value: float
    low: float
    high: float
    rows: int


def mean_estimate(values: NDArray[Any]) -> Estimate:
    """Mean with the normal interval of its standard error.

    Example:
        >>> import numpy as np
        >>> mean_estimate(np.array([1.0, 3.0])).value
        2.0
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise StatisticsError("no labelled row")
    mean = float(numbers.mean())
    error = float(numbers.std(ddof=1) / np.sqrt(numbers.size)) if numbers.size > 1 else float("nan")
    if not np.isfinite(error):
        return Estimate(mean, float("-inf"), float("inf"), int(numbers.size))
    return Estimate(mean, mean - Z95 * error, mean + Z95 * error, int(numbers.size))


def require_order(scores: NDArray[Any]) -> None:
    """Refuse scores of which one is missing: its row has no place among the others.

    Raises:
        StatisticsError: how many are missing.
    """
    missing = np.isnan(scores)
    if missing.any():
        raise StatisticsError(
            "a score is missing, so rows have no order",
            received=f"{int(missing.sum())} of {scores.size} missing",
            next_step="Leave those rows out",
        )


def area_under_curve(labels: NDArray[np.bool_], scores: NDArray[Any]) -> Estimate:
    """Area under the ROC curve with the interval of DeLong, DeLong and Clarke-Pearson (1988).

    Args:
        labels: `[N]`, True for positives.
        scores: `[N]`.

    Raises:
        StatisticsError: one class is absent, or a score is missing.

    Example:
        >>> import numpy as np
        >>> area_under_curve(np.array([True, False, True, False]), np.array([0.9, 0.1, 0.4, 0.6])).value
        0.75
    """
    of_positives, numbers = np.asarray(labels, dtype=bool), np.asarray(scores)
    require_order(numbers)
    positive, negative = numbers[of_positives], numbers[~of_positives]
    if positive.size == 0 or negative.size == 0:
        raise StatisticsError("the AUC needs both classes among the labels")
    positive, negative = np.sort(positive), np.sort(negative)

    def share_below(values: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
        left = np.searchsorted(others, values, side="left")
        right = np.searchsorted(others, values, side="right")
        share: NDArray[np.float64] = (left + right) / (2.0 * others.size)
        return share

    of_positive = share_below(positive, negative)
    of_negative = 1 - share_below(negative, positive)
    area = float(of_positive.mean())
    variance = 0.0
    for part in (of_positive, of_negative):
        variance += float(part.var(ddof=1)) / part.size if part.size > 1 else 0.25
    error = float(np.sqrt(variance))
    return Estimate(area, max(0.0, area - Z95 * error), min(1.0, area + Z95 * error), int(numbers.size))

"""Quality that is to be expected without labels, if a score still means what it meant on the reference.

Confidence-based performance estimation: the calibrated score of a row is the chance that it is a positive, so
expected confusion counts are sums. It cannot see concept drift: that is exactly what it assumes away. See
docs/methods/estimated-quality.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.calibration import Calibration, ClassCalibration
from holdfast.stats.errors import StatisticsError
from holdfast.stats.quality import Z95, Estimate

Numbers = NDArray[np.float64]
ASSUMPTION: Final = "the mapping from x to y is as in the reference: it cannot see concept drift"


@dataclass(frozen=True, slots=True)
class Confusion:
    """Numbers of rows, whole or expected."""

    true_positives: float
    false_positives: float
    true_negatives: float
    false_negatives: float


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


CONFUSION_METRICS: Final[Mapping[str, Callable[[Confusion], float]]] = {
    "accuracy": lambda c: _ratio(c.true_positives + c.true_negatives, _rows(c)),
    "error rate": lambda c: _ratio(c.false_positives + c.false_negatives, _rows(c)),
    "precision": lambda c: _ratio(c.true_positives, c.true_positives + c.false_positives),
    "recall": lambda c: _ratio(c.true_positives, c.true_positives + c.false_negatives),
    "specificity": lambda c: _ratio(c.true_negatives, c.true_negatives + c.false_positives),
    "F1": lambda c: _ratio(
        2 * c.true_positives, 2 * c.true_positives + c.false_positives + c.false_negatives
    ),
}
"""Any function of the four counts can be estimated; these have names."""


def _rows(c: Confusion) -> float:
    return c.true_positives + c.false_positives + c.true_negatives + c.false_negatives


def estimate_confusion(
    calibration: Calibration,
    counts: NDArray[Any],
    answered: NDArray[Any],
    metric: Callable[[Confusion], float] = CONFUSION_METRICS["accuracy"],
) -> Estimate:
    """A metric of the confusion matrix from expected counts, with a 95 % interval.

    The interval is meant for the metric that labels of these very rows would give: it holds the spread of
    the labels given the scores (delta method) and the uncertainty of the calibration.

    Args:
        calibration: of the reference.
        counts: `[cells]` rows of the window, by rising score.
        answered: `[cells]`, the share of each cell's rows that is answered with the positive class.
        metric: of the four counts; a value of `CONFUSION_METRICS` or your own, smooth in the counts.

    Raises:
        StatisticsError: the window has no row.

    Example:
        100 rows at a chance of 0.2 answered no, 100 at 0.9 answered yes: (80 + 90) / 200 are right, with a
        standard deviation of sqrt(100 * 0.16 + 100 * 0.09) / 200 if the calibration is certain.

        >>> import numpy as np
        >>> chances = np.array([0.2, 0.9])
        >>> certain = Calibration(chances, chances[None])
        >>> found = estimate_confusion(certain, np.array([100, 100]), np.array([0, 1]))
        >>> round(found.value, 3), round((found.high - found.value) / 1.96, 3)
        (0.85, 0.025)
    """
    rows, said = np.asarray(counts, dtype=np.float64), np.asarray(answered, dtype=np.float64)
    if rows.sum() <= 0:
        raise StatisticsError("no row to estimate the quality of")

    def at(level: Numbers, more_yes: float = 0.0, more_no: float = 0.0) -> float:
        right = float((rows * said * level).sum()) + more_yes
        missed = float((rows * (1 - said) * level).sum()) + more_no
        yes, no = float((rows * said).sum()), float((rows * (1 - said)).sum())
        return metric(Confusion(right, yes - right, no - missed, missed))

    level = calibration.level
    spread = rows * level * (1 - level)
    step = 0.5
    variance = 0.0
    for part, share in (((step, 0.0), said), ((0.0, step), 1 - said)):
        slope = at(level, *part) - at(level, -part[0], -part[1])
        variance += slope**2 * float((spread * share).sum()) if np.isfinite(slope) else 0.0
    others = np.array([at(one) for one in calibration.replicates])
    return _estimate(at(level), variance, others, rows)


def estimate_area(calibration: Calibration, counts: NDArray[Any]) -> Estimate:
    """The area under the ROC curve to be expected, with a 95 % interval as of `estimate_confusion`.

    Args:
        calibration: of the reference.
        counts: `[cells]` rows of the window, by rising score. Rows of one cell count as ties.

    Raises:
        StatisticsError: the window has no row, or all rows are surely of one class.

    Example:
        Chances that are certain separate the classes wholly; equal chances not at all.

        >>> import numpy as np
        >>> def certain(*chances): return Calibration(np.array(chances), np.array([chances]))
        >>> estimate_area(certain(0.0, 1.0), np.array([7, 5])).value
        1.0
        >>> estimate_area(certain(0.3, 0.3), np.array([7, 5])).value
        0.5
    """
    rows = np.asarray(counts, dtype=np.float64)
    if rows.sum() <= 0:
        raise StatisticsError("no row to estimate the quality of")
    level = calibration.level
    area, slope = _areas(np.concatenate([level[None], calibration.replicates]), rows)
    variance = float((rows * level * (1 - level) * slope**2).sum())
    return _estimate(float(area[0]), variance, area[1:], rows)


def _areas(levels: Numbers, rows: Numbers) -> tuple[Numbers, Numbers]:
    """The area to be expected at each of `[L, cells]` levels; by how much the first grows with a positive."""
    positive, negative = rows * levels, rows * (1 - levels)
    yes, no = positive.sum(axis=1), negative.sum(axis=1)
    if (yes <= 0).any() or (no <= 0).any():
        raise StatisticsError("all rows are surely of one class, so there is no AUC")
    below = np.cumsum(negative, axis=1) - negative / 2
    area: Numbers = (positive * below).sum(axis=1) / (yes * no)
    above = yes[0] - np.cumsum(positive[0]) + positive[0] / 2
    return area, (below[0] - above - area[0] * (no[0] - yes[0])) / (yes[0] * no[0])


def estimate_class_accuracy(
    calibration: ClassCalibration, probabilities: Numbers, answered: NDArray[np.intp]
) -> Estimate:
    """The accuracy to be expected of K classes, with a 95 % interval as of `estimate_confusion`.

    Args:
        calibration: of the reference.
        probabilities: `[N, K]` of the window, as the model said.
        answered: `[N]` codes of the classes that were answered.

    Raises:
        StatisticsError: the window has no row, or a probability is missing.

    Example:
        A single score of 0.5, of which 70 in 100 were of class 1: answering 1 is right in 70 %.

        >>> from holdfast.stats import calibrate_classes
        >>> halves = np.full((100, 2), 0.5)
        >>> fitted = calibrate_classes(halves, np.repeat([0, 1], [30, 70]))
        >>> round(estimate_class_accuracy(fitted, halves, np.ones(100, int)).value, 6)
        0.7
    """
    if not len(probabilities):
        raise StatisticsError("no row to estimate the quality of")
    number = np.arange(len(probabilities))
    right = calibration.chances(probabilities)[number, answered]
    variance = float((right * (1 - right)).sum()) / len(right) ** 2
    others = np.array(
        [
            calibration.chances(probabilities, one)[number, answered].mean()
            for one in range(len(calibration.classes[0].replicates))
        ]
    )
    return _estimate(float(right.mean()), variance, others, np.ones(len(right)))


def estimate_class_confusion(
    calibration: ClassCalibration, probabilities: Numbers, answered: NDArray[np.intp]
) -> Numbers:
    """`[K, K]` expected rows by true class (first) and answered class; any metric of K classes follows.

    Args:
        calibration: of the reference.
        probabilities: `[N, K]` of the window, as the model said.
        answered: `[N]` codes of the classes that were answered.

    Example:
        >>> import numpy as np
        >>> from holdfast.stats import calibrate_classes
        >>> said = np.repeat([[0.8, 0.2], [0.3, 0.7]], 10, axis=0)
        >>> truth = np.r_[np.repeat([0, 1], [8, 2]), np.repeat([0, 1], [3, 7])]
        >>> found = estimate_class_confusion(calibrate_classes(said, truth), said, said.argmax(axis=1))
        >>> found.round(6).tolist()
        [[8.0, 3.0], [2.0, 7.0]]
    """
    chances = calibration.chances(probabilities)
    found = np.zeros((chances.shape[1], chances.shape[1]))
    np.add.at(found.T, answered, chances)
    return found


def _estimate(value: float, variance: float, others: Numbers, rows: Numbers) -> Estimate:
    known = others[np.isfinite(others)]
    if known.size > 1:
        variance += float(known.var(ddof=1))
    error = Z95 * float(np.sqrt(variance))
    return Estimate(value, value - error, value + error, round(float(rows.sum())))

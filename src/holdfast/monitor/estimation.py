"""Quality without labels, by window: calibrated scores for classes, a model of the loss for numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.design import Design
from holdfast.monitor.explained import EstimatedQuality
from holdfast.monitor.features import Feature
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import METRICS, ReferenceModel, quality_of
from holdfast.monitor.rows import Rows, Task
from holdfast.stats import (
    CONFUSION_METRICS,
    Calibration,
    Estimate,
    LossModel,
    StatisticsError,
    calibrate,
    estimate_area,
    estimate_confusion,
)

Numbers = NDArray[np.float64]
LEAST_LABELLED: Final = 200
"""Of the reference: from fewer, what a score means is not learnt."""
_LARGEST_FIT: Final = 20_000
_LARGEST_WINDOW: Final = 5_000
"""Rows of a window whose loss is estimated: their mean is known to a hundredth of the spread."""
BEYOND: Final = 0.05
"""Share of rows beyond the reference's range from which an estimate says so."""
_ALL: Final = np.ones(1)


@dataclass(frozen=True, slots=True)
class Estimator:
    """What the reference says about quality at a score, or at inputs; fitted once."""

    task: Task
    column: str
    """Of the score, the class that was chosen, or the predicted number."""
    order: NDArray[np.intp] = field(repr=False)
    """Cells of the column by rising chance of a positive (two classes) or of a right answer."""
    calibration: Calibration | None = field(repr=False)
    answered: Numbers = field(repr=False)
    """Two classes: the share of each cell, in that order, that is answered with the positive one."""
    design: Design | None = field(default=None, repr=False)
    loss: LossModel | None = field(default=None, repr=False)

    @classmethod
    def fit(
        cls, reference: ReferenceModel, rows: Rows, column: str, *, answered_from: float = 0.5
    ) -> Estimator | None:
        """From the reference's labelled rows; None where there are too few or the column says nothing.

        Args:
            reference: fitted on the rows.
            rows: of the reference.
            column: of the score; for several classes of the chosen class, or its probability.
            answered_from: of two classes, the score from which the positive one is answered.
        """
        feature = reference.features.get(column)
        if feature is None or rows.truth is None or rows.score is None:
            return None
        known = np.isfinite(rows.truth) & np.isfinite(rows.score)
        if known.sum() < LEAST_LABELLED:
            return None
        if reference.task == "regression":
            return cls._of_loss(rows, known, column)
        truth = rows.truth[known]
        cells = feature.index(rows.columns[column])[known]
        count = np.bincount(cells, minlength=feature.bins.cells)
        right: NDArray[Any] = np.bincount(cells, weights=truth, minlength=feature.bins.cells)
        order = _order(feature, count, right)
        above = np.bincount(cells, weights=rows.score[known] >= answered_from, minlength=feature.bins.cells)
        answered = np.divide(above, count, out=np.full(len(count), np.nan), where=count > 0)[order]
        try:
            calibration = calibrate(right[order], count[order])
        except StatisticsError:
            return None
        return cls(reference.task, column, order, calibration, _filled(answered))

    @classmethod
    def _of_loss(cls, rows: Rows, known: NDArray[np.bool_], column: str) -> Estimator | None:
        if rows.truth is None or rows.score is None:
            return None
        chosen = np.flatnonzero(known)
        chosen = chosen[:: -(-len(chosen) // _LARGEST_FIT)]
        design = Design.fit(rows.columns)
        loss = np.abs(rows.truth - rows.score)[chosen]
        inputs = design.encode(rows.columns)[chosen]
        model = LossModel.fit(inputs, loss)
        return cls("regression", column, np.empty(0, np.intp), None, _ALL, design, model)

    @property
    def metric(self) -> str:
        """The one that labelled windows are measured by."""
        return METRICS[self.task]

    def of_counts(self, windows: Sequence[WindowProfile], metric: str = "") -> Estimate | None:
        """Of the windows together, from their counts alone; None for numbers and where there is no row."""
        if self.calibration is None or not windows:
            return None
        counts = np.sum([window.counts[self.column] for window in windows], axis=0)[self.order]
        try:
            if self.task == "multiclass":
                # What is calibrated is whether the answer was right: as if all were answered with yes.
                return estimate_confusion(self.calibration, counts, np.ones(len(counts)))
            if metric in CONFUSION_METRICS:
                return estimate_confusion(self.calibration, counts, self.answered, CONFUSION_METRICS[metric])
            return estimate_area(self.calibration, counts)
        except StatisticsError:
            return None

    def of_rows(self, rows: Rows) -> Estimate | None:
        """Of the rows of a window; for numbers."""
        if self.loss is None or self.design is None or not len(rows):
            return None
        step = -(-len(rows) // _LARGEST_WINDOW)
        return self.loss.estimate(
            self.design.encode({name: values[::step] for name, values in rows.columns.items()})
        )


def estimate_windows(
    estimator: Estimator,
    windows: Sequence[WindowProfile],
    rows_of: Callable[[int], Rows | None],
) -> list[Estimate | None]:
    """The quality to be expected of each window.

    Args:
        estimator: fitted on the reference.
        windows: in order of time.
        rows_of: the rows of a window by its number, or None where only its profile is kept. Asked for
            numbers only, and only where labels are missing: there the estimate is not needed.
    """
    if estimator.calibration is not None:
        return [estimator.of_counts([window]) for window in windows]
    found = []
    for number, window in enumerate(windows):
        rows = rows_of(number) if window.labelled < window.rows else None
        found.append(None if rows is None else estimator.of_rows(rows))
    return found


def estimated_quality(
    estimator: Estimator,
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    estimates: Sequence[Estimate | None],
    parts: tuple[Sequence[int], Sequence[int]],
) -> tuple[EstimatedQuality, ...]:
    """Before and since the onset: the metric of the labelled windows, and with two classes the accuracy.

    Args:
        estimator: fitted on the reference.
        reference: fitted.
        windows: in order of time.
        estimates: of each window.
        parts: numbers of the windows before the change, and of those in which it stood.
    """
    if estimator.calibration is None:
        pooled = [_pooled([estimates[number] for number in part]) for part in parts]
        measured = quality_of(reference.task, [reference.whole])
        return _told(estimator.metric, measured, pooled)
    held = [[windows[number] for number in part] for part in parts]
    result = _told(
        estimator.metric,
        quality_of(reference.task, [reference.whole]),
        [estimator.of_counts(part) for part in held],
    )
    if estimator.task == "binary":
        result += _told(
            "accuracy",
            estimator.of_counts([reference.whole], "accuracy"),
            [estimator.of_counts(part, "accuracy") for part in held],
        )
    return result


def beyond_range(reference: ReferenceModel, windows: Sequence[WindowProfile]) -> Iterator[str]:
    """A sentence for each column of which many rows lie where the reference has none: there it is a guess.

    Args:
        reference: fitted.
        windows: those in which a change stood, or all.
    """
    for name, feature in reference.features.items():
        held = np.stack([window.counts[name] for window in windows])
        counts: NDArray[np.int64] = held.sum(axis=0, dtype=np.int64)
        rows = max(int(counts.sum()), 1)
        outside = counts[0] + counts[-3] if feature.numeric else counts[-2]
        if outside / rows >= BEYOND:
            yield (
                f"{outside / rows:.0%} of the rows hold values of {name} beyond the reference's range: "
                "the estimated quality is a guess there."
            )


def _told(
    metric: str, reference: Estimate | None, parts: Sequence[Estimate | None]
) -> tuple[EstimatedQuality, ...]:
    before, after = parts
    if before is None and after is None:
        return ()
    return (EstimatedQuality(metric=metric, reference=reference, before=before, after=after),)


def _pooled(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """The mean over windows. What was learnt wrongly is wrong in all, so the intervals do not shrink."""
    known = [estimate for estimate in estimates if estimate is not None]
    rows = sum(estimate.rows for estimate in known)
    if not rows:
        return None
    value, low, high = (
        sum(estimate.rows * bound for estimate, bound in zip(known, bounds, strict=True)) / rows
        for bounds in zip(*[(one.value, one.low, one.high) for one in known], strict=True)
    )
    return Estimate(value, low, high, rows)


def _order(feature: Feature, count: NDArray[Any], right: NDArray[Any]) -> NDArray[np.intp]:
    """Cells in which the chance is taken to rise: of a score by the score, of classes by their share."""
    if feature.numeric:
        # The last two are missing and not finite: no score, no estimate.
        return np.arange(feature.bins.cells - 2)
    overall = right.sum() / max(count.sum(), 1)
    share = np.where(count > 0, right / np.maximum(count, 1), overall)
    return np.argsort(share, kind="stable")


def _filled(answered: Numbers) -> Numbers:
    """Cells that the reference left empty are answered as their neighbours."""
    known = np.flatnonzero(np.isfinite(answered))
    return np.interp(np.arange(len(answered)), known, answered[known])

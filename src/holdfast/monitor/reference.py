"""The reference, fitted once, and the profile of a window on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.concept import ConceptModel
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.features import Feature
from holdfast.monitor.rows import Rows, Task
from holdfast.stats import Z95, Counts, Estimate, StatisticsError, area_under_curve

QUALITY_CELLS: Final = 256
METRICS: Final[Mapping[Task, str]] = {
    "binary": "area under the ROC curve",
    "multiclass": "accuracy",
    "regression": "mean absolute error",
    "none": "",
}


@dataclass(frozen=True, slots=True)
class WindowProfile:
    """One window as counts and sums; two of them merge by adding."""

    start: int
    """Microseconds since the epoch, or the number of the first row."""
    end: int
    """Exclusive."""
    rows: int
    labelled: int
    counts: Mapping[str, Counts] = field(repr=False)
    concept: NDArray[np.float64] | None = field(repr=False)
    quality: NDArray[np.float64] = field(repr=False)
    """Binary: `[2, cells]` of scores, negatives and positives. Else `[1, 3]`: rows, sum, squares of loss."""
    quartiles: Mapping[str, tuple[float, float, float]] = field(default_factory=dict, repr=False)
    """Numeric columns."""
    constant: frozenset[str] = frozenset()
    """Columns with one value in all rows of the window."""


@dataclass(frozen=True, slots=True)
class ReferenceModel:
    """Everything the monitor knows of the reference."""

    task: Task
    features: Mapping[str, Feature]
    concept: ConceptModel | None
    windows: Sequence[WindowProfile] = field(repr=False)
    """The reference's own windows, in order."""
    whole: WindowProfile = field(repr=False)

    @classmethod
    def fit(cls, task: Task, rows: Rows, stretches: Sequence[tuple[int, int, slice]]) -> ReferenceModel:
        """From the reference's rows.

        Args:
            task: what the truth and the score are.
            rows: in order of time where they have times.
            stretches: start, end and rows of each of its windows.

        Raises:
            MonitorError: there is no row or no column.
        """
        if not rows.columns or len(rows) == 0:
            raise MonitorError("the reference is empty", expected="at least one column and one row")
        features = {name: Feature.fit(name, values) for name, values in rows.columns.items()}
        cells = {name: feature.index(rows.columns[name]) for name, feature in features.items()}
        concept = ConceptModel.fit(task, rows, features, cells)
        bare = cls(task, features, concept, (), _EMPTY)
        whole = bare.profile(rows, 0, len(rows), cells=cells)
        own = [
            bare.profile(rows.take(part), start, end, cells={name: one[part] for name, one in cells.items()})
            for start, end, part in stretches
        ]
        return cls(task, features, concept, own, whole)

    def profile(
        self, rows: Rows, start: int, end: int, *, cells: Mapping[str, NDArray[np.intp]] | None = None
    ) -> WindowProfile:
        """Counts and sums of one window; costs one binning of each value."""
        found = cells or {name: feature.index(rows.columns[name]) for name, feature in self.features.items()}
        counts = {
            name: np.bincount(found[name], minlength=feature.bins.cells).astype(np.int64)
            for name, feature in self.features.items()
        }
        labelled = 0 if rows.truth is None else int(np.isfinite(rows.truth).sum())
        quartiles: dict[str, tuple[float, float, float]] = {}
        constant = set()
        for name, values in rows.columns.items():
            if isinstance(values, np.ndarray) and name in self.features:
                finite = values[np.isfinite(values)]
                if finite.size:
                    low, middle, high = np.quantile(finite, (0.25, 0.5, 0.75))
                    quartiles[name] = (float(low), float(middle), float(high))
                    if finite.size == len(values) and finite.min() == finite.max():
                        constant.add(name)
        concept = self.concept.profile(rows, self.features, found) if self.concept is not None else None
        return WindowProfile(
            start,
            end,
            len(rows),
            labelled,
            counts,
            concept,
            self._quality(rows),
            quartiles,
            frozenset(constant),
        )

    def _quality(self, rows: Rows) -> NDArray[np.float64]:
        if rows.truth is None or rows.score is None:
            return np.zeros((2, QUALITY_CELLS) if self.task == "binary" else (1, 3))
        known = np.isfinite(rows.truth) & np.isfinite(rows.score)
        truth, score = rows.truth[known], rows.score[known]
        if self.task == "binary":
            at = np.clip((score * QUALITY_CELLS).astype(int), 0, QUALITY_CELLS - 1)
            return np.stack(
                [np.bincount(at[truth == side], minlength=QUALITY_CELLS).astype(float) for side in (0.0, 1.0)]
            )
        loss = truth if self.task == "multiclass" else np.abs(truth - score)
        return np.array([[loss.size, loss.sum(), (loss**2).sum()]], dtype=float)


_EMPTY: Final = WindowProfile(0, 0, 0, 0, {}, None, np.zeros((1, 3)))


def quality_of(task: Task, profiles: Sequence[WindowProfile]) -> Estimate | None:
    """The task's metric over several windows; None without enough labels."""
    if not profiles or task == "none":
        return None
    total = np.sum([profile.quality for profile in profiles], axis=0)
    if task == "binary":
        counts = total.astype(np.int64)
        cells = np.tile(np.arange(QUALITY_CELLS), 2)
        scores = np.repeat(cells, counts.ravel())
        labels = np.repeat(np.repeat([False, True], QUALITY_CELLS), counts.ravel())
        try:
            return area_under_curve(labels, scores)
        except StatisticsError:
            return None
    rows, sum_of_loss, squares = total[0]
    if rows < 2:
        return None
    mean = sum_of_loss / rows
    error = np.sqrt(max(0.0, squares / rows - mean**2) / (rows - 1))
    return Estimate(float(mean), float(mean - Z95 * error), float(mean + Z95 * error), int(rows))

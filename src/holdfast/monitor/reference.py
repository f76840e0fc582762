"""The reference, fitted once, and the profile of a window on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.clocked import clock_columns
from holdfast.monitor.concept import ConceptModel
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.features import Feature
from holdfast.monitor.parts import Parts
from holdfast.monitor.profiling import QUALITY_CELLS, Measures, WindowProfile, profiles, quality_edges
from holdfast.monitor.rows import Rows, Task
from holdfast.stats import Z95, Counts, Estimate, StatisticsError, area_under_curve, fisher_variance

METRICS: Final[Mapping[Task, str]] = {
    "binary": "area under the ROC curve",
    "multiclass": "accuracy",
    "regression": "mean absolute error",
    "none": "",
}
_LEAST_VALUES: Final = 10
_LEAST_FOR_PAIRS: Final = 500
"""Distinct values, and rows of the reference, from which correlations of normal scores are near normal."""
MOST_PAIRED: Final = 40
"""Numeric columns whose dependence is followed: 780 pairs; more would cost more than they tell."""
PAIR_ROWS: Final = 1 << 14
"""Rows of the reference from which the noise of correlations is estimated."""


@dataclass(frozen=True, slots=True)
class ReferenceModel:
    """Everything the monitor knows of the reference."""

    task: Task
    features: Mapping[str, Feature]
    concept: ConceptModel | None
    windows: Sequence[WindowProfile] = field(repr=False)
    """The reference's own windows, in order."""
    whole: WindowProfile = field(repr=False)
    paired: tuple[str, ...] = ()
    """Numeric columns whose dependence is followed."""
    pair_variance: NDArray[np.float64] | None = field(default=None, repr=False)
    """`[P, P]`, see `fisher_variance`."""
    timed: bool = False
    """Whether the bounds of its windows are times, rather than row numbers."""
    outputs: frozenset[str] = frozenset()
    """Columns that the model answered."""
    parts: Parts | None = field(default=None, repr=False)
    """Of its windows; None where there is no need, or where its rows are read once."""
    clocked: frozenset[str] = frozenset()
    """Inputs that say what time it is: not judged by themselves."""
    quality_edges: NDArray[np.float64] | None = field(default=None, repr=False)
    """As of `Measures`."""

    @classmethod
    def fit(
        cls,
        task: Task,
        rows: Rows,
        stretches: Sequence[tuple[int, int, slice]],
        outputs: Collection[str] = (),
        *,
        second_view: bool = True,
    ) -> ReferenceModel:
        """From the reference's rows.

        Args:
            task: what the truth and the score are.
            rows: in order of time where they have times.
            stretches: start, end and rows of each of its windows.
            outputs: columns that the model answered: what they have to do with inputs is the model's.
            second_view: see `ConceptModel.fit`.

        Raises:
            MonitorError: there is no row or no column.
        """
        if not rows.columns or len(rows) == 0:
            raise MonitorError("the reference is empty", expected="at least one column and one row")
        features = {name: Feature.fit(name, values) for name, values in rows.columns.items()}
        clocked = frozenset(clock_columns(rows.columns, rows.time_us)) - set(outputs)
        if clocked == set(features):
            clocked = frozenset()
        paired = paired_columns(features, {*outputs, *clocked})
        among = {name: one.of_reference for name, one in features.items()}
        concept = ConceptModel.fit(task, rows, among, second_view=second_view)
        edges = None
        if task == "binary" and rows.score is not None and rows.truth is not None:
            edges = quality_edges(rows.score, rows.truth)
        measures = Measures(task, among, concept, paired, edges)
        own = profiles(measures, rows, stretches)
        whole = merged(own)
        step = max(1, len(rows) // PAIR_ROWS)
        scores = [
            features[name].functionals[features[name].index(rows.columns[name][::step]), 0] for name in paired
        ]
        variance = fisher_variance(np.stack(scores, axis=1)) if len(paired) > 1 else None
        timed = rows.time_us is not None
        parts = Parts.of(features, rows, stretches)
        return cls(
            task,
            features,
            concept,
            own,
            whole,
            paired,
            variance,
            timed,
            frozenset(outputs),
            parts,
            clocked,
            edges,
        )

    @property
    def judged(self) -> Mapping[str, Feature]:
        """The columns that are judged by themselves."""
        return {name: one for name, one in self.features.items() if name not in self.clocked}

    @property
    def measures(self) -> Measures:
        """What is measured of a window's rows."""
        return Measures(self.task, self.features, self.concept, self.paired, self.quality_edges)

    def profile(self, rows: Rows, start: int, end: int) -> WindowProfile:
        """Counts and sums of one window; costs one binning of each value."""
        return profiles(self.measures, rows, [(start, end, slice(0, len(rows)))])[0]

    def measured_alike(self, profile: WindowProfile) -> bool:
        """Whether a stored profile has the cells of this reference, so that the two can be compared."""
        own = self.whole
        return {name: counts.shape for name, counts in own.counts.items()} == {
            name: counts.shape for name, counts in profile.counts.items()
        } and all(
            (None if one is None else one.shape) == (None if other is None else other.shape)
            for one, other in (
                (own.concept, profile.concept),
                (own.quality, profile.quality),
                (own.products, profile.products),
            )
        )


def paired_columns(features: Mapping[str, Feature], outputs: Collection[str]) -> tuple[str, ...]:
    """Numeric inputs of many values, none of them in most rows: a correlation of rare events is chance."""
    found = []
    for name, one in features.items():
        if "location" not in one.tests or name in outputs or one.rows < _LEAST_FOR_PAIRS:
            continue
        inner = one.counts[1:-3]
        if (inner > 0).sum() >= _LEAST_VALUES and 2 * inner.max() <= one.rows:
            found.append(name)
    return tuple(found[:MOST_PAIRED])


def merged(some: Sequence[WindowProfile]) -> WindowProfile:
    """One profile of several, by adding; what only raw rows tell of a window is left out."""
    first = some[0]
    counts: dict[str, Counts] = {
        name: np.asarray(np.sum([one.counts[name] for one in some], axis=0, dtype=np.int64))
        for name in first.counts
    }

    def added(arrays: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
        known = [array for array in arrays if array is not None]
        total: NDArray[np.float64] | None = np.sum(known, axis=0) if known else None
        return total

    quality = added([one.quality for one in some])
    return WindowProfile(
        min(one.start for one in some),
        max(one.end for one in some),
        sum(one.rows for one in some),
        sum(one.labelled for one in some),
        counts,
        added([one.concept for one in some]),
        first.quality if quality is None else quality,
        products=added([one.products for one in some]),
        repeated=sum(one.repeated for one in some),
        returned=sum(one.returned for one in some),
    )


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

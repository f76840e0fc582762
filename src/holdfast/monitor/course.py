"""How a change came, and whether it stands: at once or little by little, for a time, again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.diagnosis import Diagnosis, DriftShape, Period, Ramp
from holdfast.monitor.family import Tests
from holdfast.monitor.features import FEW_VALUES
from holdfast.monitor.judged_windows import JudgedWindows
from holdfast.monitor.onset import began, extent_of, moved_together, of_all, strongest_tests
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.stats import (
    SURE,
    Manner,
    NumericBins,
    OnsetEstimate,
    RampExtent,
    change_shape,
    compare_passages,
    estimate_onset,
    find_visits,
    shape_odds,
)

_LEAST_ARRIVED: Final = 2
"""Windows of the new level that show its law; where there are fewer, the last of the climb stand for it."""
_LAST: Final = 4
"""The last of the climb: one window in so many."""
_MOST_BEYOND: Final = 0.05
"""Share of the rows after the change that may lie beyond the reference's range: where they lie there is not
known, and rows that moved together look like new ones."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a diagnosis says of it."""

    shape: DriftShape | None = None
    probability: float | None = None
    ramp: Ramp | None = None
    periods: tuple[Period, ...] = ()
    began: OnsetEstimate | None = None
    """Of a gradual change, in numbers of all windows."""

    @classmethod
    def of(cls, diagnosis: Diagnosis) -> Course:
        """As it was found."""
        return cls(diagnosis.shape, diagnosis.shape_probability, diagnosis.ramp, diagnosis.periods)


def find_course(
    reference: ReferenceModel,
    windows: JudgedWindows,
    *,
    data: Sequence[Tests],
    concept: Sequence[Tests],
) -> Course:
    """Of the stronger of the two kinds.

    Args:
        reference: that the windows were judged against.
        windows: that the tests were made on.
        data: tests of P(x) that stand.
        concept: tests of P(y|x) that stand.
    """
    if not data and not concept:
        return Course()
    strengths = [
        max((tests.strength.max(initial=0.0) for tests in group), default=0.0) for group in (data, concept)
    ]
    of_data = bool(strengths[0] >= strengths[1])
    numbers = range(len(windows.profiles)) if of_data else windows.with_labels
    judged, starts = windows.at(numbers), [windows.starts[number] for number in numbers]
    families = data if of_data else concept
    z = strongest_tests(families)
    onset = estimate_onset(z)
    visits = find_visits(z, onset)
    if onset.end is not None or len(visits.stretches) > 1:
        periods = tuple(
            Period(starts[one.start], None if one.end is None else starts[one.end])
            for one in visits.stretches
        )
        shape: DriftShape = "temporary" if len(periods) == 1 else "recurring"
        return Course(shape, round(visits.probability, 4), None, periods)
    course = _step_or_ramp(moved_together(z, onset))
    if course.shape != "gradual":
        return course
    extent = extent_of(z, strongest_tests(families, means=True))
    start = began(extent, len(judged))
    first, arrived = start.estimate, _arrived(extent, start.estimate, len(judged))
    ramp = Ramp(
        begin=starts[first],
        end=None if arrived is None else starts[arrived],
        windows=round(extent.length, 1),
        windows_low=round(extent.length_low, 1),
        windows_high=round(extent.length_high, 1),
        arrived=round(extent.over, 4),
        manner=_manner(reference, judged, data, first, arrived) if of_data else None,
    )
    return replace(course, ramp=ramp, began=start if of_data else of_all(start, windows.with_labels))


def stretches_of(periods: Sequence[Period], starts: Sequence[str]) -> list[range]:
    """Numbers of the windows in which a change stood that comes and goes.

    Args:
        periods: of a diagnosis.
        starts: of all windows, as text.
    """
    number = {start: place for place, start in enumerate(starts)}
    return [range(number[one.start], len(starts) if one.end is None else number[one.end]) for one in periods]


def _step_or_ramp(level: NDArray[np.float64]) -> Course:
    shape, odds = change_shape(level), shape_odds(level)
    if shape == "too early to tell":
        return Course(shape)
    # A jump with other changes behind it is seen as such, not by the comparison.
    probability = 1 - (odds.sudden if shape == "gradual" else odds.gradual)
    return Course(shape, round(probability, 4) if probability >= SURE else None)


def _arrived(extent: RampExtent, first: int, windows: int) -> int | None:
    """The first window that lies behind a ramp, of which `first` is the first; None while it climbs."""
    end = ceil(extent.end)
    return None if extent.over < 1 / 2 or end >= windows else max(end, first + 1)


def _manner(
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    data: Sequence[Tests],
    first: int,
    arrived: int | None,
) -> Manner | None:
    """By the numeric column that shows the change most."""
    strongest = max(
        (
            (float(np.abs(tests.single[:, test]).max()), tests.names[test][0])
            for tests in data
            if tests.family != "pairs"
            for test in tests.in_alarm
        ),
        default=(0.0, ""),
    )[1]
    feature = reference.features.get(strongest)
    if feature is None or not isinstance(feature.bins, NumericBins) or len(feature.bins.edges) <= FEW_VALUES:
        return None
    end = len(windows) if arrived is None else arrived
    if len(windows) - end < _LEAST_ARRIVED:
        end = len(windows) - max(_LEAST_ARRIVED, (len(windows) - first) // _LAST)
    after = [window.counts[strongest] for window in windows[end:]]
    between = [window.counts[strongest] for window in windows[first:end]]
    # Missing values and those that are not finite have no place between others.
    inner = slice(0, len(feature.bins.edges) + 2)
    since = np.sum(after, axis=0)[inner]
    bounds = _bounds(feature.bins)
    if not between or not np.isfinite(bounds).all() or since[[0, -1]].sum() >= _MOST_BEYOND * since.sum():
        return None
    return compare_passages(bounds, feature.counts[inner], since, np.stack(between)[:, inner]).manner


def _bounds(bins: NumericBins) -> NDArray[np.float64]:
    """Of the bins and of the two cells beside them, which are taken for as wide as their neighbours."""
    inner = np.array([*bins.edges, bins.maximum])
    if inner[-1] <= inner[-2]:
        inner[-1] = inner[-2] + (inner[-2] - inner[-3])
    return np.array([2 * inner[0] - inner[1], *inner, 2 * inner[-1] - inner[-2]])

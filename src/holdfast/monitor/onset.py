"""Since when what stands has stood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.diagnosis import DriftShape, QualityChange
from holdfast.monitor.family import Tests
from holdfast.monitor.reference import ReferenceModel
from holdfast.stats import (
    OnsetEstimate,
    RampExtent,
    change_shape,
    estimate_onset,
    find_visits,
    ramp_extent,
)

_TESTS_FOR_ONSET: Final = 12
"""Strongest tests whose windows are added up to find the onset."""
_CLEARLY: Final = 0.5
"""Share of a column's strongest value that its mean must show, to stand for the column."""
_FAR_STRONGER: Final = 2.0
"""The onset is that of one kind alone if its strongest value is so many times that of the other."""


def strongest_tests(
    families: Sequence[Tests], feature: str | None = None, *, means: bool = False
) -> NDArray[np.float64]:
    """`[W, K]` single-window values of the tests in alarm, of one feature or all, strongest first.

    Args:
        families: all that were made.
        feature: as the tests call it.
        means: of columns whose mean shows the change clearly only that.
    """
    ranked = [
        (float(tests.strength[:, test].max()), tests, int(test))
        for tests in families
        for test in tests.in_alarm
        if feature is None or tests.names[test][0] == feature
    ]
    if means:
        ranked = _means_alone(ranked)
    ranked = sorted(ranked, key=lambda item: -item[0])[:_TESTS_FOR_ONSET]
    return np.stack([tests.single[:, test] for _, tests, test in ranked], axis=1)


def _means_alone(ranked: Sequence[tuple[float, Tests, int]]) -> list[tuple[float, Tests, int]]:
    """Without the other tests of columns whose mean shows it clearly."""
    most: dict[str, float] = {}
    mean: dict[str, float] = {}
    for strength, tests, test in ranked:
        column, name = tests.names[test]
        most[column] = max(most.get(column, 0.0), strength)
        if name == "location":
            mean[column] = strength
    clear = {column for column, strength in mean.items() if strength >= _CLEARLY * most[column]}
    return [
        (strength, tests, test)
        for strength, tests, test in ranked
        if tests.names[test][0] not in clear or tests.names[test][1] == "location"
    ]


def locate(
    data: Sequence[Tests], concept: Sequence[Tests], with_labels: Sequence[int], windows: int
) -> OnsetEstimate | None:
    """The onset of the kind that is far stronger, else the earlier, in numbers of all windows.

    A mapping that surely changed before the inputs did dates the change, however far these moved later: the
    rows to retrain on are those since then.
    """
    inputs = first_onset(strongest_tests(data)) if any(one.in_alarm.size for one in data) else None
    mapping = None
    if any(one.in_alarm.size for one in concept):
        mapping = of_all(first_onset(strongest_tests(concept)), with_labels)
    if inputs is None or mapping is None:
        first = inputs or mapping
    else:
        of_data, of_concept = (
            max(float(one.strength.max(initial=0.0)) for one in kind) for kind in (data, concept)
        )
        if of_concept >= _FAR_STRONGER * of_data:
            first = mapping
        elif of_data >= _FAR_STRONGER * of_concept and mapping.latest >= inputs.earliest:
            first = inputs
        else:
            first = min(inputs, mapping, key=lambda one: one.estimate)
    if first is None:
        return None
    return OnsetEstimate(first.earliest, first.estimate, min(first.latest, windows - 1), first.end)


def first_onset(z: NDArray[np.float64]) -> OnsetEstimate:
    """Of a change that comes and goes when it came first, and when it was over last."""
    found = estimate_onset(z)
    stretches = find_visits(z, found).stretches
    if len(stretches) == 1:
        return found
    return replace(estimate_onset(z[: stretches[1].start]), end=stretches[-1].end)


def moved_together(z: NDArray[np.float64], onset: OnsetEstimate) -> NDArray[np.float64]:
    """`[W]`, the tests added up as they moved since the onset, so that noise of one weighs less."""
    level: NDArray[np.float64] = z @ z[onset.estimate :].mean(axis=0)
    return level


def ramp_onset(z: NDArray[np.float64], means: NDArray[np.float64]) -> OnsetEstimate:
    """Of a change that came little by little when its climb began, long before a level would be seen.

    Args:
        z: from `strongest_tests`.
        means: the same, of `means` only.
    """
    found = estimate_onset(z)
    if found.end is not None or change_shape(moved_together(z, found)) != "gradual":
        return found
    return began(extent_of(z, means), len(z))


def extent_of(z: NDArray[np.float64], means: NDArray[np.float64]) -> RampExtent:
    """Of a change that came little by little.

    While a mean climbs evenly, squares and what lies beyond the reference's range begin late and end steep,
    and the mean of scores ends flat. So where the means began before all that is likely by the whole, they
    tell the begin, and the whole the end.

    Args:
        z: from `strongest_tests`.
        means: the same, of `means` only.
    """
    whole, early = (ramp_extent(moved_together(one, estimate_onset(one))) for one in (z, means))
    before = whole.begin - early.begin
    if early.begin >= whole.begin_low:
        return whole
    return replace(
        whole,
        begin=early.begin,
        begin_low=early.begin_low,
        begin_high=early.begin_high,
        length=whole.length + before,
        length_low=whole.length_low + before,
        length_high=whole.length_high + before,
    )


def began(extent: RampExtent, windows: int) -> OnsetEstimate:
    """The first window that a ramp has touched."""
    low, first, high = (
        min(max(int(one), 0), windows - 1) for one in (extent.begin_low, extent.begin, extent.begin_high)
    )
    return OnsetEstimate(low, first, high)


def onset_of_column(
    feature: str,
    data: Sequence[Tests],
    concept: Sequence[Tests],
    with_labels: Sequence[int],
    *,
    shape: DriftShape | None = None,
) -> OnsetEstimate:
    """When one column, or with "" all answers, changed; of both kinds the one that began first.

    Args:
        feature: as the tests call it.
        data: tests of P(x) that stand.
        concept: tests of P(y|x) that stand.
        with_labels: numbers of the windows that the latter were made on.
        shape: of the whole; only where that comes and goes is a column searched for visits.
    """

    def dated(families: Sequence[Tests]) -> OnsetEstimate:
        z = strongest_tests(families, feature)
        if shape == "gradual":
            return ramp_onset(z, strongest_tests(families, feature, means=True))
        return first_onset(z) if shape == "recurring" else estimate_onset(z)

    found = []
    if any(tests.names[test][0] == feature for tests in data for test in tests.in_alarm):
        found.append(dated(data))
    if any(tests.names[test][0] == feature for tests in concept for test in tests.in_alarm):
        found.append(of_all(dated(concept), with_labels))
    return min(found, key=lambda one: one.estimate)


def of_all(inner: OnsetEstimate, with_labels: Sequence[int]) -> OnsetEstimate:
    """In numbers of all windows, from numbers of those with labels."""
    return OnsetEstimate(
        with_labels[inner.earliest],
        with_labels[inner.estimate],
        with_labels[inner.latest],
        None if inner.end is None else with_labels[inner.end],
    )


def known_by_heart(
    reference: ReferenceModel, concept: Sequence[Tests], quality: QualityChange | None
) -> bool:
    """Whether the model looks trained on the reference: worse than there from the first window on."""
    if quality is None or quality.reference is None or quality.after is None:
        return False
    if not any(tests.in_alarm.size for tests in concept):
        return False
    onset = estimate_onset(strongest_tests(concept))
    if onset.estimate > 0 or onset.end is not None:
        return False
    if reference.task == "regression":
        return quality.after.low > quality.reference.high
    return quality.after.high < quality.reference.low

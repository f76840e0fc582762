"""Quality with intervals, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from holdfast.stats import StatisticsError, area_under_curve, mean_estimate


def test_the_area_and_its_variance_are_those_of_delong_by_brute_force() -> None:
    random = np.random.default_rng(3)
    labels = random.random(80) < 0.3
    scores = np.round(random.normal(size=80) + labels, 1)  # with ties
    kernel = (scores[labels][:, None] > scores[~labels]) + 0.5 * (scores[labels][:, None] == scores[~labels])
    variance = (
        kernel.mean(axis=1).var(ddof=1) / labels.sum() + kernel.mean(axis=0).var(ddof=1) / (~labels).sum()
    )
    found = area_under_curve(labels, scores)
    assert found.value == pytest.approx(kernel.mean())
    half = scipy_stats.norm.ppf(0.975) * np.sqrt(variance)
    assert found.low == pytest.approx(max(0.0, kernel.mean() - half))
    assert found.high == pytest.approx(min(1.0, kernel.mean() + half))


def test_the_area_is_the_statistic_of_mann_and_whitney() -> None:
    random = np.random.default_rng(4)
    labels = random.random(500) < 0.1
    scores = random.normal(size=500) + 0.5 * labels
    statistic = scipy_stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
    expected = statistic / labels.sum() / (~labels).sum()
    assert area_under_curve(labels, scores).value == pytest.approx(expected)


def test_the_area_needs_both_classes() -> None:
    with pytest.raises(StatisticsError, match="both classes"):
        area_under_curve(np.array([True, True]), np.array([0.1, 0.2]))


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(5).normal(size=1000)
    low, high = scipy_stats.norm.interval(0.95, values.mean(), scipy_stats.sem(values))
    found = mean_estimate(values)
    assert [found.low, found.high] == pytest.approx([low, high])
    assert found.rows == 1000


def test_one_row_has_an_endless_interval() -> None:
    found = mean_estimate(np.array([2.0]))
    assert (found.value, found.low, found.high) == (2.0, -np.inf, np.inf)


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(StatisticsError, match="no labelled row"):
        mean_estimate(np.array([]))


def test_a_missing_score_has_no_order() -> None:
    with pytest.raises(StatisticsError, match="1 of 3 missing"):
        area_under_curve(np.array([True, False, True]), np.array([0.1, np.nan, 0.2]))


def test_truths_may_be_numbers() -> None:
    scores = np.array([0.2, 0.1, 0.9])
    assert area_under_curve(np.array([0.0, 0.0, 1.0]), scores).value == 1.0

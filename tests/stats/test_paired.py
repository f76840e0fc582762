"""Differences of paired rows and scalings, against SciPy, scikit-learn, brute force and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import average_precision_score

from holdfast.stats import (
    StatisticsError,
    average_precision,
    log_odds,
    paired_area,
    paired_bootstrap,
    paired_mean,
    scale_log_odds,
    scale_number,
    scale_temperature,
)


def test_the_interval_of_a_paired_difference_is_that_of_the_paired_t_test() -> None:
    random = np.random.default_rng(1)
    first = random.normal(size=40)
    second = first + random.normal(0.1, 0.3, 40)
    expected = scipy_stats.ttest_rel(second, first).confidence_interval(0.95)
    found = paired_mean(first, second)
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high])
    assert (found.first, found.second) == pytest.approx((first.mean(), second.mean()))


def test_equal_clusters_of_equal_size_have_the_interval_of_their_means() -> None:
    random = np.random.default_rng(2)
    means = random.normal(0.2, 1.0, 15)
    change = np.repeat(means, 8) + random.normal(0, 0.5, 120)
    clusters = np.repeat(np.arange(15), 8)
    expected = scipy_stats.ttest_1samp(change.reshape(15, 8).mean(axis=1), 0).confidence_interval(0.95)
    found = paired_mean(np.zeros(120), change, clusters)
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high])
    assert found.clusters == 15


def test_clusters_cover_the_truth_where_rows_alone_do_not() -> None:
    random = np.random.default_rng(3)
    hits = {"clusters": 0, "rows": 0}
    for _ in range(400):
        change = np.repeat(random.normal(0, 1, 30), 20) + random.normal(0, 1, 600)
        for name, clusters in (("clusters", np.repeat(np.arange(30), 20)), ("rows", None)):
            found = paired_mean(np.zeros(600), change, clusters)
            hits[name] += found.low <= 0 <= found.high
    low, high = scipy_stats.binom.interval(0.999, 400, 0.95)
    assert low <= hits["clusters"] <= high
    assert hits["rows"] < 250


def test_the_paired_area_is_that_of_delong_by_brute_force() -> None:
    random = np.random.default_rng(4)
    labels = random.random(90) < 0.3
    shared = random.normal(size=90) + labels
    scores = [np.round(shared + random.normal(0, one, 90), 1) for one in (0.5, 0.8)]
    kernels = [
        (one[labels][:, None] > one[~labels]) + 0.5 * (one[labels][:, None] == one[~labels]) for one in scores
    ]
    by_positive = np.cov([kernel.mean(axis=1) for kernel in kernels])
    by_negative = np.cov([kernel.mean(axis=0) for kernel in kernels])
    covariance = by_positive / labels.sum() + by_negative / (~labels).sum()
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    found = paired_area(labels, *scores)
    change = kernels[1].mean() - kernels[0].mean()
    half = scipy_stats.norm.ppf(0.975) * np.sqrt(variance)
    assert (found.difference, found.low, found.high) == pytest.approx((change, change - half, change + half))


def test_the_bootstrap_of_a_mean_has_the_width_of_the_t_interval() -> None:
    random = np.random.default_rng(5)
    values = random.normal(size=(2, 500))
    found = paired_bootstrap(
        lambda rows: (float(values[0, rows].mean()), float(values[1, rows].mean())), 500, replicates=2000
    )
    exact = paired_mean(values[0], values[1])
    assert found.difference == pytest.approx(exact.difference)
    assert found.high - found.low == pytest.approx(exact.high - exact.low, rel=0.1)
    clusters = np.repeat(np.arange(50), 10)
    wide = paired_bootstrap(lambda rows: (0.0, float((rows // 10).mean())), 500, clusters, replicates=2000)
    by_rows = paired_bootstrap(lambda rows: (0.0, float((rows // 10).mean())), 500, replicates=2000)
    assert (wide.high - wide.low) / (by_rows.high - by_rows.low) == pytest.approx(np.sqrt(10), rel=0.15)


@given(
    arrays(np.bool_, st.integers(1, 60)).flatmap(
        lambda labels: st.tuples(
            st.just(labels), arrays(np.float64, len(labels), elements=st.integers(0, 9).map(float))
        )
    )
)
def test_average_precision_is_that_of_scikit_learn_with_ties(
    given_rows: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = given_rows
    if labels.any():
        assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))
    else:
        assert np.isnan(average_precision(labels, scores))


def test_average_precision_refuses_missing_scores_and_takes_endless_ones() -> None:
    labels = np.array([True, False, True])
    with pytest.raises(StatisticsError, match="1 of 3 missing"):
        average_precision(labels, np.array([0.9, np.nan, 0.1]))
    endless = average_precision(labels, np.array([np.inf, np.inf, -np.inf]))
    assert endless == pytest.approx(average_precision_score(labels, np.array([2.0, 2.0, 1.0])))


def test_scaled_log_odds_are_the_logistic_regression_of_platts_targets() -> None:
    random = np.random.default_rng(6)
    odds = random.normal(0, 2, 3000)
    truth = (random.random(3000) < 1 / (1 + np.exp(-(0.6 * odds - 1)))).astype(float)
    weights = random.integers(1, 4, 3000).astype(float)
    high = (weights @ truth + 1) / (weights @ truth + 2)
    low = 1 / (weights @ (1 - truth) + 2)
    target = np.where(truth > 0, high, low)
    twice = np.r_[odds, odds][:, None]
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        twice, np.r_[np.ones(3000), np.zeros(3000)], np.r_[weights * target, weights * (1 - target)]
    )
    found = scale_log_odds(odds, truth, weights)
    assert found.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert found.level == pytest.approx(model.intercept_[0], rel=1e-4)


def test_separated_classes_still_have_a_finite_scale() -> None:
    found = scale_log_odds(np.r_[np.full(50, -30.0), np.full(50, 30.0)], np.r_[np.zeros(50), np.ones(50)])
    assert np.isfinite([found.slope, found.level]).all()
    assert 1 / (1 + np.exp(-(30 * found.slope + found.level))) == pytest.approx(51 / 52, abs=1e-3)
    with pytest.raises(StatisticsError, match="both classes"):
        scale_log_odds(np.ones(3), np.ones(3))


def test_two_classes_have_the_temperature_of_a_line_through_the_origin() -> None:
    random = np.random.default_rng(7)
    odds = random.normal(0, 2, 4000)
    truth = (random.random(4000) < 1 / (1 + np.exp(-0.4 * odds))).astype(int)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(odds[:, None], truth)
    found = scale_temperature(np.stack([np.zeros(4000), odds], axis=1), truth)
    assert found.slope == pytest.approx(model.coef_[0, 0], rel=1e-3)


def test_a_line_of_numbers_is_that_of_weighted_least_squares() -> None:
    random = np.random.default_rng(8)
    x, y, w = random.normal(size=50), random.normal(size=50), random.random(50)
    model = LinearRegression().fit(x[:, None], y, w)
    found = scale_number(x, y, w)
    assert (found.slope, found.level) == pytest.approx((model.coef_[0], model.intercept_))
    assert log_odds(np.array([0.2])) == pytest.approx(np.log(0.25))


def test_one_row_has_an_endless_interval_and_none_is_refused() -> None:
    found = paired_mean(np.array([1.0]), np.array([2.0]))
    assert (found.difference, found.low, found.high) == (1.0, -np.inf, np.inf)
    for call in (
        lambda: paired_mean(np.array([]), np.array([])),
        lambda: paired_bootstrap(lambda rows: (0.0, 0.0), 0),
        lambda: scale_number(np.array([]), np.array([])),
        lambda: scale_temperature(np.empty((0, 3)), np.array([])),
    ):
        with pytest.raises(StatisticsError):
            call()

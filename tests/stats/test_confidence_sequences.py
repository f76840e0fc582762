"""Bounds that hold at all times: against SciPy, closed forms, and how often they miss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import betabinom, binom

from holdfast.stats import (
    StatisticsError,
    betting_bounds,
    count_boundaries,
    log_capital,
    quantile_bounds,
    quantile_bounds_of_counts,
    sample_ratio_evidence,
    share_bounds,
)

ALPHA = 0.1


def test_all_wins_have_the_bound_of_their_closed_form() -> None:
    stakes = 0.5 ** np.arange(1, 13)
    for n in (10, 40):
        edge = brentq(lambda m, n=n: np.mean((1 + stakes * (1 / m - 1)) ** n) - 40, 0.01, 1)
        bounds = betting_bounds(np.ones(n))
        assert bounds.lower == pytest.approx(edge, abs=1e-9)
        assert bounds.upper == 1.0


def test_the_bounds_are_where_the_capital_of_a_plain_product_is_two_over_alpha() -> None:
    x = np.random.default_rng(3).beta(2, 5, 400)
    stakes = 0.5 ** np.arange(1, 13)[:, None]

    def short_of(mean: float, seen: Any) -> float:
        return float(np.mean(np.prod(1 + stakes * (seen / mean - 1), axis=1))) - 40

    lower = brentq(short_of, x.mean() - 0.06, x.mean(), args=(x,), xtol=1e-13)
    upper = 1 - brentq(short_of, 0.94 - x.mean(), 1 - x.mean(), args=(1 - x,), xtol=1e-13)
    bounds = betting_bounds(x)
    assert (bounds.lower, bounds.upper) == pytest.approx((lower, upper), abs=1e-9)


def test_the_mean_is_outside_at_any_time_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(1)
    runs, mean = 400, 0.1
    ones = np.cumsum(rng.random((runs, 1500)) < mean, axis=1)
    counts = np.stack([np.arange(1, 1501) - ones, ones], axis=-1)
    missed = 0
    for above in (True, False):
        capital = log_capital(np.array([0.0, 1.0]), counts, mean, above=above)
        missed += int((capital.max(axis=1) >= math.log(2 / ALPHA)).sum())
    assert missed <= binom.ppf(0.999, runs, ALPHA)


def test_a_fixed_interval_looked_at_after_each_row_misses_far_more_often() -> None:
    rng = np.random.default_rng(1)
    x = (rng.random((400, 1500)) < 0.1).astype(float)
    n = np.arange(1, 1501)
    means = np.cumsum(x, axis=1) / n
    half = 1.645 * np.sqrt(means * (1 - means) / n)
    missed = ((np.abs(means - 0.1) > half) & (n >= 100)).any(axis=1)
    assert missed.mean() > 3 * ALPHA


@pytest.mark.parametrize("n", [1000, 10_000, 100_000])
def test_the_price_of_looking_at_all_times_is_at_most_twice_the_width(n: int) -> None:
    x = (np.arange(n) % 10 == 0).astype(float)
    bounds = betting_bounds(x)
    once = 2 * 1.96 * math.sqrt(0.09 / n)
    assert 1.2 < (bounds.upper - bounds.lower) / once < 2.0


def test_counts_stand_for_values() -> None:
    values, counts = np.array([0.0, 0.3, 1.0]), np.array([5, 3, 2])
    assert betting_bounds(values, counts=counts) == betting_bounds(np.repeat(values, counts))


def test_no_values_say_nothing() -> None:
    assert betting_bounds(np.array([0.5]), counts=np.array([0])).upper == 1.0
    assert betting_bounds(np.empty(0)).lower == 0.0
    assert betting_bounds(np.empty(0), low=-1).upper == 1.0
    assert betting_bounds(np.zeros(5)).lower == 0.0


def test_a_range_moves_the_bounds_with_it() -> None:
    x = np.random.default_rng(2).random(200)
    plain, moved = betting_bounds(x), betting_bounds(2 * x - 1, low=-1, high=1)
    assert moved.lower == pytest.approx(2 * plain.lower - 1)
    assert moved.upper == pytest.approx(2 * plain.upper - 1)


@pytest.mark.parametrize("values", [[0.5, 1.1], [math.nan], [-0.1]])
def test_values_outside_the_range_are_refused(values: list[float]) -> None:
    with pytest.raises(StatisticsError, match="outside the range"):
        betting_bounds(np.array(values))


def test_bounds_of_a_share_are_where_scipys_mixture_ratio_is_one_over_alpha() -> None:
    def short_of(p: float) -> float:
        return float(betabinom.logpmf(12, 200, 1, 1) - binom.logpmf(12, 200, p)) - math.log(20)

    bounds = share_bounds(12, 200)
    assert bounds.lower == pytest.approx(brentq(short_of, 1e-6, 0.06), abs=1e-9)
    assert bounds.upper == pytest.approx(brentq(short_of, 0.06, 0.9), abs=1e-9)
    assert (share_bounds(0, 0).lower, share_bounds(0, 0).upper) == (0.0, 1.0)
    assert share_bounds(5, 5).upper == 1.0


def test_count_boundaries_are_the_counts_that_scipys_mixture_ratio_excludes() -> None:
    n, p = 500, 0.9
    counts = np.arange(n + 1)
    ratio = betabinom.logpmf(counts, n, 100 * p, 100 * (1 - p)) - binom.logpmf(counts, n, p)
    outside = ratio >= math.log(20)
    below, above = count_boundaries(n, p, 0.05)
    assert below == counts[outside & (counts < n * p)].max()
    assert above == counts[outside & (counts > n * p)].min()


@pytest.mark.parametrize("p", [0.5, 0.99])
def test_a_quantile_is_outside_at_any_time_no_more_often_than_alpha(p: float) -> None:
    rng = np.random.default_rng(7)
    runs, truth = 200, -math.log(1 - p)
    times = np.unique(np.geomspace(1, 3000, 60).astype(int))
    edges = {n: count_boundaries(int(n), p, ALPHA) for n in times}
    missed = 0
    for _ in range(runs):
        reached = np.cumsum(rng.exponential(size=3000) <= truth)
        missed += any(not edges[n][0] < reached[n - 1] < edges[n][1] for n in times)
    assert missed <= binom.ppf(0.999, runs, ALPHA)


def test_a_quantile_holds_where_many_values_are_equal() -> None:
    values = np.repeat([1.0, 2.0], [600, 400])
    assert quantile_bounds(values, 0.5).lower == 1.0
    assert quantile_bounds(values, 0.5).upper == 1.0
    assert quantile_bounds(np.empty(0), 0.5).lower == -math.inf


def test_a_histogram_never_says_more_than_the_values() -> None:
    values = np.random.default_rng(4).exponential(size=5000)
    edges = [0.1, 0.5, 1.0, 2.0, 4.0, 8.0]
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).tolist()
    for p in (0.5, 0.9, 0.99):
        exact, coarse = quantile_bounds(values, p), quantile_bounds_of_counts(edges, counts, p)
        assert coarse.lower <= exact.lower <= exact.upper <= coarse.upper
        assert edges.index(coarse.upper) - edges.index(coarse.lower) <= 2


def test_a_broken_ratio_is_found_and_a_whole_one_is_not() -> None:
    assert sample_ratio_evidence([50_500, 49_500], [0.5, 0.5]) < 20
    assert sample_ratio_evidence([52_000, 48_000], [0.5, 0.5]) > 1000
    assert sample_ratio_evidence([0, 0], [0.99, 0.01]) == 1.0


def test_a_whole_ratio_watched_all_the_time_is_called_broken_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(200):
        reached = np.cumsum(rng.random(3000) < 0.1)
        missed += any(
            sample_ratio_evidence([n - int(reached[n - 1]), int(reached[n - 1])], [0.9, 0.1]) >= 1 / ALPHA
            for n in range(20, 3001, 60)
        )
    assert missed <= binom.ppf(0.999, 200, ALPHA)

"""Quantiles with intervals, against tables and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.stats import StatisticsError, quantile_estimate, quantile_ranks


@pytest.mark.parametrize(
    ("rows", "ranks"),
    # Two-sided 95 % intervals of the median: Conover (1999), table A3 and section 3.2.
    [(6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (25, (8, 18))],
)
def test_ranks_of_the_median_are_those_of_the_sign_test(rows: int, ranks: tuple[int, int]) -> None:
    assert quantile_ranks(rows, 0.5) == ranks


def test_a_99th_percentile_is_bounded_above_only_from_369_values_on() -> None:
    # 0.99 ** n < 0.025 first holds at n = 368, and the largest value must lie above.
    assert quantile_estimate(np.arange(1.0, 368.0), 0.99).high == float("inf")
    assert np.isfinite(quantile_estimate(np.arange(1.0, 370.0), 0.99).high)


def test_requests_without_an_answer_count_as_slower_than_any() -> None:
    values = np.concatenate([np.ones(980), np.full(20, np.inf)])
    assert quantile_estimate(values, 0.5).value == 1.0
    assert quantile_estimate(values, 0.99).value == float("inf")


def test_the_interval_covers_the_true_quantile_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    truth = -np.log(0.1)
    hits = 0
    for _ in range(400):
        found = quantile_estimate(rng.exponential(size=200), 0.9)
        hits += found.low <= truth <= found.high
    assert hits >= 0.93 * 400


def test_blocks_that_differ_make_the_interval_wider() -> None:
    rng = np.random.default_rng(2)
    level = np.repeat(rng.exponential(size=20), 200)
    values = level + 0.01 * rng.random(4000)
    blocks = np.repeat(np.arange(20), 200)
    alone = quantile_estimate(values, 0.5)
    together = quantile_estimate(values, 0.5, blocks=blocks, rng=np.random.default_rng(3))
    assert together.high - together.low > 2 * (alone.high - alone.low)


@given(st.lists(st.floats(0.001, 1e3), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_the_value_lies_in_its_interval(values: list[float], q: float) -> None:
    found = quantile_estimate(np.array(values), q)
    assert found.low <= found.value <= found.high


def test_no_value_is_an_error() -> None:
    with pytest.raises(StatisticsError):
        quantile_estimate(np.array([]), 0.5)


def test_missing_values_and_shares_that_are_none_are_refused() -> None:
    with pytest.raises(StatisticsError, match="value is missing"):
        quantile_estimate(np.array([1.0, np.nan, 2.0]), 0.5)
    for share in (0.0, 1.0, np.nan):
        with pytest.raises(StatisticsError, match="share that is none"):
            quantile_estimate(np.array([1.0, 2.0]), share)

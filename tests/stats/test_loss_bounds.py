"""Bounds on how much worse one model may be, against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.stats import StatisticsError, loss_bound


def test_without_any_change_the_bound_is_the_rule_of_three() -> None:
    # No event in n: the exact upper bound at level a is 1 - a ** (1 / n).
    assert loss_bound(np.zeros(1000)).upper == pytest.approx(1 - 0.025 ** (1 / 1000))


def test_more_candidates_make_the_bound_larger() -> None:
    differences = np.zeros(1000)
    assert loss_bound(differences, tries=20).upper == pytest.approx(1 - (0.025 / 20) ** (1 / 1000))


def test_the_bound_of_rates_lies_below_the_truth_as_seldom_as_it_says() -> None:
    rng = np.random.default_rng(0)
    below = 0
    for _ in range(400):
        differences = rng.choice([-1.0, 0.0, 1.0], size=300, p=[0.03, 0.91, 0.06])
        below += loss_bound(differences).upper < 0.03
    assert below <= 0.05 * 400


def test_the_bound_of_skewed_numbers_lies_below_the_truth_seldom() -> None:
    rng = np.random.default_rng(0)
    below = sum(loss_bound(rng.exponential(size=200), rng=rng).upper < 1.0 for _ in range(120))
    assert below <= 0.1 * 120


def test_the_bound_of_normal_numbers_is_at_least_student_s() -> None:
    values = np.random.default_rng(3).normal(size=30)
    # t with 29 degrees of freedom, one-sided 95 %: 1.6991 (any table).
    student = values.mean() + 1.6991 * values.std(ddof=1) / np.sqrt(30)
    assert loss_bound(values, rng=np.random.default_rng(0)).upper >= student - 1e-4


def test_a_difference_that_is_missing_or_endless_is_an_error() -> None:
    for strange in (np.nan, np.inf):
        with pytest.raises(StatisticsError, match=r"1 of 3\. Leave"):
            loss_bound(np.array([0.5, strange, 0.25]))


def test_no_row_is_an_error() -> None:
    with pytest.raises(StatisticsError):
        loss_bound(np.array([]))

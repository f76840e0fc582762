"""Tail values against the distributions that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from holdfast.stats import signed_z


def z_of(observed: float, mean: float, variance: float, third: float) -> float:
    arrays = (np.array([value]) for value in (observed, mean, variance, third))
    return float(signed_z(*arrays)[0])


@pytest.mark.parametrize("shape", [0.3, 2.0, 20.0, 500.0])
@pytest.mark.parametrize("deviations", [2.5, 4.0, 6.0])
def test_the_upper_tail_of_a_gamma_variable_is_exact(shape: float, deviations: float) -> None:
    observed = shape + deviations * np.sqrt(shape)
    expected = scipy_stats.norm.isf(scipy_stats.gamma.sf(observed, shape))
    assert z_of(observed, shape, shape, 2 * shape) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rate", [0.5, 5.0, 50.0])
def test_the_upper_tail_of_poisson_counts_is_right_with_the_continuity_correction(rate: float) -> None:
    for observed in range(int(rate) + 3, int(rate + 6 * np.sqrt(rate)) + 3):
        expected = scipy_stats.norm.isf(scipy_stats.poisson.sf(observed - 1, rate))
        # Few events are judged a little too mildly, never too severely.
        assert expected - 0.5 <= z_of(observed - 0.5, rate, rate, rate) <= expected + 0.02


def test_without_skew_it_is_the_normal_value() -> None:
    for value in (-8.0, -1.0, 0.0, 3.0):
        assert z_of(value * 2, 0.0, 4.0, 0.0) == value


def test_mirrored_sums_have_mirrored_values() -> None:
    values = np.linspace(-4, 9, 40)
    right = signed_z(values, np.zeros(40), np.ones(40), np.full(40, 0.8))
    left = signed_z(-values, np.zeros(40), np.ones(40), np.full(40, -0.8))
    np.testing.assert_allclose(left, -right)


@pytest.mark.parametrize("skewness", [0.01, 0.1, 0.3, 0.49])
def test_the_expansion_near_the_mean_agrees_with_the_exact_tail(skewness: float) -> None:
    shape = 4 / skewness**2
    for standard in np.linspace(-1.0, 1.99, 20):
        observed = shape + standard * np.sqrt(shape)
        exact = scipy_stats.norm.isf(scipy_stats.gamma.sf(observed, shape))
        found = z_of(observed, shape, shape, 2 * shape)
        assert max(found, -abs(standard)) == pytest.approx(max(exact, -abs(standard)), abs=0.03)


@pytest.mark.parametrize("skewness", [0.0011, 0.02, 0.0799])
def test_the_tails_of_a_slightly_skewed_gamma_variable_are_right_to_six_digits(skewness: float) -> None:
    shape = 4 / skewness**2
    standard = np.array([2.0, 3.0, 5.0, 9.0, 14.0])
    found = signed_z(
        shape + standard * np.sqrt(shape), *(np.full(5, value * shape) for value in (1.0, 1.0, 2.0))
    )
    gamma = scipy_stats.gamma(shape)
    np.testing.assert_allclose(
        found, scipy_stats.norm.isf(gamma.sf(shape + standard * np.sqrt(shape))), rtol=1e-6
    )
    lower = signed_z(
        shape - standard * np.sqrt(shape), *(np.full(5, value * shape) for value in (1.0, 1.0, 2.0))
    )
    np.testing.assert_allclose(lower, -standard)  # the normal tail is the nearer one there


def test_away_from_the_skew_the_value_is_never_beyond_the_normal_one() -> None:
    values = np.linspace(-6, 0, 50)
    found = signed_z(values, np.zeros(50), np.ones(50), np.ones(50))
    assert (found >= values - 1e-12).all()


def test_values_rise_with_the_observed_sum() -> None:
    for skewness in (0.0, 0.05, 0.3, 0.6, 2.0):
        values = np.linspace(-1.9, 12, 400)
        found = signed_z(values, np.zeros(400), np.ones(400), np.full(400, skewness))
        # The seam between expansion and exact tail may step back by its error.
        assert np.diff(found).min() >= -0.03


def test_no_variance_gives_no_evidence() -> None:
    assert z_of(5.0, 1.0, 0.0, 0.0) == 0.0


def test_extreme_sums_stay_finite() -> None:
    assert z_of(1e12, 1.0, 1.0, 1.0) == 37.0
    assert z_of(-1e12, 1.0, 1.0, -1.0) == -37.0

"""Distances agree with SciPy and with closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.spatial import distance

from holdfast.stats import (
    StatisticsError,
    chi_square,
    hellinger_distance,
    jensen_shannon_distance,
    kolmogorov_smirnov,
    mean_shift,
    population_stability_index,
    quantile_shift,
    total_variation,
    wasserstein_distance,
)

COUNTS = st.lists(st.integers(0, 1000), min_size=6, max_size=6).filter(lambda counts: sum(counts) > 0)


@given(COUNTS, COUNTS)
def test_jensen_shannon_is_that_of_scipy(first: list[int], second: list[int]) -> None:
    ours = jensen_shannon_distance(np.array(first), np.array(second))
    # SciPy takes the root of a rounding error where the two are nearly the same.
    assert ours**2 == pytest.approx(np.nan_to_num(distance.jensenshannon(first, second, 2)) ** 2, abs=1e-12)


@given(COUNTS, COUNTS)
def test_kolmogorov_smirnov_is_that_of_scipy_on_the_cells_as_values(
    first: list[int], second: list[int]
) -> None:
    cells = np.arange(6)
    expected = scipy_stats.ks_2samp(np.repeat(cells, first), np.repeat(cells, second), method="asymp")
    assert kolmogorov_smirnov(np.array(first), np.array(second)) == pytest.approx(expected.statistic)


@given(COUNTS, COUNTS)
def test_wasserstein_is_that_of_scipy(first: list[int], second: list[int]) -> None:
    positions = np.array([-3.0, 0.0, 0.5, 2.0, 7.0, 100.0])
    expected = scipy_stats.wasserstein_distance(positions, positions, first, second)
    ours = wasserstein_distance(np.array(first), np.array(second), positions)
    assert ours == pytest.approx(expected, abs=1e-9)


@given(COUNTS, COUNTS)
def test_chi_square_is_that_of_scipy(first: list[int], second: list[int]) -> None:
    table = np.array([first, second])
    table = table[:, table.sum(axis=0) > 0]
    ours, freedom = chi_square(np.array(first), np.array(second))
    if table.shape[1] < 2:
        assert (ours, freedom) == (0.0, 0)
        return
    expected = scipy_stats.chi2_contingency(table, correction=False)
    assert ours == pytest.approx(expected.statistic, abs=1e-9)
    assert freedom == expected.dof


def test_population_stability_index_tends_to_its_closed_form() -> None:
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    expected = float(((q - p) * np.log(q / p)).sum())
    found = population_stability_index((p * 1e9).astype(int), (q * 1e9).astype(int))
    assert found == pytest.approx(expected, rel=1e-6)


def test_population_stability_index_of_a_short_window_is_near_zero_without_drift() -> None:
    random = np.random.default_rng(0)
    reference = random.multinomial(10_000, [0.1] * 10)
    found = [population_stability_index(reference, random.multinomial(200, [0.1] * 10)) for _ in range(300)]
    # Uncorrected, the mean would be about 9 / 200.
    assert np.mean(found) < 0.015


def test_hellinger_of_two_bernoulli_is_its_closed_form() -> None:
    expected = np.sqrt(1 - np.sqrt(0.2 * 0.6) - np.sqrt(0.8 * 0.4))
    assert hellinger_distance(np.array([2, 8]), np.array([6, 4])) == pytest.approx(expected)


@given(COUNTS, COUNTS)
def test_distances_are_symmetric_bounded_and_zero_on_themselves(first: list[int], second: list[int]) -> None:
    a, b = np.array(first), np.array(second)
    for measure in (jensen_shannon_distance, hellinger_distance, total_variation, kolmogorov_smirnov):
        assert measure(a, b) == pytest.approx(measure(b, a), abs=1e-12)
        assert 0 <= measure(a, b) <= 1 + 1e-12
        assert measure(a, a) == pytest.approx(0, abs=1e-7)
    assert population_stability_index(a, b) == pytest.approx(population_stability_index(b, a))


def test_counts_of_different_cells_are_refused() -> None:
    with pytest.raises(StatisticsError, match="different cells"):
        total_variation(np.array([1]), np.array([1, 2]))


def test_counts_of_no_row_are_refused() -> None:
    with pytest.raises(StatisticsError, match="no row"):
        total_variation(np.array([0, 0]), np.array([1, 2]))


@given(COUNTS, COUNTS)
def test_a_shift_of_the_mean_is_that_of_the_positions(first: list[int], second: list[int]) -> None:
    positions = np.array([-3.0, 0.0, 0.5, 2.0, 7.0, 100.0])
    expected = np.average(positions, weights=second) - np.average(positions, weights=first)
    assert mean_shift(np.array(first), np.array(second), positions) == pytest.approx(expected, abs=1e-9)


@given(COUNTS, COUNTS, st.floats(0, 1))
def test_a_shift_of_a_quantile_is_that_of_rows_spread_evenly_in_their_cells(
    first: list[int], second: list[int], share: float
) -> None:
    edges = np.array([-3.0, 0.0, 0.5, 2.0, 7.0, 100.0, 101.0])
    expected = []
    for counts in (first, second):
        # SciPy's law of a histogram, whose quantile is the same; of an empty cell both ends are one.
        law = scipy_stats.rv_histogram((np.array(counts, dtype=float), edges), density=False)
        expected.append((law.ppf(max(share - 1e-12, 0.0)), law.ppf(min(share + 1e-12, 1.0))))
    found = quantile_shift(np.array(first), np.array(second), edges, share)
    (low, high), (after_low, after_high) = expected
    assert after_low - high - 1e-6 <= found <= after_high - low + 1e-6


@pytest.mark.parametrize(
    ("bounds", "share", "said"),
    [
        ([0.0, 1.0], 0.5, "3 finite numbers"),
        ([0.0, 2.0, 1.0], 0.5, "rising"),
        ([0.0, 1.0, 2.0], 1.5, "from 0 to 1"),
    ],
)
def test_bounds_and_shares_that_are_none_are_refused(bounds: list[float], share: float, said: str) -> None:
    with pytest.raises(StatisticsError, match=said):
        quantile_shift(np.array([1, 1]), np.array([1, 1]), np.array(bounds), share)
    with pytest.raises(StatisticsError, match="2 finite numbers"):
        mean_shift(np.array([1, 1]), np.array([1, 1]), np.array([np.inf, 1.0]))

"""Distances of counts on a reference's bins are those of the raw rows, within what binning costs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from scipy.integrate import quad

from holdfast.stats import (
    NumericBins,
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
from holdfast.stats.binning import INNER_BINS

Numbers = NDArray[np.float64]
ROWS = 200_000
SHIFTS = (0.0, 0.1, 0.5, 2.0)


def drawn(shift: float) -> tuple[NumericBins, Numbers, Numbers]:
    random = np.random.default_rng(3)
    old, new = random.normal(size=ROWS), random.normal(shift, size=ROWS)
    return NumericBins.fit(old), old, new


def counted(bins: NumericBins, values: Numbers) -> NDArray[np.int64]:
    """Below, the bins, above: cells in order."""
    return bins.count(values)[:-2]


@pytest.mark.parametrize("shift", SHIFTS)
def test_kolmogorov_smirnov_misses_that_of_raw_rows_by_one_bin_at_most(shift: float) -> None:
    bins, old, new = drawn(shift)
    expected = scipy_stats.ks_2samp(old, new, method="asymp").statistic
    found = kolmogorov_smirnov(counted(bins, old), counted(bins, new))
    # Inside a bin both distribution functions may rise by what lies in it.
    inside = max(np.diff(np.searchsorted(np.sort(rows), bins.edges)).max() / ROWS for rows in (old, new))
    assert expected - inside <= found <= expected + 1e-12


@pytest.mark.parametrize("shift", SHIFTS)
def test_wasserstein_misses_that_of_raw_rows_by_a_bins_width_at_most(shift: float) -> None:
    bins, old, new = drawn(shift)
    edges = np.array([*bins.edges, bins.maximum])
    inner = (edges[1:] + edges[:-1]) / 2
    positions = np.array([edges[0], *inner, edges[-1]])
    expected = scipy_stats.wasserstein_distance(old, new)
    found = wasserstein_distance(counted(bins, old), counted(bins, new), positions)
    # Each row is moved to the middle of its bin, or to the end of the range.
    moved = 0.0
    for rows in (old, new):
        at = positions[np.clip(bins.index(rows), 0, len(positions) - 1)]
        moved += float(np.abs(rows - at).mean())
    assert abs(found - expected) <= moved
    # Two deviations away a third of the rows lie in the last bin, which is wide.
    assert moved < max(0.05, 0.1 * expected)


@pytest.mark.parametrize("shift", SHIFTS[:3])
def test_shifts_of_mean_and_quartiles_miss_those_of_raw_rows_by_the_bins_at_most(shift: float) -> None:
    bins, old, new = drawn(shift)
    edges = np.array([bins.edges[0], *bins.edges, bins.maximum, bins.maximum])
    counts = counted(bins, old), counted(bins, new)
    positions = (edges[:-1] + edges[1:]) / 2
    # Rows beyond the range lie at its end: some of 200 000 that are half a deviation away.
    assert mean_shift(*counts, positions) == pytest.approx(new.mean() - old.mean(), abs=0.01)
    for share in (0.25, 0.5, 0.75):
        raw = np.quantile(new, share) - np.quantile(old, share)
        assert quantile_shift(*counts, edges, share) == pytest.approx(raw, abs=0.005)


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_overlap_distances_are_those_of_two_normal_densities(shift: float) -> None:
    bins, old, new = drawn(shift)
    before, after = counted(bins, old), counted(bins, new)
    # Closed forms of two normal distributions of one spread.
    assert hellinger_distance(before, after) == pytest.approx(np.sqrt(1 - np.exp(-(shift**2) / 8)), rel=0.02)
    assert total_variation(before, after) == pytest.approx(2 * scipy_stats.norm.cdf(shift / 2) - 1, rel=0.02)

    def integrand(x: float) -> float:
        p, q = scipy_stats.norm.pdf(x), scipy_stats.norm.pdf(x, shift)
        middle = (p + q) / 2
        return float((p * np.log2(p / middle) + q * np.log2(q / middle)) / 2)

    divergence = quad(integrand, -8, 8 + shift)[0]
    assert jensen_shannon_distance(before, after) == pytest.approx(np.sqrt(divergence), rel=0.02)


def test_population_stability_index_of_raw_rows_on_ten_cells_is_that_of_the_probabilities() -> None:
    bins, old, new = drawn(0.5)
    assert len(bins.edges) == INNER_BINS
    tenth = np.minimum(np.arange(INNER_BINS) * 10 // INNER_BINS, 9)
    before, after = (
        np.bincount(tenth, bins.count(rows)[1:-3], minlength=10).astype(np.int64) for rows in (old, new)
    )
    starts = [*(float(bins.edges[int(np.argmax(tenth == one))]) for one in range(1, 10)), np.inf]
    p, q = (np.diff(scipy_stats.norm.cdf([-np.inf, *starts], mean)) for mean in (0.0, 0.5))
    expected = float(((q - p) * np.log(q / p)).sum())
    assert population_stability_index(before, after) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("law", ["normal", "long tail", "heavy tail"])
def test_one_row_of_a_million_among_5000_moves_no_distance_of_shares_by_one_per_cent(law: str) -> None:
    random = np.random.default_rng(11)
    drawn_rows = {
        "normal": random.normal(size=25_000),
        "long tail": random.lognormal(size=25_000),
        "heavy tail": random.standard_cauchy(25_000),
    }[law]
    reference, rows = drawn_rows[:20_000], 0.3 + 1.1 * drawn_rows[20_000:]
    wild = rows.copy()
    wild[2500] = 1e6
    bins = NumericBins.fit(reference)
    inner = np.append(np.array(bins.edges), bins.maximum)
    positions = np.concatenate([inner[:1], (inner[:-1] + inner[1:]) / 2, inner[-1:]])
    usual = bins.count(reference)
    # Of stability indices the outer cells are open.
    tenths = np.concatenate([[0], np.arange(len(inner) - 1) * 10 // (len(inner) - 1), [9, 10, 11]])

    def coarse_psi(p: NDArray[np.int64], q: NDArray[np.int64]) -> float:
        return population_stability_index(np.bincount(tenths, p), np.bincount(tenths, q))

    for found in (
        coarse_psi,
        jensen_shannon_distance,
        hellinger_distance,
        total_variation,
        kolmogorov_smirnov,
        lambda p, q: chi_square(p, q)[0],
    ):
        before, after = (found(usual, bins.count(some)) for some in (rows, wild))
        assert before > 0
        assert abs(after / before - 1) < 0.01
    # In the column's unit one row counts by its way to the end of the reference's range, and no farther.
    before, after = (
        wasserstein_distance(usual[:-2], bins.count(some)[:-2], positions) for some in (rows, wild)
    )
    assert abs(after - before) <= (positions[-1] - positions[0]) / len(rows)
    assert law != "normal" or abs(after / before - 1) < 0.01

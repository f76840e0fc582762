"""Distances of counts on a reference's bins are SciPy's of the raw rows for laws that break naive code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from scipy.spatial import distance

from holdfast.stats import (
    NumericBins,
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

Numbers = NDArray[np.float64]
Law = Callable[[np.random.Generator, int], NDArray[Any]]


def mostly_missing(random: np.random.Generator, rows: int) -> Numbers:
    values = random.normal(size=rows)
    values[random.random(rows) < 0.99] = np.nan
    return values


def some_infinite(random: np.random.Generator, rows: int) -> Numbers:
    values = random.normal(size=rows)
    values[random.random(rows) < 0.1] = np.inf
    values[random.random(rows) < 0.1] = -np.inf
    return values


# Of each law the reference and what comes after it.
FEW_VALUES: dict[str, tuple[Law, Law]] = {
    "constant": (lambda _, n: np.full(n, 3.25), lambda _, n: np.full(n, 3.25)),
    "another constant": (lambda _, n: np.full(n, 3.25), lambda _, n: np.full(n, 4.0)),
    "two values": (lambda r, n: r.integers(0, 2, n), lambda r, n: r.random(n) < 0.7),
    "heavy ties": (lambda r, n: r.poisson(1.0, n), lambda r, n: r.poisson(1.3, n)),
    "zeros of both signs": (
        lambda r, n: r.choice([-0.0, 0.0, 1.0], n),
        lambda r, n: r.choice([-0.0, 0.0, 1.0], n, p=[0.5, 0.1, 0.4]),
    ),
    "beyond 2^53": (
        lambda r, n: 2.0**53 + 2 * r.integers(0, 9, n),
        lambda r, n: 2.0**53 + 2 * r.integers(0, 6, n),
    ),
    "denormal": (lambda r, n: 5e-324 * r.integers(0, 9, n), lambda r, n: 5e-324 * r.integers(2, 9, n)),
    "the ends of all doubles": (
        lambda r, n: r.choice([-1.7e308, 0.0, 1.7e308], n),
        lambda r, n: r.choice([-1.7e308, 0.0, 1.7e308], n, p=[0.6, 0.3, 0.1]),
    ),
}
MANY_VALUES: dict[str, tuple[Law, Law]] = {
    "Cauchy": (lambda r, n: r.standard_cauchy(n), lambda r, n: 0.3 + r.standard_cauchy(n)),
    "Pareto, no mean": (lambda r, n: r.pareto(0.8, n), lambda r, n: 1.5 * r.pareto(0.8, n)),
    "huge": (lambda r, n: 1e300 * r.normal(size=n), lambda r, n: 1e300 * r.normal(0.2, size=n)),
    "tiny": (lambda r, n: 1e-300 * r.normal(size=n), lambda r, n: 1e-300 * r.normal(0.2, size=n)),
    "zero-inflated": (
        lambda r, n: np.where(r.random(n) < 0.8, 0.0, r.exponential(size=n)),
        lambda r, n: np.where(r.random(n) < 0.7, 0.0, r.exponential(size=n)),
    ),
    "apart": (lambda r, n: r.random(n), lambda r, n: 10 + r.random(n)),
    "an atom at the upper edge": (
        lambda r, n: np.minimum(r.normal(size=n), 1.0),
        lambda r, n: np.minimum(r.normal(0.3, size=n), 1.0),
    ),
    "an atom at the lower edge, which moves": (
        lambda r, n: np.maximum(r.normal(size=n), -1.0),
        lambda r, n: np.maximum(r.normal(size=n), -1.2),
    ),
    "whole numbers beyond 2^53": (
        lambda r, n: 2.0**60 + r.integers(0, 1 << 30, n),
        lambda r, n: 2.0**60 + r.integers(0, 1 << 29, n),
    ),
    "99 % missing": (mostly_missing, lambda r, n: 0.5 + mostly_missing(r, n)),
    "some infinite": (some_infinite, some_infinite),
}
SIZES = [(1, 1), (10, 10), (4000, 2500), (70_000, 2)]


def drawn(law: tuple[Law, Law], sizes: tuple[int, int]) -> tuple[Numbers, Numbers]:
    random = np.random.default_rng([7, *sizes])
    old, new = (one(random, size).astype(float) for one, size in zip(law, sizes, strict=True))
    # A table has at least one value that is there.
    for values in (old, new):
        values[0] = values[np.isfinite(values)][0] if np.isfinite(values).any() else 0.5
    return old, new


def finite(values: Numbers) -> Numbers:
    return values[np.isfinite(values)]


def ordered_counts(bins: NumericBins, values: Numbers) -> NDArray[np.int64]:
    """Below, the bins, above."""
    return bins.count(values)[:-2]


def middles(bins: NumericBins, rows: Numbers) -> Numbers:
    """A position for each ordered cell: of a bin that holds one value of the reference that value."""
    edges = np.array([*bins.edges, bins.maximum])
    inner = edges[:-1] / 2 + edges[1:] / 2
    at = np.searchsorted(edges[1:-1], rows, side="right")
    for number in range(len(inner)):
        inside = np.unique(rows[at == number])
        if len(inside) == 1:
            inner[number] = inside[0]
    return np.array([edges[0], *inner, edges[-1]])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("law", [*FEW_VALUES, *MANY_VALUES])
def test_ordered_distances_are_those_of_scipy_within_what_binning_costs(
    law: str, sizes: tuple[int, int]
) -> None:
    old, new = drawn((FEW_VALUES | MANY_VALUES)[law], sizes)
    bins = NumericBins.fit(old)
    before, after = ordered_counts(bins, old), ordered_counts(bins, new)
    old, new = finite(old), finite(new)
    assert (before.sum(), after.sum()) == (len(old), len(new))
    expected = scipy_stats.ks_2samp(old, new, method="auto").statistic
    # Inside a cell both distribution functions may rise by what lies in it.
    inside = max((before / len(old)).max(), (after / len(new)).max())
    found = kolmogorov_smirnov(before, after)
    assert expected - inside - 1e-12 <= found <= expected + 1e-12
    if not np.isfinite(old.max() / 4 - old.min() / 4 + new.max() / 4):
        return
    positions = middles(bins, old)
    # In quarters, so that SciPy's own differences do not pass the greatest double.
    unit = 0.25 if max(np.abs(old).max(), np.abs(new).max()) > 1e307 else 1.0
    with np.errstate(over="raise"):
        expected = scipy_stats.wasserstein_distance(old * unit, new * unit)
        moved = sum(
            np.abs(rows * unit - positions[np.clip(bins.index(rows), 0, len(positions) - 1)] * unit).mean()
            for rows in (old, new)
        )
    found = wasserstein_distance(before, after, positions) * unit
    largest = max(np.abs(old).max(), np.abs(new).max()) * unit
    assert abs(found - expected) <= moved * (1 + 1e-9) + 1e-12 * largest
    # Divided first: a sum of such values may pass the greatest double; the least differ by their steps.
    raw = float((new * unit / len(new)).sum() - (old * unit / len(old)).sum())
    found = mean_shift(before, after, positions * unit)
    assert abs(found - raw) <= moved * (1 + 1e-9) + 1e-12 * largest + 5e-324 * (len(old) + len(new))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("law", [*FEW_VALUES, *MANY_VALUES])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_shift_of_a_quantile_is_that_of_raw_rows_within_their_two_cells(
    law: str, sizes: tuple[int, int], share: float
) -> None:
    old, new = drawn((FEW_VALUES | MANY_VALUES)[law], sizes)
    bins = NumericBins.fit(old)
    counts = ordered_counts(bins, old), ordered_counts(bins, new)
    # In quarters, so that no difference passes the greatest double; beyond the range rows lie at its end.
    edges = np.array([bins.edges[0], *bins.edges, bins.maximum, bins.maximum]) / 4
    spans = []
    for rows, held in zip((finite(old), finite(new)), counts, strict=True):
        raw = np.sort(rows)[[int(np.floor(share * len(rows) - 1e-9)), int(share * len(rows) - 1e-9)]]
        cells = np.searchsorted(np.cumsum(held), share * len(rows) * np.array([1 - 1e-12, 1 + 1e-12]))
        low, high = edges[min(cells[0], len(held) - 1)], edges[min(cells[1], len(held) - 1) + 1]
        # The raw quantile is in those cells, or beyond the ends of the range.
        assert low <= np.clip(raw[0] / 4, edges[0], edges[-1]) <= high
        spans.append((low, high))
    found = quantile_shift(*counts, edges, share)
    (low, high), (after_low, after_high) = spans
    slack = 1e-12 * np.abs(edges).max()
    assert after_low - high - slack <= found <= after_high - low + slack


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("law", FEW_VALUES)
def test_of_few_values_every_distance_is_exactly_that_of_the_values(law: str, sizes: tuple[int, int]) -> None:
    old, new = drawn(FEW_VALUES[law], sizes)
    bins = NumericBins.fit(old)
    inside = np.isin(new, old)
    # A value that the reference never had shares a cell with others: only those that it had are compared.
    new = new[inside] if inside.any() else old[:1]
    values = np.unique(old)
    p, q = (np.array([(rows == value).sum() for value in values]) for rows in (old, new))
    before, after = ordered_counts(bins, old), ordered_counts(bins, new)
    np.testing.assert_array_equal(before[1:-1], p)
    np.testing.assert_array_equal(after[1:-1], q)
    expected = np.nan_to_num(distance.jensenshannon(p, q, 2))
    assert jensen_shannon_distance(before, after) ** 2 == pytest.approx(expected**2, abs=1e-12)
    shares = p / p.sum(), q / q.sum()
    assert total_variation(before, after) == pytest.approx(distance.cityblock(*shares) / 2, abs=1e-12)
    root = distance.euclidean(*np.sqrt(shares)) / np.sqrt(2)
    assert hellinger_distance(before, after) ** 2 == pytest.approx(root**2, abs=1e-12)
    statistic, freedom = chi_square(before, after)
    if len(values) > 1:
        table = scipy_stats.chi2_contingency(np.array([p, q]), correction=False)
        assert statistic == pytest.approx(table.statistic)
        assert freedom == table.dof
    else:
        assert (statistic, freedom) == (0.0, 0)


@pytest.mark.parametrize("law", ["apart", "another constant"])
def test_laws_without_a_common_value_are_as_far_apart_as_can_be(law: str) -> None:
    old, new = drawn((FEW_VALUES | MANY_VALUES)[law], (4000, 2500))
    bins = NumericBins.fit(old)
    before, after = ordered_counts(bins, old), ordered_counts(bins, new)
    for measure in (jensen_shannon_distance, hellinger_distance, total_variation, kolmogorov_smirnov):
        assert measure(before, after) == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [(10_000, 100), (10_000, 2000), (200, 200)])
@pytest.mark.parametrize("cells", [2, 10])
def test_the_bias_of_a_stability_index_is_what_is_subtracted(cells: int, rows: tuple[int, int]) -> None:
    random = np.random.default_rng([cells, *rows])
    usual = np.full(cells, 1 / cells)
    moved = usual * np.linspace(0.7, 1.3, cells)
    truth = float(((moved - usual) * np.log(moved / usual)).sum())
    before = random.multinomial(rows[0], usual, 800)
    quiet, drifted = (random.multinomial(rows[1], law, 800) for law in (usual, moved))

    def plain(p: NDArray[np.int64], q: NDArray[np.int64]) -> NDArray[np.float64]:
        """Without the correction, of many tables at once."""
        first, second = ((each + 0.5) / (each + 0.5).sum(axis=1, keepdims=True) for each in (p, q))
        result: NDArray[np.float64] = ((second - first) * np.log(second / first)).sum(axis=1)
        return result

    subtracted = (cells - 1) * sum(1 / (size + cells / 2) for size in rows)
    for after, expected in ((quiet, 0.0), (drifted, truth)):
        found = plain(before, after)
        corrected = [population_stability_index(p, q) for p, q in zip(before, after, strict=True)]
        np.testing.assert_allclose(corrected, np.maximum(found - subtracted, 0), atol=1e-12)
        error = 4 * found.std() / np.sqrt(len(found))
        assert found.mean() - subtracted == pytest.approx(expected, abs=error + 0.05 * subtracted)


def test_a_cell_that_no_row_is_in_changes_no_distance() -> None:
    old, new = np.array([400, 300, 300]), np.array([10, 20, 5])
    wide_old, wide_new = (np.insert(counts, [0, 2, 3], 0) for counts in (old, new))
    for measure in (
        population_stability_index,
        jensen_shannon_distance,
        hellinger_distance,
        total_variation,
        kolmogorov_smirnov,
        chi_square,
    ):
        assert measure(wide_old, wide_new) == pytest.approx(measure(old, new))


@pytest.mark.parametrize("positions", [[0.0, 1.0], [0.0, np.nan, 1.0], [0.0, 1.0, np.inf], [2.0, 1.0, 3.0]])
def test_positions_that_fit_no_cells_are_refused(positions: list[float]) -> None:
    with pytest.raises(StatisticsError, match="positions of other cells"):
        wasserstein_distance(np.array([1, 2, 3]), np.array([3, 2, 1]), np.array(positions))


@pytest.mark.parametrize("counts", [[3, -1, 2], [np.nan, 1, 2], [np.inf, 1, 2]])
def test_counts_that_are_none_are_refused(counts: list[float]) -> None:
    with pytest.raises(StatisticsError, match="counts that are none"):
        population_stability_index(np.array(counts), np.array([1, 2, 3]))

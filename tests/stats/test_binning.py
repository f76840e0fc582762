"""Counts on the reference's cells: whole, mergeable, deterministic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.stats import CategoryBins, NumericBins, StatisticsError

FLOATS = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40)
TEXTS = st.lists(st.none() | st.text(max_size=2), max_size=40)


@given(FLOATS, FLOATS, FLOATS)
def test_numeric_counts_merge_exactly_and_hold_every_value(
    reference: list[float], first: list[float], second: list[float]
) -> None:
    bins = NumericBins.fit(np.array([*reference, 0.0]), inner_bins=8)
    both = bins.count(np.array(first + second))
    assert both.tolist() == (bins.count(np.array(first)) + bins.count(np.array(second))).tolist()
    assert both.sum() == len(first) + len(second)
    assert len(both) == bins.cells


@given(TEXTS, TEXTS, TEXTS)
def test_category_counts_merge_exactly_and_hold_every_value(
    reference: list[str | None], first: list[str | None], second: list[str | None]
) -> None:
    bins = CategoryBins.fit(reference, top=3)
    both = bins.count(first + second)
    assert both.tolist() == (bins.count(first) + bins.count(second)).tolist()
    assert both.sum() == len(first) + len(second)
    assert len(both) == bins.cells


@given(FLOATS)
def test_the_reference_has_nothing_outside_its_own_range(reference: list[float]) -> None:
    values = np.array([*reference, 1.5])
    counts = NumericBins.fit(values, inner_bins=5).count(values)
    finite = int(np.isfinite(values).sum())
    assert counts[0] == 0
    assert counts[-3] == 0
    assert counts[1:-3].sum() == finite


def test_bins_of_a_continuous_column_hold_equal_shares() -> None:
    values = np.random.default_rng(0).lognormal(size=25_600)
    counts = NumericBins.fit(values).count(values)
    assert set(counts[1:-3].tolist()) == {100}


def test_what_lies_in_the_gap_above_a_frequent_value_is_counted_apart_from_it() -> None:
    random = np.random.default_rng(3)
    values = np.where(random.random(5000) < 0.7, 0.0, random.uniform(50, 90, 5000))
    bins = NumericBins.fit(values)
    zero, low, least = bins.index(np.array([0.0, 20.0, np.quantile(values[values > 0], 0.02)]))
    assert zero < low < least
    assert bins.count(values)[low] <= 5000 // 256 + 1
    # Neighbours on an even scale have no gap between them, however frequent they are.
    assert len(NumericBins.fit(np.round(random.normal(20, 0.5, 5000), 1)).edges) < 50


def test_numbers_are_found_as_categories_by_their_text() -> None:
    assert CategoryBins.fit(["1", "2"]).count([1, 2, 3, None]).tolist() == [1, 1, 0, 1, 1]


def test_the_most_frequent_categories_come_first_and_ties_by_name() -> None:
    assert CategoryBins.fit(["b", "c", "a", "c"]).top == ("c", "a", "b")


@given(st.lists(st.integers(-50, 50), min_size=4, max_size=40), st.lists(st.integers(-60, 60), min_size=1))
def test_whole_numbers_count_as_the_one_they_are_or_the_known_one_below(
    reference: list[int], current: list[int]
) -> None:
    bins = NumericBins.fit(np.array(reference, dtype=np.float64))
    values = np.array(current, dtype=np.float64)
    cell = np.searchsorted(bins.edges, values, side="right")
    cell[values > bins.maximum] = len(bins.edges) + 1
    assert bins.index(values).tolist() == cell.tolist()


def test_counts_that_became_fractions_count_as_the_nearest_whole_number() -> None:
    bins = NumericBins.fit(np.array([0.0, 1.0, 2.0, 3.0, 7.0]))
    assert bins.index(np.array([-0.6, -0.5, 0.4, 0.5, 2.9999, 3.2, 5.0, 6.6, 7.4, 7.6])).tolist() == (
        bins.index(np.array([-1.0, 0.0, 0.0, 1.0, 3.0, 3.0, 5.0, 7.0, 7.0, 8.0])).tolist()
    )
    # What says yes or no has nothing in between, nor have numbers that were fractions before.
    assert NumericBins.fit(np.array([0.0, 1.0])).index(np.array([0.7])).tolist() == [1]
    assert NumericBins.fit(np.array([0.0, 0.5, 1.0, 2.0])).index(np.array([1.7])).tolist() == [3]


def test_bins_need_a_finite_value() -> None:
    with pytest.raises(StatisticsError, match="finite"):
        NumericBins.fit(np.array([np.nan, np.inf]))


def test_many_other_categories_share_cells_by_their_text_alone() -> None:
    random = np.random.default_rng(56)
    few, many = ([f"k{number}" for number in random.integers(0, size, 3000)] for size in (60, 500))
    assert CategoryBins.fit(few).cells == 50 + 3
    bins, other = CategoryBins.fit(many), CategoryBins.fit([*many, *many[:200]])
    assert bins.cells == 50 + 256 + 2
    for name in bins.others & other.others:
        assert bins.index([name])[0] - 50 == bins.shared_by(name) == other.shared_by(name)
    # The reference's own rows lie in the same cells, but for those that came once.
    apart = bins.count(many) - bins.of_reference.count(many)
    assert apart[-2] == -len(bins.once)
    assert apart[50:-2].sum() == len(bins.once)
    assert apart[:50].sum() == 0

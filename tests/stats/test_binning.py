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


def test_numbers_are_found_as_categories_by_their_text() -> None:
    assert CategoryBins.fit(["1", "2"]).count([1, 2, 3, None]).tolist() == [1, 1, 0, 1, 1]


def test_the_most_frequent_categories_come_first_and_ties_by_name() -> None:
    assert CategoryBins.fit(["b", "c", "a", "c"]).top == ("c", "a", "b")


def test_bins_need_a_finite_value() -> None:
    with pytest.raises(StatisticsError, match="finite"):
        NumericBins.fit(np.array([np.nan, np.inf]))

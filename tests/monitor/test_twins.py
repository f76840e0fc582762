"""Rows that are there twice are counted wherever they lie, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.monitor.odd_values import KEPT, OddValues
from holdfast.monitor.twins import Twins, returning
from holdfast.stats import spread_hashes


@given(st.lists(st.lists(st.integers(0, 30), max_size=40), max_size=6))
def test_few_rows_are_counted_exactly(batches: list[list[int]]) -> None:
    twins = Twins()
    for batch in batches:
        twins.add(spread_hashes(np.array(batch, dtype=np.uint64)))
    rows = [row for batch in batches for row in batch]
    assert twins.count == len(rows) - len(set(rows))


def test_many_rows_are_estimated_from_a_bounded_sample_across_batches() -> None:
    rows = np.random.default_rng(1).integers(0, 1 << 62, 200_000).astype(np.uint64)
    again = rows[:40_000]
    one, other = Twins(4096), Twins(4096)
    for batch in np.split(rows, 20):
        one.add(spread_hashes(batch))
    other.add(spread_hashes(again))
    one.include(other)
    # 40 000 pairs drawn with a chance of 1 in 64: 625 of them, give or take 25.
    assert one.count == pytest.approx(40_000, abs=4 * 25 * 64)
    assert sum(map(len, one._parts)) <= 4096


def test_rows_of_the_windows_before_are_counted_exactly_where_few_and_estimated_where_many() -> None:
    random = np.random.default_rng(3)

    def window(rows: np.ndarray) -> Twins:
        twins = Twins()
        twins.add(spread_hashes(rows.astype(np.uint64)))
        return twins

    few = random.integers(0, 1 << 62, (3, 1000))
    few[2, :300] = few[0, :300]
    assert returning([window(few[0]), window(few[1]), None, window(few[2])]) == [0, 0, 0, 300]
    many = random.integers(0, 1 << 62, (2, 100_000))
    many[1, :40_000] = many[0, :40_000]
    # Of 64 rows at least one is drawn: 625 of them, give or take 25.
    assert returning([window(many[0]), window(many[1])])[1] == pytest.approx(40_000, abs=4 * 25 * 64)


def test_distinct_rows_in_a_row_have_no_twins() -> None:
    twins = Twins()
    twins.add(spread_hashes(np.arange(1_000_000, dtype=np.uint64)))
    assert twins.count == 0


def test_quartiles_of_odd_values_are_those_of_all_of_them_within_a_rank_in_a_hundred() -> None:
    values = np.random.default_rng(2).normal(size=300_000)
    one, other = OddValues(), OddValues()
    for number, part in enumerate(np.array_split(values, 30)):
        (other if number % 3 else one).add(part)
    one.include(other)
    assert (one.rows, one.least, one.greatest) == (300_000, values.min(), values.max())
    assert sum(map(len, one._parts)) <= 2 * KEPT
    ranks = [(values <= quartile).mean() for quartile in one.quartiles]
    assert ranks == pytest.approx([0.25, 0.5, 0.75], abs=0.02)

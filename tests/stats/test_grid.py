"""The grid finds what a binary search finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from holdfast.stats import Coded, NumericBins, Room
from holdfast.stats.grid import grid_for

ANY = st.floats(allow_nan=False, allow_infinity=True)


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60, unique=True),
    arrays.arrays(float, st.integers(0, 80), elements=ANY),
)
def test_the_grid_is_exactly_a_binary_search(edges: list[float], values: np.ndarray) -> None:
    rising = np.sort(np.array(edges))
    # Values that sit on an edge are the hard ones.
    hard = np.concatenate([values, rising, np.nextafter(rising, -np.inf), np.nextafter(rising, np.inf)])
    found = grid_for(tuple(rising.tolist())).locate(hard)
    np.testing.assert_array_equal(found, np.searchsorted(rising, hard, side="right"))


def test_the_grid_is_a_binary_search_on_long_tails_and_many_values() -> None:
    random = np.random.default_rng(1)
    rows = 100_000
    columns = [random.normal(size=rows), random.lognormal(0, 3, rows), random.standard_cauchy(rows)]
    for values in [*columns, random.poisson(3, rows).astype(float)]:
        bins = NumericBins.fit(values[:20_000])
        expected = np.searchsorted(np.array(bins.edges), values, side="right")
        expected[values > bins.maximum] = len(bins.edges) + 1
        np.testing.assert_array_equal(bins.index(values), expected)


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=60, unique=True),
    st.lists(arrays.arrays(float, st.integers(0, 80), elements=st.floats(width=64)), max_size=3),
)
def test_what_was_located_before_in_the_same_room_leaves_no_trace(
    edges: list[float], columns: list[np.ndarray]
) -> None:
    rising = np.sort(np.array(edges))
    room = Room(80)
    for values in [*columns, np.array([-np.inf, np.nan, np.inf])]:
        grid = grid_for(tuple(rising.tolist()))
        expected = np.where(np.isnan(values), 0, np.searchsorted(rising, values, side="right"))
        least, greatest = (values.min(), values.max()) if len(values) else (0.0, 0.0)
        found = grid.locate(values, room, tame=grid.tame(float(least), float(greatest)))
        np.testing.assert_array_equal(found, expected)


def test_values_far_beyond_the_grid_are_found_where_a_binary_search_finds_them() -> None:
    grid = grid_for(tuple(np.linspace(0.0, 1.0, 256).tolist()))
    far = [0.5, 1e15, -1e15, 1e18, -1e18, 1e300, -1e300, float(np.finfo(float).max)]
    for values in (far[:3], far[:5], far):
        least, greatest = min(values), max(values)
        found = grid.locate(np.array(values), tame=grid.tame(least, greatest))
        np.testing.assert_array_equal(found, np.searchsorted(grid.edges, values, side="right"))
    assert grid.tame(-1e14, 1e14)
    assert not grid.tame(-1e300, 1.0)
    assert not grid.tame(float("nan"), float("nan"))


def test_coded_text_is_cut_like_any_column() -> None:
    column = Coded(np.array([0, 1, -1, 1], dtype=np.int32), ("a", "b"))
    assert len(column) == 4
    assert column[1:3].codes.tolist() == [1, -1]

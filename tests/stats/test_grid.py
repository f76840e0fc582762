"""The grid finds what a binary search finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from holdfast.stats import Coded, NumericBins
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


def test_coded_text_is_cut_like_any_column() -> None:
    column = Coded(np.array([0, 1, -1, 1], dtype=np.int32), ("a", "b"))
    assert len(column) == 4
    assert column[1:3].codes.tolist() == [1, -1]

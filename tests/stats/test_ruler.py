"""On a ruler values are counted as a binary search counts them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from holdfast.stats import NumericBins, Room
from holdfast.stats.ruler import MOST_MARKS, ruler_for

ROWS = 70_000


def columns() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    normal = random.normal(size=ROWS)
    return {
        "normal": normal,
        "exponential": random.exponential(size=ROWS),
        "long tail": np.exp(0.8 * normal),
        "far from zero": 1e9 + normal,
        "small": 1e-9 * normal,
        "many zeros": np.where(random.random(ROWS) < 0.4, 0.0, np.abs(normal)),
        "heavy tails": random.standard_cauchy(ROWS),
        "whole numbers": random.poisson(3000, ROWS).astype(float),
        "near the least number": 1e-300 * normal,
        "below the least normal number": 1e-310 * normal,
        "huge": 1e200 * normal,
        "as wide as numbers reach": 5e307 * np.tanh(normal),
    }


def searched(bins: NumericBins, values: np.ndarray) -> np.ndarray:
    cells = np.searchsorted(np.array(bins.edges), values, side="right")
    cells[values > bins.maximum] = len(bins.edges) + 1
    cells[np.isnan(values)] = len(bins.edges) + 2
    cells[np.isinf(values)] = len(bins.edges) + 3
    return cells


@pytest.mark.parametrize("name", columns())
def test_places_on_a_ruler_add_up_to_what_a_binary_search_counts(name: str) -> None:
    values = columns()[name]
    bins = NumericBins.fit(values)
    edges = np.array([*bins.edges, bins.maximum])
    far = [np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, -5e-324, 0.0, -0.0]
    hard = np.concatenate(
        [values[:5000] * 3, edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), far]
    )
    lookup, room = bins.lookup, Room(len(hard))
    for some in (values[:5000], hard, hard[:-9], values[:1], values[:0]):
        expected = searched(bins, some)
        np.testing.assert_array_equal(lookup.index(some), expected)
        places = lookup.places(some, room)
        wide = bins.cells if lookup.bin_of is None else len(lookup.bin_of)
        counted = lookup.folded(np.bincount(places, minlength=wide))
        np.testing.assert_array_equal(counted, np.bincount(expected, minlength=bins.cells))


@pytest.mark.parametrize("name", ["normal", "exponential", "long tail", "far from zero", "small"])
def test_edges_on_marks_leave_every_bin_near_its_equal_share(name: str) -> None:
    values = columns()[name]
    bins = NumericBins.fit(values)
    assert bins.lookup.bin_of is not None, "it has a ruler"
    held = bins.count(values)
    assert held.sum() == ROWS
    assert len(bins.edges) == 256
    assert 0.5 * ROWS / 256 <= held[1:257].min() <= held[1:257].max() <= 1.5 * ROWS / 256


@pytest.mark.parametrize(
    "name", ["whole numbers", "heavy tails", "near the least number", "below the least normal number", "huge"]
)
def test_values_that_no_ruler_fits_keep_their_quantiles_as_edges(name: str) -> None:
    values = columns()[name]
    assert set(NumericBins.fit(values).edges) <= set(values.tolist())


@given(
    st.integers(-3000, 3000),
    st.integers(-40, 40),
    st.lists(st.integers(1, 60), min_size=2, max_size=40),
    arrays.arrays(float, st.integers(1, 60), elements=st.floats(width=64)),
)
def test_any_edges_on_marks_are_found_exactly(
    begin: int, power: int, steps: list[int], values: np.ndarray
) -> None:
    marks = (4.0 * (begin + np.cumsum(steps)) + 3.0) * 2.0**-power
    bins = NumericBins((float(marks[0] - 2.0**-power), *marks.tolist()), float(marks[-1] + 2.0**-power))
    ruler = ruler_for(bins.edges, bins.maximum)
    assert ruler is not None
    assert ruler.places <= MOST_MARKS
    near = np.concatenate([marks, np.nextafter(marks, -np.inf), np.nextafter(marks, np.inf), values])
    np.testing.assert_array_equal(bins.index(near), searched(bins, near))


def test_a_fitted_reference_keeps_its_ruler_when_its_ends_move_out() -> None:
    values = columns()["normal"]
    bins = NumericBins.fit(values)
    wider = NumericBins((bins.edges[0] - 1e6, *bins.edges[1:]), bins.maximum + 1e6)
    assert wider.lookup.bin_of is not None
    probe = np.concatenate([values[:1000], [bins.edges[0] - 5.0, bins.maximum + 5.0, -1e7, 1e7]])
    np.testing.assert_array_equal(wider.index(probe), searched(wider, probe))
    assert all(low < high for low, high in pairwise(wider.edges))

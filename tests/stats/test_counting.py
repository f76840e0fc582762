"""One compiled pass gives what several passes of numpy give, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from holdfast.stats import (
    CategoryBins,
    Coded,
    ColumnCounter,
    Numbers,
    NumericBins,
    StatisticsError,
    WindowRows,
    add_products,
    compiled_counting,
    counting,
    drawn_hashes,
    finite_extremes,
    spread_hashes,
)

pytestmark = pytest.mark.skipif(
    compiled_counting() is None, reason="installed without a C compiler: numpy counts"
)

WINDOWS = 5
ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -1e308, 5e-324, -5e-324, 2.0**51 * 1.5, -(2.0**53), 1e18]
LAWS: dict[str, Callable[[np.random.Generator, int], NDArray[Any]]] = {
    "normal": lambda random, n: random.normal(size=n),
    "exponential": lambda random, n: random.exponential(size=n),
    "Cauchy": lambda random, n: random.standard_cauchy(size=n),
    "log-normal, very long": lambda random, n: np.exp(5 * random.normal(size=n)),
    "few values": lambda random, n: random.integers(0, 50, n).astype(float),
    "many whole numbers": lambda random, n: random.integers(0, n, n).astype(float),
    "whole numbers beyond 2^53": lambda random, n: 2.0**60 + random.integers(0, 1 << 20, n),
    "zero or more": lambda random, n: np.where(random.random(n) < 0.7, 0.0, random.exponential(size=n)),
    "near the greatest double": lambda random, n: 1e307 * random.normal(size=n),
    "tiny": lambda random, n: 1e-300 * random.normal(size=n),
    "denormal": lambda random, n: 5e-324 * random.integers(-1000, 1000, n),
    "one value": lambda random, n: np.full(n, -3.25),
}


@dataclass
class Counted:
    counts: NDArray[np.int64]
    mixed: NDArray[np.uint64]
    scores: NDArray[np.float32]
    cells: NDArray[np.intp] | None


def counted(counter: ColumnCounter, values: Any, local: NDArray[np.intp], *, scored: bool) -> Counted:
    mixed = np.arange(len(local), dtype=np.uint64)
    together = bool((np.diff(local) >= 0).all())
    rows = WindowRows(local, np.bincount(local, minlength=WINDOWS), mixed, together=together)
    counts = np.ones((WINDOWS, counter.cells), dtype=np.int64)
    scores = np.zeros(len(local), dtype=np.float32)
    cells = counter.count(values, rows, counts, scores if scored else None)
    return Counted(counts, mixed, scores, cells)


def both_ways(
    monkeypatch: pytest.MonkeyPatch, bins: Any, values: Any, local: NDArray[np.intp], *, scored: bool
) -> tuple[Counted, Counted]:
    random = np.random.default_rng(9)
    scores = random.normal(size=bins.cells).astype(np.float32) if scored else None
    compiled = counted(ColumnCounter(bins.lookup, bins.cells, scores), values, local, scored=scored)
    with monkeypatch.context() as without:
        without.setattr(counting, "compiled_counting", lambda: None)
        by_numpy = counted(ColumnCounter(bins.lookup, bins.cells, scores), values, local, scored=scored)
    return compiled, by_numpy


def assert_the_same(one: Counted, other: Counted) -> None:
    np.testing.assert_array_equal(one.counts, other.counts)
    np.testing.assert_array_equal(one.mixed, other.mixed)
    np.testing.assert_array_equal(one.scores, other.scores)
    assert one.cells is not None
    np.testing.assert_array_equal(one.cells, other.cells)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rows", [300, 70_000], ids=["few", "with a ruler where there can be one"])
@pytest.mark.parametrize("together", [True, False])
def test_numbers_of_any_law_are_counted_as_numpy_counts_them(
    law: str, rows: int, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(3)
    reference = LAWS[law](random, rows)
    bins = NumericBins.fit(reference)
    edges = np.array([*bins.edges, bins.maximum])
    with np.errstate(over="ignore"):
        near = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
        values = np.concatenate([random.choice(reference, 5000), near, np.repeat(ODD, 30), 3 * near])
    random.shuffle(values)
    local = random.integers(0, WINDOWS, len(values))
    local = np.sort(local) if together else local
    assert_the_same(*both_ways(monkeypatch, bins, values, local, scored=True))


def test_the_count_of_a_cell_is_that_of_a_binary_search() -> None:
    random = np.random.default_rng(5)
    bins = NumericBins.fit(random.normal(size=80_000))
    values = random.normal(size=10_000)
    rows = WindowRows(
        np.zeros(10_000, dtype=np.intp), np.array([10_000]), np.zeros(10_000, np.uint64), together=True
    )
    counts = np.zeros((1, bins.cells), dtype=np.int64)
    ColumnCounter(bins.lookup, bins.cells, None).count(values, rows, counts)
    place = np.searchsorted(bins.edges, values, side="right")
    place[values > bins.maximum] = len(bins.edges) + 1
    np.testing.assert_array_equal(counts[0], np.bincount(place, minlength=bins.cells))


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("together", [True, False])
def test_words_are_counted_as_numpy_counts_them(
    kind: type, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(4)
    bins = CategoryBins.fit([*"aaaabbbbccdde"], top=3)
    values = Coded(random.integers(-1, 6, 5000).astype(kind), (*"zecab", "new"))
    local = random.integers(0, WINDOWS, len(values))
    local = np.sort(local) if together else local
    assert_the_same(*both_ways(monkeypatch, bins, values, local, scored=False))


KINDS = (
    np.float64,
    np.float32,
    np.int8,
    np.uint8,
    np.int16,
    np.uint16,
    np.int32,
    np.uint32,
    np.int64,
    np.uint64,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("law", ["few values", "normal", "whole numbers beyond 2^53", "many whole numbers"])
@pytest.mark.parametrize("apart", [1, 3, -1])
@pytest.mark.parametrize("missing", [False, True])
def test_numbers_of_any_type_are_counted_as_they_lie_as_the_doubles_they_are(
    kind: np.dtype[Any], law: str, apart: int, missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(11)
    bins = NumericBins.fit(np.round(LAWS[law](random, 70_000), 1 if law == "normal" else 0))
    with np.errstate(invalid="ignore"):
        far = LAWS[law](random, 3000) - 5.0
        wide = np.repeat(np.append(far, [-200.0, 0.0, 200.0]).astype(kind), abs(apart))
    if kind == np.int64:
        wide[:2] = np.iinfo(kind).min, np.iinfo(kind).max
    values = wide[::apart]
    valid = random.integers(0, 256, len(values) // 8 + 2).astype(np.uint8) if missing else None
    held = Numbers(values, valid, 5 if missing else 0)
    local = np.sort(random.integers(0, WINDOWS, len(values)))
    _, expected = both_ways(monkeypatch, bins, held.doubles(), local, scored=True)
    for found in both_ways(monkeypatch, bins, held, local, scored=True):
        assert_the_same(found, expected)
    part = slice(1000, 2001)
    assert finite_extremes(held[part]) == finite_extremes(held.doubles()[part])


def test_columns_of_more_cells_than_are_counted_in_four_ways_are_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(6)
    values = random.normal(size=20_000)
    bins = NumericBins.fit(values, inner_bins=2000)
    local = np.sort(random.integers(0, WINDOWS, len(values)))
    assert_the_same(*both_ways(monkeypatch, bins, values, local, scored=True))


def test_hashes_and_what_is_drawn_of_them_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(7).integers(0, 1 << 62, 10_000).astype(np.uint64)
    hashes = spread_hashes(numbers)
    drawn = drawn_hashes(hashes, 1 << 60)
    monkeypatch.setattr(counting, "compiled_counting", lambda: None)
    np.testing.assert_array_equal(hashes, spread_hashes(numbers))
    np.testing.assert_array_equal(drawn, drawn_hashes(hashes, 1 << 60))
    assert 0 < len(drawn) < len(hashes)


@pytest.mark.parametrize("columns", [2, 3, 4, 9, 16])
@pytest.mark.parametrize("rows", [1, 15, 16, 1024, 3001])
def test_sums_of_products_are_those_in_double_precision(columns: int, rows: int) -> None:
    wide = np.random.default_rng([columns, rows]).normal(size=(columns, rows + 7)).astype(np.float32)
    some = wide[:, 5 : 5 + rows]
    exact = some.astype(float) @ some.astype(float).T
    sums = np.ones((columns, columns))
    add_products(some, sums)
    np.testing.assert_allclose(sums - 1, exact, atol=1e-5 * rows**0.5)
    np.testing.assert_array_equal(sums, sums.T)
    scattered = np.ones((columns, columns))
    add_products(some[:, ::3], scattered)
    np.testing.assert_allclose(
        scattered - 1, some[:, ::3].astype(float) @ some[:, ::3].T.astype(float), atol=1e-5 * rows**0.5
    )


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rows", [1, 63, 64, 5000])
def test_extremes_are_those_of_the_finite_values(
    law: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(rows)
    values = LAWS[law](random, rows)
    values[random.random(rows) < 0.1] = np.nan
    values[random.random(rows) < 0.1] = -np.inf
    values[random.random(rows) < 0.1] = np.inf
    finite = values[np.isfinite(values)]
    expected = (finite.min(), finite.max()) if finite.size else (np.inf, -np.inf)
    assert finite_extremes(values) == expected
    monkeypatch.setattr(counting, "compiled_counting", lambda: None)
    assert finite_extremes(values) == expected


@pytest.mark.parametrize(
    ("values", "shape", "scores"),
    [
        (9, (WINDOWS, None), 10),
        (11, (WINDOWS, None), 11),
        (10, (WINDOWS - 1, None), 10),
        (10, (WINDOWS, 3), 10),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(
    values: int, shape: tuple[int, int | None], scores: int
) -> None:
    bins = NumericBins.fit(np.arange(100.0))
    counter = ColumnCounter(bins.lookup, bins.cells, np.zeros(bins.cells, dtype=np.float32))
    local = np.arange(10) % WINDOWS
    rows = WindowRows(local, np.bincount(local), np.zeros(10, np.uint64), together=False)
    counts = np.zeros((shape[0], shape[1] or bins.cells), dtype=np.int64)
    with pytest.raises(StatisticsError, match="do not fit each other"):
        counter.count(np.zeros(values), rows, counts, np.zeros(scores, dtype=np.float32))
    assert not counts.any()


@pytest.mark.parametrize(
    ("local", "held", "numbers"),
    [
        ([0, 1, 2], [1, 1], np.zeros(3, np.uint64)),
        ([0, 1, 2], [1, 2], np.zeros(3, np.uint64)),
        ([0, -1], [1, 1], np.zeros(2, np.uint64)),
        ([0, 1], [1, 1], np.zeros(1, np.uint64)),
        ([0, 1], [1, 1], np.zeros(4, np.uint64)[::2]),
        ([0, 1], [1, 1], np.zeros(2)),
    ],
)
def test_rows_of_no_window_and_numbers_of_no_row_are_refused(
    local: list[int], held: list[int], numbers: NDArray[Any]
) -> None:
    with pytest.raises(StatisticsError, match="do not fit each other"):
        WindowRows(np.array(local), np.array(held), numbers, together=False)


@pytest.mark.parametrize("held", [[5, -1], [-1, 5], [4, -4, 4]])
def test_windows_of_fewer_than_no_rows_are_refused(held: list[int]) -> None:
    with pytest.raises(StatisticsError, match="do not fit each other"):
        WindowRows(None, np.array(held), np.zeros(4, np.uint64), together=True)

"""Counting values in one pass over them, by `counting.c` where it was compiled with the package.

Without it the same is done by several passes of numpy: the look-ups of `binning.py` say what comes out.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.binning import CategoryLookup, Coded, Counts, Lookup, NumericLookup
from holdfast.stats.compiled import (
    BinsAt,
    ColumnAt,
    NumbersAt,
    RowsAt,
    address_of,
    compiled_counting,
    is_plain,
)
from holdfast.stats.errors import StatisticsError
from holdfast.stats.grid import Room
from holdfast.stats.numbers import PLAIN_KINDS, Numbers

MIX: Final = np.uint64(0x9E3779B97F4A7C15)
"""An odd number without pattern (the golden ratio's digits): places in different columns do not cancel."""
_SPREAD: Final = np.uint64(0xBF58476D1CE4E5B9)
"""A factor of the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
_MOST_CELLS: Final = 1 << 15
"""The compiled pass keeps the number of a cell in 16 bits."""
_STRETCH: Final = 1 << 15
_EXACT: Final = 1 << 53
"""Below it whole numbers are exact as doubles."""
_MOST_WHOLE: Final = 1 << 14
"""Whole numbers whose places are looked up: their table, of 32 KB, stays in the first cache."""


def spread_hashes(mixed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes whose highest bits are as good as drawn, of numbers that differ where rows do.

    Example:
        >>> spread_hashes(np.array([1, 1, 2], dtype=np.uint64)).tolist()
        [13787848790026513251, 13787848790026513251, 9128953514933409478]
    """
    library = compiled_counting()
    if library is not None and is_plain(mixed, np.uint64):
        hashes = np.empty(len(mixed), dtype=np.uint64)
        library.holdfast_spread(address_of(mixed), len(mixed), address_of(hashes))
        return hashes
    hashes = mixed ^ (mixed >> np.uint64(30))
    hashes *= _SPREAD
    hashes ^= hashes >> np.uint64(31)
    return hashes


def finite_extremes(values: NDArray[np.float64] | Numbers) -> tuple[float, float]:
    """The least and the greatest finite value; infinity and its opposite where there is none.

    Example:
        >>> finite_extremes(np.array([np.nan, 3.0, -np.inf, 1.0]))
        (1.0, 3.0)
    """
    library = compiled_counting()
    held = values if isinstance(values, Numbers) else Numbers(values)
    if library is not None and held.values.dtype in PLAIN_KINDS:
        found, numbers = np.empty(2), held.at
        library.holdfast_extremes(ctypes.addressof(numbers), len(held), address_of(found))
        return float(found[0]), float(found[1])
    low, high = np.inf, -np.inf
    # Stretch by stretch: the second pass then reads from the cache.
    for start in range(0, len(held), _STRETCH):
        part = held[start : start + _STRETCH].doubles()
        part = part if np.isfinite(part.min()) and np.isfinite(part.max()) else part[np.isfinite(part)]
        if part.size:
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    return low, high


def drawn_hashes(hashes: NDArray[np.uint64], highest: int) -> NDArray[np.uint64]:
    """Those that are at most the highest, in their order, in an array of their own.

    Example:
        >>> drawn_hashes(np.array([5, 1, 7, 3], dtype=np.uint64), 4).tolist()
        [1, 3]
    """
    library = compiled_counting()
    if library is None or not is_plain(hashes, np.uint64):
        return hashes[hashes <= np.uint64(highest)]
    kept = np.empty(len(hashes), dtype=np.uint64)
    count = library.holdfast_drawn(address_of(hashes), len(hashes), highest, address_of(kept))
    return kept[:count].copy()


def add_products(columns: NDArray[np.float32], sums: NDArray[np.float64]) -> None:
    """Add to the sums of products of each two of P columns.

    Args:
        columns: `[P, N]`, of each the numbers beside each other.
        sums: `[P, P]`.

    Example:
        >>> sums = np.zeros((2, 2))
        >>> add_products(np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32), sums)
        >>> sums.tolist()
        [[5.0, 11.0], [11.0, 25.0]]
    """
    library = compiled_counting()
    width, rows = columns.shape
    beside = columns.dtype == np.float32 and columns.strides[1] == columns.itemsize
    if library is None or not beside or not is_plain(sums, np.float64) or sums.shape != (width, width):
        sums += columns @ columns.T
        return
    apart = columns.strides[0] // columns.itemsize
    library.holdfast_products(address_of(columns), width, apart, rows, address_of(sums))


class WindowRows:
    """Some rows, and which of W windows each is of.

    Args:
        local: `[N]`, of each row the number of its window; None where they lie together.
        held: `[W]`, rows of each window.
        together: whether the rows of each window lie together, in the order of the windows.
        mixed: `[N]`, becomes a number for each row by its places in all columns that are counted.

    Raises:
        StatisticsError: they do not fit each other: compiled code would read and write beside them.
    """

    __slots__ = ("_ends", "_local", "_rows", "at", "held", "mixed", "together")

    def __init__(
        self,
        local: NDArray[np.intp] | None,
        held: NDArray[np.intp],
        mixed: NDArray[np.uint64],
        *,
        together: bool,
    ) -> None:
        self._local = None if local is None else np.ascontiguousarray(local, dtype=np.int64)
        self.held, self.mixed, self.together = held, mixed, together
        self._ends = np.cumsum(held, dtype=np.int64)
        self._require_fit()
        ends, each = (address_of(self._ends), None) if together else (None, address_of(self._local))
        self._rows = RowsAt(len(mixed), len(held), ends, each, address_of(mixed))
        self.at = ctypes.addressof(self._rows)
        """Of what the compiled pass knows of them."""

    def _require_fit(self) -> None:
        local = self._local
        rows, windows = len(self.mixed) if local is None else len(local), len(self.held)
        held = int(self._ends[-1]) if windows else 0
        kept = self.mixed.shape == (rows,) and is_plain(self.mixed, np.uint64)
        inside = self.together and (windows == 0 or int(self.held.min()) >= 0)
        if local is not None and not self.together:
            inside = rows == 0 or (local.min() >= 0 and local.max() < windows)
        if held != rows or not kept or not inside:
            raise StatisticsError(
                "rows and windows do not fit each other",
                expected=f"{rows} rows of windows below {windows}, and {rows} contiguous numbers of uint64",
                received=f"windows of {held} rows, numbers {self.mixed.shape} of {self.mixed.dtype}"
                + ("" if inside or local is None else f", windows {local.min()} to {local.max()}"),
            )

    def __len__(self) -> int:
        return len(self.mixed)

    @property
    def local(self) -> NDArray[np.int64]:
        """`[N]`, of each row the number of its window."""
        if self._local is None:
            self._local = np.repeat(np.arange(len(self.held)), self.held)
        return self._local

    def of(self, number: int) -> slice | NDArray[np.intp]:
        """Where the rows of a window are."""
        if self.together:
            end = int(self._ends[number])
            return slice(end - int(self.held[number]), end)
        return np.flatnonzero(self.local == number)


class ColumnCounter:
    """Counts one column, stretch by stretch.

    Args:
        lookup: of its bins.
        cells: how many they are.
        scores: `[cells]`, a number for each cell, such as its normal score.

    Example:
        >>> from holdfast.stats import CategoryBins
        >>> bins = CategoryBins.fit(["a", "a", "b"])
        >>> counter = ColumnCounter(bins.lookup, bins.cells, None)
        >>> mixed = np.zeros(3, dtype=np.uint64)
        >>> rows = WindowRows(np.array([0, 0, 1]), np.array([2, 1]), mixed, together=True)
        >>> counts = np.zeros((2, bins.cells), dtype=np.int64)
        >>> counter.count(["a", "b", "b"], rows, counts).tolist()
        [0, 1, 1]
        >>> counts.tolist()
        [[1, 1, 0, 0, 0], [0, 1, 0, 0, 0]]
    """

    __slots__ = ("_bins", "_held", "_library", "_lookup", "_of_place", "_scores", "_whole_tried", "cells")

    def __init__(self, lookup: Lookup, cells: int, scores: NDArray[np.float32] | None) -> None:
        self._lookup, self.cells, self._scores = lookup, cells, scores
        bin_of = lookup.bin_of
        self._of_place = scores if scores is None or bin_of is None else scores[bin_of]
        self._library = compiled_counting() if cells < _MOST_CELLS else None
        self._held: list[NDArray[Any]] = []
        self._bins: BinsAt | None = None
        self._whole_tried = False
        if self._library is not None and isinstance(lookup, NumericLookup):
            self._bins = self._made_of(lookup)

    def count(
        self,
        values: NDArray[np.float64] | Numbers | Coded | Sequence[Any],
        rows: WindowRows,
        counts: Counts,
        paired: NDArray[np.float32] | None = None,
        *,
        room: Room | None = None,
        wanted: bool = True,
    ) -> NDArray[np.intp] | None:
        """Add the values to the counts of the windows, and mix their places into the numbers of the rows.

        Args:
            values: `[N]`, as the bins take them.
            rows: of which they are.
            counts: `[W, cells]`, to be added to.
            paired: `[N]`, where the score of each value is put.
            room: for at least as many values.
            wanted: whether the cell of each value is.

        Returns:
            The cell of each value, where it is wanted.

        Raises:
            StatisticsError: the arrays do not fit each other: compiled code would read and write beside them.
        """
        together = ColumnPass(rows)
        found = together.add(self, values, counts, paired, room=room, wanted=wanted)
        together.close()
        return found

    def prepared(
        self,
        values: NDArray[np.float64] | Numbers | Coded | Sequence[Any],
        rows: WindowRows,
        counts: Counts,
        paired: NDArray[np.float32] | None,
        found: NDArray[np.intp] | None,
    ) -> tuple[ColumnAt, tuple[NDArray[Any], ...]] | None:
        """What the compiled pass needs of a column, and the arrays that it points at; None for numpy.

        Raises:
            StatisticsError: the arrays do not fit each other: compiled code would read and write beside them.
        """
        self._require_fit(len(values), rows, counts, paired)
        if self._library is None:
            return None
        put = address_of(counts), address_of(paired), address_of(found)
        if self._bins is not None and isinstance(values, np.ndarray | Numbers):
            numbers = values if isinstance(values, Numbers) else Numbers(values)
            if numbers.values.dtype not in PLAIN_KINDS:
                numbers = Numbers(np.ascontiguousarray(numbers.values, dtype=np.float64))
            if numbers.values.dtype.kind in "iu" and not self._whole_tried:
                self._look_up_whole(self._bins)
            held = tuple(one for one in (numbers.values, numbers.valid) if one is not None)
            column = ColumnAt(self.cells, ctypes.addressof(self._bins), numbers.at, None, 0, 0, None, *put)
            return column, held
        if isinstance(values, Coded) and isinstance(self._lookup, CategoryLookup):
            table = self._lookup.table(values.words)
            kind = np.int8 if values.codes.dtype == np.int8 else np.int32  # what the compiled pass can read
            codes = np.ascontiguousarray(values.codes, dtype=kind)
            at, words = address_of(codes), len(table) - 1
            none = NumbersAt()
            column = ColumnAt(self.cells, None, none, at, codes.itemsize, words, address_of(table), *put)
            return column, (codes, table)
        return None

    def _require_fit(
        self, size: int, rows: WindowRows, counts: Counts, paired: NDArray[np.float32] | None
    ) -> None:
        shape = (len(rows.held), self.cells)
        if size != len(rows):
            fault = f"{size} values of {len(rows)} rows"
        elif counts.shape != shape or not is_plain(counts, np.int64):
            fault = f"counts {counts.shape} of {counts.dtype}"
        elif paired is None:
            return
        elif self._scores is None:
            fault = "room for scores, of a column without"
        elif paired.shape != (size,) or not is_plain(paired, np.float32):
            fault = f"scores {paired.shape} of {paired.dtype}"
        else:
            return
        raise StatisticsError(
            "the rows and the room for their counts do not fit each other",
            expected=f"{len(rows)} values and scores of float32, contiguous counts {shape} of int64",
            received=fault,
        )

    def count_in_passes(
        self,
        values: Any,
        rows: WindowRows,
        counts: Counts,
        paired: NDArray[np.float32] | None,
        room: Room | None,
        *,
        wanted: bool,
    ) -> NDArray[np.intp] | None:
        """As `count`, with numpy alone."""
        lookup, cells, windows = self._lookup, self.cells, len(rows.held)
        plain: Any = values.doubles() if isinstance(values, Numbers) else values
        places = lookup.places(plain, room)
        bin_of = lookup.bin_of
        if rows.together:
            wide = cells if bin_of is None else len(bin_of)
            for number in range(windows):
                counts[number] += lookup.folded(np.bincount(places[rows.of(number)], minlength=wide))
        else:
            at = rows.local * cells + (places if bin_of is None else bin_of[places])
            counts += np.bincount(at, minlength=windows * cells).reshape(-1, cells)
        rows.mixed += places.view(np.uint64)
        rows.mixed *= MIX
        if paired is not None and self._of_place is not None:
            # Every place is in range: "clip" only spares the check.
            self._of_place.take(places, out=paired, mode="clip")
        if not wanted:
            return None
        return places.copy() if bin_of is None else bin_of[places]

    def _made_of(self, lookup: NumericLookup) -> BinsAt | None:
        """What the compiled pass needs of the bins; the arrays it points at are held."""
        bins = BinsAt(cells=self.cells, scores=self._at(self._scores))
        if (ruler := lookup.ruler) is not None:
            bins.places, bins.first, bins.scale = ruler.places, ruler.first, ruler.scale
            bins.least, bins.greatest = ruler.least, ruler.greatest
            bins.bin_of = self._at(ruler.bin_of.astype(np.uint16))
        elif (grid := lookup.grid) is not None:
            bins.edges = self._at(np.append(grid.edges, np.nan))
            bins.inner, bins.greatest = len(grid.edges), lookup.maximum
            bins.passed = self._at(np.append(grid.passed, len(grid.edges)).astype(np.int32))
            bins.grid_cells, bins.grid_low, bins.grid_scale = len(grid.passed), grid.low, grid.scale
        else:
            return None
        return bins

    def _look_up_whole(self, bins: BinsAt) -> None:
        self._whole_tried = True
        found = _whole_places(self._lookup) if isinstance(self._lookup, NumericLookup) else None
        if found is not None:
            least, places = found
            bins.whole, bins.missing = self._at(places), int(places[-1])
            bins.whole_least, bins.whole_greatest = least, least + len(places) - 2

    def _at(self, array: NDArray[Any] | None) -> int | None:
        if array is not None:
            self._held.append(array)
        return address_of(array)


def _whole_places(lookup: NumericLookup) -> tuple[int, NDArray[np.uint16]] | None:
    """A whole number below all edges, and the places from there to above the greatest, then that of none."""
    ruler, grid = lookup.ruler, lookup.grid
    low = ruler.least if ruler is not None else float(grid.edges[0]) if grid is not None else 0.0
    least, greatest = math.floor(low) - 1, math.ceil(lookup.maximum) + 1
    if greatest - least >= _MOST_WHOLE or max(-least, greatest) >= _EXACT:
        return None
    numbers = np.append(np.arange(least, greatest + 1, dtype=np.float64), np.nan)
    return least, lookup.places(numbers).astype(np.uint16)


class ColumnPass:
    """Columns of the same rows, of which all that can be are counted in one compiled call.

    Example:
        >>> from holdfast.stats import NumericBins
        >>> bins = NumericBins.fit(np.arange(4.0))
        >>> rows = WindowRows(np.array([0, 0]), np.array([2]), np.zeros(2, dtype=np.uint64), together=True)
        >>> counts, together = np.zeros((2, 1, bins.cells), dtype=np.int64), ColumnPass(rows)
        >>> counter = ColumnCounter(bins.lookup, bins.cells, None)
        >>> for number in range(2):
        ...     _ = together.add(counter, np.full(2, 3.0), counts[number])
        >>> together.close()
        >>> counts[:, 0, 4].tolist()
        [2, 2]
    """

    __slots__ = ("_held", "_rows", "_waiting")

    def __init__(self, rows: WindowRows) -> None:
        self._rows = rows
        self._waiting: list[ColumnAt] = []
        self._held: list[object] = []
        """So that nothing is let go that waits to be counted."""

    def add(
        self,
        counter: ColumnCounter,
        values: NDArray[np.float64] | Numbers | Coded | Sequence[Any],
        counts: Counts,
        paired: NDArray[np.float32] | None = None,
        *,
        room: Room | None = None,
        wanted: bool = False,
    ) -> NDArray[np.intp] | None:
        """As `ColumnCounter.count`, but that the answer is only there after `close`."""
        found = np.empty(len(values), dtype=np.intp) if wanted else None
        prepared = counter.prepared(values, self._rows, counts, paired, found)
        if prepared is None:
            self.close()  # the number that a row gets depends on the order of the columns
            return counter.count_in_passes(values, self._rows, counts, paired, room, wanted=wanted)
        column, held = prepared
        self._waiting.append(column)
        self._held += (counter, counts, paired, found, *held)
        return found

    def close(self) -> None:
        """Count what waits to be."""
        library = compiled_counting()
        if library is None or not self._waiting:
            return
        columns = (ColumnAt * len(self._waiting))(*self._waiting)
        library.holdfast_count(self._rows.at, ctypes.addressof(columns), len(columns))
        self._waiting.clear()
        self._held.clear()

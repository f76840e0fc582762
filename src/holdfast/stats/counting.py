"""Counting values in one pass over them, by `counting.c` where it was compiled with the package.

Without it the same is done by several passes of numpy: the look-ups of `binning.py` say what comes out.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.binning import CategoryLookup, Coded, Counts, Lookup, NumericLookup
from holdfast.stats.errors import StatisticsError
from holdfast.stats.grid import Room

MIX: Final = np.uint64(0x9E3779B97F4A7C15)
"""An odd number without pattern (the golden ratio's digits): places in different columns do not cancel."""
_SPREAD: Final = np.uint64(0xBF58476D1CE4E5B9)
"""A factor of the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
_LIBRARY: Final = Path(__file__).with_name("counting.compiled")
_MOST_CELLS: Final = 1 << 15
"""The compiled pass keeps the number of a cell in 16 bits."""
_STRETCH: Final = 1 << 15
_OBJECT_BITS: Final = 11
_MOST_OBJECTS: Final = 1 << (_OBJECT_BITS - 1)
_address: Final = ctypes.c_void_p


class _Rows(ctypes.Structure):
    """As `Rows` in counting.c."""

    _fields_: Final = [  # type: ignore[misc]  # ctypes looks for a list
        ("rows", ctypes.c_int64),
        ("windows", ctypes.c_int64),
        ("ends", _address),
        ("local", _address),
        ("mixed", _address),
    ]


class _Bins(ctypes.Structure):
    """As `Bins` in counting.c."""

    _fields_: Final = [  # type: ignore[misc]  # as above
        ("cells", ctypes.c_int64),
        ("scores", _address),
        ("places", ctypes.c_int64),
        ("first", ctypes.c_int64),
        ("scale", ctypes.c_double),
        ("least", ctypes.c_double),
        ("greatest", ctypes.c_double),
        ("bin_of", _address),
        ("edges", _address),
        ("inner", ctypes.c_int64),
        ("passed", _address),
        ("grid_cells", ctypes.c_int64),
        ("grid_low", ctypes.c_double),
        ("grid_scale", ctypes.c_double),
    ]


@lru_cache(maxsize=1)
def compiled_counting() -> ctypes.CDLL | None:
    """The library, where it is there and can be loaded."""
    try:
        library = ctypes.CDLL(str(_LIBRARY))
        numbers, codes = library.holdfast_count_numbers, library.holdfast_count_codes
        spread, drawn = library.holdfast_spread, library.holdfast_drawn
        distinct, products = library.holdfast_distinct, library.holdfast_products
        extremes = library.holdfast_extremes
    except (OSError, AttributeError):
        return None
    whole = ctypes.c_int64
    numbers.argtypes, numbers.restype = [_address] * 6, None
    codes.argtypes = [_address, _address, whole, whole, _address, ctypes.c_int, _address, _address]
    codes.restype = None
    spread.argtypes, spread.restype = [_address, whole, _address], None
    drawn.argtypes, drawn.restype = [_address, whole, ctypes.c_uint64, _address], whole
    distinct.argtypes = [_address, whole, whole, ctypes.c_int, _address, _address, _address]
    distinct.restype = whole
    extremes.argtypes, extremes.restype = [_address, whole, _address], None
    products.argtypes, products.restype = [_address, whole, whole, whole, _address], None
    return library


def spread_hashes(mixed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes whose highest bits are as good as drawn, of numbers that differ where rows do.

    Example:
        >>> spread_hashes(np.array([1, 1, 2], dtype=np.uint64)).tolist()
        [13787848790026513251, 13787848790026513251, 9128953514933409478]
    """
    library = compiled_counting()
    if library is not None and _plain(mixed, np.uint64):
        hashes = np.empty(len(mixed), dtype=np.uint64)
        library.holdfast_spread(_address_of(mixed), len(mixed), _address_of(hashes))
        return hashes
    hashes = mixed ^ (mixed >> np.uint64(30))
    hashes *= _SPREAD
    hashes ^= hashes >> np.uint64(31)
    return hashes


def finite_extremes(values: NDArray[np.float64]) -> tuple[float, float]:
    """The least and the greatest finite value; infinity and its opposite where there is none.

    Example:
        >>> finite_extremes(np.array([np.nan, 3.0, -np.inf, 1.0]))
        (1.0, 3.0)
    """
    library = compiled_counting()
    if library is not None and _plain(values, np.float64):
        found = np.empty(2)
        library.holdfast_extremes(_address_of(values), len(values), _address_of(found))
        return float(found[0]), float(found[1])
    low, high = np.inf, -np.inf
    # Stretch by stretch: the second pass then reads from the cache.
    for start in range(0, len(values), _STRETCH):
        part = values[start : start + _STRETCH]
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
    if library is None or not _plain(hashes, np.uint64):
        return hashes[hashes <= np.uint64(highest)]
    kept = np.empty(len(hashes), dtype=np.uint64)
    count = library.holdfast_drawn(_address_of(hashes), len(hashes), highest, _address_of(kept))
    return kept[:count].copy()


def distinct_objects(values: NDArray[np.object_]) -> tuple[NDArray[np.int32], NDArray[np.intp]] | None:
    """Codes of objects, one for each, and the row where it is first; equal objects may be several.

    Returns:
        None where there are more than a thousand, or without the compiled library.

    Example:
        >>> word, other = "word", "other"
        >>> found = distinct_objects(np.array([word, other, word], dtype=object))
        >>> found is None or (found[0].tolist(), found[1].tolist()) == ([0, 1, 0], [0, 1])
        True
    """
    library = compiled_counting()
    if library is None or not _plain(values, np.object_):
        return None
    places = np.full(1 << _OBJECT_BITS, -1, dtype=np.int32)
    codes, first = np.empty(len(values), dtype=np.int32), np.empty(_MOST_OBJECTS, dtype=np.intp)
    count = library.holdfast_distinct(
        _address_of(values),
        len(values),
        _MOST_OBJECTS,
        _OBJECT_BITS,
        _address_of(places),
        _address_of(codes),
        _address_of(first),
    )
    return None if count < 0 else (codes, first[:count])


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
    if library is None or not beside or not _plain(sums, np.float64) or sums.shape != (width, width):
        sums += columns @ columns.T
        return
    apart = columns.strides[0] // columns.itemsize
    library.holdfast_products(_address_of(columns), width, apart, rows, _address_of(sums))


class WindowRows:
    """Some rows, and which of W windows each is of.

    Args:
        local: `[N]`, of each row the number of its window.
        held: `[W]`, rows of each window.
        together: whether the rows of each window lie together, in the order of the windows.
        mixed: `[N]`, becomes a number for each row by its places in all columns that are counted.

    Raises:
        StatisticsError: they do not fit each other: compiled code would read and write beside them.
    """

    __slots__ = ("_ends", "_rows", "at", "held", "local", "mixed", "together")

    def __init__(
        self, local: NDArray[np.intp], held: NDArray[np.intp], mixed: NDArray[np.uint64], *, together: bool
    ) -> None:
        self.local, self.held = np.ascontiguousarray(local, dtype=np.int64), held
        self.mixed, self.together = mixed, together
        self._ends = np.cumsum(held, dtype=np.int64)
        self._require_fit()
        ends, each = (_address_of(self._ends), None) if together else (None, _address_of(self.local))
        self._rows = _Rows(len(local), len(held), ends, each, _address_of(mixed))
        self.at = ctypes.addressof(self._rows)
        """Of what the compiled pass knows of them."""

    def _require_fit(self) -> None:
        rows, windows = len(self.local), len(self.held)
        held = int(self._ends[-1]) if windows else 0
        kept = self.mixed.shape == (rows,) and _plain(self.mixed, np.uint64)
        inside = self.together or rows == 0 or (self.local.min() >= 0 and self.local.max() < windows)
        if held != rows or not kept or not inside:
            raise StatisticsError(
                "rows and windows do not fit each other",
                expected=f"{rows} rows of windows below {windows}, and {rows} contiguous numbers of uint64",
                received=f"windows of {held} rows, numbers {self.mixed.shape} of {self.mixed.dtype}"
                + ("" if inside else f", windows {self.local.min()} to {self.local.max()}"),
            )

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

    __slots__ = ("_bins", "_held", "_library", "_lookup", "_of_place", "_scores", "cells")

    def __init__(self, lookup: Lookup, cells: int, scores: NDArray[np.float32] | None) -> None:
        self._lookup, self.cells, self._scores = lookup, cells, scores
        bin_of = lookup.bin_of
        self._of_place = scores if scores is None or bin_of is None else scores[bin_of]
        self._library = compiled_counting() if cells < _MOST_CELLS else None
        self._held: list[NDArray[Any]] = []
        self._bins: _Bins | None = None
        if self._library is not None and isinstance(lookup, NumericLookup):
            self._bins = self._made_of(lookup)

    def count(
        self,
        values: NDArray[np.float64] | Coded | Sequence[Any],
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
        self._require_fit(len(values), rows, counts, paired)
        library = self._library
        if library is not None and self._bins is not None and isinstance(values, np.ndarray):
            found = np.empty(len(values), dtype=np.intp) if wanted else None
            numbers = np.ascontiguousarray(values, dtype=np.float64)
            library.holdfast_count_numbers(
                rows.at,
                ctypes.addressof(self._bins),
                _address_of(numbers),
                _address_of(counts),
                _address_of(paired),
                _address_of(found),
            )
            return found
        if library is not None and isinstance(values, Coded) and isinstance(self._lookup, CategoryLookup):
            found = np.empty(len(values), dtype=np.intp) if wanted else None
            table = self._lookup.table(values.words)
            kind = np.int8 if values.codes.dtype == np.int8 else np.int32  # what the compiled pass can read
            codes = np.ascontiguousarray(values.codes, dtype=kind)
            library.holdfast_count_codes(
                rows.at,
                _address_of(table),
                len(table) - 1,
                self.cells,
                _address_of(codes),
                codes.itemsize,
                _address_of(counts),
                _address_of(found),
            )
            return found
        return self._count_in_passes(values, rows, counts, paired, room, wanted=wanted)

    def _require_fit(
        self, size: int, rows: WindowRows, counts: Counts, paired: NDArray[np.float32] | None
    ) -> None:
        shape = (len(rows.held), self.cells)
        if size != len(rows.local):
            fault = f"{size} values of {len(rows.local)} rows"
        elif counts.shape != shape or not _plain(counts, np.int64):
            fault = f"counts {counts.shape} of {counts.dtype}"
        elif paired is None:
            return
        elif self._scores is None:
            fault = "room for scores, of a column without"
        elif paired.shape != (size,) or not _plain(paired, np.float32):
            fault = f"scores {paired.shape} of {paired.dtype}"
        else:
            return
        raise StatisticsError(
            "the rows and the room for their counts do not fit each other",
            expected=f"{len(rows.local)} values and scores of float32, contiguous counts {shape} of int64",
            received=fault,
        )

    def _count_in_passes(
        self,
        values: Any,
        rows: WindowRows,
        counts: Counts,
        paired: NDArray[np.float32] | None,
        room: Room | None,
        *,
        wanted: bool,
    ) -> NDArray[np.intp] | None:
        """The same with numpy alone."""
        lookup, cells, windows = self._lookup, self.cells, len(rows.held)
        places = lookup.places(values, room)
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

    def _made_of(self, lookup: NumericLookup) -> _Bins | None:
        """What the compiled pass needs of the bins; the arrays it points at are held."""
        bins = _Bins(cells=self.cells, scores=self._at(self._scores))
        if (ruler := lookup.ruler) is not None:
            bins.places, bins.first, bins.scale = ruler.places, ruler.first, ruler.scale
            bins.least, bins.greatest = ruler.least, ruler.greatest
            bins.bin_of = self._at(ruler.bin_of.astype(np.uint16))
        elif (grid := lookup.grid) is not None:
            bins.edges, bins.inner, bins.greatest = self._at(grid.edges), len(grid.edges), lookup.maximum
            bins.passed = self._at(np.append(grid.passed, len(grid.edges)).astype(np.int32))
            bins.grid_cells, bins.grid_low, bins.grid_scale = len(grid.passed), grid.low, grid.scale
        else:
            return None
        return bins

    def _at(self, array: NDArray[Any] | None) -> int | None:
        if array is not None:
            self._held.append(array)
        return _address_of(array)


def _plain(array: NDArray[Any], kind: type[np.generic]) -> bool:
    """Whether compiled code can take an array as it lies."""
    return array.dtype == kind and array.flags.c_contiguous


def _address_of(array: NDArray[Any] | None) -> int | None:
    # A third of what `array.ctypes.data` takes.
    return None if array is None else array.__array_interface__["data"][0]

"""Bins fitted on a reference; afterwards every window is a vector of integer counts on them.

Counts of two windows, replicas or devices merge by adding, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.stats.clumps import Clumps
from holdfast.stats.edges import edges_of
from holdfast.stats.errors import StatisticsError
from holdfast.stats.grid import Room, grid_for
from holdfast.stats.ruler import ruler_for

Counts = NDArray[np.int64]
INNER_BINS: Final = 256
"""Resolution of a quantile: 0.4 %. A profile of a column stays at 2 KB."""
TOP_CATEGORIES: Final = 50
"""Further categories share cells: a category rarer than 1 in 1000 says little in one window."""
SHARED_CELLS: Final = 256
"""Cells that further categories share, where there are more than a few: each says nothing by itself, together
they show that many rare categories have changed."""
_FEW_OTHERS: Final = 16
"""So many share one."""
RARE: Final = 0.002
"""Share of a reference's rows below which a category shares the cell of the others."""
_SMOOTHED: Final = 0.35
"""Width over which categories near the edge are counted, in standard deviations of their own count."""
_FLAGS: Final = 2
"""A column of no more values says yes or no, and counts nothing."""
_COUNTS: Final = 64
"""Of more values a half is little."""
_HALVES: Final = 2.0**51
"""Numbers below it have halves."""
_SORTED_WHOLE: Final = 1 << 17
"""Of more values an even sample is sorted for the edges: a bin's share is then right within 0.1 %."""


_ENDS: Final[tuple[tuple[float, Literal["left", "right"]], ...]] = (
    (-np.inf, "right"),
    (np.inf, "left"),
    (np.inf, "right"),
)
"""Where the finite values of rising ones begin and end, and those that are not missing."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of text: its distinct words, and the position of each row's word among them, -1 for missing.

    Example:
        >>> Coded(np.array([1, 0, -1]), ("a", "b"))[1:].words
        ('a', 'b')
    """

    codes: NDArray[np.int32] | NDArray[np.int8]
    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, chosen: Any) -> Coded:
        return Coded(self.codes[chosen], self.words)


class NumericBins(msgspec.Struct, frozen=True):
    """Equal-probability bins of a reference, with cells for what lies outside.

    Cells in order: below the reference's minimum, the inner bins, above its maximum, missing, not finite.
    A column with few distinct values gets one bin for each. Above a frequent value there may be a gap, which
    has a bin as well: where most rows are 0 and the others 50 or more, a 20 is no 0.
    """

    edges: tuple[float, ...]
    """Left edges of the inner bins, rising; the first is the minimum."""
    maximum: float

    @classmethod
    def fit(cls, values: NDArray[Any], inner_bins: int = INNER_BINS) -> NumericBins:
        """Quantile bins of the finite values.

        Args:
            values: `[N]` numbers; NaN is missing.
            inner_bins: at most so many.

        Raises:
            StatisticsError: no value is finite.

        Example:
            >>> import numpy as np
            >>> NumericBins.fit(np.arange(8.0), inner_bins=4).edges
            (0.0, 2.0, 4.0, 6.0)
        """
        return cls.fit_counted(values, inner_bins)[0]

    @classmethod
    def fit_counted(cls, values: NDArray[Any], inner_bins: int = INNER_BINS) -> tuple[NumericBins, Counts]:
        """The bins, as of `fit`, and the counts of the same values on them.

        Example:
            >>> import numpy as np
            >>> bins, counts = NumericBins.fit_counted(np.array([1.0, 2.0, 2.0, np.nan]))
            >>> counts.tolist() == bins.count(np.array([1.0, 2.0, 2.0, np.nan])).tolist()
            True
        """
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.size > _SORTED_WHOLE:
            finite = numbers[np.isfinite(numbers)]
            if finite.size > _SORTED_WHOLE:
                least, greatest = float(finite.min()), float(finite.max())
                step = finite.size / _SORTED_WHOLE
                some = np.sort(finite[(np.arange(_SORTED_WHOLE) * step).astype(np.intp)])
                bins = cls(edges_of(some, least, inner_bins), greatest)
                return bins, bins.count(numbers)
        ordered = np.sort(numbers)
        low, end, known = (int(np.searchsorted(ordered, bound, side)) for bound, side in _ENDS)
        if low == end:
            raise StatisticsError("no finite value to fit bins on")
        finite = ordered[low:end]
        edges = edges_of(finite, float(finite[0]), inner_bins)
        passed = np.append(np.searchsorted(finite, edges, side="left"), end - low)
        others = [0, numbers.size - known, known - (end - low)]
        return cls(edges, float(finite[-1])), np.concatenate([[0], np.diff(passed), others]).astype(np.int64)

    @property
    def cells(self) -> int:
        """Length of a count vector."""
        return len(self.edges) + 4

    def index(self, values: NDArray[Any], room: Room | None = None) -> NDArray[np.intp]:
        """The cell of each value.

        Args:
            values: `[N]` numbers; NaN is missing.
            room: to work in, for at least as many; the answer may then be part of it, until it is used again.
        """
        return NumericLookup(self).index(values, room)

    @property
    def lookup(self) -> NumericLookup:
        """Made ready for many calls."""
        return NumericLookup(self)

    def count(self, values: NDArray[Any]) -> Counts:
        """Counts of the values on the cells; costs one look-up in a grid a value.

        Example:
            >>> import numpy as np
            >>> bins = NumericBins.fit(np.arange(4.0))
            >>> bins.count(np.array([-1.0, 0.0, 3.0, 9.0, np.nan, np.inf])).tolist()
            [1, 1, 0, 0, 1, 1, 1, 1]
        """
        lookup = self.lookup
        wide = self.cells if lookup.bin_of is None else len(lookup.bin_of)
        return lookup.folded(np.bincount(lookup.places(values), minlength=wide).astype(np.int64))


class CategoryBins(msgspec.Struct, frozen=True):
    """The most frequent categories of a reference, then: other known, unseen, missing.

    Many other known ones have `shared` cells, by a hash of their text.
    """

    top: tuple[str, ...]
    others: frozenset[str]
    """Categories of the reference that are not in `top`."""
    once: frozenset[str] = frozenset()
    """Those of them that only one row of the reference has; all that only rows have that came together, where
    rows do."""
    edge: tuple[float, float] = (0.0, 0.0)
    """Rows that the others will have beyond those of the reference, and its standard error: what is frequent
    there is so by luck in part. For cells of their own of the categories above `RARE`."""
    shared: int = 1
    """Cells of the others."""
    twice: int = 0
    """How many of the others two rows of the reference have."""
    alike: float = 1.0
    """Chance that two rows of the reference's law have the same category."""
    strange: frozenset[str] = frozenset()
    """Categories that count as unseen, whatever they are."""

    @classmethod
    def fit(cls, values: Sequence[Any] | Coded, top: int = TOP_CATEGORIES) -> CategoryBins:
        """Cells from a reference's values, as text; None is missing.

        Example:
            >>> bins = CategoryBins.fit(["b", "a", "b"], top=1)
            >>> bins.top, bins.others, bins.once
            (('b',), frozenset({'a'}), frozenset({'a'}))
        """
        codes: NDArray[Any]
        if isinstance(values, Coded):
            codes, words = values.codes, np.asarray(values.words, dtype=str)
        else:
            words, codes = np.unique(
                np.asarray([str(value) for value in values if value is not None]), return_inverse=True
            )
        counts = np.bincount(codes[codes >= 0], minlength=len(words))
        held = np.flatnonzero(counts)
        order = held[np.lexsort((words[held], -counts[held]))]
        ranked = [str(name) for name in words[order]]
        clumps = Clumps.of(codes, counts)
        if clumps is None:
            # One row of a frequent category is hardly ever the only one.
            once = np.flatnonzero(counts[order] == 1)
            once, edge = once[once >= top], _edge(counts[order], top)
        else:
            once = np.flatnonzero(np.bincount(clumps.category, minlength=len(counts))[order] == 1)
            edge = _edge_of_clumps(counts, top, clumps)
        counts = counts[order]
        return cls(
            tuple(ranked[:top]),
            frozenset(ranked[top:]),
            frozenset(ranked[place] for place in once.tolist()),
            edge,
            SHARED_CELLS if len(ranked) - top > _FEW_OTHERS else 1,
            int((counts[top:] == 2).sum()),
            _alike(counts),
        )

    @property
    def of_reference(self) -> CategoryBins:
        """The cells for the reference's own rows, each seen from all the others.

        A category that one row has was unseen to the rest, and so was one whose rows all came together. So
        counted, the share of unseen rows is Good's estimate of what further rows of the same law will show
        (Good, The population frequencies of species and the estimation of population parameters, Biometrika
        40, 1953); counted by `self` it would be none.

        Example:
            >>> bins = CategoryBins.fit(["a", "a", "b", "b", "c"], top=1)
            >>> bins.of_reference.count(["a", "a", "b", "b", "c"]).tolist()
            [2, 2, 1, 0]
            >>> bins.count(["a", "b", "c", "d"]).tolist()
            [1, 2, 1, 0]
        """
        if not self.once and not self.edge[0]:
            return self
        return CategoryBins(self.top, self.others - self.once, shared=self.shared, strange=self.once)

    @property
    def cells(self) -> int:
        """Length of a count vector."""
        return len(self.top) + self.shared + 2

    def shared_by(self, category: str) -> int:
        """Which of the shared cells a category has, or would have, if it is none of the most frequent.

        It does not depend on how frequent it is: so counted, none has its cell by luck.

        Example:
            >>> CategoryBins(("a",), frozenset("bc"), shared=4).shared_by("b")
            1
        """
        return crc32(category.encode(errors="surrogatepass")) % self.shared

    def index(self, values: Sequence[Any] | Coded, room: Room | None = None) -> NDArray[np.intp]:
        """The cell of each value.

        Args:
            values: N texts; None is missing.
            room: to work in, for at least as many; the answer may then be part of it, until it is used again.
        """
        return self.lookup.index(values, room)

    @property
    def lookup(self) -> CategoryLookup:
        """Made ready for many calls."""
        return CategoryLookup(self)

    def count(self, values: Sequence[Any] | Coded) -> Counts:
        """Counts of the values on the cells.

        Example:
            >>> CategoryBins.fit(["a", "a", "b"]).count(["a", "z", None]).tolist()
            [1, 0, 0, 1, 1]
        """
        return np.bincount(self.index(values), minlength=self.cells).astype(np.int64)


class NumericLookup:
    """Finds the cells of many values.

    Where all edges lie on marks of a ruler, the place between marks is found first: counts, and whatever is a
    function of the cell, can be had from the places without knowing the cells of single values.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> bins = NumericBins.fit(random.normal(size=100_000))
        >>> values = random.normal(size=1000)
        >>> places = bins.lookup.places(values)
        >>> counts = np.bincount(places, minlength=len(bins.lookup.bin_of))
        >>> bool(np.array_equal(bins.lookup.folded(counts), bins.count(values)))
        True
    """

    __slots__ = ("_inner", "bin_of", "grid", "maximum", "ruler")

    def __init__(self, bins: NumericBins) -> None:
        self._inner = len(bins.edges)
        self.maximum = bins.maximum
        self.ruler = ruler_for(bins.edges, bins.maximum)
        self.grid = None
        if self.ruler is None:
            edges, self.maximum = _between(bins)
            self.grid = grid_for(edges)
        """Where there is no ruler."""
        self.bin_of: NDArray[np.intp] | None = None if self.ruler is None else self.ruler.bin_of
        """The cell of each place; None where places are cells."""

    def places(self, values: NDArray[Any], room: Room | None = None) -> NDArray[np.intp]:
        """The place of each value, a whole number from 0.

        Args:
            values: `[N]` numbers; NaN is missing.
            room: as for `NumericBins.index`.
        """
        numbers = np.asarray(values, dtype=np.float64)
        if self.ruler is not None and numbers.size:
            found = np.empty(len(numbers), dtype=np.intp) if room is None else room.found[: len(numbers)]
            self.ruler.find(numbers, found)
            return found
        grid, inner = self.grid, self._inner
        if grid is None or numbers.size == 0:
            return np.empty(0, dtype=np.intp)
        # NaN is greater than nothing and makes the extremes NaN; most stretches have nothing outside.
        least, greatest = float(numbers.min()), float(numbers.max())
        found = grid.locate(numbers, room, tame=grid.tame(least, greatest))
        if not greatest <= self.maximum:
            found[np.flatnonzero(numbers > self.maximum)] = inner + 1
        if not (np.isfinite(least) and np.isfinite(greatest)):
            found[np.isnan(numbers)] = inner + 2
            found[np.isinf(numbers)] = inner + 3
        return found

    def folded(self, counts: Counts) -> Counts:
        """Counts of the cells from those of the places."""
        return counts if self.ruler is None else self.ruler.folded(counts)

    def index(self, values: NDArray[Any], room: Room | None = None) -> NDArray[np.intp]:
        """The cell of each value, as `NumericBins.index`."""
        places = self.places(values, room)
        return places if self.bin_of is None else self.bin_of[places]


class CategoryLookup:
    """The same for categories, whose places are their cells.

    Example:
        >>> CategoryBins.fit(["a", "a", "b"]).lookup.places(["b", "z", None]).tolist()
        [1, 3, 4]
    """

    __slots__ = ("_cells", "_known", "bin_of")

    def __init__(self, bins: CategoryBins) -> None:
        top = len(bins.top)
        self._cells = _Cells(zip(bins.top, range(top), strict=True))
        if bins.shared > 1:
            self._cells.update((other, top + bins.shared_by(other)) for other in bins.others)
        else:
            self._cells.update(dict.fromkeys(bins.others, top))
        self._cells.unseen = top + bins.shared
        self._cells.update(dict.fromkeys(bins.strange, self._cells.unseen))
        self._cells[None] = top + bins.shared + 1
        self._known: tuple[tuple[str, ...], NDArray[np.intp]] | None = None
        self.bin_of: NDArray[np.intp] | None = None

    def places(self, values: Sequence[Any] | Coded, room: Room | None = None) -> NDArray[np.intp]:
        """The cell of each value.

        Args:
            values: N texts; None is missing.
            room: as for `CategoryBins.index`.
        """
        if not isinstance(values, Coded):
            return np.fromiter(map(self._cells.__getitem__, values), dtype=np.intp, count=len(values))
        found = np.empty(len(values), dtype=np.intp) if room is None else room.found[: len(values)]
        return self.table(values.words).take(values.codes, out=found, mode="wrap")

    def table(self, words: tuple[str, ...]) -> NDArray[np.intp]:
        """The cell of each word, and last that of a missing one, whose code is -1."""
        # Batch after batch has the same words.
        if self._known is None or words is not self._known[0]:
            cells = [*map(self._cells.__getitem__, words), self._cells[None]]
            self._known = (words, np.array(cells, dtype=np.intp))
        return self._known[1]

    def folded(self, counts: Counts) -> Counts:
        """As they are."""
        return counts

    def index(self, values: Sequence[Any] | Coded, room: Room | None = None) -> NDArray[np.intp]:
        """The cell of each value."""
        return self.places(values, room)


def _limit(counts: Counts, top: int) -> int:
    """Rows that a category must have more than, to have a cell; of counts that fall."""
    least = int(np.ceil(RARE * int(counts.sum()))) - 1
    return max(int(counts[top]) if len(counts) > top else 0, least)


def _edge(counts: Counts, top: int) -> tuple[float, float]:
    """Rows that the categories without a cell of their own will have beyond those they had.

    A row seen from all the others lies in a category that has one row less. Categories that just passed the
    edge are below it for them: their rows, by Good's argument, are what further rows of the same law will put
    there more. Counted over a few counts beside the edge, weighted by distance, since few lie exactly there.

    Args:
        counts: of the categories, falling.
        top: how many have cells.
    """
    limit = _limit(counts, top)
    own = int(np.count_nonzero(counts[:top] > limit))
    if limit == 0 or own == len(counts):
        return 0.0, 0.0
    width = max(_SMOOTHED * np.sqrt(limit), 1.0)
    near = np.exp(-(((counts - limit - 1) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
    weight = near * counts
    return float(weight.sum()), float(np.sqrt((weight**2).sum()))


def _edge_of_clumps(counts: Counts, top: int, clumps: Clumps) -> tuple[float, float]:
    """The same where rows come together: all others see a category without the whole clump.

    Args:
        counts: of the categories.
        top: how many have cells.
        clumps: of them.
    """
    from scipy.special import ndtr

    limit = _limit(np.sort(counts)[::-1], top)
    width = max(_SMOOTHED * np.sqrt(limit * clumps.together()), 1.0)
    rows = counts[clumps.category]
    above = (rows - limit - 0.5) / width
    weight = clumps.sizes * (ndtr(above) - ndtr(above - clumps.sizes / width)) * (rows > clumps.sizes)
    each = np.bincount(clumps.category, weight)
    return float(weight.sum()), float(np.sqrt((each**2).sum()))


def _alike(counts: Counts) -> float:
    """Chance that two rows have the same category, without bias."""
    rows, held = float(counts.sum()), counts.astype(np.float64)
    return float((held * (held - 1)).sum() / max(rows * (rows - 1), 1.0))


class _Cells(dict[Any, int]):
    """Cells by value; a value that is no text is looked up by its text."""

    unseen: int

    def __missing__(self, value: Any) -> int:
        return self.get(str(value), self.unseen)


def _between(bins: NumericBins) -> tuple[tuple[float, ...], float]:
    """Edges and maximum as values are compared with them: those of few whole numbers lie half-way between.

    A count that became a fraction then counts as the nearest whole number, not as the one below.
    """
    ends = (*bins.edges, bins.maximum)
    if not _FLAGS < len(bins.edges) <= _COUNTS or max(map(abs, ends)) >= _HALVES:
        return bins.edges, bins.maximum
    if not all(end.is_integer() for end in ends):
        return bins.edges, bins.maximum
    return tuple(edge - 0.5 for edge in bins.edges), bins.maximum + 0.5


Bins = NumericBins | CategoryBins
Lookup = NumericLookup | CategoryLookup

"""From rows to profiles: one pass, in batches, for any number of windows at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.column_counts import ColumnCounts
from holdfast.monitor.features import Feature
from holdfast.monitor.rows import Rows, Task
from holdfast.monitor.twins import Twins, kept_of_each, returning
from holdfast.stats import Counts, NumericBins, WindowRows, add_products, spread_hashes

if TYPE_CHECKING:
    from holdfast.monitor.concept import ConceptModel

BATCH_ROWS: Final = 1 << 16
"""Rows taken at a time: a column of them stays in the second cache, whatever the number of rows."""
QUALITY_CELLS: Final = 256
_EVEN_EDGES: Final = np.arange(1, QUALITY_CELLS) / QUALITY_CELLS
PIECE_ROWS: Final = 32 * 1024
"""Rows counted at a time, in arrays that are kept: what is made of a column stays in the second cache. A row
group of a file, as most programs write it, is a whole number of them."""
_FEW_WINDOWS: Final = 8
"""In one batch: so many are counted one after the other, more by one number for window and cell."""
_LEAST_STUCK: Final = 5
"""Rows of one value in a window before it is called constant."""


@dataclass(frozen=True, slots=True)
class WindowProfile:
    """One window as counts and sums; two of them merge by adding."""

    start: int
    """Microseconds since the epoch, or the number of the first row."""
    end: int
    """Exclusive."""
    rows: int
    labelled: int
    counts: Mapping[str, Counts] = field(repr=False)
    concept: NDArray[np.float64] | None = field(repr=False)
    quality: NDArray[np.float64] = field(repr=False)
    """Binary: `[2, cells]` of scores, negatives and positives. Else `[1, 3]`: rows, sum, squares of loss."""
    quartiles: Mapping[str, tuple[float, float, float]] = field(default_factory=dict, repr=False)
    """Numeric columns of which a fifth lies at or a twentieth beyond the ends of the reference's range."""
    constant: frozenset[str] = frozenset()
    """Columns with one value in all rows of the window."""
    products: NDArray[np.float64] | None = field(default=None, repr=False)
    """`[P, P]`, sums of products of the normal scores of the columns whose dependence is followed."""
    repeated: int = 0
    """Rows that are the same as an earlier one of the window in the cells of all columns."""
    returned: int = 0
    """Rows that are the same as one of the few windows before."""
    beyond: Mapping[str, tuple[float, float, float]] = field(default_factory=dict, repr=False)
    """Of the same columns as `quartiles`, those of the values beyond the reference's range."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured of each row: part of the reference model."""

    task: Task
    features: Mapping[str, Feature]
    concept: ConceptModel | None
    paired: tuple[str, ...] = ()
    """Numeric columns whose dependence is followed."""
    quality_edges: NDArray[np.float64] | None = field(default=None, repr=False)
    """Bounds of the cells of a binary score in which classes are counted; see `quality_edges`."""


def quality_edges(score: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most 254 bounds between cells of a binary score: half between equally many rows, half positives.

    Ties within a cell cost the area under the ROC curve least if neither class has many rows in one. On cells
    of one width all scores of a rare class would share a few.

    Args:
        score: of the reference, of any scale; rows without one count for nothing.
        truth: 1 for positives, 0 for negatives.
    """
    half = QUALITY_CELLS // 2
    shares = np.arange(1, half) / half
    sides = [score[np.isfinite(score) & (truth == side)] for side in (0.0, 1.0)]
    return np.unique(np.concatenate([np.quantile(side, shares) for side in sides if side.size] or [shares]))


def profiles(
    measures: Measures, rows: Rows, stretches: Sequence[tuple[int, int, slice]]
) -> list[WindowProfile]:
    """The profiles of windows that follow each other in rows; one binning of each value.

    Args:
        measures: fitted on the reference.
        rows: in order of time.
        stretches: start, end and rows of each window, as `cut` gives them.
    """
    adder = ProfileAdder(measures, [(start, end) for start, end, _ in stretches])
    window = np.concatenate(
        [np.full(part.stop - part.start, number) for number, (_, _, part) in enumerate(stretches)]
        or [np.empty(0)]
    ).astype(np.intp)
    first = stretches[0][2].start if stretches else 0
    for start in range(0, len(window), BATCH_ROWS):
        some = slice(start, min(start + BATCH_ROWS, len(window)))
        adder.add(rows.take(slice(first + some.start, first + some.stop)), window[some])
    return list(adder.finish())


def rising(numbers: NDArray[np.intp]) -> bool:
    """Whether none is less than the one before."""
    return bool((numbers[1:] >= numbers[:-1]).all())


def _divided(window: NDArray[np.intp], mixed: NDArray[np.uint64]) -> tuple[int, WindowRows]:
    """The least number of a window of some rows, and which of those from there on each row is of."""
    if rising(window):
        low = int(window[0])
        if int(window[-1]) - low < _FEW_WINDOWS:
            return low, WindowRows(None, _held(window), mixed, together=True)
    low = int(window.min())
    local = window - low
    return low, WindowRows(local, np.bincount(local), mixed, together=False)


def _held(window: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows of each window from the first one's to the last one's, of rising numbers."""
    bounds = np.searchsorted(window, np.arange(window[0], window[-1] + 2))
    held: NDArray[np.intp] = np.diff(bounds)
    return held


class ProfileAdder:
    """Adds batches of rows to the profiles of W windows, in memory that does not grow with their rows.

    Args:
        measures: fitted on the reference.
        bounds: start and end of each window.
    """

    def __init__(self, measures: Measures, bounds: Sequence[tuple[int, int]]) -> None:
        self._measures = measures
        self._bounds = bounds
        size = len(bounds)
        self._rows = np.zeros(size, dtype=np.int64)
        self._labelled = np.zeros(size, dtype=np.int64)
        self._twins: dict[int, Twins] = {}
        self._columns = ColumnCounts(measures, size, PIECE_ROWS)
        concept = measures.concept
        views, tests = (0, 0) if concept is None else (len(concept.views), len(concept.tests))
        self._concept = np.zeros((size, 1 + 3 * views, tests))
        edges = measures.quality_edges
        self._quality_edges = _EVEN_EDGES if edges is None else edges
        self._quality = np.zeros((size, 2, QUALITY_CELLS) if measures.task == "binary" else (size, 1, 3))
        width = len(measures.paired)
        self._products = np.zeros((size, width, width))
        self._paired = np.empty((width, PIECE_ROWS), dtype=np.float32)

    def add(self, rows: Rows, window: NDArray[np.intp]) -> None:
        """A batch of rows and the number of each row's window."""
        if len(window) == 0:
            return
        mixed = np.zeros(len(window), dtype=np.uint64)
        for start in range(0, len(window), PIECE_ROWS):
            part = slice(start, start + PIECE_ROWS)
            piece = rows if len(window) <= PIECE_ROWS else rows.take(part)
            self._add_piece(piece, window[part], mixed[part])
        self._add_repeated(spread_hashes(mixed), window)

    def include(self, other: ProfileAdder) -> None:
        """Add what another one was given, of the same measures and windows."""
        self._rows += other._rows
        self._labelled += other._labelled
        for number, twins in other._twins.items():
            self._twins_of(number).include(twins)
        self._concept += other._concept
        self._quality += other._quality
        self._products += other._products
        self._columns.include(other._columns)

    def _add_piece(self, rows: Rows, window: NDArray[np.intp], mixed: NDArray[np.uint64]) -> None:
        truth, score = rows.truth, rows.score
        known = None
        if truth is not None and score is not None and self._measures.task != "none":
            known = np.flatnonzero(np.isfinite(truth) & np.isfinite(score))
        low, held = _divided(window, mixed)
        span = slice(low, low + len(held.held))
        self._rows[span] += held.held
        if truth is not None:
            labelled = np.bincount(held.local, np.isfinite(truth), len(held.held))
            self._labelled[span] += labelled.astype(np.int64)
        if known is not None and truth is not None and score is not None:
            self._add_quality(truth[known], score[known], held.local[known], span)
        concept, features = self._measures.concept, self._measures.features
        paired = self._paired[:, : len(window)]
        wanted = concept is not None and known is not None and known.size > 0
        cells = self._columns.add(rows, held, low, paired, wanted=wanted)
        if concept is not None and known is not None and truth is not None and score is not None and wanted:
            of_labelled = {name: found[known] for name, found in cells.items()}
            self._concept[span] += concept.profiles(
                truth[known],
                score[known],
                of_labelled,
                {name: features[name].coarse[found] for name, found in of_labelled.items()},
                window=held.local[known],
                windows=len(held.held),
            )
        if len(paired) > 1:
            for number in np.flatnonzero(held.held):
                add_products(paired[:, held.of(int(number))], self._products[low + number])

    def finish(self) -> Iterator[WindowProfile]:
        """The profiles, in order."""
        columns = self._columns.by_name()
        held = [self._twins.get(number) for number in range(len(self._bounds))]
        returned = returning(held, self._bounds)
        for number, (start, end) in enumerate(self._bounds):
            counts = {name: each[number] for name, each in columns.items()}
            quartiles, constant, beyond = self._found_odd(number)
            yield WindowProfile(
                start,
                end,
                int(self._rows[number]),
                int(self._labelled[number]),
                counts,
                None if self._measures.concept is None else self._concept[number],
                self._quality[number],
                quartiles,
                constant,
                self._products[number] if len(self._measures.paired) > 1 else None,
                self._twins[number].count if number in self._twins else 0,
                returned[number],
                beyond,
            )

    def _add_quality(
        self,
        truth: NDArray[np.float64],
        score: NDArray[np.float64],
        local: NDArray[np.intp],
        span: slice,
    ) -> None:
        size = span.stop - span.start
        if self._measures.task == "binary":
            at = np.searchsorted(self._quality_edges, score, side="right")
            place = (local * 2 + (truth == 1.0)) * QUALITY_CELLS + at
            wanted = (truth == 0.0) | (truth == 1.0)
            found = np.bincount(place[wanted], minlength=size * 2 * QUALITY_CELLS)
            self._quality[span] += found.reshape(size, 2, QUALITY_CELLS)
            return
        loss = truth if self._measures.task == "multiclass" else np.abs(truth - score)
        for position, part in enumerate((None, loss, loss**2)):
            self._quality[span, 0, position] += np.bincount(local, part, size)

    def _add_repeated(self, hashes: NDArray[np.uint64], window: NDArray[np.intp]) -> None:
        """Rows in the same cells of all columns as an earlier one of their window."""
        if not rising(window):
            order = np.argsort(window, kind="stable")
            hashes, window = hashes[order], window[order]
        if window[0] == window[-1]:
            self._twins_of(int(window[0])).add(hashes)
            return
        first = np.flatnonzero(window[1:] != window[:-1]) + 1
        numbers = [int(window[0]), *window[first].tolist()]
        for number, part in zip(numbers, np.split(hashes, first), strict=True):
            self._twins_of(number).add(part)

    def _twins_of(self, number: int) -> Twins:
        if number not in self._twins:
            self._twins[number] = Twins(kept_of_each(len(self._bounds)))
        return self._twins[number]

    def _found_odd(
        self, number: int
    ) -> tuple[dict[str, tuple[float, float, float]], frozenset[str], dict[str, tuple[float, float, float]]]:
        quartiles: dict[str, tuple[float, float, float]] = {}
        beyond: dict[str, tuple[float, float, float]] = {}
        constant = set()
        rows = int(self._rows[number])
        for name, by_window in self._columns.odd.items():
            odd = by_window.get(number)
            # Of few of its rows, as a window's beginning in another batch has them, they would say nothing.
            if odd is None or 2 * odd.rows < rows or odd.rows == 0:
                continue
            quartiles[name] = odd.quartiles
            bins = self._measures.features[name].bins
            if isinstance(bins, NumericBins):
                outside = odd.quartiles_beyond(bins.edges[0], bins.maximum)
                if outside is not None:
                    beyond[name] = outside
            if odd.rows == rows >= _LEAST_STUCK and odd.least == odd.greatest:
                constant.add(name)
        return quartiles, frozenset(constant), beyond

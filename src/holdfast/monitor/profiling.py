"""From rows to profiles: one pass, in batches, for any number of windows at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.features import Feature
from holdfast.monitor.odd_values import OddValues
from holdfast.monitor.rows import Rows, Task
from holdfast.monitor.twins import Twins, kept_of_each, returning, spread
from holdfast.stats import Counts, Lookup, Room

if TYPE_CHECKING:
    from holdfast.monitor.concept import ConceptModel

BATCH_ROWS: Final = 1 << 16
"""Rows taken at a time: a column of them stays in the second cache, whatever the number of rows."""
QUALITY_CELLS: Final = 256
_EVEN_EDGES: Final = np.arange(1, QUALITY_CELLS) / QUALITY_CELLS
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
"""An odd number without pattern (the golden ratio's digits): cells of different columns do not cancel."""
PIECE_ROWS: Final = 30 * 1024
"""Rows counted at a time, in arrays that are kept: what is made of a column stays in the second cache."""
_FEW_WINDOWS: Final = 8
"""In one batch: so many are counted one after the other, more by one number for window and cell."""
_MANY_CELLS: Final = 100
_CROWDED: Final = 8
"""A cell of so many that holds an eighth of a window: it is stuck, or in a unit a thousand times as large."""
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
    """Numeric columns of which more than a fifth lies at or beyond the ends of the reference's range."""
    constant: frozenset[str] = frozenset()
    """Columns with one value in all rows of the window."""
    products: NDArray[np.float64] | None = field(default=None, repr=False)
    """`[P, P]`, sums of products of the normal scores of the columns whose dependence is followed."""
    repeated: int = 0
    """Rows that are the same as an earlier one of the window in the cells of all columns."""
    returned: int = 0
    """Rows that are the same as one of the few windows before."""


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


class _Piece:
    """What the columns of some rows have in common, and what is collected of them."""

    def __init__(
        self, window: NDArray[np.intp], known: NDArray[np.intp] | None, paired: NDArray[np.float32]
    ) -> None:
        rows = len(window)
        if window[0] == window[-1] and bool((window == window[0]).all()):
            self.low, self.few = int(window[0]), True
            self.local, self.held = np.zeros(rows, dtype=np.intp), np.array([rows])
        else:
            self.low = int(window.min())
            self.local = window - self.low
            self.held = np.bincount(self.local)
            self.few = len(self.held) <= _FEW_WINDOWS and rising(self.local)
        self.span = slice(self.low, self.low + len(self.held))
        self.known = known
        self.ends = np.cumsum(self.held)
        self.coarse: dict[str, NDArray[np.intp]] = {}
        self.labelled: dict[str, NDArray[np.intp]] = {}
        self.paired = paired[:, :rows]

    few: bool
    """Whether they are of a few windows, and those of each lie together, as they do in order of time."""

    def rows_of(self, number: int) -> slice | NDArray[np.intp]:
        """Where the rows of one of its windows are."""
        if self.few:
            end = int(self.ends[number])
            return slice(end - int(self.held[number]), end)
        return np.flatnonzero(self.local == number)

    def counts(self, places: NDArray[np.intp], lookup: Lookup, cells: int) -> Counts:
        """`[W, cells]` of a column by the place of each row."""
        windows, bin_of = len(self.held), lookup.bin_of
        if not self.few:
            index = places if bin_of is None else bin_of[places]
            at = self.local * cells + index
            return np.bincount(at, minlength=windows * cells).reshape(-1, cells)
        wide = cells if bin_of is None else len(bin_of)
        found = [
            lookup.folded(np.bincount(places[self.rows_of(one)], minlength=wide)) for one in range(windows)
        ]
        return found[0][None] if windows == 1 else np.stack(found)


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
        self._counts = {
            name: np.zeros((size, feature.bins.cells), dtype=np.int64)
            for name, feature in measures.features.items()
        }
        concept = measures.concept
        views, tests = (0, 0) if concept is None else (len(concept.views), len(concept.tests))
        self._concept = np.zeros((size, 1 + 3 * views, tests))
        edges = measures.quality_edges
        self._quality_edges = _EVEN_EDGES if edges is None else edges
        self._quality = np.zeros((size, 2, QUALITY_CELLS) if measures.task == "binary" else (size, 1, 3))
        width = len(measures.paired)
        self._products = np.zeros((size, width, width))
        self._lookups: dict[str, Lookup] = {
            name: feature.bins.lookup for name, feature in measures.features.items()
        }
        self._scores = {name: (number, self._score(name)) for number, name in enumerate(measures.paired)}
        self._odd: dict[str, dict[int, OddValues]] = {}
        self._room = Room(PIECE_ROWS)
        self._paired = np.empty((width, PIECE_ROWS), dtype=np.float32)

    def _score(self, name: str) -> NDArray[np.float32]:
        """Of each place of a column the normal score."""
        scores, bin_of = self._measures.features[name].functionals[:, 0], self._lookups[name].bin_of
        return (scores if bin_of is None else scores[bin_of]).astype(np.float32)

    def add(self, rows: Rows, window: NDArray[np.intp]) -> None:
        """A batch of rows and the number of each row's window."""
        if len(window) == 0:
            return
        mixed = np.zeros(len(window), dtype=np.uint64)
        for start in range(0, len(window), PIECE_ROWS):
            part = slice(start, start + PIECE_ROWS)
            self._add_piece(rows.take(part), window[part], mixed[part])
        self._add_repeated(spread(mixed), window)

    def include(self, other: ProfileAdder) -> None:
        """Add what another one was given, of the same measures and windows."""
        self._rows += other._rows
        self._labelled += other._labelled
        for number, twins in other._twins.items():
            self._twins_of(number).include(twins)
        self._concept += other._concept
        self._quality += other._quality
        self._products += other._products
        for name, counts in other._counts.items():
            self._counts[name] += counts
        for name, windows in other._odd.items():
            for number, odd in windows.items():
                self._odd.setdefault(name, {}).setdefault(number, OddValues()).include(odd)

    def _add_piece(self, rows: Rows, window: NDArray[np.intp], mixed: NDArray[np.uint64]) -> None:
        truth, score = rows.truth, rows.score
        known = None
        if truth is not None and score is not None and self._measures.task != "none":
            known = np.flatnonzero(np.isfinite(truth) & np.isfinite(score))
        piece = _Piece(window, known, self._paired)
        self._rows[piece.span] += piece.held
        if truth is not None:
            labelled = np.bincount(piece.local, np.isfinite(truth), len(piece.held))
            self._labelled[piece.span] += labelled.astype(np.int64)
        if known is not None and truth is not None and score is not None:
            self._add_quality(truth[known], score[known], piece.local[known], piece.span)
        self._add_columns(rows, piece, mixed)
        concept = self._measures.concept
        if (
            concept is not None
            and known is not None
            and truth is not None
            and score is not None
            and known.size
        ):
            self._concept[piece.span] += concept.profiles(
                truth[known],
                score[known],
                piece.labelled,
                piece.coarse,
                window=piece.local[known],
                windows=len(piece.held),
            )
        if len(piece.paired) > 1:
            for number in np.flatnonzero(piece.held):
                some = piece.paired[:, piece.rows_of(int(number))]
                self._products[piece.low + number] += some @ some.T

    def _add_columns(self, rows: Rows, piece: _Piece, mixed: NDArray[np.uint64]) -> None:
        """Count all columns; `mixed` becomes a number for each row by its places in them."""
        known, concept = piece.known, self._measures.concept
        for name, feature in self._measures.features.items():
            values, lookup = rows.columns[name], self._lookups[name]
            places = feature.places(values, lookup, self._room)
            counts = piece.counts(places, lookup, feature.bins.cells)
            self._counts[name][piece.span] += counts
            mixed += places.view(np.uint64)
            mixed *= _MIX
            if known is not None and concept is not None and known.size:
                some = places[known]
                piece.labelled[name] = some if lookup.bin_of is None else lookup.bin_of[some]
                piece.coarse[name] = feature.coarse[piece.labelled[name]]
            if name in self._scores:
                number, scores = self._scores[name]
                # Every place is in range: "clip" only spares the check.
                scores.take(places, out=piece.paired[number], mode="clip")
            if feature.numeric and isinstance(values, np.ndarray):
                self._keep_odd(name, feature, values, counts, piece)

    def finish(self) -> Iterator[WindowProfile]:
        """The profiles, in order."""
        returned = returning([self._twins.get(number) for number in range(len(self._bounds))])
        for number, (start, end) in enumerate(self._bounds):
            counts = {name: each[number] for name, each in self._counts.items()}
            quartiles, constant = self._found_odd(number)
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
        if window[0] == window[-1] and (window == window[0]).all():
            self._twins_of(int(window[0])).add(hashes)
            return
        if not rising(window):
            order = np.argsort(window, kind="stable")
            hashes, window = hashes[order], window[order]
        first = np.flatnonzero(window[1:] != window[:-1]) + 1
        numbers = [int(window[0]), *window[first].tolist()]
        for number, part in zip(numbers, np.split(hashes, first), strict=True):
            self._twins_of(number).add(part)

    def _twins_of(self, number: int) -> Twins:
        if number not in self._twins:
            self._twins[number] = Twins(kept_of_each(len(self._bounds)))
        return self._twins[number]

    def _keep_odd(
        self, name: str, feature: Feature, values: NDArray[np.float64], counts: Counts, piece: _Piece
    ) -> None:
        """Keep raw values of windows that may be stuck or in another unit: rare, so it costs nothing."""
        cells, values_held = feature.bins.cells, "location" in feature.tests
        edge = max(1, (cells - 4) // 50)
        # The outermost bins are wide: within them counts say too little of quartiles.
        if cells > _MANY_CELLS:
            parts = np.add.reduceat(counts, [0, edge + 1, cells - 3 - edge, cells - 2], axis=1)
            outside = parts[:, 0] + parts[:, 2]
        else:
            outside = counts[:, : edge + 1].sum(axis=1) + counts[:, -3 - edge : -2].sum(axis=1)
        odd = outside * 5 > piece.held
        if values_held:
            # Of one value only, or of many cells one with an eighth of the rows.
            most = counts.max(axis=1)
            odd |= most * _CROWDED > piece.held if cells > _MANY_CELLS else most == piece.held
        if not odd.any():
            return
        for number in np.flatnonzero(odd & (piece.held > 0)):
            some = values[piece.rows_of(int(number))]
            windows = self._odd.setdefault(name, {})
            windows.setdefault(piece.low + int(number), OddValues()).add(some[np.isfinite(some)])

    def _found_odd(self, number: int) -> tuple[dict[str, tuple[float, float, float]], frozenset[str]]:
        quartiles: dict[str, tuple[float, float, float]] = {}
        constant = set()
        rows = int(self._rows[number])
        for name, by_window in self._odd.items():
            odd = by_window.get(number)
            # Of few of its rows, as a window's beginning in another batch has them, they would say nothing.
            if odd is None or 2 * odd.rows < rows or odd.rows == 0:
                continue
            quartiles[name] = odd.quartiles
            if odd.rows == rows >= _LEAST_STUCK and odd.least == odd.greatest:
                constant.add(name)
        return quartiles, frozenset(constant)

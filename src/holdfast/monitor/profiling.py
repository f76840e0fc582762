"""From rows to profiles: one pass, in batches, for any number of windows at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.features import Feature
from holdfast.monitor.rows import ColumnValues, Rows, Task
from holdfast.stats import Counts

if TYPE_CHECKING:
    from holdfast.monitor.concept import ConceptModel

BATCH_ROWS: Final = 1 << 16
"""Rows taken at a time: a column of them stays in the second cache, whatever the number of rows."""
QUALITY_CELLS: Final = 256
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
"""An odd number without pattern (the golden ratio's digits): cells of different columns do not cancel."""
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
    """Numeric columns of which more than a fifth lies at or beyond the ends of the reference's range."""
    constant: frozenset[str] = frozenset()
    """Columns with one value in all rows of the window."""
    products: NDArray[np.float64] | None = field(default=None, repr=False)
    """`[P, P]`, sums of products of the normal scores of the columns whose dependence is followed."""
    repeated: int = 0
    """Rows that are the same as an earlier one of the window in the cells of all columns."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured of each row: part of the reference model."""

    task: Task
    features: Mapping[str, Feature]
    concept: ConceptModel | None
    paired: tuple[str, ...] = ()
    """Numeric columns whose dependence is followed."""


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


class _Batch:
    """What the columns of one batch of rows have in common, and what is collected of them."""

    def __init__(
        self,
        local: NDArray[np.intp],
        low: int,
        held: NDArray[np.int64],
        known: NDArray[np.intp] | None,
        paired: int,
    ) -> None:
        self.local, self.low, self.held, self.known = local, low, held, known
        self.ends = np.cumsum(held)
        self.few = len(held) <= _FEW_WINDOWS and bool((local[1:] >= local[:-1]).all())
        """Whether they are of a few windows, and those of each lie together, as they do in order of time."""
        self.coarse: dict[str, NDArray[np.intp]] = {}
        self.labelled: dict[str, NDArray[np.intp]] = {}
        self.paired = np.empty((paired, len(local)), dtype=np.float32)

    def rows_of(self, number: int) -> slice | NDArray[np.intp]:
        """Where the rows of one of its windows are."""
        if self.few:
            end = int(self.ends[number])
            return slice(end - int(self.held[number]), end)
        return np.flatnonzero(self.local == number)

    def counts(self, index: NDArray[np.intp], cells: int) -> Counts:
        """`[W, cells]` of a column by the cell of each row."""
        windows = len(self.held)
        if not self.few:
            place = self.local * cells + index
            return np.bincount(place, minlength=windows * cells).reshape(-1, cells)
        return np.stack([np.bincount(index[self.rows_of(one)], minlength=cells) for one in range(windows)])


class ProfileAdder:
    """Adds batches of rows to the profiles of W windows.

    Args:
        measures: fitted on the reference.
        bounds: start and end of each window.
        threads: where half of the columns are counted; None: by the caller alone, as beside a service.
    """

    def __init__(
        self, measures: Measures, bounds: Sequence[tuple[int, int]], threads: Executor | None = None
    ) -> None:
        self._measures = measures
        self._threads = threads
        # The halves of the columns are polynomials in `_MIX`: one is moved past the powers of the other.
        self._apart = np.uint64(pow(int(_MIX), len(measures.features), 1 << 64))
        self._bounds = bounds
        size = len(bounds)
        self._rows = np.zeros(size, dtype=np.int64)
        self._labelled = np.zeros(size, dtype=np.int64)
        self._repeated = np.zeros(size, dtype=np.int64)
        self._counts = {
            name: np.zeros((size, feature.bins.cells), dtype=np.int64)
            for name, feature in measures.features.items()
        }
        concept = measures.concept
        views, tests = (0, 0) if concept is None else (len(concept.views), len(concept.tests))
        self._concept = np.zeros((size, 1 + 3 * views, tests))
        self._quality = np.zeros((size, 2, QUALITY_CELLS) if measures.task == "binary" else (size, 1, 3))
        width = len(measures.paired)
        self._products = np.zeros((size, width, width))
        self._values: dict[str, dict[int, list[NDArray[np.float64]]]] = {}

    def add(self, rows: Rows, window: NDArray[np.intp]) -> None:
        """A batch of rows and the number of each row's window."""
        if len(window) == 0:
            return
        low, high = int(window.min()), int(window.max())
        local = window - low
        span = slice(low, high + 1)
        held = np.bincount(local, minlength=high - low + 1)
        self._rows[span] += held
        truth, score = rows.truth, rows.score
        known = None
        if truth is not None and score is not None and self._measures.task != "none":
            self._labelled[span] += np.bincount(local, np.isfinite(truth), high - low + 1).astype(np.int64)
            known = np.flatnonzero(np.isfinite(truth) & np.isfinite(score))
            self._add_quality(truth[known], score[known], local[known], span)
        elif truth is not None:
            self._labelled[span] += np.bincount(local, np.isfinite(truth), high - low + 1).astype(np.int64)
        batch = _Batch(local, low, held, known, len(self._measures.paired))
        names = list(self._measures.features)
        if self._threads is None:
            mixed = self._add_columns(names, rows, batch)
        else:
            others = self._threads.submit(self._add_columns, names[1::2], rows, batch)
            mixed = self._add_columns(names[0::2], rows, batch)
            mixed *= self._apart
            mixed += others.result()
        mixed += local.astype(np.uint64)
        coarse, labelled, paired = batch.coarse, batch.labelled, batch.paired
        concept = self._measures.concept
        if (
            concept is not None
            and known is not None
            and truth is not None
            and score is not None
            and known.size
        ):
            self._concept[span] += concept.profiles(
                truth[known], score[known], labelled, coarse, window=local[known], windows=high - low + 1
            )
        if len(paired) > 1:
            for number in np.flatnonzero(held):
                some = paired[:, batch.rows_of(int(number))]
                self._products[low + number] += some @ some.T
        self._add_repeated(mixed, local, span)

    def _add_columns(self, names: Sequence[str], rows: Rows, batch: _Batch) -> NDArray[np.uint64]:
        """Count some columns; a number for each row by its cells in them. Touches nothing of the others."""
        local, low, known = batch.local, batch.low, batch.known
        windows = len(batch.held)
        span = slice(low, low + windows)
        mixed = np.zeros(len(local), dtype=np.uint64)
        for name in names:
            feature = self._measures.features[name]
            index = feature.index(rows.columns[name])
            counts = batch.counts(index, feature.bins.cells)
            self._counts[name][span] += counts
            mixed += index.view(np.uint64)
            mixed *= _MIX
            if known is not None and self._measures.concept is not None and known.size:
                batch.labelled[name] = index[known]
                batch.coarse[name] = feature.coarse[batch.labelled[name]]
            if name in self._measures.paired:
                scores = feature.functionals[:, 0].astype(np.float32)
                batch.paired[self._measures.paired.index(name)] = scores[index]
            if feature.numeric and isinstance(rows.columns[name], np.ndarray):
                self._keep_odd(name, feature, rows.columns[name], counts, batch.held, local=local, low=low)
        return mixed

    def finish(self) -> Iterator[WindowProfile]:
        """The profiles, in order."""
        for number, (start, end) in enumerate(self._bounds):
            counts = {name: each[number] for name, each in self._counts.items()}
            quartiles, constant = self._odd(number, counts)
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
                int(self._repeated[number]),
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
            at = np.clip((score * QUALITY_CELLS).astype(int), 0, QUALITY_CELLS - 1)
            place = (local * 2 + (truth == 1.0)) * QUALITY_CELLS + at
            wanted = (truth == 0.0) | (truth == 1.0)
            found = np.bincount(place[wanted], minlength=size * 2 * QUALITY_CELLS)
            self._quality[span] += found.reshape(size, 2, QUALITY_CELLS)
            return
        loss = truth if self._measures.task == "multiclass" else np.abs(truth - score)
        for position, part in enumerate((None, loss, loss**2)):
            self._quality[span, 0, position] += np.bincount(local, part, size)

    def _add_repeated(self, mixed: NDArray[np.uint64], local: NDArray[np.intp], span: slice) -> None:
        """Rows in the same cells of all columns as an earlier one of the batch and window."""
        ordered = np.sort(mixed)
        if (ordered[1:] != ordered[:-1]).all():
            return
        order = np.argsort(mixed, kind="stable")
        same = mixed[order[1:]] == mixed[order[:-1]]
        self._repeated[span] += np.bincount(local[order[1:][same]], minlength=span.stop - span.start)

    def _keep_odd(
        self,
        name: str,
        feature: Feature,
        values: ColumnValues,
        counts: NDArray[np.int64],
        held: NDArray[np.int64],
        *,
        local: NDArray[np.intp],
        low: int,
    ) -> None:
        """Keep raw values of windows that may be stuck or in another unit: rare, so it costs nothing."""
        edge = max(1, (feature.bins.cells - 4) // 50)
        # The outermost bins are wide: within them counts say too little of quartiles.
        outside = counts[:, : edge + 1].sum(axis=1) + counts[:, -3 - edge : -2].sum(axis=1)
        one_cell = counts.max(axis=1) == held
        several = "location" in feature.tests
        odd = (held > 0) & ((outside * 5 > held) | (one_cell & several))
        for number in np.flatnonzero(odd):
            some = np.asarray(values)[local == number]
            self._values.setdefault(name, {}).setdefault(low + int(number), []).append(
                some[np.isfinite(some)]
            )

    def _odd(
        self, number: int, counts: Mapping[str, Counts]
    ) -> tuple[dict[str, tuple[float, float, float]], frozenset[str]]:
        quartiles: dict[str, tuple[float, float, float]] = {}
        constant = set()
        for name, by_window in self._values.items():
            parts = by_window.get(number)
            if not parts:
                continue
            finite = np.concatenate(parts)
            if finite.size == 0:
                continue
            low, middle, high = np.quantile(finite, (0.25, 0.5, 0.75))
            quartiles[name] = (float(low), float(middle), float(high))
            rows = int(counts[name].sum())
            if finite.size == rows >= _LEAST_STUCK and finite.min() == finite.max():
                constant.add(name)
        return quartiles, frozenset(constant)

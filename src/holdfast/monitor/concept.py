"""Has the mapping from x to y changed? Residuals of the truth against what the reference leads to expect.

The expectation of a row is the reference's mean truth at that score, and in every cell of the score and of
each column the reference's own mean residual. A change of P(x) alone moves rows between cells, not the mean
inside one, so it does not show. See docs/methods/residuals.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.expectation import Expectation
from holdfast.monitor.features import Feature
from holdfast.monitor.rows import Rows, Task
from holdfast.monitor.score_cells import LEAST_CELL_ROWS, SCORE_CELLS, interval, score_edges, score_tails
from holdfast.stats import Sums

SLOPE: Final = "slope"
_LEAST_SLOPE_CELLS: Final = 3
DOUBT: Final = 0.3
"""From some hundred rare events trees and scores learn a steep rise to about a third."""
TAIL_SHARE: Final = 0.005
"""Share of regression residuals cut on each side: one wild price must not raise an alarm."""


@dataclass(frozen=True, slots=True)
class View:
    """The reference's own residuals under one way of expecting, by test."""

    mean: NDArray[np.float64] = field(repr=False)
    """`[tests]`, the reference's mean residual in the cell."""
    variance: NDArray[np.float64] = field(repr=False)
    third: NDArray[np.float64] = field(repr=False)
    limits: tuple[float, float] = (-np.inf, np.inf)
    """Residuals beyond are cut there."""


@dataclass(frozen=True, slots=True)
class ConceptModel:
    """What the reference says about y given x.

    Tests in order: overall, then the cells of the score, then the coarse cells of each feature. Residuals are
    kept under one or two views: against the calibrated score, and against the `Expectation`.
    """

    task: Task
    score_edges: NDArray[np.float64] = field(repr=False)
    centres: NDArray[np.float64] = field(repr=False)
    """`[score cells]`, mean score of the reference in each; between two of them the expectation is a line."""
    expected: NDArray[np.float64] = field(repr=False)
    """`[score cells]`, mean truth of the reference in each."""
    tests: tuple[tuple[str, str], ...]
    """`(feature, cell)` of each test; feature "" is overall, "score" the score."""
    offsets: Mapping[str, int]
    """Where the tests of each feature begin."""
    views: tuple[View, ...] = field(repr=False)
    rows: NDArray[np.float64] = field(repr=False)
    """`[tests]`, labelled rows of the reference in the cell."""
    expectation: Expectation | None = field(default=None, repr=False)
    slopes: tuple[tuple[str, str], ...] = ()
    """Columns, and the score, along which residuals may rise or fall together; then tails of the score."""
    directions: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    """`[tests, slopes]`, mean normal score of each cell that the reference filled; 1 for cells of a tail."""

    @classmethod
    def fit(
        cls, task: Task, rows: Rows, features: Mapping[str, Feature], *, second_view: bool = True
    ) -> ConceptModel | None:
        """From the labelled rows of the reference; None where there are too few or no score.

        Args:
            task: what the truth and the score are.
            rows: of the reference.
            features: of the reference.
            second_view: whether to learn an `Expectation` too; a score that was fitted on this very reference
                is one already.
        """
        if rows.truth is None or rows.score is None or task == "none":
            return None
        known = np.isfinite(rows.truth) & np.isfinite(rows.score)
        if known.sum() < 2 * SCORE_CELLS:
            return None
        score, truth = rows.score[known], rows.truth[known]
        edges = score_edges(score, truth if task != "regression" else None)
        at = np.searchsorted(edges, score, side="right")
        count = np.bincount(at, minlength=len(edges) + 1).astype(float)
        base = truth if task != "regression" else truth - score
        total = np.bincount(at, weights=base, minlength=len(edges) + 1)
        # Half an event more in each cell, so that a cell without any is not certain; the mean residuals below
        # take the half out of the expectation again and leave it in the variance.
        level = (total + (0.5 if task != "regression" else base.mean())) / (count + 1)
        expected = level
        centres = np.maximum.accumulate(
            np.bincount(at, weights=score, minlength=len(count)) / np.maximum(count, 1)
        )
        if task != "regression":
            # An empty cell has no place of its own: its half event would stand at its neighbour's.
            centres, expected = centres[count > 0], _isotonic(level[count > 0], count[count > 0] + 1)
        tests: list[tuple[str, str]] = [("", "overall")]
        answer = "prediction" if task == "regression" else "score"
        tests += [("score", f"{answer} {interval(edges, cell)}") for cell in range(len(edges) + 1)]
        offsets: dict[str, int] = {}
        for name, feature in features.items():
            offsets[name] = len(tests)
            named = [test[5:] for test in feature.tests if test.startswith("cell:")]
            tests += [(name, f"{name} = {cell}") for cell in named]
        index = {name: feature.index(rows.columns[name])[known] for name, feature in features.items()}
        blank = cls(task, edges, centres, expected, tuple(tests), offsets, (), np.zeros(len(tests)))
        levels = [blank.calibrated(score)]
        cells = {name: feature.bins.cells for name, feature in features.items()}
        learnt = Expectation.fit(task, index, score, truth, cells) if second_view else None
        if learnt is not None:
            levels.append(learnt[1])
        coarse = {name: feature.coarse[index[name]] for name, feature in features.items()}
        weight: NDArray[np.float64] | None = None
        views = []
        for each in levels:
            limits = (-np.inf, np.inf)
            if task == "regression":
                low, high = np.quantile(base - each, [TAIL_SHARE, 1 - TAIL_SHARE])
                limits = (float(low), float(high))
            parts = _parts(task, base, each, limits)
            sums = blank.sums_by_cell(score, coarse, parts, np.zeros(len(truth), dtype=np.intp), 1)[0]
            weight = sums[0]
            views.append(_view(task, sums, np.clip(base - each, *limits), limits))
        held = np.zeros(len(tests)) if weight is None else weight
        slopes, directions = _directions(held, len(edges) + 1, offsets, features)
        if task != "regression":
            ends, members = score_tails(edges, held, upper=2 * truth.sum() <= len(truth))
            slopes, directions = (*slopes, *ends), np.concatenate([directions, members], axis=1)
        return cls(
            task,
            edges,
            centres,
            expected,
            tuple(tests),
            offsets,
            tuple(views),
            held,
            None if learnt is None else learnt[0],
            slopes,
            directions,
        )

    @property
    def steps(self) -> NDArray[np.float64]:
        """`[slopes]`, 1 for tails, which count events."""
        return np.array([float(test != SLOPE) for _, test in self.slopes])

    @property
    def binary(self) -> bool:
        """Whether a row's truth is so or not, and its variance that of a chance."""
        return self.task != "regression"

    def calibrated(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the score alone leads to expect: a probability, or what is to be added to it (regression)."""
        if self.task == "regression":
            return self.expected[np.searchsorted(self.score_edges, score, side="right")]
        return np.interp(score, self.centres, self.expected)

    def profiles(
        self,
        truth: NDArray[np.float64],
        score: NDArray[np.float64],
        index: Mapping[str, NDArray[np.intp]],
        coarse: Mapping[str, NDArray[np.intp]],
        *,
        window: NDArray[np.intp],
        windows: int,
    ) -> NDArray[np.float64]:
        """`[W, 1 + 3 V, tests]`: labelled rows; sums of residuals, variances and third cumulants of V views.

        Args:
            truth: of the labelled rows; score alike.
            score: where there is none, the row is left out.
            index: the cell of each of those rows, by feature.
            coarse: the coarse cell of each, by feature.
            window: the number of each row's window, below `windows`.
            windows: how many.
        """
        base = truth - score if self.task == "regression" else truth
        levels = [self.calibrated(score)]
        if self.expectation is not None:
            levels.append(self.expectation.of(index, score))
        parts: list[NDArray[np.float64] | None] = [None]
        for view, level in zip(self.views, levels, strict=True):
            parts += _parts(self.task, base, level, view.limits)[1:]
        return self.sums_by_cell(score, coarse, parts, window, windows)

    def sums_by_cell(
        self,
        score: NDArray[np.float64],
        coarse: Mapping[str, NDArray[np.intp]],
        parts: Sequence[NDArray[np.float64] | None],
        window: NDArray[np.intp],
        windows: int,
    ) -> NDArray[np.float64]:
        """`[W, parts, tests]`, sums of each part over the rows of each cell; a part of None counts rows."""
        result = np.zeros((windows, len(parts), len(self.tests)))
        at = np.searchsorted(self.score_edges, score, side="right")
        groups = [(0, 1, np.zeros_like(at)), (1, len(self.score_edges) + 1, at)]
        ends = [*self.offsets.values(), len(self.tests)][1:]
        groups += [
            (offset, end - offset, coarse[name])
            for (name, offset), end in zip(self.offsets.items(), ends, strict=True)
        ]
        for offset, size, group in groups:
            place = window * size + group
            for row, part in enumerate(parts):
                sums = np.bincount(place, weights=part, minlength=windows * size)
                result[:, row, offset : offset + size] += sums.reshape(windows, size)
        return result

    def sums(self, profiles: NDArray[np.float64], view: int = 0) -> Sums:
        """What windows contribute under one view, from their profiles `[W, 1 + 3 V, tests]`."""
        weight, seen = profiles[:, 0], self.views[view]
        if self.task == "regression":
            variance, third = weight * seen.variance, weight * seen.third
        else:
            variance, third = profiles[:, 2 + 3 * view], profiles[:, 3 + 3 * view]
        return Sums(profiles[:, 1 + 3 * view], weight * seen.mean, variance, third, weight)

    def doubt(self, profiles: NDArray[np.float64], view: int = 0) -> NDArray[np.float64]:
        """`[W, tests]`, by how much expectations may be wrong because a cell holds other rows than it did.

        Rows of a cell that move within it, to where positives are expected more often, are expected as the
        reference leads to extrapolate. Of what the expectation moved by so, `DOUBT` may be wrong.
        """
        if self.task == "regression":
            return np.zeros((len(profiles), len(self.tests)))
        moved = profiles[:, 2 + 3 * view] - profiles[:, 0] * self.views[view].variance
        # With its sign, so that what moves to and fro by chance cancels when windows are pooled.
        result: NDArray[np.float64] = DOUBT * moved
        return result

    def slope_sums(self, profiles: NDArray[np.float64], view: int = 0) -> tuple[Sums, NDArray[np.float64]]:
        """What windows contribute to the slopes, and the variance of their expectations for a unit weight.

        A slope is the sum over the cells of a column of their residuals beyond the reference's, times the
        cell's normal score. An effect that halves bends all cells a little; their sum shows it far earlier
        than any of them. Moving rows between cells moves nothing, as with the cells themselves.
        """
        cells, along = self.sums(profiles, view), self.directions
        error = self.reference_error(view)[:, None] * along**2
        taken = self.rows @ (along != 0)
        usual = np.maximum((self.rows**2) @ error / np.maximum(taken, 1.0) ** 2, 1e-300)
        sums = Sums(
            cells.observed @ along,
            cells.expected @ along,
            cells.variance @ along**2,
            cells.third @ along**3,
            np.sqrt((cells.weight**2) @ error / usual),
        )
        return sums, usual

    def reference_error(self, view: int = 0) -> NDArray[np.float64]:
        """`[tests]`, variance of the expectation for a unit weight."""
        return self.views[view].variance / np.maximum(self.rows, 1.0)


def _directions(
    rows: NDArray[np.float64], score_cells: int, offsets: Mapping[str, int], features: Mapping[str, Feature]
) -> tuple[tuple[tuple[str, str], ...], NDArray[np.float64]]:
    from scipy.special import ndtri

    of_score = rows[1 : 1 + score_cells]
    rank = (np.cumsum(of_score) - of_score / 2 + 0.25) / (of_score.sum() + 0.5)
    parts = [("score", 1, ndtri(rank))]
    for name, feature in features.items():
        if "location" in feature.tests:
            weight = feature.counts + 1e-9
            total = np.bincount(feature.coarse, weight * feature.functionals[:, 0])
            parts.append((name, offsets[name], total / np.bincount(feature.coarse, weight)))
    directions = np.zeros((len(rows), len(parts)))
    for number, (name, first, normal) in enumerate(parts):
        cells = slice(first, first + len(normal))
        # Few rows a cell are many in all of them, and there is one score, however many columns.
        least = 1 if name == "score" else LEAST_CELL_ROWS
        directions[cells, number] = np.where(rows[cells] >= least, normal, 0.0)
    some = np.flatnonzero((directions != 0).sum(axis=0) >= _LEAST_SLOPE_CELLS)
    return tuple((parts[number][0], SLOPE) for number in some), directions[:, some]


def _parts(
    task: Task, base: NDArray[np.float64], level: NDArray[np.float64], limits: tuple[float, float]
) -> list[NDArray[np.float64] | None]:
    """Nothing (rows), residual, variance and third cumulant of each row."""
    if task == "regression":
        residual = np.clip(base - level, *limits)
        return [None, residual, residual**2, residual**3]
    spread = level * (1 - level)
    return [None, base - level, spread, spread * (1 - 2 * level)]


def _view(
    task: Task, sums: NDArray[np.float64], residual: NDArray[np.float64], limits: tuple[float, float]
) -> View:
    weight = np.maximum(sums[0], 1e-9)
    mean = np.where(sums[0] >= 1, sums[1] / weight, 0.0)
    if task != "regression":
        return View(mean, sums[2] / weight, sums[3] / weight)
    variance = np.maximum(sums[2] / weight - mean**2, 1e-12)
    # A cell with few rows borrows the spread of all.
    variance = (sums[0] * variance + 20 * float(residual.var())) / (sums[0] + 20)
    third = np.full(sums.shape[1], float(((residual - residual.mean()) ** 3).mean()))
    return View(mean, variance, third, limits)


def _isotonic(level: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pool adjacent violators: the nearest rising sequence in weighted least squares (Barlow et al. 1972)."""
    blocks: list[list[float]] = []
    for value, mass in zip(level, weight, strict=True):
        blocks.append([float(value), float(mass), 1.0])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            last, before = blocks.pop(), blocks.pop()
            total = last[1] + before[1]
            blocks.append([(last[0] * last[1] + before[0] * before[1]) / total, total, last[2] + before[2]])
    return np.concatenate([np.full(int(size), value) for value, _, size in blocks])

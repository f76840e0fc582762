"""Has the mapping from x to y changed? Residuals of the truth against what the reference leads to expect.

The expectation of a row is the reference's mean truth at that score, and in every cell of the score and of
each column the reference's own mean residual. A change of P(x) alone moves rows between cells, not the mean
inside one, so it does not show. See docs/methods/residuals.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.features import Feature
from holdfast.monitor.rows import Rows, Task
from holdfast.stats import Sums

SCORE_CELLS: Final = 20
"""Cells of the score on which the expectation is fitted; isotonic, so that few rows do not make waves."""
TAIL_SHARE: Final = 0.005
"""Share of regression residuals cut on each side: one wild price must not raise an alarm."""


@dataclass(frozen=True, slots=True)
class ConceptModel:
    """What the reference says about y given x.

    Tests in order: overall, then the cells of the score, then the coarse cells of each feature.
    """

    task: Task
    score_edges: NDArray[np.float64] = field(repr=False)
    centres: NDArray[np.float64] = field(repr=False)
    """`[score cells]`, mean score of the reference in each; between two of them the expectation is a line."""
    expected: NDArray[np.float64] = field(repr=False)
    """`[score cells]`, mean truth of the reference in each."""
    limits: tuple[float, float]
    """Residuals beyond are cut there."""
    tests: tuple[tuple[str, str], ...]
    """`(feature, cell)` of each test; feature "" is overall, "score" the score."""
    offsets: Mapping[str, int]
    """Where the tests of each feature begin."""
    mean: NDArray[np.float64] = field(repr=False)
    """`[tests]`, the reference's mean residual in the cell."""
    variance: NDArray[np.float64] = field(repr=False)
    third: NDArray[np.float64] = field(repr=False)
    rows: NDArray[np.float64] = field(repr=False)
    """`[tests]`, labelled rows of the reference in the cell."""

    @classmethod
    def fit(
        cls, task: Task, rows: Rows, features: Mapping[str, Feature], cells: Mapping[str, NDArray[np.intp]]
    ) -> ConceptModel | None:
        """From the labelled rows of the reference; None where there are too few or no score."""
        if rows.truth is None or rows.score is None or task == "none":
            return None
        known = np.isfinite(rows.truth) & np.isfinite(rows.score)
        if known.sum() < 2 * SCORE_CELLS:
            return None
        score, truth = rows.score[known], rows.truth[known]
        at_rows = np.quantile(score, np.arange(1, SCORE_CELLS) / SCORE_CELLS)
        if task != "regression" and truth.sum() >= 2 * SCORE_CELLS:
            # Rare positives sit at the top: without cells of their own one cell would span most of the score.
            at_rows = np.concatenate(
                [at_rows, np.quantile(score[truth > 0], np.arange(1, SCORE_CELLS) / SCORE_CELLS)]
            )
        edges = np.unique(at_rows)
        at = np.searchsorted(edges, score, side="right")
        count = np.bincount(at, minlength=len(edges) + 1).astype(float)
        base = truth if task != "regression" else truth - score
        total = np.bincount(at, weights=base, minlength=len(edges) + 1)
        # Half an event more in each cell, so that a cell without any is not certain; the mean residuals below
        # take the half out of the expectation again and leave it in the variance.
        level = (total + (0.5 if task != "regression" else base.mean())) / (count + 1)
        expected = _isotonic(level, count + 1) if task != "regression" else level
        centres = np.maximum.accumulate(
            np.bincount(at, weights=score, minlength=len(count)) / np.maximum(count, 1)
        )
        residual = base - (np.interp(score, centres, expected) if task != "regression" else expected[at])
        limits = (-np.inf, np.inf)
        if task == "regression":
            limits = (float(np.quantile(residual, TAIL_SHARE)), float(np.quantile(residual, 1 - TAIL_SHARE)))
        tests: list[tuple[str, str]] = [("", "overall")]
        tests += [("score", f"score {_interval(edges, cell)}") for cell in range(len(edges) + 1)]
        offsets: dict[str, int] = {}
        for name, feature in features.items():
            offsets[name] = len(tests)
            named = [test[5:] for test in feature.tests if test.startswith("cell:")]
            tests += [(name, f"{name} {cell}") for cell in named]
        nothing = np.zeros(len(tests))
        blank = cls(
            task, edges, centres, expected, limits, tuple(tests), offsets, nothing, nothing, nothing, nothing
        )
        profile = blank.profile(rows, features, cells)
        weight = np.maximum(profile[0], 1e-9)
        mean = np.where(profile[0] >= 1, profile[1] / weight, 0.0)
        if task == "regression":
            clipped = np.clip(residual, *limits)
            variance = np.maximum(profile[2] / weight - mean**2, 1e-12)
            overall = float(clipped.var())
            # A cell with few rows borrows the spread of all.
            variance = (profile[0] * variance + 20 * overall) / (profile[0] + 20)
            third = np.full(len(tests), float(((clipped - clipped.mean()) ** 3).mean()))
        else:
            variance, third = profile[2] / weight, profile[3] / weight
        return cls(
            task, edges, centres, expected, limits, tuple(tests), offsets, mean, variance, third, profile[0]
        )

    def profile(
        self, rows: Rows, features: Mapping[str, Feature], cells: Mapping[str, NDArray[np.intp]]
    ) -> NDArray[np.float64]:
        """`[4, tests]` of one window: labelled rows, sum of residuals, of variances and of third cumulants.

        Args:
            rows: of the window.
            features: of the reference.
            cells: the cell of each row, by feature.
        """
        result = np.zeros((4, len(self.tests)))
        if rows.truth is None or rows.score is None:
            return result
        known = np.isfinite(rows.truth) & np.isfinite(rows.score)
        score, truth = rows.score[known], rows.truth[known]
        if truth.size == 0:
            return result
        at = np.searchsorted(self.score_edges, score, side="right")
        level = (
            np.interp(score, self.centres, self.expected) if self.task != "regression" else self.expected[at]
        )
        if self.task == "regression":
            residual = np.clip(truth - score - level, *self.limits)
            parts = [np.ones_like(residual), residual, residual**2, residual**3]
        else:
            residual = truth - level
            spread = level * (1 - level)
            parts = [np.ones_like(residual), residual, spread, spread * (1 - 2 * level)]
        groups = [(0, np.zeros_like(at)), (1, at)]
        for name, offset in self.offsets.items():
            groups.append((offset, features[name].coarse[cells[name][known]]))
        for row, part in enumerate(parts):
            for offset, group in groups:
                sums = np.bincount(group, weights=part)
                result[row, offset : offset + len(sums)] += sums
        return result

    def sums(self, profiles: NDArray[np.float64]) -> Sums:
        """What windows contribute, from their profiles `[W, 4, tests]`."""
        weight = profiles[:, 0]
        if self.task == "regression":
            variance, third = weight * self.variance, weight * self.third
        else:
            variance, third = profiles[:, 2], profiles[:, 3]
        return Sums(profiles[:, 1], weight * self.mean, variance, third, weight)

    @property
    def reference_error(self) -> NDArray[np.float64]:
        """`[tests]`, variance of the expectation for a unit weight."""
        return self.variance / np.maximum(self.rows, 1.0)


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


def _interval(edges: NDArray[np.float64], cell: int) -> str:
    if cell == 0:
        return f"below {edges[0]:.3g}" if len(edges) else "any"
    if cell == len(edges):
        return f"from {edges[-1]:.3g}"
    return f"{edges[cell - 1]:.3g} to {edges[cell]:.3g}"

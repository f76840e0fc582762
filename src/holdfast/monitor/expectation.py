"""What the reference leads to expect of y at x: a second opinion beside the calibrated score.

A model that misses an effect is wrong by another amount wherever x moves to, its calibrated score with it: a
change of P(x) alone would look like a change of P(y|x). Boosted trees on the columns and the score learn what
the model missed. See docs/methods/residuals.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.forest import Forest
from holdfast.monitor.rows import Task

TREES: Final = 40
LEAVES: Final = 8
LEAST_LEAF: Final = 50
"""Rows of a leaf: with fewer, rare positives make it a matter of chance."""
LEAST_ROWS: Final = 1000
LEAST_EVENTS: Final = 50
"""Labelled rows, and rows of the rarer class, below which nothing beyond the score can be learnt."""
MOST_ROWS: Final = 50_000
"""Rows that are learnt from, spread evenly over the reference."""
FOLDS: Final = 3
_PROBED: Final = 2000
"""Rows on which the tables must agree with the model."""
_SURE: Final = 1e-4
"""No row is expected with more certainty: trees see too few rows to tell."""

Design = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Expectation:
    """Fitted on the reference."""

    task: Task
    names: tuple[str, ...]
    model: Any = field(repr=False)
    forest: Forest | None = field(default=None, repr=False)
    """The model's trees as tables; None where they cannot be had."""

    @classmethod
    def fit(
        cls,
        task: Task,
        index: Mapping[str, NDArray[np.intp]],
        score: NDArray[np.float64],
        truth: NDArray[np.float64],
        cells: Mapping[str, int],
    ) -> tuple[Expectation, NDArray[np.float64]] | None:
        """The expectation, and its cross-fitted values on the reference; None where there is too little.

        Args:
            task: what truth and score are.
            index: cell of each labelled row, by column.
            score: of those rows.
            truth: of those rows.
            cells: how many each column has.
        """
        rows = len(truth)
        rarer = rows if task == "regression" else min(truth.sum(), rows - truth.sum())
        if rows < LEAST_ROWS or rarer < LEAST_EVENTS:
            return None
        from sklearn.model_selection import KFold

        names = tuple(index)
        design = _design(names, index, score)
        wanted = truth - score if task == "regression" else truth
        some = np.arange(0, rows, -(-rows // MOST_ROWS))
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        own = np.empty(rows)
        rest = np.ones(rows, dtype=bool)
        rest[some] = False
        for train, test in folds.split(some):
            model = _fitted(task, design[some[train]], wanted[some[train]])
            own[some[test]] = _said(task, model, design[some[test]])
        model = _fitted(task, design[some], wanted[some])
        forest = Forest.of(model, tuple(cells[name] for name in names))
        probe = slice(0, _PROBED)
        whole = cls(task, names, model, forest)
        if forest is not None and not np.allclose(
            whole.of({name: index[name][probe] for name in names}, score[probe]),
            _said(task, model, design[probe]),
            rtol=0,
            atol=1e-9,
        ):
            # Another release of the library keeps its trees in another way.
            whole = cls(task, names, model)
        if rest.any():
            own[rest] = whole.of({name: index[name][rest] for name in names}, score[rest])
        return whole, own

    def of(self, index: Mapping[str, NDArray[np.intp]], score: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[N]`, probability of the positive (or right) answer, or what is to be added to the score."""
        if self.forest is None:
            return _said(self.task, self.model, _design(self.names, index, score))
        number = score.astype(np.float32).astype(np.float64)
        found = self.forest.answer([index[name] for name in self.names], number)
        if self.task == "regression":
            return found
        return np.clip(1 / (1 + np.exp(-found)), _SURE, 1 - _SURE)


def _design(
    names: tuple[str, ...], index: Mapping[str, NDArray[np.intp]], score: NDArray[np.float64]
) -> Design:
    columns = [index[name].astype(np.float32) for name in names]
    return np.stack([*columns, score.astype(np.float32)], axis=1)


def _fitted(task: Task, design: Design, wanted: NDArray[np.float64]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    maker = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    model = maker(
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=LEAST_LEAF,
        early_stopping=False,
        random_state=0,
    )
    with one_thread():
        return model.fit(design, wanted)


def _said(task: Task, model: Any, design: Design) -> NDArray[np.float64]:
    with one_thread():
        if task == "regression":
            return np.asarray(model.predict(design), dtype=np.float64)
        chance = np.asarray(model.predict_proba(design), dtype=np.float64)[:, 1]
    return np.clip(chance, _SURE, 1 - _SURE)


def one_thread() -> Any:
    """A context in which trees are grown by one thread: beside a service, several wait for each other."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="openmp")

"""A model of the truth that stands in for one that nobody named: boosted trees, fitted on the reference.

No row is scored by trees that have seen its truth: those of the reference are cross-fitted, and a row of the
current data that is one of the reference has the score that it has there. Its inputs alone say which that is:
if its truth had a part in that, wrong rows and right ones would be scored by different trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.columns import column_values
from holdfast.monitor.expectation import one_thread
from holdfast.monitor.rows import Task
from holdfast.stats import Coded

if TYPE_CHECKING:
    import pyarrow as pa

Numbers = NDArray[np.float64]
_FOLDS: Final = 5
_LARGEST_FIT: Final = 100_000
"""Rows of the reference that it is fitted on, at most."""
_MOST_CLASSES: Final = 20
"""Classes told apart; rarer ones are one class together, since each costs a tree in every round."""
_TOGETHER: Final = -2.0
"""Code of those."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """What it answers, row by row."""

    old_score: Numbers = field(repr=False)
    new_score: Numbers = field(repr=False)
    old_said: Numbers = field(repr=False)
    """The class, or the number."""
    new_said: Numbers = field(repr=False)
    old_truth: Numbers = field(repr=False)
    """As it was fitted: of many classes the rare ones are one."""
    new_truth: Numbers = field(repr=False)
    known: int = 0
    """Rows of the current data that are rows of the reference."""

    @property
    def old_right(self) -> Numbers:
        """Whether each answer about the reference is right; NaN where nobody knows."""
        return _right(self.old_truth, self.old_said)

    @property
    def new_right(self) -> Numbers:
        """Whether each answer about the current data is right."""
        return _right(self.new_truth, self.new_said)


def stand_in(
    task: Task, old: pa.Table, new: pa.Table, *, truths: tuple[Numbers, Numbers], inputs: Sequence[str]
) -> StandIn | None:
    """Fitted and asked; None where the reference has too few labelled rows.

    Args:
        task: what the truth is.
        old: the reference.
        new: the current data.
        truths: of both, NaN where there is none; of several classes their codes, -1 for one never met.
        inputs: columns that it may look at.
    """
    if task == "multiclass":
        truths = few_classes(*truths)
    old_truth, new_truth = truths
    before, after = _design(old, new, inputs)
    known = np.flatnonzero(np.isfinite(old_truth))
    if known.size < 10 * _FOLDS:
        return None
    if known.size > _LARGEST_FIT:
        known = known[:: -(-known.size // _LARGEST_FIT)]
    from sklearn.model_selection import KFold

    old_score, old_said = np.full(len(old_truth), np.nan), np.full(len(old_truth), np.nan)
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    with one_thread():
        for train, test in folds.split(known):
            asked = known[test]
            old_said[asked], old_score[asked] = _answers(
                task, before[known[train]], old_truth[known[train]], before[asked]
            )
        new_said, new_score = _answers(task, before[known], old_truth[known], after)
    twins = _twins(before[known], after)
    met = twins >= 0
    alike = met & (old_truth[known[twins]] == new_truth)
    new_said[met], new_score[met] = old_said[known[twins[met]]], old_score[known[twins[met]]]
    return StandIn(
        old_score, new_score, old_said, new_said, old_truth, new_truth, known=int(np.count_nonzero(alike))
    )


def _answers(task: Task, x: Numbers, y: Numbers, asked: Numbers) -> tuple[Numbers, Numbers]:
    """What a model of y answers, and its score."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # A column without any value, as one that is empty in these rows alone, has nothing to split.
    some = np.flatnonzero(np.isfinite(x).any(axis=0))
    if not some.size or (task != "regression" and (y == y[0]).all()):
        return _constant(task, y, len(asked))
    maker = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    model: Any = maker(max_iter=60, max_leaf_nodes=15, random_state=0).fit(x[:, some], y)
    if task == "regression":
        values = np.asarray(model.predict(asked[:, some]), dtype=float)
        return values, values
    chances = np.asarray(model.predict_proba(asked[:, some]), dtype=float)
    chosen = np.asarray(model.classes_, dtype=float)[chances.argmax(axis=1)]
    if task == "binary":
        return chosen, chances[:, int(np.flatnonzero(model.classes_ == 1.0)[0])]
    return chosen, chances.max(axis=1)


def _constant(task: Task, y: Numbers, rows: int) -> tuple[Numbers, Numbers]:
    """Without any column: the mean, or the commonest class and its share."""
    mean = float(y.mean())
    if task == "regression":
        return np.full(rows, mean), np.full(rows, mean)
    classes, counts = np.unique(y, return_counts=True)
    share = mean if task == "binary" else float(counts.max() / counts.sum())
    return np.full(rows, classes[counts.argmax()]), np.full(rows, share)


def few_classes(old: Numbers, new: Numbers) -> tuple[Numbers, Numbers]:
    """Both truths with all but the commonest classes of the reference as one."""
    classes, counts = np.unique(old[np.isfinite(old)], return_counts=True)
    if len(classes) <= _MOST_CLASSES:
        return old, new
    rare = classes[np.argsort(-counts, kind="stable")[_MOST_CLASSES - 1 :]]
    return np.where(np.isin(old, rare), _TOGETHER, old), np.where(np.isin(new, rare), _TOGETHER, new)


def _right(truth: Numbers, said: Numbers) -> Numbers:
    return np.where(np.isfinite(truth) & np.isfinite(said), (truth == said) * 1.0, np.nan)


def _twins(old: Numbers, new: Numbers) -> NDArray[np.intp]:
    """Of each new row the old one with the same inputs throughout, if it is the only one; else -1."""
    keys, place, counts = np.unique(_hashed(old), return_index=True, return_counts=True)
    wanted = _hashed(new)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    # Where rows say little, many are alike by chance and are no twins.
    return np.where((keys[at] == wanted) & (counts[at] == 1), place[at], -1)


def _hashed(rows: Numbers) -> NDArray[np.uint64]:
    """A number for each row's values."""
    found = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        # A missing value has many patterns of bits, and nought has two.
        bits = np.where(np.isnan(column), np.inf, column + 0.0).view(np.uint64)
        found = (found ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        found ^= found >> np.uint64(32)
    return found


def _design(old: pa.Table, new: pa.Table, inputs: Sequence[str]) -> tuple[Numbers, Numbers]:
    before, after = [np.zeros((old.num_rows, 0))], [np.zeros((new.num_rows, 0))]
    for name in inputs:
        first, second = column_values(old, name), column_values(new, name)
        if isinstance(first, np.ndarray):
            low, high = _bounds(first)
            for values, side, rows in ((first, before, old.num_rows), (second, after, new.num_rows)):
                # Another type than the reference's is missing in every row.
                numbers = values if isinstance(values, np.ndarray) else np.full(rows, np.nan)
                side.append(np.clip(numbers, low, high)[:, None])
            continue
        coded = [
            one if isinstance(one, Coded) else Coded(np.full(len(one), -1, np.int32), ())
            for one in (first, second)
        ]
        counts = np.bincount(coded[0].codes[coded[0].codes >= 0], minlength=len(coded[0].words))
        ranked = sorted(zip(-counts, coded[0].words, strict=True))
        codes = {word: float(code) for code, (_, word) in enumerate(ranked)}
        for one, side in zip(coded, (before, after), strict=True):
            table = np.array([codes.get(word, np.nan) for word in one.words] + [np.nan])
            side.append(table[one.codes][:, None])
    return np.concatenate(before, axis=1), np.concatenate(after, axis=1)


def _bounds(values: Numbers) -> tuple[float, float]:
    """Beyond all finite values: what is infinite counts as that, since trees split between two numbers."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 0.0
    low, high = float(finite.min()), float(finite.max())
    beyond = max(high - low, abs(low), abs(high), 1.0)
    return low - beyond, high + beyond

"""Labels that nobody gave: the model's own answers, or one class in the place of what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.judged_windows import JudgedWindows
from holdfast.monitor.plain import plain
from holdfast.monitor.reference import ReferenceModel, quality_of
from holdfast.monitor.rows import Rows, Task
from holdfast.stats import Coded

Numbers = NDArray[np.float64]
OWN_ANSWERS: Final = "the model's own answers: it errs in none of them"
_EXPECTED: Final = 30.0
"""Errors to be expected of the model, of which hardly any came."""
_LEFT: Final = 0.02
"""Share of the expected errors that may be left."""
_RANGE: Final = (0.001, 0.999)
"""Ranks of the reference between which a column has its range."""
_CELLS: Final = 10
"""Of the score."""
_FEWER: Final = 0.9
"""Times as many of a class as before are a loss of them, from here down."""
_THIN: Final = 0.25
"""Of the rows that a cell should have."""
_FITS: Final = 25.0
"""Chi-square of nine degrees of freedom, which chance passes three times in a thousand."""
_CLEARLY: Final = 7.9
"""By how much that may fit worse than other shares of the classes."""


def within(reference: Rows, rows: Rows) -> Rows:
    """The rows that have no number beyond the reference's range: of others nobody knows what is usual."""
    inside = np.ones(len(rows), bool)
    for name, held in reference.columns.items():
        given = rows.columns.get(name)
        if isinstance(held, np.ndarray) and isinstance(given, np.ndarray) and np.isfinite(held).any():
            low, high = np.nanquantile(held, _RANGE)
            inside &= ~((given < low) | (given > high))
    return rows.take(inside)


def are_own_answers(task: Task, reference: Rows, parts: Sequence[Rows]) -> bool:
    """Whether the labels are what the model answered, where it used to err.

    Rows of which no model errs and rows of nearly one class alone say nothing of it.

    Args:
        task: of the model.
        reference: labelled rows of it.
        parts: labelled rows of windows since a change, `within` the reference.
    """
    each = [part.truth_and_score for part in parts]
    truth, score = (np.concatenate(some) for some in zip(*each, strict=True))
    given = truth
    if task == "multiclass":
        given = np.concatenate([np.empty(0) if one.true_class is None else one.true_class for one in parts])
    threshold = _best_threshold(truth, score) if task == "binary" else 0.0
    old_truth, old_score = reference.truth_and_score
    expected = _expected_errors(_wrong(task, old_truth, old_score, threshold), old_score, score)
    if task != "regression" and (score >= 0).all() and (score <= 1).all():
        chances = np.where(score >= threshold, 1 - score, score)
        expected = min(expected, float(chances.sum()))
    others = len(given) - np.unique(given, return_counts=True)[1].max(initial=0)
    shown = min(expected, float(others))
    return shown >= _EXPECTED and _wrong(task, truth, score, threshold).sum() <= _LEFT * shown


def windows_of_own_answers(reference: ReferenceModel, windows: JudgedWindows) -> list[int]:
    """Numbers of the windows in which each number that came as a label is what the model said.

    Residuals of nought lie where they lay before, so that no test of them sees it.

    Args:
        reference: fitted.
        windows: in order of time.
    """
    usual = quality_of(reference.task, [reference.whole])
    if reference.task != "regression" or usual is None or usual.value == 0:
        return []
    found = []
    for number in windows.with_labels:
        one = windows.profiles[number]
        error = quality_of(reference.task, [one])
        if one.labelled >= _EXPECTED and error is not None and error.value == 0:
            found.append(number)
    return found


def filled_doubt(reference: Rows, parts: Sequence[Rows]) -> str:
    """Whether one class is rarer by one factor everywhere, as if the other was written for it; in words.

    Other shares of the classes change scores near 0 and 1 less, and a mapping that changed moves some cells
    of the score or of a column more than others.

    Args:
        reference: labelled rows of two classes.
        parts: of windows since a change.
    """
    now = np.concatenate([np.zeros(len(reference), bool), np.ones(sum(map(len, parts)), bool)])
    each = [reference.truth_and_score, *(part.truth_and_score for part in parts)]
    truth, score = (np.concatenate(some) for some in zip(*each, strict=True))
    names = [name for name, values in reference.columns.items() if isinstance(values, np.ndarray)]
    columns = [_joined([rows.columns[name] for rows in (reference, *parts)]) for name in names]
    coded = [name for name, values in reference.columns.items() if isinstance(values, Coded)]
    columns += [_joined([_numbers(rows, reference, name) for rows in (reference, *parts)]) for name in coded]
    cells = _cells(score, now)
    for wanted, words, other in ((1.0, "Positives", "negative"), (0.0, "Negatives", "positive")):
        of_class = truth == wanted
        table = _Table.of(cells, now, of_class)
        if table.left > _FEWER or of_class[now].sum() < _EXPECTED or table.thin:
            continue
        lost = table.chi_square(table.left * table.rate)
        others = min(table.chi_square(_odds(table.rate, by)) for by in np.geomspace(table.left / 8, 1, 60))
        if lost > min(_FITS, others + _CLEARLY):
            continue
        if all(_Table.of(_cells(one, now), now, of_class).alike(table.left) for one in columns):
            return (
                f"{words} are rarer by one factor, {plain(table.left)}, everywhere. Labels that were lost "
                f"or not known yet and written as {other} would look the same: look there before you retrain."
            )
    return ""


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of a class in cells, then and now."""

    old: Numbers
    new: Numbers
    rate: Numbers
    """Of the class among the old rows."""
    found: Numbers
    """Of the class now."""

    @classmethod
    def of(cls, cells: NDArray[np.intp], now: NDArray[np.bool_], of_class: NDArray[np.bool_]) -> _Table:
        size = int(cells.max()) + 1
        old, new, before, found = (
            np.bincount(cells[some], minlength=size).astype(np.float64)
            for some in (~now, now, ~now & of_class, now & of_class)
        )
        return cls(old, new, (before + 0.5) / (old + 1), found)

    @property
    def left(self) -> float:
        """Of the class, where as many of it are in each cell as were."""
        return float(self.found.sum() / (self.new @ self.rate))

    @property
    def thin(self) -> bool:
        """Whether some cell has hardly any rows now: nothing is known there."""
        return bool((self.new < _THIN * self.old * (self.new.sum() / self.old.sum())).any())

    def chi_square(self, rate: Numbers) -> float:
        """Of the rows of the class, with what the old rows do not tell of their share."""
        variance = self.new * rate * (1 - rate) * (1 + self.new / np.maximum(self.old, 1.0))
        return float(((self.found - self.new * rate) ** 2 / np.maximum(variance, 1e-9)).sum())

    def alike(self, left: float) -> bool:
        """Whether no cell has lost clearly more, or less, of the class than that factor."""
        return self.chi_square(np.clip(left * self.rate, 0, 1)) <= len(self.old) + _FITS


def _joined(parts: Sequence[Any]) -> Numbers:
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


def _numbers(rows: Rows, reference: Rows, name: str) -> Numbers:
    """Codes of categories as the reference has them; NaN of others."""
    held, given = reference.columns[name], rows.columns[name]
    if not isinstance(held, Coded) or not isinstance(given, Coded):
        return np.full(len(rows), np.nan)
    place = {word: number for number, word in enumerate(held.words)}
    code = np.array([*(place.get(word, np.nan) for word in given.words), np.nan])
    return code[given.codes]


def _cells(values: Numbers, now: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Tenths of the old values; those that are missing by themselves."""
    old = values[~now & np.isfinite(values)]
    edges = np.unique(np.quantile(old, np.arange(1, _CELLS) / _CELLS)) if len(old) else old
    return np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), len(edges) + 1)


def _odds(rate: Numbers, factor: float) -> Numbers:
    """Shares after their odds changed by a factor, as with other shares of the classes."""
    result: Numbers = factor * rate / (1 - rate + factor * rate)
    return result


def _best_threshold(truth: Numbers, score: Numbers) -> float:
    """Of two classes the one with the fewest errors, so that nobody has to say it."""
    distinct, codes = np.unique(score, return_inverse=True)
    positive = np.bincount(codes, truth, len(distinct))
    negative = np.bincount(codes, 1 - truth, len(distinct))
    # Positives below a threshold and negatives from it on; at the end nobody is answered positive.
    wrong = np.concatenate([[0.0], np.cumsum(positive)]) + np.concatenate(
        [np.cumsum(negative[::-1])[::-1], [0.0]]
    )
    return float(np.append(distinct, np.inf)[np.argmin(wrong)])


def _wrong(task: Task, truth: Numbers, score: Numbers, threshold: float) -> NDArray[np.bool_]:
    """Which answers are."""
    answered = score if task == "regression" else np.ones(len(score))
    if task == "binary":
        answered = (score >= threshold).astype(np.float64)
    return np.not_equal(truth, answered)


def _expected_errors(wrong: NDArray[np.bool_], old: Numbers, new: Numbers) -> float:
    """Of the new rows, if as many were wrong among those of about each score as were among the old ones."""
    cells = _cells(np.concatenate([old, new]), np.arange(len(old) + len(new)) >= len(old))
    before, now = cells[: len(old)], cells[len(old) :]
    size = int(cells.max(initial=0)) + 1
    rate = np.bincount(before, wrong, size) / np.maximum(np.bincount(before, minlength=size), 1)
    return float(rate[now].sum())

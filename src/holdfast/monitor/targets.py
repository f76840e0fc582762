"""What the truth is, and what the model said, for the residuals: found out from two tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.columns import column_values
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.expectation import one_thread
from holdfast.monitor.rows import Task
from holdfast.stats import Coded

if TYPE_CHECKING:
    import pyarrow as pa

Numbers = NDArray[np.float64]
MOST_CLASSES: Final = 20
"""A whole-number target with more distinct values is a number to predict, not a class."""
_FOLDS: Final = 5
_LARGEST_FIT: Final = 100_000
"""Rows of the reference that the stand-in model is fitted on, at most."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Truth and score of both tables, as `Rows` wants them."""

    task: Task
    old_truth: Numbers | None = None
    old_score: Numbers | None = None
    new_truth: Numbers | None = None
    new_score: Numbers | None = None
    notes: tuple[str, ...] = ()
    old_classes: tuple[Numbers, Numbers] | None = None
    """Of several classes: the numbers of the true and of the answered one; -1 for others, NaN for none."""
    new_classes: tuple[Numbers, Numbers] | None = None


def read_targets(
    old: pa.Table,
    new: pa.Table,
    *,
    target: str | None,
    prediction: str | None,
    score: str | None,
    inputs: Sequence[str],
) -> Targets:
    """Task, truth and score; see `diagnose` for the columns.

    Raises:
        MonitorError: the target has one class only, or a score is no number.
    """
    if target is None:
        return Targets("none")
    _require_plain(old, target, "reference")
    if target in new.column_names:
        _require_plain(new, target, "current")
    old_y = _listed(old, target)
    new_y = _listed(new, target) if target in new.column_names else [None] * new.num_rows
    task, classes = _task(old_y, old.schema.field(target).type)
    if task == "regression":
        old_truth, new_truth = _numbers(old_y), _numbers(new_y)
        if prediction or score:
            name = str(prediction or score)
            return Targets(task, old_truth, _column(old, name), new_truth, _column(new, name))
        return _stand_in(task, old, new, truths=(old_truth, new_truth), inputs=inputs, target=target)
    if len(classes) < 2:
        raise MonitorError(
            "the target has one class only",
            where=f"reference.{target}",
            expected="rows of two classes or more: of one, nothing tells right answers from wrong ones",
            received=", ".join(classes) or "no label",
            next_step="Take a reference that holds others too, or leave the target out to judge P(x) alone",
        )
    old_text, new_text = _texts(old_y), _texts(new_y)
    if task == "binary":
        positive = classes[-1]
        truths = _is(old_text, positive), _is(new_text, positive)
        notes = (f"{positive!r} is taken as the positive class of {target!r}.",)
        if prediction is None and score is None:
            found = _stand_in(task, old, new, truths=truths, inputs=inputs, target=target)
            return replace(found, notes=notes + found.notes)
        return _binary(
            old, new, truths=truths, prediction=prediction, score=score, positive=positive, notes=notes
        )
    if prediction is None:
        # A class that the reference never had is code -1: labelled, and never answered.
        codes: dict[str | None, float] = {name: float(code) for code, name in enumerate(classes)}
        codes[None] = np.nan
        truths = (
            np.array([codes[one] for one in old_text]),
            np.array([codes.get(one, -1.0) for one in new_text]),
        )
        return _stand_in(task, old, new, truths=truths, inputs=inputs, target=target)
    said_old, said_new = _texts(_listed(old, prediction)), _texts(_listed(new, prediction))
    right_old, right_new = _agree(old_text, said_old), _agree(new_text, said_new)
    overall = _mean_of_known(right_old, 0.5)
    share = {
        name: _mean_of_known(right_old[[said == name for said in said_old]], overall)
        for name in set(said_old)
    }
    return Targets(
        task,
        right_old,
        np.array([share[value] for value in said_old]),
        right_new,
        np.array([share.get(value, overall) for value in said_new]),
        ("With more than two classes, the truth that is followed is whether the answer was right.",),
        _class_numbers(classes, old_text, said_old),
        _class_numbers(classes, new_text, said_new),
    )


def _mean_of_known(values: Numbers, otherwise: float) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else otherwise


def _require_plain(table: pa.Table, name: str, where: str) -> None:
    """One value in each row: a list is neither a class nor a number."""
    import pyarrow as pa

    held = table.schema.field(name).type
    if pa.types.is_nested(held):
        raise MonitorError(
            "the target is neither classes nor numbers",
            where=f"{where}.{name}",
            expected="text, whole numbers, booleans or numbers",
            received=str(held),
            next_step="Name a column of one value in each row, or leave the target out to judge P(x) alone",
        )


def _class_numbers(classes: Sequence[str], *columns: Sequence[str | None]) -> tuple[Numbers, Numbers]:
    number: dict[str | None, float] = {name: float(code) for code, name in enumerate(classes)}
    number[None] = np.nan
    truth, answer = (np.array([number.get(one, -1.0) for one in column]) for column in columns)
    return truth, answer


def _binary(
    old: pa.Table,
    new: pa.Table,
    *,
    truths: tuple[Numbers, Numbers],
    prediction: str | None,
    score: str | None,
    positive: str,
    notes: tuple[str, ...],
) -> Targets:
    def with_scores(old_score: Numbers, new_score: Numbers, *more: str) -> Targets:
        return Targets("binary", truths[0], old_score, truths[1], new_score, notes + more)

    if score is not None:
        return with_scores(_column(old, score), _column(new, score))
    name = str(prediction)
    values = _listed(old, name)
    if any(isinstance(value, float) and not value.is_integer() for value in values[:1000]):
        note = f"{name!r} is taken as the probability of {positive!r}."
        return with_scores(_column(old, name), _column(new, name), note)
    said_old, said_new = _texts(values), _texts(_listed(new, name))
    note = f"{name!r} is taken as the chosen class."
    return with_scores(_is(said_old, positive), _is(said_new, positive), note)


def _stand_in(
    task: Task,
    old: pa.Table,
    new: pa.Table,
    *,
    truths: tuple[Numbers, Numbers],
    inputs: Sequence[str],
    target: str,
) -> Targets:
    """Scores of a model fitted on the reference; cross-fitted there: no row is scored with its own truth."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.model_selection import KFold

    old_truth, new_truth = truths
    before, after = _design(old, new, inputs)
    known = np.flatnonzero(np.isfinite(old_truth))
    if known.size < 10 * _FOLDS:
        return Targets("none", notes=("Too few labelled reference rows to follow the mapping from x to y.",))
    if known.size > _LARGEST_FIT:
        known = known[:: -(-known.size // _LARGEST_FIT)]
    maker = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier

    def fitted(rows: NDArray[np.intp]) -> Any:
        return maker(max_iter=60, max_leaf_nodes=15, random_state=0).fit(before[rows], old_truth[rows])

    old_score, new_score = np.full(len(old_truth), np.nan), np.full(len(new_truth), np.nan)
    old_right = old_truth
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    said = np.full(len(old_truth), np.nan)
    with one_thread():
        for train, test in folds.split(known):
            model = fitted(known[train])
            said[known[test]], old_score[known[test]] = _say(task, model, before[known[test]])
        model = fitted(known)
        said_new, new_score = _say(task, model, after)
    new_right = new_truth
    if task == "multiclass":
        old_right = np.where(np.isfinite(old_truth) & np.isfinite(said), (old_truth == said) * 1.0, np.nan)
        new_right = np.where(np.isfinite(new_truth), (new_truth == said_new) * 1.0, np.nan)
    notes = (
        f"No prediction was named: a model of {target!r}, fitted on the reference (cross-fitted), stands in.",
    )
    several = task == "multiclass"
    return Targets(
        task,
        old_right,
        old_score,
        new_right,
        new_score,
        notes,
        (old_truth, said) if several else None,
        (new_truth, said_new) if several else None,
    )


def _say(task: Task, model: Any, design: Numbers) -> tuple[Numbers, Numbers]:
    """What the stand-in answers, and its score."""
    if task == "regression":
        values = np.asarray(model.predict(design), dtype=float)
        return values, values
    chances = np.asarray(model.predict_proba(design), dtype=float)
    chosen = np.asarray(model.classes_, dtype=float)[chances.argmax(axis=1)]
    if task == "binary":
        column = int(np.flatnonzero(model.classes_ == 1.0)[0]) if 1.0 in model.classes_ else 0
        return chosen, chances[:, column]
    return chosen, chances.max(axis=1)


def _design(old: pa.Table, new: pa.Table, inputs: Sequence[str]) -> tuple[Numbers, Numbers]:
    before, after = [], []
    for name in inputs:
        first, second = column_values(old, name), column_values(new, name)
        if isinstance(first, np.ndarray):
            before.append(first)
            after.append(second if isinstance(second, np.ndarray) else np.full(new.num_rows, np.nan))
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
            side.append(table[one.codes])
    return np.column_stack(before), np.column_stack(after)


def _task(old_y: Sequence[Any], held: Any) -> tuple[Task, list[str]]:
    import pyarrow as pa

    classes = sorted({text for text in _texts(old_y) if text is not None}, key=_class_order)
    if pa.types.is_floating(held) and any(
        isinstance(value, float) and np.isfinite(value) and not value.is_integer() for value in old_y
    ):
        return "regression", []
    if len(classes) > MOST_CLASSES and (pa.types.is_floating(held) or pa.types.is_integer(held)):
        return "regression", []
    return ("binary" if len(classes) <= 2 else "multiclass"), classes


def _class_order(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def _listed(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table.column(name).to_pylist()
    return values


def _texts(values: Sequence[Any]) -> list[str | None]:
    # Values that are equal have one text, True, 1 and 1.0 too, so few of them are written out.
    known: dict[Any, str | None] = {value: _text(value) for value in set(values)}
    return [known[value] for value in values]


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _numbers(values: Sequence[Any]) -> Numbers:
    return np.array([np.nan if value is None else float(value) for value in values])


def _column(table: pa.Table, name: str) -> Numbers:
    values = column_values(table, name)
    if not isinstance(values, np.ndarray):
        raise MonitorError("the score is no number", where=name, received="text")
    return values


def _is(values: Sequence[str | None], wanted: str) -> Numbers:
    return np.array([np.nan if value is None else float(value == wanted) for value in values])


def _agree(truth: Sequence[str | None], said: Sequence[str | None]) -> Numbers:
    return np.array(
        [
            np.nan if one is None or other is None else float(one == other)
            for one, other in zip(truth, said, strict=True)
        ]
    )

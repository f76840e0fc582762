"""What the truth is, and what the model said, for the residuals: found out from two tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.classes import (
    agree,
    class_numbers,
    class_order,
    class_texts,
    is_class,
    spelled,
    strange_classes,
    task_of,
)
from holdfast.monitor.columns import column_values
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.rows import Task
from holdfast.monitor.stand_in import stand_in

if TYPE_CHECKING:
    import pyarrow as pa

Numbers = NDArray[np.float64]
_Texts = Sequence[str | None]


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
    _require_apart(target, prediction=prediction, score=score)
    tables = _Labelled(old, new, target, prediction, score, inputs)
    truth = _listed(old, target)
    new_truth = _listed(new, target) if target in new.column_names else [None] * new.num_rows
    task, classes = task_of(truth, old.schema.field(target).type)
    if task == "regression":
        return tables.of_numbers(
            _numbers(truth, f"reference.{target}"), _numbers(new_truth, f"current.{target}")
        )
    if len(classes) < 2:
        raise MonitorError(
            "the target has one class only",
            where=f"reference.{target}",
            expected="rows of two classes or more: of one, nothing tells right answers from wrong ones",
            received=", ".join(classes) or "no label",
            next_step="Take a reference that holds others too, or leave the target out to judge P(x) alone",
        )
    texts = class_texts(truth), spelled(class_texts(new_truth), classes)
    strange = strange_classes(texts[1], classes, target)
    if task == "binary":
        return tables.of_two_classes(*texts, classes, strange)
    return tables.of_several_classes(*texts, classes)


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Two tables, and which of their columns hold the truth and what the model said of it."""

    old: pa.Table
    new: pa.Table
    target: str
    prediction: str | None
    score: str | None
    inputs: Sequence[str]

    def of_numbers(self, old_truth: Numbers, new_truth: Numbers) -> Targets:
        """A number is predicted."""
        name = self.prediction or self.score
        if name is None:
            return self._stand_in("regression", old_truth, new_truth)
        answered = _column(self.old, name, required=True), _column(self.new, name)
        return Targets("regression", old_truth, answered[0], new_truth, answered[1])

    def of_two_classes(
        self, old_text: _Texts, new_text: _Texts, classes: Sequence[str], strange: str
    ) -> Targets:
        """One of two classes is predicted, or the chance of one.

        Args:
            old_text: true classes of the reference.
            new_text: of the current rows.
            classes: of the reference.
            strange: labels that are neither, in words.
        """
        positive = self._positive(classes, old_text)
        notes: tuple[str, ...] = (f"{positive!r} is taken as the positive class of {self.target!r}.",)
        if strange:
            # Neither positive nor negative.
            new_text = [one if one in classes else None for one in new_text]
            notes += (f"{strange}, a class that the reference does not have: that counts as no label.",)
        truths = is_class(old_text, positive), is_class(new_text, positive)
        if self.prediction is None and self.score is None:
            found = self._stand_in("binary", *truths)
            return replace(found, notes=notes + found.notes)
        scores, said = self._chances(positive, classes)
        return Targets("binary", truths[0], scores[0], truths[1], scores[1], notes + said)

    def of_several_classes(self, old_text: _Texts, new_text: _Texts, classes: Sequence[str]) -> Targets:
        """One of three classes or more is predicted: what is followed is whether it was the right one.

        Args:
            old_text: true classes of the reference.
            new_text: of the current rows.
            classes: of the reference.
        """
        if self.prediction is None:
            # A class that the reference never had is code -1: labelled, and never answered.
            return self._stand_in("multiclass", *class_numbers(classes, old_text, new_text))
        said_old, said_new = (
            spelled(class_texts(_listed(table, self.prediction)), classes) for table in (self.old, self.new)
        )
        right_old, right_new = agree(old_text, said_old), agree(new_text, said_new)
        overall = _mean_of_known(right_old, 0.5)
        share = {
            name: _mean_of_known(right_old[[said == name for said in said_old]], overall)
            for name in set(said_old)
        }
        return Targets(
            "multiclass",
            right_old,
            np.array([share[value] for value in said_old]),
            right_new,
            np.array([share.get(value, overall) for value in said_new]),
            ("With more than two classes, the truth that is followed is whether the answer was right.",),
            class_numbers(classes, old_text, said_old),
            class_numbers(classes, new_text, said_new),
        )

    def _positive(self, classes: Sequence[str], truth: _Texts) -> str:
        """The greater class; of two words the one whose rows have the higher score, if there is one."""
        if self.score is None or class_order(classes[-1])[0] == 0:
            return classes[-1]
        values = _column(self.old, self.score)
        means = [float(np.nanmean(np.where(is_class(truth, one) > 0, values, np.nan))) for one in classes]
        return classes[0] if means[0] > means[-1] else classes[-1]

    def _chances(
        self, positive: str, classes: Sequence[str]
    ) -> tuple[tuple[Numbers, Numbers], tuple[str, ...]]:
        """Scores of both tables, and notes: chances of the positive class, or whether it was answered."""
        notes: tuple[str, ...] = ()
        name = self.score
        if name is None:
            name = str(self.prediction)
            values = _listed(self.old, name)
            if not any(isinstance(value, float) and not value.is_integer() for value in values[:1000]):
                said = (spelled(class_texts(one), classes) for one in (values, _listed(self.new, name)))
                old, new = (is_class(one, positive) for one in said)
                return (old, new), (f"{name!r} is taken as the chosen class.",)
            notes = (f"{name!r} is taken as the probability of {positive!r}.",)
        chances = _column(self.old, name, required=True), _column(self.new, name)
        low, high = float(np.nanmin(chances[0])), float(np.nanmax(chances[0]))
        if low < 0 or high > 1:
            span = f"{low:.3g} to {high:.3g}"
            notes += (f"{name!r} is no probability ({span}): what it means is learnt from the reference.",)
        return chances, notes

    def _stand_in(self, task: Task, old_truth: Numbers, new_truth: Numbers) -> Targets:
        found = stand_in(task, self.old, self.new, truths=(old_truth, new_truth), inputs=self.inputs)
        if found is None:
            return Targets(
                "none", notes=("Too few labelled reference rows to follow the mapping from x to y.",)
            )
        said = f"a model of {self.target!r}, fitted on the reference (cross-fitted), stands in."
        notes = [f"No prediction was named: {said}"]
        if found.known:
            rows = "row is a row" if found.known == 1 else "rows are rows"
            notes.append(f"{found.known} current {rows} of the reference too: scored by other models.")
        several = task == "multiclass"
        return Targets(
            task,
            found.old_right if several else old_truth,
            found.old_score,
            found.new_right if several else new_truth,
            found.new_score,
            tuple(notes),
            (found.old_truth, found.old_said) if several else None,
            (found.new_truth, found.new_said) if several else None,
        )


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


def _listed(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table.column(name).to_pylist()
    return values


def _numbers(values: Sequence[Any], where: str) -> Numbers:
    try:
        return np.array([np.nan if value is None else float(value) for value in values])
    except (TypeError, ValueError) as error:
        raise MonitorError(
            "the target is no number",
            where=where,
            expected="numbers, as in the reference",
            received=str(error),
        ) from error


def _column(table: pa.Table, name: str, *, required: bool = False) -> Numbers:
    values = column_values(table, name)
    if not isinstance(values, np.ndarray):
        raise MonitorError("the score is no number", where=name, expected="a number a row", received="text")
    if required and not np.isfinite(values).any():
        raise MonitorError(
            "the reference has no score", where=f"reference.{name}", received="a column without values"
        )
    return values


def _require_apart(target: str, **others: str | None) -> None:
    for role, name in others.items():
        if name == target:
            raise MonitorError(
                f"the {role} is the target itself",
                where=target,
                expected="a column of what the model said",
                next_step=f"Leave {role} out if the tables hold none: a model then stands in",
            )


def _mean_of_known(values: Numbers, otherwise: float) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else otherwise

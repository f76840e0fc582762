"""What the truth is, and what the model said, for the residuals: found out from two tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.columns import column_values
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.rows import Task
from holdfast.monitor.stand_in import stand_in

if TYPE_CHECKING:
    import pyarrow as pa

Numbers = NDArray[np.float64]
MOST_CLASSES: Final = 20
"""A whole-number target with more distinct values is a number to predict, not a class."""
_NAMED: Final = 5
"""Classes that a sentence lists."""


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
    old_y = _listed(old, target)
    new_y = _listed(new, target) if target in new.column_names else [None] * new.num_rows
    task, classes = _task(old_y, old.schema.field(target).type)
    if task == "regression":
        old_truth, new_truth = (
            _numbers(old_y, f"reference.{target}"),
            _numbers(new_y, f"current.{target}"),
        )
        if prediction or score:
            name = str(prediction or score)
            return Targets(task, old_truth, _column(old, name, required=True), new_truth, _column(new, name))
        return _with_stand_in(task, old, new, truths=(old_truth, new_truth), inputs=inputs, target=target)
    if len(classes) < 2:
        raise MonitorError(
            "the target has one class only",
            where=f"reference.{target}",
            expected="rows of two classes or more: of one, nothing tells right answers from wrong ones",
            received=", ".join(classes) or "no label",
            next_step="Take a reference that holds others too, or leave the target out to judge P(x) alone",
        )
    old_text, new_text = _texts(old_y), _spelled(_texts(new_y), classes)
    strange = _strange(new_text, classes, target)
    if task == "binary":
        positive = _positive(classes, old, old_text, score)
        notes: tuple[str, ...] = (f"{positive!r} is taken as the positive class of {target!r}.",)
        if strange:
            # Neither positive nor negative.
            new_text = [one if one in classes else None for one in new_text]
            notes += (f"{strange}, which are none of the reference's classes: they count as no labels.",)
        truths = _is(old_text, positive), _is(new_text, positive)
        if prediction is None and score is None:
            found = _with_stand_in(task, old, new, truths=truths, inputs=inputs, target=target)
            return replace(found, notes=notes + found.notes)
        return _binary(
            old,
            new,
            truths=truths,
            prediction=prediction,
            score=score,
            classes=(positive, classes),
            notes=notes,
        )
    if prediction is None:
        # A class that the reference never had is code -1: labelled, and never answered.
        codes: dict[str | None, float] = {name: float(code) for code, name in enumerate(classes)}
        codes[None] = np.nan
        truths = (
            np.array([codes[one] for one in old_text]),
            np.array([codes.get(one, -1.0) for one in new_text]),
        )
        return _with_stand_in(task, old, new, truths=truths, inputs=inputs, target=target)
    said_old, said_new = (_spelled(_texts(_listed(table, prediction)), classes) for table in (old, new))
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
    classes: tuple[str, Sequence[str]],
    notes: tuple[str, ...],
) -> Targets:
    positive, known = classes

    def with_scores(old_score: Numbers, new_score: Numbers, *more: str) -> Targets:
        return Targets("binary", truths[0], old_score, truths[1], new_score, notes + more)

    def of_chances(name: str, *more: str) -> Targets:
        chances = _column(old, name, required=True), _column(new, name)
        low, high = float(np.nanmin(chances[0])), float(np.nanmax(chances[0]))
        if low < 0 or high > 1:
            span = f"{low:.3g} to {high:.3g}"
            more += (f"{name!r} is no probability ({span}): what it means is learnt from the reference.",)
        return with_scores(*chances, *more)

    if score is not None:
        return of_chances(score)
    name = str(prediction)
    values = _listed(old, name)
    if any(isinstance(value, float) and not value.is_integer() for value in values[:1000]):
        note = f"{name!r} is taken as the probability of {positive!r}."
        return of_chances(name, note)
    said_old, said_new = (_spelled(_texts(one), known) for one in (values, _listed(new, name)))
    note = f"{name!r} is taken as the chosen class."
    return with_scores(_is(said_old, positive), _is(said_new, positive), note)


def _with_stand_in(
    task: Task,
    old: pa.Table,
    new: pa.Table,
    *,
    truths: tuple[Numbers, Numbers],
    inputs: Sequence[str],
    target: str,
) -> Targets:
    found = stand_in(task, old, new, truths=truths, inputs=inputs)
    if found is None:
        return Targets("none", notes=("Too few labelled reference rows to follow the mapping from x to y.",))
    notes = [
        f"No prediction was named: a model of {target!r}, fitted on the reference (cross-fitted), stands in."
    ]
    if found.known:
        notes.append(f"{found.known} current rows are rows of the reference too: other models score them.")
    several = task == "multiclass"
    return Targets(
        task,
        found.old_right if several else truths[0],
        found.old_score,
        found.new_right if several else truths[1],
        found.new_score,
        tuple(notes),
        (found.old_truth, found.old_said) if several else None,
        (found.new_truth, found.new_said) if several else None,
    )


def _task(old_y: Sequence[Any], held: Any) -> tuple[Task, list[str]]:
    import pyarrow as pa

    classes = sorted({text for text in _texts(old_y) if text is not None}, key=_class_order)
    fractions = any(_class_order(text)[0] == 0 and not float(text).is_integer() for text in classes)
    several = len(classes) > MOST_CLASSES
    if pa.types.is_floating(held) or pa.types.is_decimal(held):
        number = fractions or several
    elif pa.types.is_integer(held):
        number = several
    else:
        # Text of numbers is one where they are many and no codes, which are whole.
        number = several and fractions and all(_class_order(text)[0] == 0 for text in classes)
    if number:
        return "regression", []
    return ("binary" if len(classes) <= 2 else "multiclass"), classes


def _positive(classes: Sequence[str], old: pa.Table, truth: Sequence[str | None], score: str | None) -> str:
    """The greater class; of two words the one whose rows have the higher score, if there is one."""
    if score is None or _class_order(classes[-1])[0] == 0:
        return classes[-1]
    values = _column(old, score)
    means = [float(np.nanmean(np.where(_is(truth, one) > 0, values, np.nan))) for one in classes]
    return classes[0] if means[0] > means[-1] else classes[-1]


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


def _spelled(texts: Sequence[str | None], classes: Sequence[str]) -> list[str | None]:
    """Classes as the reference writes them: what is `1` to a file is `1.0` or `True` to another."""
    plain = {_plain(one): one for one in classes}
    if len(plain) < len(classes):
        return list(texts)
    known: dict[str | None, str | None] = {
        text: text if text is None or text in classes else plain.get(_plain(text), text)
        for text in set(texts)
    }
    return [known[text] for text in texts]


def _plain(text: str) -> str:
    folded = text.strip().casefold()
    folded = {"true": "1", "false": "0"}.get(folded, folded)
    try:
        number = float(folded)
    except ValueError:
        return folded
    return str(int(number)) if number.is_integer() else folded


def _strange(texts: Sequence[str | None], classes: Sequence[str], target: str) -> str:
    """Labels of classes that the reference never had, in words; empty without any.

    Raises:
        MonitorError: all labels are.
    """
    labels = [text for text in texts if text is not None]
    known = set(classes)
    strange = [text for text in labels if text not in known]
    if not strange:
        return ""
    named = ", ".join(repr(one) for one in sorted(set(strange))[:_NAMED])
    if len(strange) == len(labels):
        raise MonitorError(
            "no label is one of the reference's classes",
            where=f"current.{target}",
            expected=", ".join(classes[:MOST_CLASSES]),
            received=named,
            next_step="Write the classes as the reference does",
        )
    return f"{len(strange)} rows are labelled {named}"


def _is(values: Sequence[str | None], wanted: str) -> Numbers:
    return np.array([np.nan if value is None else float(value == wanted) for value in values])


def _agree(truth: Sequence[str | None], said: Sequence[str | None]) -> Numbers:
    return np.array(
        [
            np.nan if one is None or other is None else float(one == other)
            for one, other in zip(truth, said, strict=True)
        ]
    )

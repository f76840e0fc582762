"""Classes as tables write them: which there are, in which order, and whether two are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.errors import MonitorError
from holdfast.monitor.rows import Task

if TYPE_CHECKING:
    import pyarrow as pa

Numbers = NDArray[np.float64]
MOST_CLASSES: Final = 20
"""A whole-number target with more distinct values is a number to predict, not a class."""
_NAMED: Final = 5
"""Classes that a sentence lists."""


def task_of(truth: Sequence[Any], held: pa.DataType) -> tuple[Task, list[str]]:
    """What is to be predicted, and its classes, if it has some, in their order."""
    import pyarrow as pa

    classes = sorted({text for text in class_texts(truth) if text is not None}, key=class_order)
    fractions = any(class_order(text)[0] == 0 and not float(text).is_integer() for text in classes)
    several = len(classes) > MOST_CLASSES
    if pa.types.is_floating(held) or pa.types.is_decimal(held):
        number = fractions or several
    elif pa.types.is_integer(held):
        number = several
    else:
        # Text of numbers is one where they are many and no codes, which are whole.
        number = several and fractions and all(class_order(text)[0] == 0 for text in classes)
    if number:
        return "regression", []
    return ("binary" if len(classes) <= 2 else "multiclass"), classes


def class_order(text: str) -> tuple[int, float, str]:
    """What classes are sorted by: numbers by size, then words."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def class_texts(values: Sequence[Any]) -> list[str | None]:
    """Each class as text; None for a missing one."""
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


def spelled(texts: Sequence[str | None], classes: Sequence[str]) -> list[str | None]:
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


def strange_classes(texts: Sequence[str | None], classes: Sequence[str], target: str) -> str:
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
    rows = "1 row is" if len(strange) == 1 else f"{len(strange)} rows are"
    return f"{rows} labelled {named}"


def is_class(values: Sequence[str | None], wanted: str) -> Numbers:
    """`[N]`: 1 for the class that is asked for, 0 for others, NaN for none."""
    return np.array([np.nan if value is None else float(value == wanted) for value in values])


def agree(truth: Sequence[str | None], said: Sequence[str | None]) -> Numbers:
    """`[N]`: 1 where both are the same class, NaN where one is missing."""
    return np.array(
        [
            np.nan if one is None or other is None else float(one == other)
            for one, other in zip(truth, said, strict=True)
        ]
    )


def class_numbers(classes: Sequence[str], *columns: Sequence[str | None]) -> tuple[Numbers, Numbers]:
    """The number of each true and each answered class; -1 for one that is not listed, NaN for none."""
    number: dict[str | None, float] = {name: float(code) for code, name in enumerate(classes)}
    number[None] = np.nan
    truth, answer = (np.array([number.get(one, -1.0) for one in column]) for column in columns)
    return truth, answer

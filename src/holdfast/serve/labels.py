"""Labels as callers send them: one, a list, or one per line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from holdfast.clock import Clock
from holdfast.infer import InputError, MalformedBodyError, check_time, kind_of, nearest, read_json
from holdfast.prediction_log import Label, is_number, label_text

_FIELDS: Final = ("prediction_id", "label", "y", "observed_at")


def read_labels(body: bytes, clock: Clock, *, lines: bool = False) -> list[Label]:
    """The labels of a body.

    Args:
        body: a JSON object, a list of them, or (NDJSON) one object per line.
        clock: gives `observed_at` where a label has none.
        lines: the body is declared to be NDJSON.

    Raises:
        MalformedBodyError: not readable.
        InputError: a label is not of the form; `where` is the path. Of lines, it counts those that are not
            blank, as if they were a list.
    """
    text = body.strip()
    if lines or (text.startswith(b"{") and b"\n" in text and not _is_one_json(text)):
        found: list[tuple[Any, str]] = []
        for number, line in enumerate(body.splitlines(), 1):
            if line.strip():
                try:
                    found.append((read_json(line), f"$[{len(found)}]"))
                except MalformedBodyError as error:
                    raise MalformedBodyError(
                        error.what, where=f"line {number}", next_step=error.next_step
                    ) from None
    else:
        value = read_json(text)
        found = (
            [(one, f"$[{i}]") for i, one in enumerate(value)] if isinstance(value, list) else [(value, "$")]
        )
    now_us = clock.now_us()
    return [_read_label(one, path, now_us) for one, path in found]


def labels_beside_numbers(labels: Sequence[Label]) -> dict[int, InputError]:
    """Labels that say nothing of a model whose answers are numbers, by their place; `where` is the record."""
    return {
        place: InputError(
            "the label is no number",
            where="$" if len(labels) == 1 else f"$[{place}]",
            expected="a number, since the model answers with numbers",
            received=kind_of(label.y),
            next_step="Send it without a unit and with a decimal point, such as 512345.5",
        )
        for place, label in enumerate(labels)
        if label_text(label.y) is not None and not is_number(label.y)
    }


def _is_one_json(text: bytes) -> bool:
    try:
        read_json(text)
    except MalformedBodyError:
        return False
    return True


def _read_label(value: Any, path: str, now_us: int) -> Label:
    if not isinstance(value, dict):
        raise InputError(
            "wrong type",
            where=path,
            expected="an object with prediction_id and label",
            received=kind_of(value),
        )
    for name in value:
        if name not in _FIELDS:
            near = nearest(name, _FIELDS)
            raise InputError(
                "unknown field",
                where=f"{path}.{name[:80]}",
                expected="prediction_id, label, observed_at",
                next_step=f"Did you mean {near!r}?" if near else None,
            )
    prediction_id = value.get("prediction_id")
    if isinstance(prediction_id, int) and not isinstance(prediction_id, bool):
        prediction_id = str(prediction_id)
    if not isinstance(prediction_id, str) or not prediction_id:
        what = "missing" if "prediction_id" not in value else "wrong type"
        raise InputError(what, where=f"{path}.prediction_id", expected="the id that came with the prediction")
    if "label" in value and "y" in value:
        raise InputError("given twice", where=f"{path}.y", expected="either label or y")
    if "label" not in value and "y" not in value:
        raise InputError("missing", where=f"{path}.label", expected="the true class or number")
    name = "label" if "label" in value else "y"
    label = value[name]
    if label is not None and not isinstance(label, str | int | float):
        raise InputError(
            "wrong type", where=f"{path}.{name}", expected="a class or a number", received=kind_of(label)
        )
    observed = value.get("observed_at")
    if observed is None:
        return Label(prediction_id, label, now_us)
    if not isinstance(observed, str):
        raise InputError(
            "wrong type",
            where=f"{path}.observed_at",
            expected="a time (ISO 8601)",
            received=kind_of(observed),
        )
    return Label(prediction_id, label, check_time(observed, f"{path}.observed_at"))

"""Which action a field gets, and what generalising and redacting leave of it."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.privacy import MASK, PredictionRecord, Redactor, Values, field_actions
from holdfast.privacy.generalising import generaliser
from holdfast.spec import ChecklistError, parse_checklist
from holdfast.spec.checklist import Privacy


def redacted(privacy: Privacy, **inputs: Values) -> dict[str, list[object]]:
    rows = len(next(iter(inputs.values())))
    raw = PredictionRecord(
        model_version="1",
        arm="champion",
        prediction_ids=[f"p{row}" for row in range(rows)],
        times_us=[0] * rows,
        latency_us=[1] * rows,
        inputs=inputs,
        context={},
        prediction=[0] * rows,
    )
    return {name: list(values) for name, values in Redactor(privacy, b"k" * 16).redact(raw).inputs.items()}


@pytest.mark.parametrize(
    ("how", "value", "coarse"),
    [
        ("width 10", 47, 40),
        ("width 10", 40, 40),
        ("width 10", -1, -10),
        ("width 0.5", 1.74, 1.5),
        ("width 10", float("inf"), MASK),
        ("width 10", "47", MASK),
        ("width 10", True, MASK),
        ("prefix 3", "SW1A 2AA", "SW1"),
        ("prefix 2", 80331, "80"),
        ("prefix 3", 1.5, MASK),
        ("year", "1987-03-14", "1987"),
        ("month", "1987-03-14T02:00:00Z", "1987-03"),
        ("day", "1987-03-14T02:00:00+01:00", "1987-03-14"),
        ("hour", "1987-03-14 02:59", "1987-03-14T02"),
        ("year", "the spring of 1987", MASK),
        ("year", 1987, MASK),
    ],
)
def test_a_value_becomes_coarser_or_is_masked(how: str, value: object, coarse: object) -> None:
    assert generaliser(how)(value) == coarse


def test_each_action_does_what_it_says() -> None:
    privacy = Privacy(
        fields={"note": "free-text", "job": "quasi-identifier", "code": "sensitive"},
        actions={"sensitive": "drop"},
        field_actions={"job": "mask"},
        generalise={"age": "width 10"},
    )
    assert redacted(
        privacy,
        note=["ask ada@example.org", None],
        job=["nurse", None],
        code=["x", "y"],
        age=np.array([47.0, np.nan]),
        other=[1, 2],
    ) == {"note": ["ask [e-mail]", None], "job": [MASK, None], "age": [40.0, None], "other": [1, 2]}


def test_a_field_counts_more_than_its_class_and_that_more_than_the_default() -> None:
    privacy = Privacy(
        fields={"a": "sensitive", "b": "sensitive"},
        actions={"sensitive": "mask"},
        field_actions={"b": "drop"},
    )
    assert field_actions(privacy) == ({"a": "mask", "b": "drop"}, "keep")
    high = Privacy(sensitivity="high", fields={"a": "sensitive", "b": "identifier"})
    assert field_actions(high) == ({"a": "encrypt", "b": "hash"}, "encrypt")


HIGH = '[model]\nname = "ward"\n[security]\nauth = "keys"\n[privacy]\nsensitivity = "high"\n'


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ('actions = { sensitive = "keep" }\n', "privacy.actions.sensitive"),
        ('actions = { free-text = "redact" }\n', "privacy.actions.free-text"),
        ('field_actions = { age = "keep" }\n', "privacy.field_actions.age"),
    ],
)
def test_a_default_of_high_sensitivity_is_weakened_only_with_a_written_reason(more: str, path: str) -> None:
    parse_checklist(HIGH, source="test")
    with pytest.raises(ChecklistError, match="weakened_reason") as refused:
        parse_checklist(HIGH + more, source="test")
    assert path in str(refused.value)
    parse_checklist(HIGH + more + 'weakened_reason = "the study needs it"\n', source="test")


def test_high_sensitivity_asks_who_calls() -> None:
    with pytest.raises(ChecklistError, match="authenticate"):
        parse_checklist(HIGH.replace('"keys"', '"none"'), source="test")
    parse_checklist(HIGH.replace('[security]\nauth = "keys"', '[predictions]\nmode = "batch"'), source="test")


@pytest.mark.parametrize("how", ["width 0", "width -1", "width", "prefix 0", "week", "width 1e3", "10"])
def test_an_unreadable_way_to_generalise_is_refused(how: str) -> None:
    with pytest.raises(ChecklistError, match="width N"):
        parse_checklist(f'[model]\nname = "w"\n[privacy.generalise]\nage = "{how}"\n', source="test")


def test_a_field_to_generalise_needs_to_be_told_how() -> None:
    with pytest.raises(ChecklistError, match='generalise "age"'):
        parse_checklist(
            '[model]\nname = "w"\n[privacy]\nfield_actions = { age = "generalise" }\n', source="test"
        )

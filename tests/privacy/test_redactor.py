"""Nothing reaches the log but what the checklist's field classes let through."""

from __future__ import annotations

import copy
import pickle
import time
from typing import Any

import numpy as np
import pytest

from holdfast.privacy import (
    MASK,
    PredictionRecord,
    PrivacyError,
    PseudonymKeyError,
    RedactedRecord,
    Redactor,
    pseudonym,
    subject_pseudonym,
)
from holdfast.spec.checklist import Privacy

KEY = b"a key of sixteen bytes or more"


def record(inputs: dict[str, Any], context: dict[str, Any] | None = None) -> PredictionRecord:
    n = len(next(iter(inputs.values())))
    return PredictionRecord(
        model_version="1",
        arm="champion",
        prediction_ids=[f"p{row}" for row in range(n)],
        times_us=[0] * n,
        latency_us=[1] * n,
        inputs=inputs,
        context=context or {},
        prediction=[0] * n,
    )


def test_a_redacted_record_cannot_be_constructed_by_hand() -> None:
    raw = record({"name": ["Ada"]})
    with pytest.raises(PrivacyError, match=r"Redactor\.redact"):
        RedactedRecord(
            object(),  # type: ignore[arg-type]  # that the type checker refuses it is the claim
            raw,
            inputs=raw.inputs,
            context={},
            subject=None,
            consent=None,
        )


def test_a_redacted_record_cannot_be_changed_afterwards() -> None:
    redacted = Redactor(Privacy(), None).redact(record({"x": [1.0]}))
    with pytest.raises(PrivacyError, match="immutable"):
        redacted.inputs = {"name": ["Ada"]}
    with pytest.raises(PrivacyError, match="immutable"):
        del redacted.inputs


def test_a_copied_or_pickled_record_does_not_get_past_the_guard() -> None:
    redacted = Redactor(Privacy(), None).redact(record({"x": [1.0]}))
    with pytest.raises((PrivacyError, TypeError)):
        pickle.loads(pickle.dumps(redacted))
    with pytest.raises((PrivacyError, TypeError)):
        copy.copy(redacted)


def test_the_repr_shows_no_value() -> None:
    redacted = Redactor(Privacy(), None).redact(record({"name": ["Ada"]}, {"ward": ["7b"]}))
    assert "Ada" not in repr(redacted)
    assert "7b" not in repr(redacted)


def test_without_field_classes_the_columns_are_passed_on_as_they_are() -> None:
    raw = record({"x": np.array([1.0, 2.0])})
    redacted = Redactor(Privacy(), None).redact(raw)
    assert redacted.inputs is raw.inputs
    assert redacted.context is raw.context
    assert redacted.subject is None
    assert redacted.consent is None


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("keep", ["Ada", None]),
        ("mask", [MASK, None]),
        ("hash", [pseudonym(KEY, "name", "Ada"), None]),
        ("drop", None),
    ],
)
def test_each_action_does_what_it_says(action: Any, expected: list[str | None] | None) -> None:
    privacy = Privacy(fields={"name": "identifier"}, actions={"identifier": action})
    redacted = Redactor(privacy, KEY).redact(record({"name": ["Ada", None], "x": [1, 2]}))
    assert redacted.inputs.get("name") == expected
    assert redacted.inputs["x"] == [1, 2]


@pytest.mark.parametrize(
    ("field_class", "expected"),
    [
        ("identifier", pseudonym(KEY, "f", "v")),
        ("quasi-identifier", "v"),
        ("sensitive", "v"),
        ("free-text", "v"),
        ("plain", "v"),
    ],
)
def test_the_default_action_of_each_class_is_the_documented_one(field_class: Any, expected: str) -> None:
    redacted = Redactor(Privacy(fields={"f": field_class}), KEY).redact(record({"f": ["v"]}))
    assert list(redacted.inputs["f"]) == [expected]


def test_actions_reach_context_fields_too() -> None:
    privacy = Privacy(fields={"note": "free-text"}, actions={"free-text": "mask"})
    redacted = Redactor(privacy, None).redact(record({"x": [1]}, {"note": ["fell on ice"]}))
    assert redacted.context == {"note": [MASK]}


def test_numbers_are_masked_and_hashed_as_text_and_missing_ones_stay_missing() -> None:
    privacy = Privacy(
        fields={"age": "free-text", "account": "identifier"},
    )
    redacted = Redactor(privacy, KEY).redact(
        record({"age": np.array([41.0, np.nan]), "account": np.array([17, 18])})
    )
    assert redacted.inputs["age"] == [MASK, None]
    assert redacted.inputs["account"] == [pseudonym(KEY, "account", 17), pseudonym(KEY, "account", "18")]


def test_the_subject_becomes_a_pseudonym_and_leaves_the_context() -> None:
    privacy = Privacy(subject_field="patient")
    redacted = Redactor(privacy, KEY).redact(
        record({"x": [1, 2, 3]}, {"patient": ["4711", None, ""], "ward": ["a", "b", "c"]})
    )
    assert redacted.subject == [subject_pseudonym(KEY, 4711), None, None]
    assert redacted.context == {"ward": ["a", "b", "c"]}


def test_a_subject_that_is_an_input_is_treated_by_its_class_as_well() -> None:
    privacy = Privacy(
        subject_field="patient", fields={"patient": "identifier"}, actions={"identifier": "drop"}
    )
    redacted = Redactor(privacy, KEY).redact(record({"patient": ["4711"], "x": [1]}))
    assert redacted.subject == [subject_pseudonym(KEY, "4711")]
    assert redacted.inputs == {"x": [1]}


@pytest.mark.parametrize(
    ("given", "consent"),
    [(True, True), (1, True), ("true", True), (False, False), ("maybe", False), (None, None)],
)
def test_only_a_clear_yes_is_consent(given: Any, consent: bool | None) -> None:
    redacted = Redactor(Privacy(consent_field="agreed"), None).redact(record({"x": [1]}, {"agreed": [given]}))
    assert redacted.consent == [consent]
    assert redacted.context == {}


@pytest.mark.parametrize(
    ("privacy", "where"),
    [
        (Privacy(subject_field="patient"), "subject_field"),
        (Privacy(fields={"name": "identifier"}), r"\[privacy.fields\] name"),
        (Privacy(actions={"plain": "hash"}), r"\[privacy.actions\] plain"),
    ],
)
@pytest.mark.parametrize("key", [None, b"", b"short"])
def test_a_missing_or_short_key_is_an_error_at_the_start(
    privacy: Privacy, where: str, key: bytes | None
) -> None:
    with pytest.raises(PseudonymKeyError, match="HOLDFAST_PSEUDONYM_KEY") as caught:
        Redactor(privacy, key)
    if not key:
        assert where.replace("\\", "") in str(caught.value)
    else:
        assert "short" not in str(caught.value).replace("too short", "")


def test_no_key_is_asked_for_when_nothing_is_hashed() -> None:
    Redactor(Privacy(fields={"name": "identifier"}, actions={"identifier": "drop"}), None)


def test_redacting_nothing_costs_next_to_nothing() -> None:
    redactor = Redactor(Privacy(), None)
    raw = record({f"x{i}": np.zeros(1000) for i in range(50)})
    best_s = min(_timed(redactor, raw) for _ in range(5))
    assert best_s < 20e-6  # about 1 microsecond on an idle machine


def _timed(redactor: Redactor, raw: PredictionRecord) -> float:
    started_s = time.perf_counter()
    for _ in range(100):
        redactor.redact(raw)
    return (time.perf_counter() - started_s) / 100

"""Two hundred thousand bodies that are nearly right: each is read, or refused as the caller's mistake."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from live_service import linear_model, mixed_model

from holdfast.clock import ManualClock
from holdfast.errors import HoldfastError
from holdfast.infer import RecordCodec
from holdfast.serve.consent import read_consents
from holdfast.serve.labels import read_labels
from holdfast.serve.status import status_of
from holdfast.serve.v2 import V2Codec
from holdfast.spec import parse_checklist

CASES = int(os.environ.get("MUTATIONS", "40000"))
"""Per decoder."""
CHECKLIST = parse_checklist('[model]\nname = "demo"\n', source="test")
LINEAR, MIXED = linear_model(), mixed_model()
PIECES = (
    b"null", b"true", b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"1e999", b"-",
    b"0.", b"NaN", b"Infinity", b"9" * 40, b"\xff", b"\x00", b"\xef\xbb\xbf", b"\n", b'"prediction_id"',
    b'"shape"', b"[[[[",
)  # fmt: skip
RECORD = {"age": 40, "city": "north", "income": None, "prediction_id": "p1"}
TENSORS = [
    {"name": "age", "shape": [2], "datatype": "INT64", "data": [1, 2]},
    {"name": "city", "shape": [2], "datatype": "BYTES", "data": ["north", "x"]},
    {"name": "income", "shape": [2], "datatype": "FP32", "data": [1.5, None]},
]
LABELS = [
    {"prediction_id": "p1", "label": 1, "observed_at": "2026-03-14T02:00:00Z"},
    {"prediction_id": "p2", "y": None},
]
CONSENTS = [{"subject": "s", "consent": True, "at": "2026-03-14"}, {"prediction_id": "p", "consent": False}]


def v2(model: Any) -> V2Codec:
    return V2Codec("demo", "1", model.signature, RecordCodec(model.signature, CHECKLIST).schema, 100)


DECODERS: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
    "records of numbers": ([{"a": 1, "b": 2.5}], RecordCodec(LINEAR.signature, CHECKLIST).decode),
    "records of all kinds": ([RECORD, RECORD], RecordCodec(MIXED.signature, CHECKLIST).decode),
    "tensors": ({"id": "i", "inputs": TENSORS, "outputs": [{"name": "p"}]}, v2(MIXED).decode),
    "labels": (LABELS, lambda body: read_labels(body, ManualClock())),
    "consents": (CONSENTS, lambda body: read_consents(body, ManualClock())),
}


def mutated(body: bytes, chance: random.Random) -> bytes:
    """One to three cuts, repetitions, swaps, changed bytes or pieces put in."""
    for _ in range(chance.randint(1, 3)):
        at, to = chance.randrange(len(body) + 1), chance.randrange(len(body) + 1)
        how = chance.randrange(5)
        if how == 0:
            body = body[:at]
        elif how == 1:
            body = body[:at] + body[min(at, to) : max(at, to)] + body[at:]
        elif how == 2:
            body = body[: min(at, to)] + body[max(at, to) :]
        elif how == 3:
            body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
        else:
            body = body[:at] + chance.choice(PIECES) + body[at:]
    return body


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODERS)
def test_nearly_right_bodies_are_read_or_refused(name: str) -> None:
    example, decode = DECODERS[name]
    right = json.dumps(example).encode()
    decode(right)
    chance = random.Random(name)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(CASES):
        body = mutated(right, chance)
        try:
            decode(body)
        except HoldfastError as error:
            outcomes["refused"] += 1
            if not 400 <= status_of(error) < 500:
                raise AssertionError(body) from error
        except Exception as error:
            raise AssertionError(body) from error
        else:
            outcomes["read"] += 1
    assert min(outcomes.values()) > CASES // 1000  # both ways are taken

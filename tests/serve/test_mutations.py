"""Two hundred thousand bodies that are nearly right: each is read, or refused as the caller's mistake."""

from __future__ import annotations

import http.client
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
import pytest
from live_service import Start, linear_model, mixed_model, starting

from holdfast.clock import ManualClock
from holdfast.errors import HoldfastError
from holdfast.infer import RecordCodec
from holdfast.serve.consent import read_consents
from holdfast.serve.labels import read_labels
from holdfast.serve.rows import read_lenient
from holdfast.serve.status import status_of
from holdfast.serve.v2 import V2Codec
from holdfast.spec import parse_checklist

start = starting
CASES = int(os.environ.get("MUTATIONS", "40000"))
"""Per decoder."""
REQUESTS = int(os.environ.get("MUTATED_REQUESTS", "12000"))
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
    "JSON with NaN": ([RECORD, "a NaN"], lambda body: msgspec.json.encode(read_lenient(body))),
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


ROUTES: dict[str, tuple[bytes, str]] = {
    "/predict": (json.dumps([RECORD]).encode(), ""),
    "/v1/models/demo:predict": (json.dumps({"instances": [RECORD]}).encode(), ""),
    "/v1/models/demo/versions/1:predict": (
        json.dumps({"inputs": {name: [RECORD[name]] for name in ("age", "city", "income")}}).encode(),
        "",
    ),
    "/invocations": (b"age,city,income\n40,north,1.5\n", "content-type: text/csv\r\n"),
    "/v2/models/demo/infer": (json.dumps({"inputs": TENSORS}).encode(), ""),
    "/v2/models/demo/versions/1/infer": (
        json.dumps({"inputs": TENSORS[:2]}).encode() + bytes(range(8)),
        "inference-header-content-length: 150\r\n",
    ),
    "/labels": (json.dumps(LABELS).encode(), ""),
    "/consent": (json.dumps(CONSENTS).encode(), ""),
}


@pytest.mark.slow
def test_each_nearly_right_request_is_answered_and_by_no_5xx(start: Start) -> None:
    """Over the wire: an exception that no decoder expects ends the connection without an answer."""
    port = start(mixed_model()).port
    chance = random.Random(1)
    seen: Counter[int] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        for _ in range(REQUESTS):
            path = chance.choice(list(ROUTES))
            right, header = ROUTES[path]
            body = mutated(right, chance)
            name, _, value = header.partition(": ")
            connection.request("POST", path, body, {name: value.strip()} if name else {})
            response = connection.getresponse()
            response.read()
            # 503: what this worker was started without, such as a place for consents.
            assert response.status < 500 or response.status == 503, (path, body)
            seen[response.status] += 1
    assert {200, 400, 422} <= seen.keys()

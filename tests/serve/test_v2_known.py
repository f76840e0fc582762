"""Heads of binary requests that are known by their bytes are read as if they were not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_service import linear_model

from holdfast.errors import HoldfastError
from holdfast.infer import RecordCodec
from holdfast.serve.v2 import V2Codec
from holdfast.spec import parse_checklist

MODEL = linear_model()
PLAIN = '[model]\nname = "demo"\n'


def codec(checklist: str = PLAIN) -> V2Codec:
    schema = RecordCodec(MODEL.signature, parse_checklist(checklist, source="test")).schema
    return V2Codec("demo", "1", MODEL.signature, schema, 100)


def head(rows: int, size_bytes: int, **more: Any) -> bytes:
    tensor = {"name": "x", "shape": [rows, 2], "datatype": "FP32"}
    return json.dumps(
        {"inputs": [{**tensor, "parameters": {"binary_data_size": size_bytes}}], **more}
    ).encode()


def read(by: V2Codec, text: bytes, tail: bytes) -> Any:
    """What a request is read as: ids, times, context, numbers and wanted outputs, or the error."""
    try:
        call = by.decode(text + tail, len(text))
    except HoldfastError as error:
        return type(error), str(error)
    block = call.block
    assert block is not None
    numbers = {name: np.asarray(values).tobytes() for name, values in block.columns.items()}
    return call.id, call.rows, call.shape, call.outputs, block.ids, block.times_us, block.context, numbers


MORE: list[dict[str, Any]] = [
    {},
    {"parameters": {"binary_data_output": True}},
    {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
    {"id": "mine"},
]
NUMBERS = st.floats(width=32)


@given(
    rows=st.integers(1, 3),
    more=st.sampled_from(MORE),
    tails=st.lists(st.lists(NUMBERS, max_size=8), min_size=1, max_size=4),
)
def test_a_known_head_is_read_as_by_a_codec_that_has_never_seen_it(
    rows: int, more: dict[str, Any], tails: list[list[float]]
) -> None:
    text, known = head(rows, rows * 8, **more), codec()
    known.decode(text + bytes(rows * 8), len(text))
    for numbers in [*tails, [1.5] * (2 * rows)]:
        tail = np.array(numbers, "<f4").tobytes()
        assert read(known, text, tail) == read(codec(), text, tail)


@pytest.mark.parametrize("subject", ["", '[privacy]\nsubject_field = "who"\n'])
def test_what_differs_between_two_requests_is_never_taken_from_the_first(subject: str) -> None:
    checklist = f'{PLAIN}[predictions]\ntime_field = "at"\n{subject}'
    by = codec(checklist)
    text = head(1, 8, parameters={"who": "a", "at": "2026-03-14T02:00:00Z"})
    for _ in range(2):
        block = by.decode(text + bytes(8), len(text)).block
        assert block is not None
        assert block.times_us == [1773453600000000]
        assert block.context == ({"who": ["a"]} if subject else {})
        assert read(by, text, bytes(8)) == read(codec(checklist), text, bytes(8))


def test_a_head_is_parsed_once() -> None:
    by, text = codec(), head(2, 16)
    assert by.decode(text + bytes(16), len(text)).outputs == (("y", False),)
    known = by._known._heads
    known[text] = known[text]._replace(outputs=())
    assert by.decode(text + bytes(range(16)), len(text)).outputs == (), "read again"


def test_so_many_heads_are_known_and_no_more() -> None:
    by = codec()
    for number in range(3000):
        text = head(1, 8) + b" " * number
        assert by.decode(text + bytes(8), len(text)).rows == 1
        assert len(by._known._heads) <= 64
    assert max(map(len, by._known._heads)) <= 2048

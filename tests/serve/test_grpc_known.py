"""Messages whose head is known by its bytes are read as if it were not; answers are what protobuf writes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from live_service import linear_model

from holdfast.errors import HoldfastError
from holdfast.infer import RecordCodec
from holdfast.serve.grpc_infer import InferReader
from holdfast.serve.grpc_known import infer_response, varint
from holdfast.serve.grpc_messages import message_class
from holdfast.serve.v2 import V2Codec
from holdfast.spec import parse_checklist

Request = message_class("ModelInferRequest")
Response = message_class("ModelInferResponse")
MODEL = linear_model()
PLAIN = '[model]\nname = "demo"\n'


def endpoint(max_rows: int = 100, checklist: str = PLAIN) -> Any:
    schema = RecordCodec(MODEL.signature, parse_checklist(checklist, source="test")).schema
    return SimpleNamespace(v2=V2Codec("demo", "1", MODEL.signature, schema, max_rows))


def message(rows: int, content: bytes, *, outputs: bool = False, **more: Any) -> Any:
    request = Request(model_name="demo", **more)
    request.inputs.add(name="x", datatype="FP32", shape=[rows, 2])
    request.raw_input_contents.append(content)
    if outputs:
        request.outputs.add(name="y")
    return request


def read(by: InferReader, body: bytes, asked: Any) -> Any:
    """What a message is read as: names, ids, times, context, numbers and wanted outputs, or the error."""
    try:
        opened = by.open(body)
        call = opened.decode(asked)
    except HoldfastError as error:
        return type(error), str(error)
    block = call.block
    assert block is not None
    numbers = {name: np.asarray(values).tobytes() for name, values in block.columns.items()}
    names = opened.model, opened.version
    return (
        names,
        call.raw,
        call.id,
        call.rows,
        call.outputs,
        block.ids,
        block.times_us,
        block.context,
        numbers,
    )


MORE: list[dict[str, Any]] = [{}, {"outputs": True}, {"id": "mine"}, {"model_version": "1"}]


@given(
    rows=st.integers(1, 3),
    more=st.sampled_from(MORE),
    tails=st.lists(st.lists(st.floats(width=32), max_size=8), min_size=1, max_size=4),
    doubled=st.booleans(),
)
def test_a_message_is_read_as_by_one_who_sees_its_head_for_the_first_time(
    rows: int, more: dict[str, Any], tails: list[list[float]], doubled: bool
) -> None:
    known, asked = InferReader(), endpoint()
    first = np.ones(2 * rows, "<f4").tobytes()
    read(known, message(rows, first, **more).SerializeToString(), asked)
    for tail in tails:
        request = message(rows, np.array(tail, "<f4").tobytes(), **more)
        if doubled:
            request.raw_input_contents.append(first)
        body = request.SerializeToString()
        assert read(known, body, asked) == read(InferReader(), body, asked)


@given(at=st.integers(0, 60), byte=st.integers(0, 255), cut=st.integers(0, 3))
def test_whatever_differs_in_a_byte_is_read_anew(at: int, byte: int, cut: int) -> None:
    known, asked = InferReader(), endpoint()
    usual = message(1, np.array([1, 2], "<f4").tobytes(), outputs=True).SerializeToString()
    read(known, usual, asked)
    body = bytearray(usual)
    body[at % len(body)] = byte
    other = bytes(body[: len(body) - cut])
    assert read(known, other, asked) == read(InferReader(), other, asked)


def test_a_head_means_to_each_version_what_its_signature_says() -> None:
    reader = InferReader()
    body = message(3, np.ones(6, "<f4").tobytes()).SerializeToString()
    wide, narrow = endpoint(), endpoint(max_rows=2)
    assert read(reader, body, wide)[3] == 3
    for _ in range(2):
        assert "too many rows" in read(reader, body, narrow)[1]
        assert read(reader, body, wide)[3] == 3


def test_more_heads_than_are_kept_are_all_read() -> None:
    reader, asked = InferReader(), endpoint(max_rows=200)
    for _ in range(2):
        for rows in range(1, 150):
            numbers = np.arange(2 * rows, dtype="<f4")
            found = read(reader, message(rows, numbers.tobytes()).SerializeToString(), asked)
            assert found[3] == rows


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
OUTPUTS = st.tuples(
    TEXTS, st.sampled_from(["FP32", "BYTES"]), st.lists(st.integers(0, 2**40), max_size=3), st.binary()
)


@given(model=TEXTS, version=TEXTS, given_id=TEXTS, ids=TEXTS, outputs=st.lists(OUTPUTS, max_size=3))
def test_an_answer_says_to_protobuf_what_it_was_made_of(
    model: str, version: str, given_id: str, ids: str, outputs: list[tuple[str, str, list[int], bytes]]
) -> None:
    expected = Response(model_name=model, model_version=version, id=given_id)
    expected.parameters["prediction_ids"].string_param = ids
    for name, datatype, shape, content in outputs:
        expected.outputs.add(name=name, datatype=datatype, shape=shape)
        expected.raw_output_contents.append(content)
    parts = [(name, datatype, tuple(shape), content) for name, datatype, shape, content in outputs]
    assert Response.FromString(infer_response(model, version, given_id, ids, parts)) == expected


def test_numbers_are_written_as_the_encoding_s_own_examples() -> None:
    assert varint(1) == b"\x01"
    assert varint(150) == b"\x96\x01"  # https://protobuf.dev/programming-guides/encoding/

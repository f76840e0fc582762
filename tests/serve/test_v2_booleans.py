"""A graph may take a boolean column as a tensor of numbers, as converted pipelines do."""

from __future__ import annotations

import json

import numpy as np
import pytest

from holdfast.artifact import Column, Signature, Tensor
from holdfast.infer import InputError
from holdfast.infer.records import RecordCodec
from holdfast.serve.v2 import V2Codec
from holdfast.spec import parse_checklist

SIGNATURE = Signature(
    columns=(
        Column(name="amount", dtype="float32", kind="numeric"),
        Column(name="online", dtype="bool", kind="boolean"),
    ),
    inputs=(
        Tensor(name="amount", dtype="float32", shape=(-1, 1), columns=("amount",)),
        Tensor(name="online", dtype="float32", shape=(-1, 1), columns=("online",)),
    ),
    outputs=(Tensor(name="y", dtype="float32", shape=(-1,)),),
    task="regression",
    prediction_output="y",
)
CODEC = RecordCodec(SIGNATURE, parse_checklist('[model]\nname = "demo"\n', source="test"))
V2 = V2Codec("demo", "1", SIGNATURE, CODEC.schema, 100)


def body(online: list[object]) -> bytes:
    inputs = [
        {"name": name, "shape": [len(data), 1], "datatype": "FP32", "data": data}
        for name, data in (("amount", [1.5] * len(online)), ("online", online))
    ]
    return json.dumps({"inputs": inputs}).encode()


def test_ones_and_zeros_of_a_tensor_are_the_row_that_true_and_false_are_in_a_record() -> None:
    block = V2.decode(body([1.0, 0])).block
    records, _ = CODEC.decode(b'[{"amount": 1.5, "online": true}, {"amount": 1.5, "online": false}]')
    plain = CODEC.block(records)
    assert block is not None
    assert np.asarray(block.columns["online"]).dtype == np.bool_
    assert list(block.columns["online"]) == list(plain.columns["online"]) == [True, False]


@pytest.mark.parametrize("wrong", [0.5, 2, -1])
def test_another_number_is_an_error_that_names_its_row(wrong: float) -> None:
    with pytest.raises(InputError) as refused:
        V2.decode(body([1, wrong]))
    assert refused.value.where == "$[1].online"

"""Records: what is accepted, with which value, and where an error points."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from arithmetic import DEMO, EVERYTHING, PAIR
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.artifact import Column, Signature
from holdfast.infer import InputError, MalformedBodyError, RecordCodec, check_columns
from holdfast.spec import parse_checklist

GOOD: dict[str, Any] = {
    "number": 1.5,
    "short": None,
    "count": -3,
    "tiny": 255,
    "huge": 2**64 - 1,
    "flag": True,
    "city": "nowhere seen",
    "pixels": [[1, 2, 3], [4, 5, 6]],
}


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture
def codec() -> RecordCodec:
    return RecordCodec(EVERYTHING, DEMO)


def test_every_kind_of_column_is_converted_exactly(codec: RecordCodec) -> None:
    records, alone = codec.decode(body([GOOD, GOOD | {"short": 0.1, "count": 2**53 + 1, "huge": 0}]))
    block = codec.block(records)
    assert not alone
    assert block.rows == 2
    assert isinstance(block.columns["number"], np.ndarray)
    assert block.columns["number"].dtype == np.float64
    short = np.asarray(block.columns["short"])
    assert math.isnan(short[0])
    assert short[1] == 0.1, (
        "the value as it was sent, not rounded to float32: the log compares it with the reference"
    )
    assert list(block.columns["count"]) == [-3, 2**53 + 1]
    assert list(block.columns["huge"]) == [2**64 - 1, 0]
    assert list(block.columns["city"]) == ["nowhere seen"] * 2
    assert np.asarray(block.columns["pixels"]).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"number": "1"}, "$.number"),
        ({"number": True}, "$.number"),
        ({"number": None}, "$.number"),
        ({"number": []}, "$.number"),
        ({"short": 1e39}, "$.short"),
        ({"count": 0.5}, "$.count"),
        ({"count": 2**63}, "$.count"),
        ({"count": -(2**63) - 1}, "$.count"),
        ({"tiny": 256}, "$.tiny"),
        ({"tiny": -1}, "$.tiny"),
        ({"huge": 2**64}, "$.huge"),
        ({"flag": 1}, "$.flag"),
        ({"flag": "true"}, "$.flag"),
        ({"city": 3}, "$.city"),
        ({"city": None}, "$.city"),
        ({"pixels": [[1, 2, 3]]}, "$.pixels"),
        ({"pixels": [[1, 2, 3], [4, 5]]}, "$.pixels[1]"),
        ({"pixels": [[1, 2, 3], [4, 5, "6"]]}, "$.pixels[1][2]"),
        ({"pixels": 7}, "$.pixels"),
        ({"prediction_id": [1]}, "$.prediction_id"),
        ({"with space": 1}, "$['with space']"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_path_and_never_repeated(
    codec: RecordCodec, change: dict[str, Any], where: str
) -> None:
    with pytest.raises(InputError) as caught:
        codec.decode(body(GOOD | change))
    assert caught.value.where == where
    with pytest.raises(InputError) as caught:
        codec.decode(body([GOOD, GOOD, GOOD | change]))
    assert caught.value.where == where.replace("$", "$[2]", 1)


def test_a_missing_field_is_named(codec: RecordCodec) -> None:
    for name in GOOD:
        with pytest.raises(InputError, match="missing") as caught:
            codec.decode(body({key: value for key, value in GOOD.items() if key != name}))
        assert caught.value.where == f"$.{name}"


def test_a_whole_number_written_as_a_float_is_taken(codec: RecordCodec) -> None:
    block = codec.block(codec.decode(body(GOOD | {"count": 4.0, "tiny": 1e2}))[0])
    assert (list(block.columns["count"]), list(block.columns["tiny"])) == ([4], [100])


@pytest.mark.parametrize(
    "text", [b'{"a": NaN, "b": 1}', b'{"a": Infinity, "b": 1}', b'[{"a": -Infinity, "b": 1}]']
)
def test_tokens_that_json_does_not_have_are_malformed_and_say_so(text: bytes) -> None:
    with pytest.raises(MalformedBodyError, match="JSON has no NaN and no Infinity"):
        RecordCodec(PAIR, DEMO).decode(text)


def test_reserved_fields_travel_beside_the_inputs() -> None:
    checklist = parse_checklist(
        """
        [model]
        name = "demo"
        [predictions]
        time_field = "at"
        [logging]
        context_fields = ["shop", "a"]
        [privacy]
        subject_field = "person"
        """,
        source="test",
    )
    codec = RecordCodec(PAIR, checklist)
    rows: list[dict[str, Any]] = [
        {"a": 1, "b": 2, "at": "1970-01-01T00:00:01+00:00", "shop": "x", "person": "p", "prediction_id": 7},
        {"a": 1, "b": 2},
    ]
    block = codec.block(codec.decode(body(rows))[0])
    assert set(block.columns) == {"a", "b"}
    assert block.ids == ["7", None]
    assert block.times_us is not None
    assert list(block.times_us) == [1_000_000, None]
    assert {name: list(values) for name, values in block.context.items()} == {
        "shop": ["x", None],
        "person": ["p", None],
    }
    with pytest.raises(InputError) as caught:
        codec.decode(body(rows[0] | {"at": "yesterday"}))
    assert caught.value.where == "$.at"


def test_rows_of_variable_shape_are_told_apart() -> None:
    signature = Signature(
        columns=(Column(name="sound", dtype="float32", kind="audio", shape=(-1,)),),
        inputs=(),
        outputs=(),
        task="regression",
    )
    codec = RecordCodec(signature, DEMO)
    short, long = codec.decode(b'{"sound": [1, 2]}')[0], codec.decode(b'{"sound": [1, 2, 3]}')[0]
    assert codec.shape_of(short) != codec.shape_of(long)
    with pytest.raises(InputError, match="different shapes"):
        codec.shape_of(short + long)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
near_records = st.fixed_dictionaries(
    {}, optional={name: json_values | st.just(GOOD[name]) for name in GOOD} | {"prediction_id": json_values}
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(json_values, near_records, st.lists(near_records, max_size=3)))
def test_any_json_is_either_taken_or_refused_in_words(value: Any) -> None:
    codec = RecordCodec(EVERYTHING, DEMO)
    try:
        records, _ = codec.decode(body(value))
    except (InputError, MalformedBodyError):
        return
    assert codec.block(records).rows == len(records)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_either_taken_or_refused_in_words(content: bytes) -> None:
    codec = RecordCodec(PAIR, DEMO)
    try:
        codec.decode(content)
    except (InputError, MalformedBodyError):
        return


@settings(max_examples=200, deadline=None)
@given(st.lists(st.fixed_dictionaries({"a": json_values, "b": st.just(1)}), min_size=1, max_size=3))
def test_the_fast_and_the_slow_way_agree(rows: list[dict[str, Any]]) -> None:
    codec = RecordCodec(PAIR, DEMO)
    try:
        fast: Any = codec.block(codec.decode(body(rows))[0]).columns
    except InputError as error:
        fast = error.where
    try:
        slow: Any = codec.block(codec._decode_slowly(body(rows))[0]).columns
    except InputError as error:
        slow = error.where
    if isinstance(fast, str) or isinstance(slow, str):
        assert fast == slow
    else:
        assert {name: list(values) for name, values in fast.items()} == {
            name: list(values) for name, values in slow.items()
        }


def test_columns_of_arrays_are_checked_as_wholes() -> None:
    columns: dict[str, Any] = {
        "number": np.array([1, 2]),
        "short": np.array([np.nan, np.inf]),
        "count": np.array([1.0, 2.0]),
        "tiny": np.array([0, 255]),
        "huge": [1, 2**64 - 1],
        "flag": np.array([True, False]),
        "city": np.array(["a", "b"]),
        "pixels": np.zeros((2, 2, 3)),
        "ignored": [1, 2],
    }
    checked = check_columns(EVERYTHING.columns, columns, 2)
    assert set(checked) == {column.name for column in EVERYTHING.columns}
    assert np.asarray(checked["count"]).dtype == np.int64
    for name, wrong, where in [
        ("count", np.array([1.0, 2.5]), "$[1].count"),
        ("tiny", np.array([1, 256]), "$[1].tiny"),
        ("tiny", np.array([127.0, -1.0]), "$[1].tiny"),
        ("flag", np.array([0, 1]), "$.flag"),
        ("number", np.array(["1", "2"]), "$[0].number"),
        ("city", [None, "a"], "$[0].city"),
        ("pixels", np.zeros((2, 3, 2)), "$.pixels"),
        ("short", [1.0], "$.short"),
    ]:
        with pytest.raises(InputError) as caught:
            check_columns(EVERYTHING.columns, columns | {name: wrong}, 2)
        assert caught.value.where == where


def test_int8_takes_its_largest_value_from_floats() -> None:
    column = Column(name="x", dtype="int8", kind="numeric")
    assert list(check_columns([column], {"x": np.array([127.0, -128.0])}, 2)["x"]) == [127, -128]
    with pytest.raises(InputError):
        check_columns([column], {"x": np.array([128.0])}, 1)

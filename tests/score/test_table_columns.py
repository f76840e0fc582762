"""A table and a request accept the same values, and make the same numbers of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.artifact import Column, Signature, Tensor
from holdfast.infer import InputError, check_value
from holdfast.score.columns import Fault, _fast, check_header, convert_batch, scalars, times_us
from holdfast.score.errors import TableError

NUMBERS = (
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)
ARROW = {"string": pa.string(), "bool": pa.bool_(), "float": pa.float64(), "int": pa.int64()}


def signature(*columns: Column) -> Signature:
    return Signature(
        columns=columns,
        inputs=tuple(
            Tensor(name=one.name, dtype=one.dtype, shape=(-1, 1), columns=(one.name,)) for one in columns
        ),
        outputs=(Tensor(name="y", dtype="float32", shape=(-1, 1)),),
        task="regression",
    )


def column(dtype: str, *, nullable: bool = False, shape: tuple[int, ...] = ()) -> Column:
    return Column(name="x", dtype=dtype, kind="numeric", nullable=nullable, shape=shape)  # type: ignore[arg-type]  # text for parametrize


def accepted(one: Column, value: Any) -> tuple[bool, Any]:
    """What the authority on a request's values says."""
    try:
        return True, check_value(one, value, "$.x")
    except InputError:
        return False, None


def compare(one: Column, values: list[Any], held: Any, *, text: bool = False) -> None:
    found = convert_batch(signature(one), pa.record_batch([held], names=["x"]), text=text)
    refused = {fault.row for fault in found.faults}
    got = found.columns["x"]
    assert len(got) == len(values)
    for row, value in enumerate(values):
        good, wanted = accepted(one, value)
        assert (row not in refused) == good, (row, value)
        if good:
            have = got[row]
            if wanted is None:
                assert have is None or have != have  # noqa: PLR0124 - NaN
            else:
                assert have == wanted
                assert str(have) == str(wanted) or isinstance(wanted, float)


doubles = (
    st.floats(allow_nan=False) | st.integers(-300, 300).map(float) | st.sampled_from([2.0**53, 2.0**64, 1e39])
)


@given(st.sampled_from(NUMBERS), st.booleans(), st.lists(doubles | st.none(), min_size=1, max_size=12))
def test_doubles_in_a_table_are_judged_as_in_a_request(
    dtype: str, nullable: bool, values: list[float | None]
) -> None:
    compare(column(dtype, nullable=nullable), values, pa.array(values, pa.float64()))


@given(
    st.sampled_from(NUMBERS),
    st.booleans(),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300) | st.none(), min_size=1, max_size=12),
)
def test_whole_numbers_in_a_table_are_judged_as_in_a_request(
    dtype: str, nullable: bool, values: list[int | None]
) -> None:
    compare(column(dtype, nullable=nullable), values, pa.array(values, pa.int64()))


@given(st.booleans(), st.lists(st.text() | st.none(), min_size=1, max_size=12), st.booleans())
def test_text_in_a_table_is_judged_as_in_a_request(
    nullable: bool, values: list[str | None], coded: bool
) -> None:
    held = pa.array(values, pa.string())
    compare(column("string", nullable=nullable), values, held.dictionary_encode() if coded else held)


@given(st.booleans(), st.lists(st.booleans() | st.none(), min_size=1, max_size=12))
def test_truth_values_in_a_table_are_judged_as_in_a_request(
    nullable: bool, values: list[bool | None]
) -> None:
    compare(column("bool", nullable=nullable), values, pa.array(values, pa.bool_()))


@given(st.sampled_from(["float64", "float32"]), st.lists(st.floats(allow_nan=False), min_size=1, max_size=12))
def test_numbers_written_as_csv_text_come_back_to_the_last_bit(dtype: str, values: list[float]) -> None:
    compare(column(dtype), values, pa.array([repr(one) for one in values]), text=True)


@given(
    st.sampled_from(["int64", "int8", "uint8", "uint64"]),
    st.lists(st.integers(-(2**63), 2**64 - 1) | st.integers(-200, 300), min_size=1, max_size=12),
)
def test_whole_numbers_written_as_csv_text_come_back_exactly(dtype: str, values: list[int]) -> None:
    compare(column(dtype), values, pa.array([f" {one} " for one in values]), text=True)


def test_missing_words_in_csv_numbers_are_missing_values() -> None:
    held = pa.array(["1.5", "", None, "NA", "nan", "2"])
    found = convert_batch(
        signature(column("float64", nullable=True)), pa.record_batch([held], names=["x"]), text=True
    )
    assert not found.faults
    assert np.array_equal(
        np.asarray(found.columns["x"]), [1.5, np.nan, np.nan, np.nan, np.nan, 2.0], equal_nan=True
    )
    strict = convert_batch(signature(column("float64")), pa.record_batch([held], names=["x"]), text=True)
    assert [fault.row for fault in strict.faults] == [1, 2, 3, 4]


def test_a_word_among_csv_numbers_is_a_fault_of_its_row_alone_and_is_not_repeated() -> None:
    held = pa.array(["1", "two", "3"])
    found = convert_batch(signature(column("float64")), pa.record_batch([held], names=["x"]), text=True)
    assert found.faults == [Fault(1, "x", "wrong type", "a number")]
    assert np.asarray(found.columns["x"])[[0, 2]].tolist() == [1.0, 3.0]
    assert "two" not in repr(found)


def test_nan_and_infinity_are_no_values_that_a_request_could_send() -> None:
    held = pa.array([1.0, math.nan, math.inf, -math.inf])
    found = convert_batch(signature(column("float64")), pa.record_batch([held], names=["x"]), text=False)
    assert [fault.row for fault in found.faults] == [1, 2, 3]


def test_embeddings_are_checked_row_by_row() -> None:
    held = pa.array([[1.0, 2.0], [3.0], None, [4.0, 5.0]])
    one = column("float32", shape=(2,))
    found = convert_batch(signature(one), pa.record_batch([held], names=["x"]), text=False)
    assert [fault.row for fault in found.faults] == [1, 2]
    assert np.asarray(found.columns["x"])[[0, 3]].tolist() == [[1.0, 2.0], [4.0, 5.0]]


@pytest.mark.parametrize(
    ("dtype", "held"), [("float64", "string"), ("string", "int"), ("bool", "int"), ("int64", "bool")]
)
def test_a_column_of_a_type_that_can_hold_no_good_value_is_refused_by_its_header(
    dtype: str, held: str
) -> None:
    with pytest.raises(TableError, match="another type"):
        check_header(signature(column(dtype)), pa.schema([("x", ARROW[held])]), text=False)


def test_a_missing_column_is_named_with_the_nearest_one() -> None:
    with pytest.raises(TableError, match=r"column 'x'.*Did you mean 'X'"):
        check_header(signature(column("float64")), pa.schema([("X", pa.float64())]), text=False)


def test_times_are_read_from_timestamps_dates_and_text() -> None:
    faults: list[Fault] = []
    day_us = 86_400 * 1_000_000
    assert times_us(pa.array([1_000, None], pa.timestamp("ms", tz="Europe/Amsterdam")), "t", faults) == [
        10**6,
        None,
    ]
    assert times_us(pa.array([1], pa.date32()), "t", faults) == [day_us]
    assert times_us(pa.array(["1970-01-02", "1970-01-01T01:00:00+01:00", None]), "t", faults) == [
        day_us,
        0,
        None,
    ]
    assert faults == []
    assert times_us(pa.array(["soon"]), "t", faults) == [None]
    assert [fault.row for fault in faults] == [0]


def test_context_is_logged_as_scalars() -> None:
    assert scalars(pa.array(["a", None]).dictionary_encode()) == ["a", None]
    assert scalars(pa.array([1], pa.date32())) == ["1970-01-02"]


def test_times_finer_than_the_log_holds_are_cut_to_its_microseconds() -> None:
    held = pa.array([1_748_754_095_085_663_171], pa.timestamp("ns", tz="Europe/Berlin"))
    assert times_us(held, "at", []) == [1_748_754_095_085_663]


def test_a_decimal_comma_is_read_where_the_file_may_hold_one() -> None:
    batch = pa.record_batch([pa.array(["59,6", " -1,5 ", "7", "1.5"])], names=["x"])
    found = convert_batch(signature(column("float32")), batch, text=True, comma=True)
    assert (list(found.columns["x"]), found.faults) == ([59.6, -1.5, 7.0, 1.5], [])
    refused = convert_batch(signature(column("float32")), batch, text=True).faults
    assert [fault.row for fault in refused] == [0, 1]


arrays = st.lists(doubles | st.none() | st.just(math.nan), min_size=2, max_size=3)


@given(
    st.sampled_from(NUMBERS),
    st.sampled_from([(2, 2), (-1, 2), (2, -1)]),
    st.lists(st.lists(arrays, min_size=1, max_size=2) | st.none(), min_size=1, max_size=3),
    st.sampled_from([pa.float64(), pa.float32(), pa.int64()]),
)
def test_arrays_in_a_table_are_judged_as_in_a_request(
    dtype: str, shape: tuple[int, ...], values: list[Any], kind: pa.DataType
) -> None:
    if kind == pa.int64():
        small = range(-300, 300)
        values = [
            None if one is None else [[v if v in small else 7 for v in line] for line in one]
            for one in values
        ]
    if kind == pa.float32():
        values = [
            None
            if one is None
            else [[v if v is None or abs(v) < 1e30 else 7.0 for v in line] for line in one]
            for one in values
        ]
    one = column(dtype, shape=shape)
    held = pa.array([None, *values], pa.list_(pa.list_(kind))).slice(1)
    wanted = [accepted(one, value) for value in held.to_pylist()]
    if len({np.shape(value) for good, value in wanted if good}) > 1:
        return  # what differs in shape from row to row is no one array
    found = convert_batch(signature(one), pa.record_batch([held], names=["x"]), text=False)
    assert {fault.row for fault in found.faults} == {row for row, (good, _) in enumerate(wanted) if not good}
    for row, (good, value) in enumerate(wanted):
        if good:
            assert np.array_equal(np.asarray(found.columns["x"][row]), np.array(value, dtype))


def test_whole_images_are_taken_at_once() -> None:
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    held = pa.array(pixels.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8()))))
    taken = _fast(column("uint8", shape=(4, 4, 3)), held, text=False)
    assert isinstance(taken, np.ndarray)
    assert taken.dtype == np.uint8
    assert np.array_equal(taken, pixels)


def test_short_floats_of_an_array_are_held_to_the_limits_of_long_ones() -> None:
    held = pa.array([[1.5, 2.5]], pa.list_(pa.float32()))
    taken = _fast(column("float64", shape=(2,)), held, text=False)
    assert isinstance(taken, np.ndarray)
    assert taken.tolist() == [[1.5, 2.5]]

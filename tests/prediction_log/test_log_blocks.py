"""Blocks that are encoded in a few steps are those that the encoder itself makes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.artifact.packing import Table
from holdfast.clock import ManualClock
from holdfast.prediction_log.blocks import ENCODER, ColumnEncoder
from holdfast.prediction_log.ids import PredictionIds


@given(
    st.integers(1, 40),
    st.sampled_from([1, 2, 31, 32, 33, 8191, 8192]),
    st.lists(st.binary(max_size=300), max_size=3),
    st.booleans(),
)
def test_a_table_encoded_at_once_has_the_bytes_of_its_columns_one_by_one(
    columns: int, rows: int, others: list[bytes], lies_by_row: bool
) -> None:
    numbers = np.arange(columns * rows, dtype=np.float64)
    matrix = numbers.reshape(rows, columns).T if lies_by_row else numbers.reshape(columns, rows)
    table = Table(tuple(f"f{i}" for i in range(columns)), matrix)
    one_by_one = [np.ascontiguousarray(column).tobytes() for column in matrix]
    encode = ColumnEncoder().encode
    encode(Table(table.names, matrix + 1), others)  # what was before in the same place leaves no trace
    assert bytes(encode(table, others)) == ENCODER.encode([*one_by_one, *others])


@pytest.mark.parametrize("columns", [15, 16, 17, 70_000])
def test_any_number_of_columns_is_read_back(columns: int) -> None:
    table = Table(tuple(map(str, range(columns))), np.zeros((columns, 1)))
    assert len(msgspec.msgpack.decode(ColumnEncoder().encode(table, []))) == columns


def test_ids_rise_across_every_boundary_of_the_counter() -> None:
    ids, clock = PredictionIds(), ManualClock(1_000_000)
    made = [one for n in (1, 1, 16_000, 1, 700, 40_000, 1) for one in ids.new(n, clock)]
    assert made == sorted(set(made))
    assert len(made) == 56_704
    assert {len(one) for one in made} == {36}
    assert {one[14] + one[19] for one in made} <= {"78", "79", "7a", "7b"}

"""Columns that lie in one array answer as columns that do not."""

from __future__ import annotations

import numpy as np
from arithmetic import DEMO, PAIR, Arithmetic, model_of
from hypothesis import given
from hypothesis import strategies as st

from holdfast.artifact.packing import Packer, Table
from holdfast.infer.block import Block, join
from holdfast.infer.records import RecordCodec

numbers = st.floats(-1e30, 1e30, allow_nan=False)
rows = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=9)


def table_of(values: list[tuple[float, float]]) -> Table:
    return Table(("a", "b"), np.array(values, dtype=np.float64).T.copy())


@given(rows)
def test_packing_a_table_gives_the_bits_of_packing_its_columns(values: list[tuple[float, float]]) -> None:
    table, packer = table_of(values), Packer(PAIR)
    whole = packer.pack(table, len(values))["x"]
    apart = packer.pack(dict(table), len(values))["x"]
    assert whole.tobytes() == apart.tobytes()
    assert (whole.dtype, whole.shape, whole.flags.c_contiguous) == (apart.dtype, apart.shape, True)


@given(st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True)))
def test_one_row_at_hand_is_packed_to_the_bits_of_its_table(row: tuple[float, float]) -> None:
    matrix, packer = np.array([row]).T, Packer(PAIR)
    alone = packer.pack(Table(("a", "b"), matrix, row), 1)["x"]
    in_table = packer.pack(Table(("a", "b"), matrix), 1)["x"]
    assert alone.tobytes() == in_table.tobytes()
    assert (alone.dtype, alone.shape, alone.flags.writeable) == (in_table.dtype, in_table.shape, True)


@given(st.lists(rows, min_size=1, max_size=4))
def test_joining_tables_gives_the_rows_of_joining_columns(parts: list[list[tuple[float, float]]]) -> None:
    tables = [Block(len(part), table_of(part)) for part in parts]
    apart = [Block(len(part), dict(table_of(part))) for part in parts]
    mixed = [one if i % 2 else other for i, (one, other) in enumerate(zip(tables, apart, strict=True))]
    wanted = join(apart).columns
    for blocks in (tables, mixed):
        joined = join(blocks)
        assert joined.rows == sum(map(len, parts))
        assert list(joined.columns) == list(wanted)
        for name, values in joined.columns.items():
            assert np.array_equal(np.asarray(values), np.asarray(wanted[name]))


def test_columns_in_another_order_than_the_tensors_are_packed_by_name() -> None:
    table = Table(("b", "a"), np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert Packer(PAIR).pack(table, 2)["x"].tolist() == [[3.0, 1.0], [4.0, 2.0]]


def test_records_of_plain_numbers_become_a_table_and_answer_the_same() -> None:
    codec = RecordCodec(PAIR, DEMO)
    records, _ = codec.decode(b'[{"a": 1.5, "b": 0}, {"a": -2, "b": 7}]')
    block = codec.block(records)
    assert isinstance(block.columns, Table)
    assert np.asarray(model_of(Arithmetic(2.0)).predict(block.columns, 2).prediction).tolist() == [3.0, -4.0]

"""The same rows in each form in which programs hold tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from holdfast.monitor import diagnose
from holdfast.monitor.columns import flat_array
from holdfast.monitor.matrix_rows import MatrixRows
from holdfast.monitor.parts import MOST_PARTED_ROWS
from holdfast.monitor.row_sources import TableRows

ROWS = MOST_PARTED_ROWS + 1
CURRENT_ROWS = 20_000


def _chunks(table: pa.Table, rows: int) -> pa.Table:
    return pa.Table.from_batches(table.combine_chunks().to_batches(max_chunksize=rows))


def _coded(table: pa.Table) -> pa.Table:
    return table.set_column(2, "word", table.column("word").dictionary_encode())


FORMS: dict[str, Callable[[pa.Table], Any]] = {
    "Arrow of codes": _coded,
    "Arrow in chunks": lambda table: _chunks(table, 10_000),
    "Arrow in small chunks": lambda table: _chunks(table, 999),
    "Arrow of large text": lambda table: table.set_column(
        2, "word", table.column("word").cast(pa.large_string())
    ),
    "pandas": pa.Table.to_pandas,
    "pandas with categories": lambda table: _coded(table).to_pandas(),
    "pandas with objects": lambda table: table.to_pandas().astype({"word": object}),
    "polars": pl.from_arrow,
    "polars in two parts": lambda table: pl.concat(
        [pl.DataFrame(table[:99_999]), pl.DataFrame(table[99_999:])], rechunk=False
    ),
    "arrays": lambda table: {name: table.to_pandas()[name].to_numpy() for name in table.column_names},
}


def _words(seed: int, rows: int, missing: float) -> pa.Table:
    random = np.random.default_rng(seed)
    gone = random.random(rows) < missing
    numbers = np.where(gone, np.nan, random.normal(size=rows))
    words = np.array(["red", "green", "", "blue"])[random.choice(4, rows, p=[0.5, 0.3, 0.15, 0.05])]
    return pa.table(
        {
            "number": pa.array(numbers, from_pandas=True),
            "single": random.gamma(2.0, size=rows).astype(np.float32),
            "word": pa.array(words, mask=gone[::-1] if missing else None),
            "count": random.poisson(3.0, rows),
            "answer": random.random(rows) < 0.3,
            "small": pa.array(random.integers(0, 9, rows).astype(np.uint8), mask=gone if missing else None),
        }
    )


def test_rows_of_numbers_and_words_are_judged_alike_in_every_form() -> None:
    old, new = _words(1, ROWS, 0.1), _words(2, CURRENT_ROWS, 0.05)
    expected = msgspec.to_builtins(diagnose(old, new))
    assert expected["kinds"]
    for name, made in FORMS.items():
        assert msgspec.to_builtins(diagnose(made(old), made(new))) == expected, name


@pytest.mark.parametrize("form", ["Arrow in small chunks", "pandas with objects", "arrays"])
def test_rows_without_gaps_are_judged_alike_in_forms_that_are_put_together(form: str) -> None:
    old, new = _words(1, ROWS, 0.0), _words(2, CURRENT_ROWS, 0.0)
    assert diagnose(FORMS[form](old), FORMS[form](new)) == diagnose(old, new)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int16, np.uint64, np.bool_])
def test_an_array_is_judged_as_its_columns_are_however_it_lies(kind: type[np.generic]) -> None:
    random = np.random.default_rng(3)
    old, new = (random.poisson(2.0, (rows, 3)).astype(kind) for rows in (ROWS, CURRENT_ROWS))
    found = diagnose(old, new)
    assert found == diagnose(np.asfortranarray(old), np.asfortranarray(new))
    columns = [{str(number): column for number, column in enumerate(rows.T)} for rows in (old, new)]
    assert found == diagnose(*columns)


def test_rows_of_an_array_are_those_of_its_columns() -> None:
    random = np.random.default_rng(4)
    values = random.normal(size=(300_001, 4))
    values[7, 1], values[8, 2], values[9, 2], values[:, 3] = np.nan, np.inf, -np.inf, np.nan
    rows = MatrixRows.of(values, "current")
    assert rows is not None
    lying = TableRows(pa.table({str(number): column for number, column in enumerate(values.T)}), "current")
    assert rows.schema == lying.schema
    assert rows.groups == lying.groups
    for name in ("0", "1", "2", "3", "absent"):
        assert rows.extremes(name) == lying.extremes(name)
    for group, names in ((0, ["0", "1", "2", "3"]), (2, ["2", "0"])):
        here, there = (list(one.batches(group, 40_000, names)) for one in (rows, lying))
        for mine, other in zip(here, there, strict=True):
            assert mine.schema == other.schema
            for name in names:
                np.testing.assert_array_equal(
                    mine.column(name).to_numpy(), flat_array(other.column(name), np.float64)
                )
    chosen = [(0, 1000), (2, 77)]
    for mine, other in zip(
        rows.first_rows(chosen, ["3", "1"]), lying.first_rows(chosen, ["3", "1"]), strict=True
    ):
        np.testing.assert_array_equal(mine.to_numpy(), other.to_numpy())


def test_an_array_is_taken_by_rows_only_where_its_rows_lie_together() -> None:
    assert MatrixRows.of(np.zeros((9, 2)), "current") is not None
    for other in (
        np.zeros((9, 2), order="F"),
        np.zeros((9, 1)),
        np.zeros(9),
        np.zeros((9, 4))[:, :2],
        np.zeros((9, 2), dtype=object),
        np.zeros((9, 2), dtype=">f8"),
        np.ma.masked_less(np.zeros((9, 2)), 1),
        [[0.0, 1.0]],
    ):
        assert MatrixRows.of(other, "current") is None

"""Tables in memory as the counting takes them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from holdfast.monitor.row_sources import FileRows, TableRows
from holdfast.stats import Coded


def test_values_are_taken_as_they_lie_whatever_the_stretches() -> None:
    random = np.random.default_rng(3)
    numbers, codes = random.normal(size=100), random.integers(0, 3, 100).astype(np.int8)
    words = pa.array(["a", "b", "c"])
    cuts = [0, 7, 7, 60, 100]
    table = pa.table(
        {
            "number": pa.chunked_array([numbers[a:b] for a, b in pairwise(cuts)]),
            "word": pa.chunked_array(
                [pa.DictionaryArray.from_arrays(pa.array(codes[a:b]), words) for a, b in pairwise(cuts)]
            ),
            "gaps": pa.array([None, *numbers[1:]]),
            "whole": pa.array(codes),
            "other words": pa.chunked_array(
                [pa.DictionaryArray.from_arrays(pa.array([0] * 50, pa.int8()), pa.array([w])) for w in "ab"]
            ),
        }
    )
    lie = TableRows(table, "current").as_they_lie([*table.column_names, "absent"])
    assert set(lie) == {"number", "word"}
    for first, stop in ((0, 100), (0, 7), (5, 9), (7, 60), (59, 61), (100, 100)):
        np.testing.assert_array_equal(lie["number"].rows(first, stop), numbers[first:stop])
        some = lie["word"].rows(first, stop)
        assert isinstance(some, Coded)
        assert some.words == ("a", "b", "c")
        np.testing.assert_array_equal(some.codes, codes[first:stop])


def test_extremes_of_a_file_are_those_of_its_finite_values(tmp_path: Path) -> None:
    values = np.arange(1000.0)
    values[[3, 999]], values[[0, 500]] = np.inf, -np.inf
    half = pa.array(np.arange(1000.0).astype(np.float16))
    table = pa.table({"x": values, "half": half, "none": np.full(1000, np.inf), "word": ["a"] * 1000})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=300)
    for source in (FileRows.open(tmp_path / "rows.parquet"), TableRows(table, "current")):
        assert source.extremes("x") == (1.0, 998.0)
        assert source.extremes("half") == (0.0, 999.0)
        assert source.extremes("none") is None
        assert source.extremes("word") is None

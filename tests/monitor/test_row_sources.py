"""Tables in memory as the counting takes them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from holdfast.monitor.coded_texts import with_coded_texts
from holdfast.monitor.columns import column_values, counted_values
from holdfast.monitor.plain_columns import plain_columns
from holdfast.monitor.row_sources import FileRows, TableRows
from holdfast.stats import Coded, Numbers, compiled_counting, distinct_views


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
            "truths": pa.chunked_array([pa.array([None, *(codes[1:60] > 0)]), pa.array(codes[60:] > 1)]),
            "single with gaps": pa.array([*numbers[:50], *[None] * 50], pa.float32()),
            "halves": pa.array(numbers.astype(np.float16)),
            "other words": pa.chunked_array(
                [pa.DictionaryArray.from_arrays(pa.array([0] * 50, pa.int8()), pa.array([w])) for w in "ab"]
            ),
        }
    )
    lie = TableRows(table, "current").as_they_lie([*table.column_names, "absent"])
    assert set(table.column_names) - set(lie) == {"halves"}
    several = lie["other words"].rows(40, 60)
    assert isinstance(several, Coded)
    assert [several.words[code] for code in several.codes] == [*"aaaaaaaaaabbbbbbbbbb"]
    for first, stop in ((0, 100), (0, 7), (5, 9), (7, 60), (59, 61), (100, 100)):
        np.testing.assert_array_equal(lie["number"].rows(first, stop), numbers[first:stop])
        some = lie["word"].rows(first, stop)
        assert isinstance(some, Coded)
        assert some.words == ("a", "b", "c")
        np.testing.assert_array_equal(some.codes, codes[first:stop])
        for name in ("gaps", "whole", "truths", "single with gaps"):
            held = lie[name].rows(first, stop)
            plain = held.doubles() if isinstance(held, Numbers) else held
            np.testing.assert_array_equal(plain, column_values(table[first:stop], name))
            held = counted_values(table[first:stop], name)
            plain = held.doubles() if isinstance(held, Numbers) else held
            np.testing.assert_array_equal(plain, column_values(table[first:stop], name))


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


def test_text_that_is_objects_becomes_the_same_column_whichever_way_it_is_read() -> None:
    random = np.random.default_rng(5)
    words = np.array(["one", "two", "three", b"one".decode()], dtype=object)
    rows = (1 << 17) + 1
    few = words[random.integers(0, 4, rows)]
    gaps, many, short = (
        few.copy(),
        np.array([f"word {number}" for number in range(rows)], dtype=object),
        few[:9],
    )
    gaps[7] = None
    apart = np.array([f"word {word}" for word in few], dtype=object)
    frame = pd.DataFrame(
        {"few": few, "apart": apart, "gaps": gaps, "many": many, "number": random.normal(size=rows)},
        dtype=object,
    )
    frame["number"] = frame["number"].astype(float)
    for source in (frame, {name: frame[name].to_numpy() for name in frame}):
        table = pa.table(plain_columns(source))
        assert table.column_names == ["few", "apart", "gaps", "many", "number"]
        for name in table.column_names:
            assert table.column(name).to_pylist() == frame[name].tolist()
        if compiled_counting() is not None:
            assert table.schema.field("few").type == pa.dictionary(pa.int8(), pa.string())
            assert table.schema.field("apart").type == pa.dictionary(pa.int8(), pa.string())
            assert table.column("few").chunk(0).dictionary.to_pylist().count("one") == 1
    assert plain_columns({"short": short})["short"] is short


def test_text_of_few_words_becomes_codes_of_the_words_of_all_its_parts() -> None:
    first, then = pa.array(["a", "b", "a", ""]), pa.array(["x", "c", "b", "é"])[1:]
    table = pa.table(
        {
            "few": pa.chunked_array([first, first[:0], then]),
            "gaps": pa.chunked_array([first, pa.array(["a", None, "b"])]),
            "number": np.arange(7.0),
        }
    )
    for kind in (pa.string(), pa.large_string()):
        old = table.set_column(0, "few", table.column("few").cast(kind))
        made, same = with_coded_texts(old, old.select(["gaps", "number"]))
        assert made.column("few").to_pylist() == ["a", "b", "a", "", "c", "b", "é"]
        assert same.column("gaps").to_pylist() == ["a", "b", "a", "", "a", None, "b"]
        assert same.column("number") == old.column("number")
        if compiled_counting() is not None:
            assert made.schema.field("few").type == pa.dictionary(pa.int8(), pa.string())
            assert {tuple(chunk.dictionary.to_pylist()) for chunk in made.column("few").chunks} == {
                ("a", "b", "", "c", "é")
            }
            assert same.schema.field("gaps").type == pa.dictionary(pa.int8(), pa.string())


def test_a_frame_of_polars_is_neither_put_together_nor_copied() -> None:
    random = np.random.default_rng(8)
    rows = (1 << 17) + 1
    words = np.array(["a", "", "quite a long word", "é"])[random.integers(0, 4, rows)]
    gaps = pa.array(words, mask=random.random(rows) < 0.2)
    table = pa.table({"number": random.normal(size=rows), "word": words, "gaps": gaps})
    frame = pl.concat([pl.DataFrame(table[3:]), pl.DataFrame(table[:3])], rechunk=False)
    for coded in (True, False):
        made = plain_columns(frame, coded=coded)
        assert frame.n_chunks() == made.column("number").num_chunks == 2
        for name in frame.columns:
            assert made.column(name).to_pylist() == frame[name].to_list()
        few = coded and compiled_counting() is not None
        assert made.schema.field("gaps").type == (
            pa.dictionary(pa.int8(), pa.string()) if few else pa.string_view()
        )
    several = pl.DataFrame({"word": [f"word {number}" for number in range(rows)]})
    assert plain_columns(several).column("word").to_pylist() == several["word"].to_list()


def test_views_that_leave_their_bytes_have_no_codes() -> None:
    texts = np.frombuffer(b"a word of many letters", np.uint8)

    def view(size: int, part: int, start: int) -> NDArray[np.uint8]:
        return np.frombuffer(np.array([size, 0, part, start], np.int32), np.uint8)

    found = distinct_views(view(22, 0, 0), [texts])
    assert compiled_counting() is None or found is not None
    for wrong in (view(22, 0, 1), view(22, 1, 0), view(22, -1, 0), view(13, 0, -1), view(-1, 0, 0)):
        assert distinct_views(wrong, [texts]) is None


def test_text_in_many_small_chunks_has_the_codes_of_one() -> None:
    words = pa.array([None, "c", "a", "b", "a", ""] * 50)
    small = pa.table({"word": pa.chunked_array([words.slice(start, 7) for start in range(0, 300, 7)])})
    whole = pa.table({"word": words})
    made, other = (one.column("word") for one in with_coded_texts(small, whole))
    assert made.to_pylist() == other.to_pylist() == words.to_pylist()
    assert compiled_counting() is None or made.num_chunks == other.num_chunks == 1


@pytest.mark.parametrize("kind", [np.float64, np.int32, np.bool_])
def test_what_a_mask_hides_is_missing(kind: type[np.generic]) -> None:
    held = np.ma.masked_array(np.array([1, 0, 1], dtype=kind), mask=[False, True, False])
    assert pa.table(plain_columns({"x": held})).column("x").null_count == 1


def test_categories_of_a_frame_are_taken_as_they_lie_whether_or_not_one_is_missing() -> None:
    rows = (1 << 17) + 1
    codes = np.random.default_rng(6).integers(0, 3, rows)
    whole = pd.Categorical.from_codes(codes, ["a", "b", "c"])
    gaps = pd.Categorical.from_codes(np.where(np.arange(rows) == 5, -1, codes), ["a", "b", "c"])
    frame = pd.DataFrame(
        {"whole": whole, "gaps": gaps, "numbers": pd.Categorical.from_codes(codes, [3, 5, 7])}
    )
    table = plain_columns(frame)
    assert table.column("whole").to_pylist() == list(whole)
    assert table.column("gaps").type == table.column("whole").type
    assert table.column("gaps").null_count == 1
    assert table.column("gaps")[5].as_py() is None
    assert table.column("numbers").to_pylist() == list(frame["numbers"])

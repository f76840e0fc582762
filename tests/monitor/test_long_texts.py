"""Long texts are measured by a page of each, and few of them are held at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from holdfast.monitor import diagnose, row_stream, streams
from holdfast.monitor.free_texts import MEASURED_CHARACTERS, Texts
from holdfast.monitor.kinds import Kinds
from holdfast.monitor.number_texts import NumberText
from holdfast.monitor.row_sources import FileRows
from holdfast.monitor.row_stream import RowStream

ROWS, CHARACTERS = 1200, 3000
EVERY = 2


def pages(seed: int, rows: int = ROWS) -> list[str]:
    random = np.random.default_rng(seed)
    words = np.array([f"wort{'äbcdefghij'[one % 10]}{one}" for one in range(400)])
    return [" ".join(row)[:CHARACTERS] for row in words[random.integers(0, 400, (rows, 400))]]


@pytest.fixture
def few_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LARGE_VALUE_BYTES", 1 << 20)
    monkeypatch.setattr(row_stream, "_LOOK_BYTES", 1 << 19)


def test_of_a_long_text_the_first_page_is_measured_and_its_length_in_full() -> None:
    page = "Ab 1, " * (MEASURED_CHARACTERS // 6 + 1)
    page = page[:MEASURED_CHARACTERS]
    held = pa.chunked_array([["Ab 1, c", page, page + page, page + "9" * len(page), None, ""]])
    found = {name: np.array(values) for name, values in Texts.learn([page]).parts(held, own=False)}
    lengths = np.array([7, *MEASURED_CHARACTERS * np.array([1, 2, 2]), np.nan, 0])
    np.testing.assert_array_equal(found["characters"].astype(float), lengths)
    words = len(page.split())
    np.testing.assert_array_equal(found["words"].astype(float), [3, words, 2 * words, 2 * words, np.nan, 0])
    for name in ("share of digits", "share of capitals", "share of marks", "unseen words"):
        assert found[name][1] == found[name][2] == found[name][3]
    assert found["share of digits"][0] == 1 / 7


def test_texts_of_a_file_are_held_by_few_and_measured_as_all_of_them_would_be(
    tmp_path: Path, few_held: None
) -> None:
    table = pa.table({"said": pages(1), "x": np.arange(ROWS)})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=ROWS // 2)
    source = RowStream(FileRows.open(tmp_path / "rows.parquet"))
    assert source.look().nbytes < table.nbytes / 4
    kinds = Kinds.fit(source.look(), every=EVERY, texts_of=lambda name: source.texts(name, EVERY))
    learned = [text for row, text in enumerate(table.column("said").to_pylist()) if row % EVERY]
    whole = Kinds.fit(table, every=EVERY, texts_of=lambda _: learned)
    numbers = np.arange(ROWS)
    expected = whole.apply(table, None, reference=True, numbers=numbers)
    found = source.measured(kinds, None).sample(table.column_names)
    assert found.column_names == expected.column_names
    for name in found.column_names:
        np.testing.assert_array_equal(
            np.array(found.column(name).to_pylist()), np.array(expected.column(name).to_pylist())
        )


def test_long_text_that_names_rows_is_left_out_and_the_rest_is_judged(tmp_path: Path, few_held: None) -> None:
    paths = []
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        keys = ["".join(chr(97 + one) for one in row) for row in random.integers(0, 26, (ROWS, 1000))]
        table = pa.table({"key": keys, "x": random.normal(seed, 1, ROWS)})
        paths.append(tmp_path / f"{seed}.parquet")
        parquet.write_table(table, paths[-1], row_group_size=ROWS // 2)
    assert streams.open_streams(*paths) is not None
    found = diagnose(*paths)
    assert "'key' is not judged: it names rows (nearly every value is distinct)." in found.notes
    assert [one.name for one in found.features] == ["x"]


def test_marks_of_missing_numbers_are_told_from_texts_that_begin_like_them() -> None:
    numbers = [f"{number / 8}" for number in range(400)]
    assert NumberText.of_reference(pa.chunked_array([["Unknown", "N/A", *numbers]])) is not None
    assert NumberText.of_reference(pa.chunked_array([["unknown place", *["missing word"] * 400]])) is None

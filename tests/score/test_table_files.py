"""Tables as streams: rows keep their numbers, and a target appears whole or not at all."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from holdfast.score.errors import TableError
from holdfast.score.files import TableReader, TableWriter, format_of


def test_the_ending_tells_the_format_unless_it_is_named() -> None:
    assert format_of(Path("a.parquet"), None) == "parquet"
    assert format_of(Path("a.PQ"), None) == "parquet"
    assert format_of(Path("a.csv.gz"), None) == "csv"
    assert format_of(Path("a.txt"), "csv") == "csv"
    with pytest.raises(TableError, match=r"\.parquet, \.pq, \.csv"):
        format_of(Path("a.txt"), None)


def test_a_csv_larger_than_many_blocks_gives_every_row_once_in_order(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    path.write_text("n,text\n" + "".join(f"{i},{'x' * (i % 50)}\n" for i in range(200_000)))
    with TableReader(path, "csv", 1000) as reader:
        batches = list(reader.batches())
    assert max(batch.num_rows for batch in batches) == 1000
    assert pa.Table.from_batches(batches)["n"].to_pylist() == [str(i) for i in range(200_000)]


def test_rows_with_too_few_or_many_fields_are_numbered_and_the_others_keep_their_numbers(
    tmp_path: Path,
) -> None:
    bad = {1, 2, 777, 60_000, 150_000, 200_000}
    lines = [f"{i},{'1,2' if i % 2 else ''}" if i in bad else f"{i},{'y' * 20},z" for i in range(1, 200_001)]
    kinds = {0: "{n}", 1: "{n},1,2,3"}
    lines = [kinds[n % 2].format(n=n) if n in bad else f"{n},{'y' * 20},z" for n in range(1, 200_001)]
    path = tmp_path / "bad.csv"
    path.write_text("n,text,more\n" + "\n".join(lines) + "\n")
    position = 0
    with TableReader(path, "csv", 5000) as reader:
        for batch in reader.batches():
            for value in batch["n"].to_pylist()[::97]:
                offset = batch["n"].to_pylist().index(value)
                assert reader.row_number(position + offset) == int(value)
            position += batch.num_rows
        assert set(reader.invalid_rows) == bad
    assert position == 200_000 - len(bad)


@pytest.mark.parametrize(("between", "comma"), [(",", False), (";", True), ("\t", True), ("|", False)])
def test_what_stands_between_the_columns_is_found_out(tmp_path: Path, between: str, *, comma: bool) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"\ufeffFläche{between}Ort\n59{between}Köln\n")
    with TableReader(path, "csv", 10) as reader:
        assert pa.Table.from_batches(reader.batches()).to_pylist() == [{"Fläche": "59", "Ort": "Köln"}]
        assert reader.comma == comma


def test_a_line_break_in_quotes_is_part_of_the_value(tmp_path: Path) -> None:
    path = tmp_path / "quoted.csv"
    path.write_text('a,b\n"one\ntwo",\n"",3\n')
    with TableReader(path, "csv", 10) as reader:
        rows = pa.Table.from_batches(reader.batches()).to_pylist()
    assert rows == [{"a": "one\ntwo", "b": None}, {"a": "", "b": "3"}]


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b""), ("a.parquet", b"PAR1 but not"), ("gone.csv", None)]
)
def test_what_is_no_table_is_an_error_with_the_name_of_the_file(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TableError, match=name.replace(".", r"\.")):
        TableReader(path, format_of(path, None), 10)


def test_a_doubled_column_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "doubled.csv"
    path.write_text("a,a\n1,2\n")
    with pytest.raises(TableError, match="several columns are named 'a'"):
        TableReader(path, "csv", 10)


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_a_target_appears_only_when_it_is_finished_and_replaces_what_was_there(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_text("old")
    table = pa.table({"n": [1, 2], "text": ["a,b", None]})
    writer = TableWriter(path, format_of(path, None), table.schema)
    for batch in table.to_batches():
        writer.write(batch)
    assert path.read_text() == "old"
    writer.finish()
    assert [one.name for one in tmp_path.iterdir()] == [name]
    with TableReader(path, format_of(path, None), 10) as reader:
        found = pa.Table.from_batches(reader.batches())
    assert found["text"].to_pylist() == ["a,b", None]


def test_an_abandoned_target_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    writer = TableWriter(path, "parquet", pa.schema([("n", pa.int64())]))
    writer.write(pa.record_batch({"n": [1]}))
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_target_in_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be written"):
        TableWriter(tmp_path / "no" / "out.csv", "csv", pa.schema([("n", pa.int64())]))


def test_a_parquet_file_tells_its_rows_beforehand(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    parquet.write_table(pa.table({"n": list(range(25))}), path)
    with TableReader(path, "parquet", 10) as reader:
        assert reader.rows == 25
        assert [batch.num_rows for batch in reader.batches()] == [10, 10, 5]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_target_that_cannot_grow_is_named_and_leaves_nothing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    rows = pa.record_batch({"x": np.random.default_rng(0).random(50_000)})
    writer = TableWriter(path, format_of(path, None), rows.schema)

    def write_often() -> None:
        for _ in range(100):
            writer.write(rows)

    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        with pytest.raises(TableError, match=rf"out\.{ending}: cannot be written.*Make room"):
            write_often()
        writer.abandon()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert list(tmp_path.iterdir()) == []


def test_the_hidden_file_of_a_killed_writer_is_removed_and_that_of_a_living_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = pa.schema([("n", pa.int64())])
    (tmp_path / ".out.parquet.7.partial").write_text("killed")
    (tmp_path / ".out.parquet.old.7.partial").touch()
    living = TableWriter(tmp_path / "out.parquet", "parquet", schema)
    monkeypatch.setattr("os.getpid", lambda: 8)
    TableWriter(tmp_path / "out.parquet", "parquet", schema).finish()
    assert {path.name for path in tmp_path.iterdir()} == {
        living.hidden.name,
        "out.parquet",
        ".out.parquet.old.7.partial",
    }
    living.finish()

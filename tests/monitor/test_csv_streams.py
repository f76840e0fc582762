"""Large CSV files are judged block by block where that reads them as whole tables are read."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from holdfast.monitor import csv_streams, diagnose
from holdfast.monitor.row_sources import FileRows

ROWS = 3000


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_streams, "_LARGE_BYTES", 1)
    monkeypatch.setattr(csv_streams, "MOST_PARTED_ROWS", 100)
    monkeypatch.setattr(csv_streams, "_BLOCK_BYTES", 1 << 13)
    monkeypatch.setattr(csv_streams, "_GROUP_ROWS", 1000)


def rows(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "at": pa.array(np.arange(ROWS) * 3_600_000_000, pa.timestamp("us")),
        "amount": random.integers(0, 10**6, ROWS),
        "size": random.normal(size=ROWS),
        "ward": random.choice(["north", "south"], ROWS).tolist(),
    }


def written(path: Path, columns: dict[str, Any]) -> Path:
    csv.write_csv(pa.table(columns), path)
    return path


def test_rows_and_types_are_those_of_the_whole_file_and_the_copy_goes(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"{seed}.csv", rows(seed)) for seed in (1, 2)]
    with csv_streams.csv_streams(paths[0], paths[1]) as streams:
        assert not isinstance(streams, str)
        assert streams[0].source.where == str(paths[0])
        for path, stream in zip(paths, streams, strict=True):
            names = stream.source.schema.names
            parts = [part for group in range(3) for part in stream.source.batches(group, 700, names)]
            assert len(parts) > len(stream.source.groups) == 3
            held, whole = pa.Table.from_batches(parts), csv.read_csv(path)
            assert held.cast(whole.schema).equals(whole)
        copy = streams[0].source
        assert isinstance(copy, FileRows)
        assert copy.path.exists()
    assert not copy.path.exists()
    found = diagnose(*paths, window="200 rows")
    assert found.verdict == "healthy"
    assert found.notes[0] == "'at' is taken as the time, as the only timestamp."


def late_text(columns: dict[str, Any]) -> None:
    columns["amount"] = [*map(str, columns["amount"][:-1].tolist()), "none given"]


def out_of_order(columns: dict[str, Any]) -> None:
    columns["at"] = columns["at"].take(pa.array([*range(1, ROWS), 0]))


def dates_as_text(columns: dict[str, Any]) -> None:
    columns["day"] = [f"{1 + row % 28:02d}.03.2025" for row in range(ROWS)]


def numbers_as_words(columns: dict[str, Any]) -> None:
    columns["size"] = ["?"] * ROWS


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (late_text, "not all rows can be read by the types that its first rows show"),
        (out_of_order, "rows are not in the order of 'at'"),
        (dates_as_text, "'day' holds times as text"),
        (numbers_as_words, "'size' is of another type"),
    ],
)
def test_what_only_a_whole_table_shows_is_read_whole_and_said(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    columns = rows(2)
    change(columns)
    paths = written(tmp_path / "old.csv", rows(1)), written(tmp_path / "new.csv", columns)
    with csv_streams.csv_streams(paths[0], paths[1]) as streams:
        assert isinstance(streams, str)
        assert why in streams
    found = diagnose(*paths, window="500 rows")
    assert found.windows
    assert found.notes[0] == streams


def test_answers_in_words_and_files_of_other_delimiters_with_decimal_commas_are_read_whole(
    tmp_path: Path,
) -> None:
    paths = [written(tmp_path / f"{seed}.csv", rows(seed)) for seed in (1, 2)]
    with csv_streams.csv_streams(paths[0], paths[1], outputs=["ward"]) as streams:
        assert "the answers in 'ward' are text" in str(streams)
    for path in paths:
        text = path.read_text().replace(",", ";").replace(".", ",")
        path.write_text(text)
    with csv_streams.csv_streams(paths[0], paths[1]) as streams:
        assert "may hold numbers with a decimal comma" in str(streams)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system opens files by name alone")
def test_the_copy_has_no_name_that_could_outlive_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    paths = [written(tmp_path / f"{seed}.csv", rows(seed)) for seed in (1, 2)]
    with csv_streams.csv_streams(paths[0], paths[1]) as streams:
        assert not isinstance(streams, str)
        assert list(folder.iterdir()) == []
        assert folder in {Path(os.path.realpath(one)).parent for one in Path("/proc/self/fd").iterdir()}


def test_a_full_disk_is_said_and_the_file_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)
    paths = [written(tmp_path / f"{seed}.csv", rows(seed)) for seed in (1, 2)]
    assert diagnose(*paths).notes[0] == (
        f"{paths[0]} is read whole: no copy could be made block by block (No space left on device)."
    )

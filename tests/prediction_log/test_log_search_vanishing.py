from __future__ import annotations

from pathlib import Path

from holdfast.prediction_log.byte_search import _in_file


def test_a_file_that_vanishes_between_listing_and_reading_holds_nothing(tmp_path: Path) -> None:
    assert _in_file("abcd", tmp_path / "subjects.db-shm") == []
    assert _in_file("abcd", tmp_path / "part.parquet") == []

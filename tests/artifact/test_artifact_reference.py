from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from holdfast.artifact import Reference, ReferenceDataError, reference
from holdfast.artifact.reference import describe_column

DATA = {
    "n": [1.5, None, float("nan"), -2.0],
    "i": [1, 2, None, 4],
    "t": ["b", None, "a", "b"],
    "f": [True, False, None, True],
}


def test_every_frame_and_file_gives_the_same_columns(tmp_path: Path) -> None:
    table = pa.table(DATA)
    parquet.write_table(table, tmp_path / "r.parquet")
    table.to_pandas().to_csv(tmp_path / "r.csv", index=False)
    frames: list[object] = [
        table,
        DATA,
        pl.DataFrame(DATA, strict=False),
        pd.DataFrame(table.to_pandas()),
        tmp_path / "r.parquet",
        str(tmp_path / "r.csv"),
    ]
    for frame in frames:
        reference = Reference.read(frame)
        np.testing.assert_array_equal(reference.values("n"), [1.5, np.nan, np.nan, -2.0])
        np.testing.assert_array_equal(reference.values("i"), [1, 2, np.nan, 4])
        texts = [text or None for text in reference.values("t").tolist()]
        assert texts == ["b", None, "a", "b"]


def test_columns_are_described_by_what_they_hold() -> None:
    reference = Reference.read(pa.table({**DATA, "d": pa.array(["x", "y", "x", "x"]).dictionary_encode()}))
    number = describe_column(reference, "n")
    assert (number.kind, number.nullable, number.minimum, number.maximum) == ("numeric", True, -2.0, 1.5)
    whole = describe_column(reference, "i")
    assert (whole.dtype, whole.kind, whole.nullable) == ("int64", "numeric", True)
    assert describe_column(reference, "i", categorical=True).categories == (1, 2, 4)
    word = describe_column(reference, "t")
    assert (word.kind, word.categories, word.nullable) == ("categorical", ("a", "b"), True)
    assert describe_column(reference, "f").kind == "boolean"
    assert describe_column(reference, "d").kind == "categorical"


def test_infinite_values_are_in_no_range_and_many_texts_are_text() -> None:
    reference = Reference.read({"x": [1.0, np.inf, -np.inf] * 500, "t": [f"note {i}" for i in range(1500)]})
    assert (describe_column(reference, "x").minimum, describe_column(reference, "x").maximum) == (1.0, 1.0)
    assert (describe_column(reference, "t").kind, describe_column(reference, "t").categories) == (
        "text",
        None,
    )


def test_decimals_are_numbers_and_times_are_no_input() -> None:
    reference = Reference.read(pa.table({"d": [Decimal("1.25")], "t": pa.array([0], pa.timestamp("us"))}))
    assert reference.values("d").tolist() == [1.25]
    with pytest.raises(ReferenceDataError, match="no model input holds"):
        reference.values("t")


def test_what_is_wrong_with_a_reference_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReferenceDataError, match="has no rows"):
        Reference.read({"a": []})
    with pytest.raises(ReferenceDataError, match=r"no column 'lable'.*Did you mean 'label'"):
        Reference.read({"a": [1], "label": [0]}, label="lable")
    with pytest.raises(ReferenceDataError, match="cannot be read"):
        Reference.read(tmp_path / "absent.parquet")
    with pytest.raises(ReferenceDataError, match="unknown kind"):
        Reference.read(tmp_path / "r.xlsx")
    with pytest.raises(ReferenceDataError, match="not a table"):
        Reference.read(7)


def test_no_value_shows_in_the_repr() -> None:
    assert "987654" not in repr(Reference.read({"a": [987654]}))


@pytest.mark.parametrize("text", ["am\u00f6unt,shop\n1.0,corner\n", "amount,shop\n1.0,caf\u00e9\n"])
def test_a_csv_that_is_not_utf8_is_refused_with_the_way_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ReferenceDataError, match=r"latin.csv.*not UTF-8.*iconv"):
        Reference.read(path)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("amount,amount\n1,2\n")
    with pytest.raises(ReferenceDataError, match="several columns are named 'amount'"):
        Reference.read(path)


def test_decimal_commas_of_a_file_with_semicolons_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("Fläche;Preis;Ort\n59,6;1.5;Köln\n7;2.5;Bonn\n")
    table = Reference.read(path).table
    assert table.to_pylist()[0] == {"Fläche": 59.6, "Preis": 1.5, "Ort": "Köln"}


def test_a_packed_csv_is_read_as_its_text_is_and_not_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.CSV.gz"
    path.write_bytes(gzip.compress("Preis;Ort\n1,5;Köln\n".encode()))
    assert Reference.read(path).table.to_pylist() == [{"Preis": 1.5, "Ort": "Köln"}]
    monkeypatch.setattr(reference, "_MOST_UNPACKED_BYTES", 10)
    with pytest.raises(ReferenceDataError, match=r"rows\.CSV\.gz: the packed table is too large.*Unpack it"):
        Reference.read(path)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ReferenceDataError):
        Reference.read(path)

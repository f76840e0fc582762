"""CSV of the log: no cell is a formula of a spreadsheet, and no number is changed."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.prediction_log.exporting import write_csv
from holdfast.prediction_log.formulas import guarded, without_guard

FORMULAS = (
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "-",
    "=",
    "+49 30 12",
)
HARMLESS = ("a", "", "a=b", " =1", "'", "-3.5", "+7", "-1e-9", "-.5", "1.", "{}", "[1,2]", "3f0c-9")


def cells(column: pa.Array, *, verbatim: bool = False) -> list[str]:
    """As a spreadsheet reads them."""
    batch = pa.record_batch([column], ["x"])
    target = io.BytesIO()
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
    assert write_csv(reader, target, verbatim=verbatim) == len(column)
    lines = list(csv.reader(io.StringIO(target.getvalue().decode(), newline="")))
    return [line[0] if line else "" for line in lines[1:]]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_a_text_that_begins_like_a_formula_has_a_quote_before_it(kind: pa.DataType) -> None:
    assert cells(pa.array(FORMULAS).cast(kind)) == ["'" + text for text in FORMULAS]
    assert cells(pa.array(FORMULAS).cast(kind), verbatim=True) == list(FORMULAS)


def test_other_texts_numbers_and_nothing_stay_as_they_are() -> None:
    assert cells(pa.array(HARMLESS)) == list(HARMLESS)
    assert cells(pa.array([-3.5, -1.0, 2.0])) == ["-3.5", "-1", "2"]
    assert cells(pa.array([-3, None])) == ["-3", ""]
    assert cells(pa.array([None, "=1"])) == ["", "'=1"]


def test_a_text_in_a_list_is_inside_its_json() -> None:
    assert cells(pa.array([["=1"], ["-2"]])) == ['["=1"]', '["-2"]']


@given(st.lists(st.text(alphabet="'=+-@\t\r\n1.eabc \uff1d", max_size=6), min_size=1, max_size=8))
def test_every_guarded_text_can_be_had_back_and_begins_with_no_sign(texts: list[str]) -> None:
    written = guarded(pa.array(texts)).to_pylist()
    for text, found in zip(texts, written, strict=True):
        assert found in {text, "'" + text}
        assert without_guard(found) == text
        if found[:1] in {"=", "@", "\t", "\r", "\n", "\uff1d"}:
            pytest.fail(f"{text!r} stays a formula")
        if found[:1] in {"+", "-"}:
            float(found)

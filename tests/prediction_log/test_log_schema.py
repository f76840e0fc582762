"""Columns: each value comes back with its type, and a change of type never mixes or loses anything."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_records import T0_US, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, KeeperReport, PredictionLog
from holdfast.prediction_log.arrow_rows import array_column, scalar_column
from holdfast.prediction_log.schema import PREDICTIONS, fit
from holdfast.privacy import Redactor, canonical_text
from holdfast.spec.checklist import Privacy


def store(log_folder: Path, *batches: dict[str, Any]) -> KeeperReport:
    """Each batch in a commit of its own; the last report."""
    keeper = Keeper(log_folder, ManualClock(T0_US))
    report = KeeperReport(lease=False)
    writer = new_writer(log_folder)
    for place, batch in enumerate(batches):
        n = len(next(iter(batch.values())))
        writer.append(redacted([f"{place}-{row}" for row in range(n)], inputs=batch))
        report = keeper.run_once()
    writer.close()
    return report


def read(log_folder: Path) -> pa.Table:
    return PredictionLog(log_folder).predictions().read_all().sort_by("sequence")


def test_the_columns_are_the_documented_ones(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, device="press-7")
    redactor = Redactor(Privacy(subject_field="customer", consent_field="agreed"), b"0123456789abcdef")
    writer.append(
        redacted(
            ["a"],
            redactor=redactor,
            inputs={"amount": np.array([1.5], np.float32)},
            context={"customer": ["c1"], "agreed": [True], "channel": ["web"]},
            prediction=["fraud"],
            probabilities=np.array([[0.25, 0.75]], np.float32),
            outputs={"logit": np.array([1.1])},
        )
    )
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    table = read(tmp_path)
    assert {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)} == {
        "prediction_id": "string",
        "time": "timestamp[us, tz=UTC]",
        "logged_at": "timestamp[us, tz=UTC]",
        "deployment": "string",
        "model_version": "string",
        "arm": "string",
        "replica": "string",
        "sequence": "int64",
        "latency_us": "int64",
        "sampling_fraction": "double",
        "device": "string",
        "subject": "string",
        "consent": "bool",
        "score": "double",
        "probabilities": "list<element: double>",
        "input_amount": "double",
        "context_channel": "string",
        "output_logit": "double",
        "prediction": "string",
    }
    (row,) = table.to_pylist()
    assert row["deployment"] == "fraud"
    assert row["device"] == "press-7"
    assert row["consent"] is True
    assert row["subject"] not in {None, "c1"}
    assert (row["score"], row["probabilities"]) == (0.75, [0.25, 0.75])
    assert (row["prediction"], row["context_channel"], row["output_logit"]) == ("fraud", "web", 1.1)
    assert row["time"].timestamp() == T0_US / 1e6


def test_an_explicit_score_is_kept_where_the_positive_class_is_not_the_last(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"], probabilities=np.array([[0.9, 0.1]]), score=np.array([0.9], np.float64)))
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert read(tmp_path)["score"].to_pylist() == [0.9]


def test_three_classes_have_no_score(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"], probabilities=np.array([[0.2, 0.3, 0.5]])))
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert read(tmp_path)["score"].to_pylist() == [None]


def test_nan_and_null_are_kept_apart(tmp_path: Path) -> None:
    store(tmp_path, {"array": np.array([1.0, math.nan]), "list": [math.nan, None]})
    table = read(tmp_path)
    assert table["input_array"].null_count == 0
    assert math.isnan(table["input_array"][1].as_py())
    assert table["input_list"].null_count == 1
    assert math.isnan(table["input_list"][0].as_py())
    assert table["input_list"][1].as_py() is None


def test_large_integers_stay_exact(tmp_path: Path) -> None:
    numbers = [2**53 + 1, -(2**63), 2**63 - 1]
    store(tmp_path, {"array": np.array(numbers), "list": numbers})
    assert read(tmp_path)["input_array"].to_pylist() == numbers
    assert read(tmp_path)["input_list"].to_pylist() == numbers


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("float16", "float"), ("float32", "float"), ("float64", "double"), ("uint8", "int64"), ("bool", "bool")],
)
def test_shaped_inputs_are_lists_row_by_row(tmp_path: Path, dtype: str, kind: str) -> None:
    image = (np.arange(2 * 3 * 4) % 2).reshape(2, 3, 4).astype(dtype)
    store(tmp_path, {"image": image, "empty": np.zeros((2, 0), dtype)})
    table = read(tmp_path)
    assert str(table["input_image"].type.value_type) == kind
    assert table["input_image"].to_pylist() == image.reshape(2, 12).tolist()
    assert table["input_empty"].to_pylist() == [[], []]


def test_new_columns_appear_and_old_rows_have_null_there(tmp_path: Path) -> None:
    store(tmp_path, {"a": [1]}, {"a": [2], "b": ["x"]}, {"b": ["y"]})
    table = read(tmp_path)
    assert table["input_a"].to_pylist() == [1, 2, None]
    assert table["input_b"].to_pylist() == [None, "x", "y"]


def test_a_retyped_column_is_kept_apart_by_name_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = store(tmp_path, {"code": np.array([1, 2])}, {"code": ["A", "B"]})
    assert report.kept_apart == (("input_code", "input_code__string"),)
    table = read(tmp_path)
    assert table["input_code"].to_pylist() == [1, 2, None, None]
    assert table["input_code__string"].to_pylist() == [None, None, "A", "B"]
    again = store(tmp_path, {"code": ["C"]}, {"code": np.array([3])}, {"code": [True]})
    assert again.kept_apart == (("input_code", "input_code__bool"),)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "see input_code__string", "see input_code__bool",
    ]  # fmt: skip
    assert PredictionLog(tmp_path).count().predictions == 7


def test_layouts_that_disagree_within_one_commit_are_kept_apart_too(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    batches: list[Any] = [[1], ["A"], [0.5], [[1.0]], [None], [True]]
    for place, values in enumerate(batches):
        writer.append(redacted([str(place)], inputs={"x": values}))
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    table = read(tmp_path)
    names = [name for name in table.schema.names if name.startswith("input_x")]
    found = [[row[name] for name in names if row[name] is not None] for row in table.to_pylist()]
    assert found == [values if values != [None] else [] for values in batches]


def test_numbers_go_into_a_column_of_another_number_type_when_none_of_them_changes(tmp_path: Path) -> None:
    report = store(tmp_path, {"double": [0.5], "integer": [1]}, {"double": [2], "integer": [3.0]})
    assert report.kept_apart == ()
    assert read(tmp_path)["input_double"].to_pylist() == [0.5, 2.0]
    assert read(tmp_path)["input_integer"].to_pylist() == [1, 3]
    report = store(tmp_path, {"double": [2**53 + 1], "integer": [0.5]})
    assert set(report.kept_apart) == {
        ("input_double", "input_double__int64"),
        ("input_integer", "input_integer__double"),
    }


def test_names_that_differ_in_case_only_are_two_columns(tmp_path: Path) -> None:
    report = store(tmp_path, {"Amount": [1], "amount": [2]}, {"amount": [3], "Amount": [4]})
    assert set(report.kept_apart) == {("input_amount", "input_amount__int64")}
    table = read(tmp_path)
    assert table["input_Amount"].to_pylist() == [1, 4]
    assert table["input_amount__int64"].to_pylist() == [2, 3]


def test_awkward_names_are_kept(tmp_path: Path) -> None:
    names = ["V1 (x), y=2;{z}", "a.b", "größe", "", '"quoted"', "tab\tnew\nline", "x" * 300]
    store(tmp_path, {name: [place] for place, name in enumerate(names)})
    log = PredictionLog(tmp_path)
    for place, name in enumerate(names):
        assert log.predictions(columns=[f"input_{name}"]).read_all()[0].to_pylist() == [place]
        assert log.joined(columns=[f"input_{name}"]).read_all()[0].to_pylist() == [place]


def test_a_column_without_any_value_waits_for_its_type(tmp_path: Path) -> None:
    store(tmp_path, {"a": [1], "b": [None]}, {"a": [None], "b": ["x"]})
    assert read(tmp_path)["input_b"].to_pylist() == [None, "x"]


def test_two_model_versions_may_answer_with_different_types(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"], prediction=np.array([1]), model_version="1"))
    writer.append(redacted(["b"], prediction=["yes"], model_version="2"))
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    table = read(tmp_path)
    assert table["prediction"].to_pylist() == [1, None]
    assert table["prediction__string"].to_pylist() == [None, "yes"]
    assert table["model_version"].to_pylist() == ["1", "2"]


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([1, None], pa.array([1, None], pa.int64())),
        ([1, 0.5, None], pa.array([1.0, 0.5, None])),
        ([True, None], pa.array([True, None])),
        (["a", 1, True, 0.5, None], pa.array(["a", "1", "true", "0.5", None])),
        ([{"b": [1]}, "a"], pa.array(['{"b":[1]}', "a"])),
        ([2**53 + 1, 0.5], pa.array(["9007199254740993", "0.5"])),
        ([2**63, 1], pa.array(["9223372036854775808", "1"])),
        ([None, None], pa.nulls(2)),
    ],
)
def test_lists_of_scalars_find_one_type(values: list[Any], column: pa.Array) -> None:
    assert scalar_column(values).equals(column)


def test_unsigned_numbers_beyond_int64_become_double() -> None:
    assert array_column(np.array([2**64 - 1], np.uint64)).equals(pa.array([2.0**64]))
    assert array_column(np.array([2**63 - 1], np.uint64)).equals(pa.array([2**63 - 1]))


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from([2**53 + 1, 1.0]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(json_values, min_size=1, max_size=3), min_size=1, max_size=5), st.booleans())
def test_no_value_that_a_caller_can_send_stops_the_keeper(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Any]], one_commit: bool
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = new_writer(folder)
    keeper = Keeper(folder, ManualClock(T0_US))
    for place, values in enumerate(batches):
        ids = [f"{place}-{row}" for row in range(len(values))]
        writer.append(redacted(ids, inputs={"x": values}, context={"y": values[::-1]}))
        if not one_commit:
            keeper.run_once()
    keeper.run_once()
    table = read(folder)
    assert table.num_rows == sum(map(len, batches))
    names = [name for name in table.schema.names if name.startswith("input_x")]
    for row, value in zip(table.to_pylist(), (value for values in batches for value in values), strict=True):
        stored = [row[name] for name in names if row[name] is not None]
        assert len(stored) <= 1
        if isinstance(value, str | bool | int) or (isinstance(value, float) and not math.isnan(value)):
            assert stored in ([value], [canonical_text(value)])


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(scalars, min_size=1, max_size=3), min_size=1, max_size=4))
def test_fitting_never_changes_a_value_or_a_stored_type(batches: list[list[Any]]) -> None:
    schema = PREDICTIONS
    for values in batches:
        column = scalar_column(values)
        fitted = fit(pa.table({"input_x": column}), schema)
        merged = pa.unify_schemas([schema, fitted.table.schema])
        assert merged.names[: len(schema.names)] == schema.names
        schema = merged
        assert len(fitted.table.column_names) <= 1
        if fitted.table.column_names:
            assert fitted.table.column(0).to_pylist() == column.to_pylist()

"""Any table of the same rows gives the same verdict; tables that cannot be compared are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from small_worlds import NAMES, WINDOW, answered, inputs

from holdfast.monitor import Diagnosis, MonitorError, diagnose
from holdfast.monitor.targets import read_targets

DAY_US = 86_400_000_000
SMALL = 4


def small(seed: int, shift: float = 0.0) -> dict[str, Any]:
    x = inputs(seed, SMALL)
    x["age"] = x["age"] + shift
    frame = answered(x, seed)
    # Sixteen digits survive text.
    return {name: values.round(12) if values.dtype.kind == "f" else values for name, values in frame.items()}


def as_parquet(frame: dict[str, Any], folder: Path) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    parquet.write_table(pa.table(frame), path)
    return path


def as_csv(frame: dict[str, Any], folder: Path) -> str:
    path = folder / f"{len(list(folder.iterdir()))}.csv"
    csv.write_csv(pa.table(frame), path)
    return str(path)


FORMS: dict[str, Callable[[dict[str, Any], Path], Any]] = {
    "pandas": lambda frame, _: pd.DataFrame(frame),
    "polars": lambda frame, _: pl.DataFrame(frame),
    "pyarrow": lambda frame, _: pa.table(frame),
    "parquet": as_parquet,
    "csv": as_csv,
}


@pytest.fixture(scope="module")
def of_dicts() -> Diagnosis:
    return diagnose(small(1), small(2, shift=0.6), **NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_same_diagnosis(
    form: str, of_dicts: Diagnosis, tmp_path: Path
) -> None:
    make = FORMS[form]
    found = diagnose(make(small(1), tmp_path), make(small(2, shift=0.6), tmp_path), **NAMES)
    assert found.to_json() == of_dicts.to_json()
    assert found.kinds == ("data drift",)


def test_a_diagnosis_is_json_html_and_words(of_dicts: Diagnosis) -> None:
    document = json.loads(of_dicts.to_json())
    assert document == json.loads(json.dumps(of_dicts.to_dict()))
    assert document["verdict"] == "data drift"
    assert "Data drift" in str(of_dicts)
    assert of_dicts.to_html().startswith("<!doctype html>")


def test_html_shows_column_names_as_text() -> None:
    random = np.random.default_rng(0)
    name = "<script>alert(1)</script>"
    found = diagnose({name: random.normal(size=2000)}, {name: random.normal(2, size=2000)})
    assert found.kinds == ("data drift",)
    assert "<script>" not in found._repr_html_()
    assert "&lt;script&gt;" in found._repr_html_()


def test_rows_are_put_in_order_of_time_before_they_are_cut() -> None:
    random = np.random.default_rng(1)
    day = np.repeat(np.arange(20), 200)
    x = random.normal(size=4000) + 1.0 * (day >= 14)
    shuffled = random.permutation(4000)

    def times(days: np.ndarray) -> np.ndarray:
        return np.datetime64("2026-01-01", "us") + days * DAY_US

    found = diagnose(
        {"x": random.normal(size=4000), "at": times(np.repeat(np.arange(20), 200) - 20)},
        {"x": x[shuffled], "at": times(day)[shuffled]},
        window="1d",
    )
    assert found.since is not None
    assert found.since.estimate.startswith("2026-01-15")
    assert len(found.windows) == 20
    assert any("'at' is taken as the time" in note for note in found.notes)


@pytest.mark.parametrize("suffix", ["", "Z", "+00:00"])
def test_times_may_be_iso_text(suffix: str) -> None:
    random = np.random.default_rng(2)
    text = [f"2026-03-{1 + row // 100:02d}T00:00:00{suffix}" for row in range(2000)]
    frame = {"x": random.normal(size=2000), "at": text}
    found = diagnose(frame, frame, time="at", window="1d")
    assert len(found.windows) == 20
    assert found.windows[0].start.startswith("2026-03-01T00:00:00")


def test_windows_younger_than_the_label_delay_do_not_count_as_labelled() -> None:
    random = np.random.default_rng(3)
    day = np.repeat(np.arange(20), 200)
    at = np.datetime64("2026-01-01", "us") + day * DAY_US
    score = random.random(4000)
    truth = (random.random(4000) < score).astype(float)
    # Fraud is reported at once, its absence only after five days: young labels are all positive.
    young = day >= 15
    late = truth.copy()
    late[young & (truth == 0)] = np.nan
    old = {"score": score, "y": truth, "at": at - np.timedelta64(20, "D")}
    new = {"score": score, "y": late, "at": at}
    names: dict[str, Any] = {"target": "y", "score": "score", "time": "at", "window": "1d"}
    assert diagnose(old, new, label_delay="5d", **names).verdict == "healthy"
    assert diagnose(old, new, **names).verdict == "healthy"
    # Told that no more labels come, it takes those that are there as they are.
    taken = diagnose(old, new, label_delay="0s", **names)
    assert taken.kinds == ("data fault",)
    assert "of the positive class in every row" in taken.features[0].description
    some = late.copy()
    some[::5] = truth[::5]
    assert "concept drift" in diagnose(old, new | {"y": some}, label_delay="0s", **names).kinds


def test_a_current_table_without_the_target_is_unlabelled() -> None:
    new = small(2)
    del new["y"]
    found = diagnose(small(1), new, **NAMES)
    assert found.coverage.labelled == 0
    assert found.verdict == "healthy"


def test_a_missing_column_is_named_with_the_nearest() -> None:
    with pytest.raises(MonitorError) as caught:
        diagnose(small(1), small(2), target="yy", score="scoer")
    assert caught.value.where == "reference"
    with pytest.raises(MonitorError, match="scoer") as caught:
        diagnose(small(1), small(2), target="y", score="scoer")
    assert caught.value.next_step == "Did you mean 'score'?"


def test_an_empty_table_is_refused_with_its_role() -> None:
    empty = {name: values[:0] for name, values in small(1).items()}
    with pytest.raises(MonitorError, match="reference"):
        diagnose(empty, small(2), **NAMES)
    with pytest.raises(MonitorError, match="current"):
        diagnose(small(1), empty, **NAMES)


def test_windows_by_time_need_times() -> None:
    with pytest.raises(MonitorError, match="time column") as caught:
        diagnose(small(1), small(2), window="1d")
    assert caught.value.where == "window"


def test_a_score_of_text_is_refused() -> None:
    with pytest.raises(MonitorError, match="no number") as caught:
        diagnose(small(1), small(2), target="y", score="ward")
    assert caught.value.where == "ward"


def test_a_target_of_one_class_is_refused() -> None:
    with pytest.raises(MonitorError, match="one class"):
        diagnose(small(1) | {"y": np.ones(SMALL * WINDOW)}, small(2), **NAMES)


def test_a_time_column_of_numbers_is_refused() -> None:
    with pytest.raises(MonitorError, match="no times") as caught:
        diagnose(small(1), small(2), time="age")
    assert caught.value.where == "reference.age"


def test_something_that_is_no_table_is_refused() -> None:
    with pytest.raises(MonitorError):
        diagnose(7, small(2))


def test_a_file_that_is_not_there_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(MonitorError) as caught:
        diagnose(tmp_path / "gone.parquet", small(2))
    assert "gone.parquet" in str(caught.value)


def test_identifiers_and_further_columns_are_left_out_and_noted() -> None:
    old = small(1) | {"id": [f"a{row}" for row in range(SMALL * WINDOW)]}
    new = small(2) | {"id": [f"b{row}" for row in range(SMALL * WINDOW)], "extra": np.ones(SMALL * WINDOW)}
    found = diagnose(old, new, **NAMES)
    assert found.verdict == "healthy"
    assert any("'id' is not judged" in note for note in found.notes)
    assert any("extra" in note for note in found.notes)


def test_a_reference_compared_with_itself_is_healthy_even_as_one_window() -> None:
    frame = small(1)
    for window in (None, "100000 rows", "500 rows"):
        found = diagnose(frame, frame, target="y", score="score", window=window)
        assert found.verdict == "healthy"


def test_a_handful_of_rows_is_judged_without_failing() -> None:
    few = {name: values[:3] for name, values in small(1).items()}
    assert diagnose(few, few).coverage.rows == 3


def test_columns_without_any_value_are_no_trouble() -> None:
    empty = {"gone": np.full(SMALL * WINDOW, np.nan), "still": np.full(SMALL * WINDOW, 7.0)}
    assert diagnose(small(1) | empty, small(2) | empty, **NAMES).verdict == "healthy"


def test_large_files_are_judged_in_batches_as_small_ones_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(3)

    def written(name: str, rows: int, shift: float) -> str:
        columns = {
            "x": random.normal(size=rows) + shift * (np.arange(rows) >= rows // 2),
            "word": random.choice(["a", "b", "c"], rows),
            "n": random.poisson(3, rows),
        }
        path = tmp_path / name
        parquet.write_table(pa.table(columns), path, row_group_size=3000)
        return str(path)

    old, new = written("old.parquet", 10_000, 0.0), written("new.parquet", 20_000, 0.3)
    whole = diagnose(old, new)
    monkeypatch.setattr("holdfast.monitor.streams.LARGE_ROWS", 1000)
    streamed = diagnose(old, new)
    assert streamed.kinds == whole.kinds == ("data drift",)
    assert [one.name for one in streamed.features] == [one.name for one in whole.features] == ["x"]
    assert streamed.since == whole.since
    assert streamed.coverage == whole.coverage


def test_a_type_that_differs_between_large_files_is_told_as_a_change_of_the_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(4).normal(size=2000).round(3)
    old = as_parquet({"number": x, "text": x.astype(str), "same": x}, tmp_path)
    new = as_parquet({"number": x.astype(str), "text": x, "same": x.astype(np.float32)}, tmp_path)
    monkeypatch.setattr("holdfast.monitor.streams.LARGE_ROWS", 1000)
    told = [note for note in diagnose(old, new).notes if note.startswith("The schema changed")]
    assert len(told) == 1
    assert "'number' was double in the reference and is string now" in told[0]
    assert "missing in every row" in told[0]


@pytest.mark.parametrize("speaks", ["arrow", "pandas", "chunks"])
def test_a_large_table_in_memory_gives_the_report_of_the_same_rows_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speaks: str
) -> None:
    random = np.random.default_rng(3)

    def drawn(rows: int, shift: float) -> pa.Table:
        x = random.normal(size=rows) + shift * (np.arange(rows) >= rows // 2)
        x[17], x[18], x[19] = np.nan, np.inf, 40.0  # of the reference's own: in the first group
        return pa.table(
            {
                "x": pa.array(x, from_pandas=True),
                "word": pa.array(random.choice(["a", "b", "-"], rows)).dictionary_encode(),
                "n": random.poisson(3, rows),
                "yes": random.random(rows) < 0.4,
            }
        )

    tables = drawn(20_000, 0.0), drawn(20_000, 0.3)
    paths = [str(tmp_path / name) for name in ("old.parquet", "new.parquet")]
    for path, table in zip(paths, tables, strict=True):
        parquet.write_table(table, path, row_group_size=10_000)
    monkeypatch.setattr("holdfast.monitor.streams.LARGE_ROWS", 1000)
    monkeypatch.setattr("holdfast.monitor.two_tables.MOST_PARTED_ROWS", 1000)
    monkeypatch.setattr("holdfast.monitor.row_sources._GROUP_ROWS", 1 << 14)
    frames: list[Any] = list(tables)
    if speaks == "pandas":
        frames = [table.to_pandas() for table in tables]
    elif speaks == "chunks":
        frames = [pa.concat_tables([table.slice(0, 7001), table.slice(7001)]) for table in tables]
    assert diagnose(*frames).to_json() == diagnose(*paths).to_json()


def test_a_large_table_out_of_order_is_put_in_order_of_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)

    def drawn(first: int, shift: float) -> pa.Table:
        seconds = first + np.arange(8000)
        x = random.normal(size=8000) + shift * (seconds >= first + 4000)
        order = random.permutation(8000)
        return pa.table({"x": x[order], "at": (seconds[order] * 1_000_000).astype("datetime64[us]")})

    monkeypatch.setattr("holdfast.monitor.two_tables.MOST_PARTED_ROWS", 1000)
    found = diagnose(drawn(0, 0.0), drawn(8000, 0.5), time="at", window="400 rows")
    alarms = [window.alarm for window in found.windows]
    assert found.kinds == ("data drift",)
    assert alarms.index(True) == 10
    assert all(alarms[10:])


def test_a_damaged_large_file_ends_with_its_error_and_nobody_waits_for_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(4)
    paths = [tmp_path / name for name in ("old.parquet", "new.parquet")]
    for path in paths:
        # Eight groups: the sample is of the first, the fifth and the last.
        parquet.write_table(pa.table({"x": random.normal(size=8000)}), path, row_group_size=1000)
    groups = parquet.ParquetFile(paths[1]).metadata
    place = groups.row_group(2).column(0).data_page_offset
    with paths[1].open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 64)
    monkeypatch.setattr("holdfast.monitor.streams.LARGE_ROWS", 1000)
    with pytest.raises((OSError, pa.ArrowException)):
        diagnose(*map(str, paths))


@pytest.mark.parametrize("name", ["overall", "rows", "score", "time"])
def test_columns_may_be_called_as_what_is_of_no_column(name: str) -> None:
    random = np.random.default_rng(6)
    before, after = ({name: random.normal(shift, 1, 2000)} for shift in (0, 1))
    found = diagnose(before, after)
    assert f"Most in: {name}." in found.summary
    assert "Left out" not in found.summary
    assert [one.of_column for one in found.features] == [True]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"a": pa.nulls(50)}, r"no column to judge.*received a: null"),
        ({"y": [0, 1] * 25}, r"no column to judge.*received y: int64"),
        (
            {"a": np.arange(50.0), "y": [[1.0]] * 50},
            r"reference\.y: the target is neither .*list<item",
        ),
    ],
)
def test_tables_with_nothing_to_judge_are_refused_by_what_they_hold(table: dict[str, Any], said: str) -> None:
    with pytest.raises(MonitorError, match=said):
        diagnose(pa.table(table), pa.table(table), target="y" if "y" in table else None)


def test_an_answer_that_no_labelled_row_of_the_reference_has_is_as_right_as_all_are() -> None:
    truth, answer = ["a", "b", "c", None] * 50, ["a", "b", "b", "c"] * 50
    table = pa.table({"x": np.random.default_rng(7).normal(size=200), "y": truth, "said": answer})
    found = read_targets(table, table, target="y", prediction="said", score=None, inputs=["x"])
    assert found.old_score is not None
    assert found.old_score[3] == pytest.approx(2 / 3)

"""Labels from files reach their predictions."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from log_records import T0_US, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import (
    Keeper,
    Label,
    LabelFileReport,
    PredictionLog,
    PredictionLogError,
    add_label_file,
)
from holdfast.spec import Deployment

CLOCK = ManualClock(T0_US)


def write(path: Path, columns: dict[str, Any]) -> Path:
    table = pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pcsv.write_csv(table, path)
    else:
        path.write_text("\n".join(json.dumps(row, default=str) for row in table.to_pylist()))
    return path


def add(deployment: Deployment, source: Path, **columns: str | None) -> LabelFileReport:
    names = {"id_column": "prediction_id", "label_column": None, "time_column": None} | columns
    return add_label_file(deployment, source, clock=CLOCK, **names)  # type: ignore[arg-type]  # checked names


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "fraud"\n')
    return Deployment.open(tmp_path, {})


def labels(deployment: Deployment) -> dict[str, tuple[str | None, datetime]]:
    rows = PredictionLog(deployment).labels().read_all().to_pylist()
    return {row["prediction_id"]: (row["y"], row["observed_at"]) for row in rows}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_each_kind_of_file_gives_the_same_labels(deployment: Deployment, tmp_path: Path, suffix: str) -> None:
    known = datetime(2026, 5, 1, 12, tzinfo=UTC)
    source = write(
        tmp_path / f"labels{suffix}",
        {"prediction_id": ["a", "b"], "label": [1, 0], "observed_at": [known, known]},
    )
    report = add(deployment, source)
    assert report == LabelFileReport(accepted=2, without_label=0)
    assert str(report) == "Accepted 2 labels."
    assert labels(deployment) == {"a": ("1", known), "b": ("0", known)}


def test_labels_of_a_spreadsheet_with_semicolons_and_decimal_commas_are_numbers(
    deployment: Deployment, tmp_path: Path
) -> None:
    source = tmp_path / "labels.csv"
    source.write_text("\ufeffprediction_id;label\na;381333,34\nb;2\n")
    add(deployment, source)
    assert {name: y for name, (y, _) in labels(deployment).items()} == {"a": "381333.34", "b": "2"}


def test_labels_in_packed_csv_are_read(deployment: Deployment, tmp_path: Path) -> None:
    source = tmp_path / "labels.csv.gz"
    source.write_bytes(gzip.compress(b"prediction_id,label\n007,yes\nb,\n"))
    assert add(deployment, source) == LabelFileReport(accepted=1, without_label=1)
    assert {name: y for name, (y, _) in labels(deployment).items()} == {"007": "yes"}


def test_labels_in_csv_that_was_exported_find_ids_that_look_like_formulas(
    deployment: Deployment, tmp_path: Path
) -> None:
    writer = new_writer(deployment.log_folder)
    writer.append(redacted(["=a", "@b", "-1"]))
    writer.append_labels([Label("=a", "+high", T0_US), Label("@b", "low", T0_US)])
    writer.close()
    Keeper(deployment.log_folder, CLOCK).run_once()
    PredictionLog(deployment).export(tmp_path / "rows.csv", "csv")
    assert '"\'=a"' in (tmp_path / "rows.csv").read_text()
    assert add(deployment, tmp_path / "rows.csv") == LabelFileReport(accepted=2, without_label=1)
    assert {name: y for name, (y, _) in labels(deployment).items()} == {"=a": "+high", "@b": "low"}
    assert PredictionLog(deployment).count().labelled == 2


def test_the_same_file_twice_changes_nothing(deployment: Deployment, tmp_path: Path) -> None:
    writer = new_writer(deployment.log_folder)
    writer.append(redacted(["a", "b"]))
    source = write(tmp_path / "labels.csv", {"prediction_id": ["a"], "y": ["fraud"]})
    add(deployment, source)
    before = labels(deployment)
    add(deployment, source)
    assert labels(deployment) == before == {"a": ("fraud", datetime.fromtimestamp(T0_US / 1e6, UTC))}
    assert PredictionLog(deployment).count().labelled == 1


def test_columns_may_have_other_names_and_ids_may_be_numbers(deployment: Deployment, tmp_path: Path) -> None:
    source = write(
        tmp_path / "fraud.parquet",
        {"TRANSACTION_ID": [17, 18], "TX_FRAUD": [True, None], "seen": [date(2026, 5, 1), date(2026, 5, 2)]},
    )
    report = add(deployment, source, id_column="TRANSACTION_ID", label_column="TX_FRAUD", time_column="seen")
    assert report == LabelFileReport(accepted=1, without_label=1)
    assert labels(deployment) == {"17": ("true", datetime(2026, 5, 1, tzinfo=UTC))}


def test_text_times_are_read_as_utc_unless_they_say_otherwise(deployment: Deployment, tmp_path: Path) -> None:
    source = write(
        tmp_path / "labels.parquet",
        {
            "prediction_id": ["a", "b", "c"],
            "label": [1, 1, 1],
            "observed_at": ["2026-05-01T10:00:00", "2026-05-01T12:00:00+02:00", None],
        },
    )
    add(deployment, source)
    ten = datetime(2026, 5, 1, 10, tzinfo=UTC)
    found = labels(deployment)
    assert (found["a"][1], found["b"][1]) == (ten, ten)
    assert found["c"][1] == datetime.fromtimestamp(T0_US / 1e6, UTC)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("a.parquet", {"prediction_ids": ["a"], "label": [1]}, "Did you mean 'prediction_ids'"),
        ("a.parquet", {"prediction_id": ["a", None], "label": [1, 1]}, "row 2|no prediction id"),
        ("a.parquet", {"prediction_id": ["a"], "truth": [1]}, "there is no column 'label'"),
        (
            "a.parquet",
            {"prediction_id": ["a"], "label": [1], "observed_at": [17]},
            "row 1: the time is no time",
        ),
        (
            "a.csv",
            {"prediction_id": ["a"], "label": [1], "observed_at": ["soon"]},
            "row 1: the time is no time",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    deployment: Deployment, tmp_path: Path, name: str, columns: dict[str, Any], message: str
) -> None:
    source = write(tmp_path / name, columns)
    with pytest.raises(PredictionLogError, match=message):
        add(deployment, source)
    assert PredictionLog(deployment).count().label_revisions == 0


def test_a_file_that_cannot_be_read_is_an_error_of_the_log(deployment: Deployment, tmp_path: Path) -> None:
    for name, content in {"a.xlsx": b"PK", "b.parquet": b"no", "c.csv": b"a,b\n1\n1,2,3\n"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PredictionLogError, match=name):
            add(deployment, tmp_path / name)
    with pytest.raises(PredictionLogError, match="missing"):
        add(deployment, tmp_path / "missing.csv")


def test_numbers_in_csv_ids_stay_as_they_are_written(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("prediction_id,label\n007,1\n")
    add(deployment, tmp_path / "labels.csv")
    assert set(labels(deployment)) == {"007"}


def test_labels_that_are_no_numbers_are_left_out_with_their_row_where_the_model_answers_with_numbers(
    deployment: Deployment, tmp_path: Path
) -> None:
    source = write(
        tmp_path / "labels.csv", {"prediction_id": ["a", "b", "c", "d"], "label": ["1.5", "dear", "", "2"]}
    )
    names = {"id_column": "prediction_id", "label_column": None, "time_column": None}
    report = add_label_file(deployment, source, clock=CLOCK, of_numbers=True, **names)  # type: ignore[arg-type]  # checked names
    assert (report.accepted, report.without_label, report.unfit, report.first_unfit_row) == (2, 1, 1, 2)
    assert "Left out row 2: the label is no number" in str(report)
    assert {name: y for name, (y, _) in labels(deployment).items()} == {"a": "1.5", "d": "2"}
    alone = write(tmp_path / "words.csv", {"prediction_id": ["a"], "label": ["dear"]})
    with pytest.raises(PredictionLogError, match=r"column label: the labels are no numbers"):
        add_label_file(deployment, alone, clock=CLOCK, of_numbers=True, **names)  # type: ignore[arg-type]  # checked names
    assert add(deployment, alone).accepted == 1

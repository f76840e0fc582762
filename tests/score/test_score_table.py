"""A table in, the same table with answers out, and nothing half done."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from small_deployments import deployment, outcomes, sensor_model, sensor_table, ward_model, ward_table

from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog, settle
from holdfast.registry import Registry
from holdfast.runtime import RuntimeFailure
from holdfast.score import BadRowError, ScoreError, ScoreReport, TableError, load, predict, score_table
from holdfast.spec import Deployment
from holdfast.spec.checklist import Compute

Score = Callable[..., ScoreReport]
REFERENCE = ward_table(400)


@pytest.fixture(scope="module")
def wards(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    labels = outcomes(REFERENCE)
    return deployment(tmp_path_factory.mktemp("wards"), ward_model(REFERENCE, labels), REFERENCE, labels)


@pytest.fixture(scope="module")
def sensors(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    table = sensor_table(300)
    model, labels = sensor_model(table)
    return deployment(tmp_path_factory.mktemp("sensors"), model, table, labels)


def score(one: Deployment, source: Path, target: Path, **more: Any) -> ScoreReport:
    with Registry.open(one.registry_url, SystemClock()) as registry:
        return score_table(one, registry, source, target, **more)


def with_checklist(one: Deployment, text: str) -> Deployment:
    (one.folder / "holdfast.toml").write_text(f'[model]\nname = "clinic"\n{text}')
    return Deployment.open(one.folder, {})


def test_parquet_comes_out_with_every_column_it_had_and_the_answers_beside(
    wards: Deployment, tmp_path: Path
) -> None:
    table = ward_table(1000, seed=3).append_column("note", pa.array([{"a": i} for i in range(1000)]))
    parquet.write_table(table, tmp_path / "in.parquet")
    report = score(wards, tmp_path / "in.parquet", tmp_path / "out.parquet", block_rows=300)
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(table)
    assert found.column_names[len(table.column_names) :] == [
        "prediction_id", "prediction", "score", "probability_0", "probability_1", "model_version",
    ]  # fmt: skip
    assert report.rows == report.scored == report.logged == 1000
    assert set(found["model_version"].to_pylist()) == {"1"}
    scores, predictions = found["score"].to_numpy(), found["prediction"].to_numpy()
    assert np.array_equal(scores, found["probability_1"].to_numpy())
    assert np.array_equal(predictions, (scores > 0.5).astype(int))


def test_csv_gives_the_same_numbers_as_parquet_and_keeps_its_other_columns_as_written(
    wards: Deployment, tmp_path: Path
) -> None:
    table = ward_table(500, seed=4)
    parquet.write_table(table, tmp_path / "in.parquet")
    csv.write_csv(table.append_column("code", pa.array(["007"] * 500)), tmp_path / "in.csv")
    score(wards, tmp_path / "in.parquet", tmp_path / "a.parquet", log=False)
    score(wards, tmp_path / "in.csv", tmp_path / "b.parquet", log=False)
    score(wards, tmp_path / "in.csv", tmp_path / "c.csv", log=False)
    one, other = parquet.read_table(tmp_path / "a.parquet"), parquet.read_table(tmp_path / "b.parquet")
    for name in ("prediction", "score", "probability_0"):
        assert one[name].equals(other[name])
    assert set(other["code"].to_pylist()) == {"007"}
    again = csv.read_csv(tmp_path / "c.csv")
    assert again["score"].equals(one["score"])


def test_the_size_of_a_block_changes_no_bit(sensors: Deployment, wards: Deployment, tmp_path: Path) -> None:
    for one, table in ((sensors, sensor_table(257, seed=5)), (wards, ward_table(257, seed=5))):
        parquet.write_table(table, tmp_path / "in.parquet")
        answers = []
        for block_rows in (1, 2, 7, 64, 257):
            score(one, tmp_path / "in.parquet", tmp_path / "out.parquet", block_rows=block_rows, log=False)
            answers.append(parquet.read_table(tmp_path / "out.parquet").drop_columns(["prediction_id"]))
        assert all(found.equals(answers[0]) for found in answers)


def test_the_log_holds_every_row_as_the_batch_arm_under_the_id_in_the_target(
    wards: Deployment, tmp_path: Path
) -> None:
    table = ward_table(120, seed=6)
    parquet.write_table(table, tmp_path / "in.parquet")
    score(wards, tmp_path / "in.parquet", tmp_path / "out.parquet", block_rows=50)
    found = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    log = PredictionLog(wards.log_folder)
    logged = {row["prediction_id"]: row for row in log.predictions().read_all().to_pylist()}
    for row in found:
        entry = logged[row["prediction_id"]]
        assert entry["arm"] == "batch"
        assert entry["score"] == row["score"]
        assert entry["input_ward"] == row["ward"]
        assert entry["input_age"] == row["age"] or (math.isnan(entry["input_age"]) and row["age"] is None)
    assert log.verify().ok


def test_ids_times_and_context_of_the_table_are_honoured(tmp_path: Path) -> None:
    labels = outcomes(REFERENCE)
    checklist = (
        '[predictions]\nid_field = "case"\ntime_field = "admitted"\n[logging]\ncontext_fields = ["nurse"]\n'
    )
    one = deployment(tmp_path / "d", ward_model(REFERENCE, labels), REFERENCE, labels, checklist)
    table = ward_table(3, seed=7)
    table = table.append_column("case", pa.array(["c1", None, "c3"]))
    table = table.append_column(
        "admitted", pa.array([10**15, 10**15 + 5, None], pa.timestamp("us", tz="UTC"))
    )
    table = table.append_column("nurse", pa.array(["x", "y", None]))
    parquet.write_table(table, tmp_path / "in.parquet")
    score(one, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["prediction_id"] for row in found][::2] == ["c1", "c3"]
    assert found[1]["prediction_id"]
    logged = {
        row["prediction_id"]: row
        for row in PredictionLog(one.log_folder).predictions().read_all().to_pylist()
    }
    assert logged["c1"]["time"].timestamp() == 10**9
    assert logged[found[1]["prediction_id"]]["context_nurse"] == "y"
    assert logged["c3"]["time"].timestamp() > 10**9


def test_a_bad_row_stops_the_run_before_anything_is_answered_or_logged(
    wards: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text(
        "age,visits,ward,urgent\n61,3,north,true\n70,2,south,false\nold,1,north,true\n"
    )
    before = PredictionLog(wards.log_folder).count().predictions
    with pytest.raises(BadRowError) as caught:
        score(wards, tmp_path / "in.csv", tmp_path / "out.csv", block_rows=1)
    assert caught.value.where == f"{tmp_path / 'in.csv'}: row 3, column 'age'"
    assert "old" not in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["in.csv"]
    assert PredictionLog(wards.log_folder).count().predictions == before


def test_bad_rows_can_be_left_out_counted_and_named(wards: Deployment, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(
        "age,visits,ward,urgent\n61,3,north,true\nold,1.5,south,false\n70,2\n,4,north,0\n50,5,north,perhaps\n"
    )
    report = score(wards, tmp_path / "in.csv", tmp_path / "out.csv", on_error="skip", block_rows=2)
    assert (report.rows, report.scored, report.skipped) == (5, 2, 3)
    assert report.errors_file == str(tmp_path / "out.csv.errors.jsonl")
    named = [json.loads(line) for line in Path(report.errors_file).read_text().splitlines()]
    assert sorted({(one["row"], one.get("column")) for one in named}, key=str) == [
        (2, "age"), (2, "visits"), (3, None), (5, "urgent"),
    ]  # fmt: skip
    assert csv.read_csv(tmp_path / "out.csv")["visits"].to_pylist() == [3, 4]
    (tmp_path / "in.csv").write_text("age,visits,ward,urgent\n61,3,north,true\n")
    assert score(wards, tmp_path / "in.csv", tmp_path / "out.csv", on_error="skip").skipped == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_a_row_with_too_few_fields_stops_the_run(wards: Deployment, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("age,visits,ward,urgent\n61,3,north,true\n70,2\n")
    with pytest.raises(BadRowError, match="row 2: the row has too few or too many fields"):
        score(wards, tmp_path / "in.csv", tmp_path / "out.csv")


def test_a_table_that_was_scored_before_is_not_silently_overwritten(
    wards: Deployment, tmp_path: Path
) -> None:
    parquet.write_table(ward_table(5), tmp_path / "in.parquet")
    score(wards, tmp_path / "in.parquet", tmp_path / "once.parquet", log=False)
    with pytest.raises(TableError, match="already has a column of that name"):
        score(wards, tmp_path / "once.parquet", tmp_path / "twice.parquet", log=False)


def test_without_the_log_nothing_is_logged(wards: Deployment, tmp_path: Path) -> None:
    parquet.write_table(ward_table(5), tmp_path / "in.parquet")
    before = PredictionLog(wards.log_folder).count().predictions
    report = score(wards, tmp_path / "in.parquet", tmp_path / "out.parquet", log=False)
    assert report.logged == 0
    assert PredictionLog(wards.log_folder).count().predictions == before


def test_an_empty_table_gives_an_empty_table(wards: Deployment, tmp_path: Path) -> None:
    parquet.write_table(ward_table(5).slice(0, 0), tmp_path / "in.parquet")
    report = score(wards, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert report.rows == 0
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 0


def test_progress_is_told_after_every_block(wards: Deployment, tmp_path: Path) -> None:
    parquet.write_table(ward_table(25), tmp_path / "in.parquet")
    told: list[tuple[int, int | None]] = []
    score(
        wards, tmp_path / "in.parquet", tmp_path / "out.parquet", block_rows=10, log=False,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(10, 25), (20, 25), (25, 25)]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(sensors: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    block = sensor_table(50_000)
    with parquet.ParquetWriter(path, block.schema) as writer:
        for _ in range(16):
            writer.write_table(block, row_group_size=50_000)
    small = tmp_path / "small.parquet"
    parquet.write_table(block, small, row_group_size=50_000)
    score(sensors, small, tmp_path / "out.parquet", log=False)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = score(sensors, path, tmp_path / "out.parquet", log=False)
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert report.rows == 800_000
    # The table holds 128 MB of doubles; the peak may not grow by a quarter of that.
    assert after_kb - before_kb < 32_000


def test_what_runs_the_model_is_what_the_checklist_says(wards: Deployment, tmp_path: Path) -> None:
    import onnxruntime

    parquet.write_table(ward_table(50, seed=3), tmp_path / "in.parquet")
    score(wards, tmp_path / "in.parquet", tmp_path / "one.parquet")
    threaded = msgspec.structs.replace(wards.checklist, compute=Compute(threads=3, arena=False))
    asked: list[int] = []
    session = onnxruntime.InferenceSession

    def opened(*arguments: Any, **more: Any) -> Any:
        made = session(*arguments, **more)
        asked.append(made.get_session_options().intra_op_num_threads)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", opened)
        three = replace(wards, checklist=threaded)
        score(three, tmp_path / "in.parquet", tmp_path / "three.parquet")
    assert asked == [3]
    one, again = (parquet.read_table(tmp_path / f"{name}.parquet") for name in ("one", "three"))
    assert one.column("prediction").equals(again.column("prediction"))
    absent = msgspec.structs.replace(wards.checklist, compute=Compute(accelerator="tensorrt"))
    with pytest.raises(RuntimeFailure, match=r"\[compute\] accelerator"):
        score(replace(wards, checklist=absent), tmp_path / "in.parquet", tmp_path / "no.parquet")
    assert not (tmp_path / "no.parquet").exists()


def test_the_library_answers_records_columns_and_frames_alike(wards: Deployment) -> None:
    import pandas as pd
    import polars as pl

    table = ward_table(20, seed=8)
    records = table.to_pylist()
    with load(wards.folder) as model:
        wanted = model.predict(table)
        assert wanted.score is not None
        for rows in (
            records,
            table.to_pydict(),
            pl.DataFrame(table),
            pd.DataFrame(records).assign(age=table["age"].to_pandas()),
            {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names},
        ):
            found = model.predict(rows)
            assert found.to_arrow().equals(wanted.to_arrow())
        single = model.predict(records[0])
        assert len(single) == 1
        assert single.prediction[0] == wanted.prediction[0]
    assert predict(wards.folder, records).to_arrow().equals(wanted.to_arrow())


_KILLED = """
import os, sys
from pathlib import Path
from holdfast.registry import Registry
from holdfast.clock import SystemClock
from holdfast.score import score_table
from holdfast.score.files import TableWriter
from holdfast.spec import Deployment

folder, source, target, where = sys.argv[1:]
finish = TableWriter.finish

def killed(self):
    if where == "after":
        finish(self)
    os.kill(os.getpid(), 9)

TableWriter.finish = killed
deployment = Deployment.open(Path(folder), os.environ)
with Registry.open(deployment.registry_url, SystemClock()) as registry:
    score_table(deployment, registry, Path(source), Path(target))
"""


@pytest.mark.parametrize(("where", "logged"), [("before", 0), ("after", 5)])
def test_a_run_that_was_killed_is_in_the_log_exactly_as_its_target_is_there(
    wards: Deployment, tmp_path: Path, where: str, logged: int
) -> None:
    parquet.write_table(ward_table(5), tmp_path / "in.parquet")
    target = tmp_path / "out.parquet"
    settle(wards, SystemClock())
    before = PredictionLog(wards).count().predictions
    command = [
        sys.executable,
        "-c",
        _KILLED,
        str(wards.folder),
        str(tmp_path / "in.parquet"),
        str(target),
        where,
    ]
    assert subprocess.run(command, check=False).returncode == -9
    settle(wards, SystemClock())
    assert target.exists() == bool(logged)
    assert PredictionLog(wards).count().predictions == before + logged
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []
    if not logged:
        score(wards, tmp_path / "in.parquet", target)
        assert PredictionLog(wards).count().predictions == before + 5
    ids = set(parquet.read_table(target)["prediction_id"].to_pylist())
    held = PredictionLog(wards).predictions(columns=["prediction_id"]).read_all()["prediction_id"]
    assert ids <= set(held.to_pylist())
    assert PredictionLog(wards).verify().ok


def test_no_row_is_answered_with_no_answer(wards: Deployment) -> None:
    with load(wards.folder) as model:
        none = REFERENCE.slice(0, 0)
        nothing: tuple[Any, ...] = ([], none, none.to_pandas())
        for rows in nothing:
            found = model.predict(rows)
            assert len(found.prediction) == 0
            assert found.to_arrow().column_names == model.predict(REFERENCE).to_arrow().column_names


def test_a_closed_model_says_that_it_is_closed(wards: Deployment) -> None:
    model = load(wards.folder)
    model.close()
    with pytest.raises(ScoreError, match="the model is closed"):
        model.predict(REFERENCE.slice(0, 1))

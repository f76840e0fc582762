"""Logs that earlier versions wrote are read for ever; `tests/golden/write_log_v1.py` says what they hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.clock import ManualClock
from holdfast.prediction_log import Counts, Keeper, PredictionLog, is_sampled
from holdfast.privacy import Sealer, SubjectStore, subject_pseudonym

GOLDEN = Path(__file__).parent.parent / "golden"
START_US = 1_790_000_000_000_000


@pytest.fixture(params=["log-v1"])
def log_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN / request.param, tmp_path / "log")
    return tmp_path / "log"


def rows_by_id(log: PredictionLog) -> dict[str, dict[str, Any]]:
    return {row["prediction_id"]: row for row in log.joined().read_all().to_pylist()}


def test_committed_rows_are_read_and_spooled_rows_are_still_counted(log_folder: Path) -> None:
    log = PredictionLog(log_folder)
    stored = [f"committed-{row}" for row in range(8) if is_sampled(f"committed-{row}", 0.5)]
    assert sorted(rows_by_id(log)) == stored
    ledger = log.ledger()
    assert (ledger.served, ledger.stored, ledger.spooled) == (8 + 4 + 1, len(stored), 4 + 1)
    assert (ledger.sampled_out, ledger.unaccounted) == (8 - len(stored), 0)


def test_spooled_rows_are_committed_as_they_were_written(log_folder: Path) -> None:
    report = Keeper(log_folder, ManualClock(START_US)).run_once()
    assert (report.predictions, report.labels, report.torn_records) == (5, 2, 1)
    assert report.kept_apart == (("input_shop", "input_shop__double"),)
    log = PredictionLog(log_folder)
    rows = rows_by_id(log)
    assert [rows[f"clean-{row}"]["input_amount"] for row in range(4)] == [0.5, 5.0, 9.5, None]
    assert [rows[f"clean-{row}"]["input_visits"] for row in range(3)] == [2**53, 2**53 + 1, 2**53 + 2]
    assert [rows[f"clean-{row}"]["input_online"] for row in range(3)] == [True, False, True]
    assert [rows[f"clean-{row}"]["input_shop"] for row in range(3)] == ["corner", None, "größe"]
    assert [rows[f"clean-{row}"]["input_age"] for row in range(3)] == [41, None, 7]
    assert rows["clean-1"]["input_thumbnail"] == [4, 5, 6, 7]
    assert rows["clean-3"]["input_shop__double"] == 17.0
    assert [rows[f"clean-{row}"]["prediction"] for row in range(3)] == ["fraud", "fine", "fine"]
    assert rows["clean-2"]["probabilities"] == pytest.approx([0.8, 1.0])
    assert rows["clean-2"]["score"] == 1.0
    assert rows["clean-0"]["subject"] == subject_pseudonym(b"golden key of the first format", "c0")
    assert [rows[f"clean-{row}"]["consent"] for row in range(3)] == [True, None, False]
    assert (rows["clean-0"]["y"], rows["torn-0"]["y"]) == ("fraud", None)
    assert rows["clean-1"]["time"].timestamp() == (START_US + 1) / 1e6
    assert {row["device"] for name, row in rows.items() if name.startswith("committed")} == {"press-7"}
    assert log.count() == Counts(
        predictions=len(rows), labels=2, label_revisions=4, labelled=1, unknown_labels=1
    )
    verified = log.verify()
    assert verified.ok
    assert verified.torn_records == 1


def test_every_value_is_the_one_that_was_read_when_the_log_was_written(log_folder: Path) -> None:
    Keeper(log_folder, ManualClock(START_US)).run_once()
    log = PredictionLog(log_folder)
    expected = json.loads((log_folder / "expected.json").read_text())
    rows = json.loads(json.dumps(list(rows_by_id(log).values()), default=str))
    labels = json.loads(json.dumps(log.labels(history=True).read_all().to_pylist(), default=str))
    assert sorted(rows, key=lambda row: str(row["prediction_id"])) == expected["rows"]
    assert sorted(labels, key=lambda row: (row["replica"], row["sequence"])) == expected["labels"]


def test_a_hole_in_a_golden_spool_is_named(log_folder: Path) -> None:
    clean = next(log_folder.glob("spool/clean-*-00000000.spool"))
    data = bytearray(clean.read_bytes())
    data[-60] ^= 1
    clean.write_bytes(data)
    verified = PredictionLog(log_folder).verify()
    assert not verified.ok
    assert verified.missing_rows == sum(hole.rows for hole in verified.holes) > 0
    assert all(hole.replica in clean.name for hole in verified.holes)


@pytest.fixture
def large_folder(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN / "log-large-v1", tmp_path / "large")
    return tmp_path / "large"


def test_large_inputs_of_the_first_format_are_read_verified_and_unsealed(large_folder: Path) -> None:
    """See `tests/golden/write_log_large_v1.py`."""
    clock = ManualClock(START_US)
    Keeper(large_folder / "log", clock, retains=False).run_once()
    log = PredictionLog(large_folder / "log")
    photos = np.arange(3 * 2 * 3 * 4, dtype=np.uint8).reshape(3, 2, 3, 4)
    photos[2] = photos[0]
    sounds = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
    with SubjectStore(large_folder) as store:
        sealer = Sealer(store, bytes(range(32)), clock)
        for prefix in ("plain", "sealed"):
            rows = rows_by_id(log)
            for at in range(3):
                row = rows[f"{prefix}-{at}"]
                photo = log.large_input(row["large_photo"], sealer=sealer, subject=row["subject"])
                np.testing.assert_array_equal(photo, photos[at])
                np.testing.assert_array_equal(log.large_input(row["large_sound"]), sounds[at])
        features = sealer.open_table(log.predictions().read_all())["feature_photo_brightness"].to_pylist()
        assert sorted(features) == [0.25] * 4 + [0.5] * 2
    verified = log.verify()
    assert (verified.ok, verified.large_inputs) == (True, 2 + 3 + 3)

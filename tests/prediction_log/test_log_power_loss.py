"""With durability "synced", what was acknowledged is there when the power comes back."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import pytest
from log_records import T0_US, ids_of, new_writer, redacted
from power_loss import PowerDisk

from holdfast.clock import ManualClock
from holdfast.prediction_log import Label, PredictionLog, settle

CLOCK = ManualClock(T0_US)


def acknowledged_before_a_loss(
    root: Path, disk: PowerDisk, random: Random, durability: Literal["process", "synced"], target: Path
) -> tuple[set[str], set[str]]:
    """Two writers log rows, labels and large inputs until the power goes; what they had answered by then."""
    rows: set[str] = set()
    labels: set[str] = set()
    writers = [
        new_writer(root / "log", CLOCK, replica=f"w{number}", durability=durability, segment_bytes=3_000)
        for number in range(2)
    ]
    for turn in range(random.randint(1, 25)):
        writer = random.choice(writers)
        ids = ids_of(f"t{turn}", random.randint(1, 3))
        large = {}
        if random.random() < 0.3:
            large = {"photo": np.full((len(ids), 20, 20), random.randint(0, 3), np.float32)}
        writer.append(redacted(ids, large=large))
        label = random.random() < 0.3
        if label:
            writer.append_labels([Label(ids[0], 1, T0_US)])
        if random.random() < 0.2:
            continue  # the power goes, perhaps, before these are synced: nobody had an answer
        writer.sync()
        rows.update(ids)
        labels.update(ids[:1] if label else [])
    disk.after_a_loss(target, random)
    for writer in writers:
        writer.close()
    return rows, labels


@pytest.mark.parametrize("seed", range(30))
def test_every_acknowledged_row_label_and_content_is_there_after_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    root = tmp_path / "deployment"
    root.mkdir()
    with monkeypatch.context() as patch:
        disk = PowerDisk(root, patch)
        rows, labels = acknowledged_before_a_loss(root, disk, Random(seed), "synced", tmp_path / "after")
    log_folder = tmp_path / "after" / "log"
    settle(log_folder, CLOCK)
    log = PredictionLog(log_folder)
    held = log.predictions().read_all()
    assert rows <= set(held["prediction_id"].to_pylist())
    assert labels <= set(log.labels().read_all()["prediction_id"].to_pylist())
    verified = log.verify()
    assert not verified.repeated
    assert not verified.unreadable
    for row in held.to_pylist():
        if row["prediction_id"] in rows and row.get("large_photo"):
            assert log.large_input(row["large_photo"]).shape == (20, 20)


def test_without_it_a_loss_of_power_takes_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail."""
    lost = 0
    for seed in range(10):
        root = tmp_path / f"deployment-{seed}"
        root.mkdir()
        with monkeypatch.context() as patch:
            disk = PowerDisk(root, patch)
            after = tmp_path / f"after-{seed}"
            rows, _ = acknowledged_before_a_loss(root, disk, Random(seed), "process", after)
        if not (after / "log").exists():
            lost += len(rows)
            continue
        settle(after / "log", CLOCK)
        held = PredictionLog(after / "log").predictions().read_all()["prediction_id"].to_pylist()
        lost += len(rows - set(held))
    assert lost > 0

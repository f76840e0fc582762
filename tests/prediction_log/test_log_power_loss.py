"""With durability "synced", what was acknowledged is there when the power comes back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from log_records import T0_US, ids_of, new_writer, redacted
from power_loss import PowerDisk

from holdfast.clock import ManualClock
from holdfast.files import sync_file
from holdfast.prediction_log import Keeper, Label, PredictionLog, StagedRun, erase, settle
from holdfast.prediction_log.disk import SyncedFiles
from holdfast.prediction_log.mending import mend
from holdfast.prediction_log.places import TablePlace
from holdfast.prediction_log.schema import LABELS
from holdfast.prediction_log.tables import LogTable

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


@pytest.mark.parametrize("seed", range(2))
def test_contents_that_writers_left_to_the_kernel_are_on_the_disk_before_their_segment_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    root = tmp_path / "deployment"
    root.mkdir()
    with monkeypatch.context() as patch:
        disk = PowerDisk(root, patch)
        keeper = Keeper(root / "log", CLOCK)
        for turn in range(2):  # the first pass brings all that there is to the disk
            writer = new_writer(root / "log", CLOCK, replica=f"w{turn}")
            photos = np.arange(turn * 8, turn * 8 + 8, dtype=np.float32)
            writer.append(redacted(ids_of(f"t{turn}", 8), large={"photo": np.tile(photos, (20, 20, 1)).T}))
            writer.close()
            assert keeper.run_once().segments_deleted == 1
        log_folder = disk.after_a_loss(tmp_path / "after", Random(seed)) / "log"
        disk.close()
    verified = PredictionLog(log_folder).verify()
    assert verified.ok, verified.large_faults
    assert verified.large_inputs == 16


class PowerGone(BaseException):
    """The machine stops here."""


@pytest.mark.parametrize("seed", range(20))
def test_a_keeper_whose_machine_loses_power_at_any_step_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Commits, ledger, deleted segments, compaction, checkpoints, vacuum: a loss after any step of them."""
    random = Random(seed)
    root = tmp_path / "deployment"
    root.mkdir()
    left = random.randint(1, 25)

    def on_step(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise PowerGone

    rows: set[str] = set()
    labels: set[str] = set()
    with monkeypatch.context() as patch:
        disk = PowerDisk(root, patch)
        try:
            for turn in range(6):
                keeper = Keeper(root / "log", CLOCK, upkeep_commits=4, on_step=on_step)
                writer = new_writer(
                    root / "log", CLOCK, replica=f"w{turn}", durability="synced", segment_bytes=3_000
                )
                for part in range(random.randint(1, 4)):
                    ids = ids_of(f"t{turn}-{part}", 2)
                    photo = np.full((2, 20, 20), random.randint(0, 3), np.float32)
                    writer.append(redacted(ids, large={"photo": photo}))
                    writer.append_labels([Label(ids[0], 1, T0_US)])
                    writer.sync()
                    rows.update(ids)
                    labels.add(ids[0])
                writer.close()
                keeper.run_once()
        except PowerGone:
            pass
        log_folder = disk.after_a_loss(tmp_path / "after", random) / "log"
        disk.close()
    settle(log_folder, CLOCK)
    log = PredictionLog(log_folder)
    held = log.predictions().read_all()
    assert sorted(held["prediction_id"].to_pylist()) == sorted(rows)
    assert labels == set(log.labels(history=True).read_all()["prediction_id"].to_pylist())
    verified = log.verify()
    assert verified.ok, (verified.large_faults, verified)


@pytest.mark.parametrize("seed", range(25))
def test_a_table_that_is_there_when_the_power_comes_back_is_in_the_log_once_and_no_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The power goes before any of the syncs of a scored table's way into the log, or after the last."""
    random = Random(seed)
    root = tmp_path / "deployment"
    root.mkdir()
    log_folder, hidden, target = root / "log", root / ".target.partial", root / "target"
    left = random.randint(1, 30)
    with monkeypatch.context() as patch:
        disk = PowerDisk(root, patch)
        watched = os.fsync

        def fsync(fd: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise PowerGone
            watched(fd)

        patch.setattr(os, "fsync", fsync)
        run = StagedRun(log_folder)
        writer = new_writer(run.folder, CLOCK, replica="score", durability="synced", segment_bytes=3_000)
        try:
            for part in range(4):
                photo = np.full((2, 20, 20), part % 3, np.float32)
                writer.append(redacted(ids_of(f"p{part}", 2), large={"photo": photo}))
            writer.close()
            hidden.write_text("the answers")
            run.promise(hidden)
            sync_file(hidden)
            hidden.replace(target)
            sync_file(root)
            run.publish()
        except PowerGone:
            pass
        after = disk.after_a_loss(tmp_path / "after", random)
        disk.close()
    for marker in after.glob("log/staged/*/promised.json"):  # the folder has another place now
        marker.write_text(marker.read_text().replace(str(root), str(after)))
    appeared = (after / target.name).exists()
    settle(after / "log", CLOCK)
    log = PredictionLog(after / "log")
    held = sorted(log.predictions().read_all()["prediction_id"].to_pylist())
    wanted = [name for part in range(4) for name in ids_of(f"p{part}", 2)] if appeared else []
    assert held == wanted
    verified = log.verify()
    assert verified.ok, (verified.large_faults, verified)


@pytest.mark.parametrize("seed", range(6))
def test_what_was_reported_as_erased_does_not_come_back_with_the_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    root = tmp_path / "deployment"
    root.mkdir()
    with monkeypatch.context() as patch:
        disk = PowerDisk(root, patch)
        writer = new_writer(root / "log", CLOCK, durability="synced")
        for part in range(3):
            writer.append(redacted(ids_of(f"t{part}", 3)))
            writer.append_labels([Label(f"t{part}-00001", 1, T0_US)])
            writer.sync()
            settle(root / "log", CLOCK)
        erase(root / "log", CLOCK, prediction_ids=["t1-00001"])
        log_folder = disk.after_a_loss(tmp_path / "after", Random(seed)) / "log"
        disk.close()
        writer.close()
    settle(log_folder, CLOCK)
    log = PredictionLog(log_folder)
    wanted = {name for part in range(3) for name in ids_of(f"t{part}", 3)} - {"t1-00001"}
    assert set(log.predictions().read_all()["prediction_id"].to_pylist()) == wanted
    assert log.count().labelled == 2
    verified = log.verify()
    assert verified.ok, (verified.large_faults, verified)
    assert verified.ledger.erased == 1


@pytest.mark.parametrize("syncs", range(11))
@pytest.mark.parametrize("seed", range(2))
def test_a_table_whose_history_is_being_forgotten_can_be_read_whenever_the_power_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, syncs: int
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    known = pa.table({"prediction_id": ids_of("a", 10), "sequence": range(10)})
    rows = pa.concat_tables([LABELS.empty_table(), known], promote_options="default")
    left = [syncs]
    with monkeypatch.context() as patch:
        disk = PowerDisk(root, patch)
        table = LogTable.open_or_create(TablePlace(str(root / "labels")), LABELS, CLOCK)
        table.append(rows, {})
        table.sync()
        table.delete("sequence < 5")
        real = SyncedFiles.sync

        def sync(files: SyncedFiles) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise PowerGone
            real(files)

        patch.setattr(SyncedFiles, "sync", sync)
        with contextlib.suppress(PowerGone):
            table.forget_history()
        after = disk.after_a_loss(tmp_path / "after", Random(seed)) / "labels"
        disk.close()
    mend(after)
    held = LogTable.open_or_create(TablePlace(str(after)), LABELS, CLOCK).dataset().to_table()
    assert held.num_rows in {5, 10} if left[0] < 0 else held.num_rows == 5


def damaged(log_folder: Path, damage: str) -> None:
    """Of the newest commit of the predictions."""
    commits = sorted((log_folder / "predictions" / "_delta_log").glob("*.json"))
    if damage == "cut off":
        commits[-1].write_bytes(commits[-1].read_bytes()[:-30])
    elif damage == "empty":
        commits[-1].write_bytes(b"")
    elif damage == "zeros":
        commits[-1].write_bytes(bytes(commits[-1].stat().st_size))
    elif damage == "one is missing":
        commits[-2].unlink()
    else:
        newest = max((log_folder / "predictions").glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
        newest.write_bytes(newest.read_bytes()[:-9])


@pytest.mark.parametrize("damage", ["cut off", "empty", "zeros", "one is missing", "data file cut off"])
def test_commits_that_are_not_whole_are_made_again_from_the_spool(tmp_path: Path, damage: str) -> None:
    writer = new_writer(tmp_path, CLOCK)
    for part in range(4):
        writer.append(redacted(ids_of(f"t{part}", 2)))
        settle(tmp_path, CLOCK)
    damaged(tmp_path, damage)
    settle(tmp_path, CLOCK)
    log = PredictionLog(tmp_path)
    assert log.count().predictions == 8
    assert log.verify().ok
    writer.close()
    settle(tmp_path, CLOCK)
    assert log.verify().ok


def test_a_commit_that_was_on_the_disk_is_never_taken_away(tmp_path: Path) -> None:
    """Damage to it is no loss of power: nobody could make it again, and a person must look."""
    for part in range(3):
        writer = new_writer(tmp_path, CLOCK, replica=f"w{part}")
        writer.append(redacted(ids_of(f"t{part}", 2)))
        writer.close()
        settle(tmp_path, CLOCK)
    commits = sorted((tmp_path / "predictions" / "_delta_log").glob("*.json"))
    damaged(tmp_path, "cut off")
    assert mend(tmp_path / "predictions") == 0
    assert sorted((tmp_path / "predictions" / "_delta_log").glob("*.json")) == commits


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

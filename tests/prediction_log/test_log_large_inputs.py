"""Large inputs lie beside the tables, once for equal content, and go when no row names them any more."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kept_log import make_of_a_later_format
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import (
    Keeper,
    LogFullError,
    PredictionLog,
    PredictionLogError,
    SpoolWriter,
    erase,
    foresee_retention,
    is_sampled,
    retain_now,
    settle,
)
from holdfast.prediction_log.large_keeping import Contents
from holdfast.prediction_log.large_store import LARGE, LargeWriter, large_folder
from holdfast.prediction_log.segments import list_segments, spool_folder
from holdfast.privacy import LargeColumn, RedactedRecord, Redactor, subject_pseudonym
from holdfast.spec import Deployment
from holdfast.spec.checklist import Privacy

DAY_S = 86_400
KEY = b"a pseudonym key of many bytes"


def picture(value: float, side: int = 40) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full((3, side, side), value, dtype=np.float32)


def with_pictures(ids: list[str], *values: float, subjects: list[str] | None = None) -> RedactedRecord:
    redactor = Redactor(Privacy(subject_field="who" if subjects else ""), KEY)
    return redacted(
        ids,
        redactor=redactor,
        large={"photo": np.stack([picture(value) for value in values])},
        features={"photo": {"brightness": np.array(values)}},
        context={"who": subjects} if subjects else {},
    )


def files(log_folder: Path) -> list[Path]:
    return sorted(large_folder(log_folder).glob("??/*"))


def rows_of(log: Path | Deployment) -> dict[str, dict[str, Any]]:
    return {row["prediction_id"]: row for row in PredictionLog(log).predictions().read_all().to_pylist()}


def write(log_folder: Path, clock: ManualClock, *records: RedactedRecord, **settings: Any) -> SpoolWriter:
    writer = new_writer(log_folder, clock, **settings)
    for record in records:
        writer.append(record)
    writer.close()
    settle(log_folder, clock)
    return writer


def test_a_row_names_a_file_that_numpy_reads_and_sha256_names(tmp_path: Path) -> None:
    write(tmp_path, ManualClock(T0_US), with_pictures(["a", "b"], 0.25, 0.5))
    rows = rows_of(tmp_path)
    for name, value in (("a", 0.25), ("b", 0.5)):
        digest = rows[name]["large_photo"]
        path = large_folder(tmp_path) / digest[:2] / f"{digest}.npy"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        np.testing.assert_array_equal(np.load(path), picture(value))
        np.testing.assert_array_equal(PredictionLog(tmp_path).large_input(digest), picture(value))
        assert rows[name]["feature_photo_brightness"] == value
    assert not any(name.startswith("input_photo") for name in rows["a"])


def test_equal_content_is_stored_once_whoever_sent_it(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    writers = [
        write(tmp_path, clock, with_pictures(ids_of(f"w{i}", 3), 1, 2, 1), replica=f"w{i}") for i in range(2)
    ]
    assert len(files(tmp_path)) == 2
    assert [(writer.large.stored, writer.large.repeated) for writer in writers] == [(2, 1), (0, 3)]
    query = "SELECT large_photo, count(*) AS n FROM predictions GROUP BY large_photo ORDER BY n"
    found = PredictionLog(tmp_path).query(query).read_all().to_pylist()
    assert [row["n"] for row in found] == [2, 4]


def test_large_inputs_are_sampled_by_a_rate_of_their_own(tmp_path: Path) -> None:
    ids = ids_of("p", 400)
    write(
        tmp_path,
        ManualClock(T0_US),
        with_pictures(ids, *range(400)),
        sampling_fraction=0.5,
        large_fraction=0.2,
    )
    rows = rows_of(tmp_path)
    assert set(rows) == {name for name in ids if is_sampled(name, 0.5)}
    with_content = {name for name, row in rows.items() if row["large_photo"] is not None}
    assert with_content == {name for name in ids if is_sampled(name, 0.1)}
    assert 0 < len(with_content) == len(files(tmp_path)) < len(rows)
    assert all(row["feature_photo_brightness"] is not None for row in rows.values())


def test_the_array_is_written_from_where_it_lies(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    header, content = LargeColumn(values).parts(1)
    assert np.shares_memory(np.frombuffer(content, np.float32), values)
    assert bytes(header) + bytes(content) == _saved(values[1], tmp_path / "one.npy")


def test_an_array_in_another_order_or_byte_order_is_the_same_content(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    writer = LargeWriter(tmp_path, "w", synced=False)
    with writer.using():
        digests = {
            writer.put(LargeColumn(one).parts(0), is_sealed=False)
            for one in (values, np.asfortranarray(values), values.astype(">f4"))
        }
    assert len(digests) == 1


def _saved(value: Any, path: Path) -> bytes:
    np.save(path, value)
    return path.read_bytes()


@pytest.mark.parametrize("fault", ["missing", "changed"])
def test_verify_names_a_content_that_is_gone_or_changed(tmp_path: Path, fault: str) -> None:
    write(tmp_path, ManualClock(T0_US), with_pictures(["a", "b"], 1, 2))
    log = PredictionLog(tmp_path)
    verified = log.verify()
    assert (verified.ok, verified.large_inputs, verified.large_fault_count) == (True, 2, 0)
    path = files(tmp_path)[0]
    if fault == "missing":
        path.unlink()
        with pytest.raises(PredictionLogError, match="not there"):
            log.large_input(path.stem)
    else:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    verified = log.verify()
    assert not verified.ok
    assert [(one.digest, one.fault) for one in verified.large_faults] == [(path.stem, fault)]


def test_what_two_subjects_share_stays_until_the_last_is_erased(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    subjects = ["ann", "ann", "bob"]
    record = with_pictures(["a-only", "a-shared", "b-shared"], 1, 2, 2, subjects=subjects)
    write(tmp_path, clock, record)
    rows = rows_of(tmp_path)
    ann, bob = rows["a-only"]["subject"], rows["b-shared"]["subject"]
    shared = rows["b-shared"]["large_photo"]
    report = erase(tmp_path, clock, subjects=[ann])
    assert (report.predictions, report.large_inputs) == (2, 1)
    assert [path.stem for path in files(tmp_path)] == [shared]
    assert PredictionLog(tmp_path).verify().ok
    assert erase(tmp_path, clock, subjects=[bob]).large_inputs == 1
    assert files(tmp_path) == []
    assert PredictionLog(tmp_path).verify().ok


def test_an_erasure_leaves_what_a_living_writer_has_named_since(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    write(tmp_path, clock, with_pictures(["a"], 1, subjects=["ann"]))
    ann = rows_of(tmp_path)["a"]["subject"]
    living = new_writer(tmp_path, clock, replica="living")

    def meanwhile(step: str) -> None:
        # After the spool was read: the keeper does not know of this row.
        if step == "predictions erased":
            living.append(with_pictures(["b"], 1, subjects=["bob"]))

    erase_request(tmp_path, clock, ann)
    Keeper(tmp_path, clock, on_step=meanwhile).run_once()
    living.close()
    settle(tmp_path, clock)
    assert set(rows_of(tmp_path)) == {"b"}
    assert len(files(tmp_path)) == 1
    assert PredictionLog(tmp_path).verify().ok


def erase_request(log_folder: Path, clock: ManualClock, subject: str) -> None:
    from holdfast.prediction_log.erasing import write_request

    write_request(log_folder, clock, [subject], [])


@pytest.mark.parametrize("dies_at", ["predictions erased", "history erased", "large inputs removed"])
def test_an_erasure_that_dies_is_finished_by_the_next_keeper(tmp_path: Path, dies_at: str) -> None:
    clock = ManualClock(T0_US)
    write(tmp_path, clock, with_pictures(["a", "b"], 1, 2, subjects=["ann", "bob"]))
    ann = rows_of(tmp_path)["a"]["subject"]

    def die(step: str) -> None:
        if step == dies_at:
            raise SystemExit

    erase_request(tmp_path, clock, ann)
    with pytest.raises(SystemExit):
        Keeper(tmp_path, clock, on_step=die).run_once()
    Keeper(tmp_path, clock).run_once()
    assert [path.stem for path in files(tmp_path)] == [rows_of(tmp_path)["b"]["large_photo"]]
    assert PredictionLog(tmp_path).verify().ok


def deployment(folder: Path, logging: str) -> Deployment:
    (folder / "holdfast.toml").write_text(
        f'[model]\nname = "fraud"\n[privacy.fields]\nphoto = "sensitive"\n[logging]\n{logging}\n'
    )
    return Deployment.open(folder, {})


def four_days(log: Deployment, clock: ManualClock) -> None:
    for day in range(4):
        write(log.log_folder, clock, with_pictures([f"d{day}", f"always{day}"], day + 1, 9))
        clock.advance_s(DAY_S)


@pytest.mark.parametrize(
    ("logging", "kept", "features"),
    [
        ("large_input_retention_days = 2", {"d2", "d3", "always2", "always3"}, 8),
        ("class_retention_days = { sensitive = 2 }", {"d2", "d3", "always2", "always3"}, 4),
        ("retention_days = 2", {"d2", "d3", "always2", "always3"}, 4),
        # A picture has 19 328 bytes: below 3.6 of 5 of them come the newest and the one of every day.
        ("large_input_max_gb = 0.0000696", {"d2", "d3", "always2", "always3"}, 8),
    ],
)
def test_contents_go_by_age_by_class_and_by_size(
    tmp_path: Path, logging: str, kept: set[str], features: int
) -> None:
    log = deployment(tmp_path, logging)
    clock = ManualClock(T0_US)
    four_days(log, clock)
    clock.advance_s(-1)
    foreseen = foresee_retention(log, clock)
    report = retain_now(log, clock)
    rows = rows_of(log)
    assert {name for name, row in rows.items() if row["large_photo"]} == kept
    assert sum(row["feature_photo_brightness"] is not None for row in rows.values()) == features
    assert {path.stem for path in files(log.log_folder)} == {
        row["large_photo"] for row in rows.values() if row["large_photo"]
    }
    assert (report.large_inputs, report.large_input_bytes) == (2, 2 * 19_328)
    assert (foreseen.large_inputs, foreseen.large_input_bytes) == (2, 2 * 19_328)
    assert foreseen.values == report.values
    assert PredictionLog(log).verify().ok


def test_orphans_of_killed_writers_are_removed_and_partial_files_too(tmp_path: Path) -> None:
    log = deployment(tmp_path, "")
    clock = ManualClock(T0_US)
    write(log.log_folder, clock, with_pictures(["a"], 1))
    killed = LargeWriter(log.log_folder, "killed", synced=False)
    with killed.using():
        killed.put(LargeColumn(np.stack([picture(5)])).parts(0), is_sealed=False)
    partial = files(log.log_folder)[0].parent / "killed.partial"
    partial.write_bytes(b"half")
    two_hours_ago_ns = partial.stat().st_mtime_ns - 7_200_000_000_000
    os.utime(partial, ns=(two_hours_ago_ns, two_hours_ago_ns))
    assert retain_now(log, clock).large_inputs == 1
    assert [path.stem for path in files(log.log_folder)] == [rows_of(log)["a"]["large_photo"]]


def test_no_content_goes_while_a_segment_that_may_name_it_cannot_be_read(tmp_path: Path) -> None:
    log = deployment(tmp_path, "")
    clock = ManualClock(T0_US)
    write(log.log_folder, clock, with_pictures(["a"], 1))
    later = new_writer(log.log_folder, clock, replica="later")
    later.append(with_pictures(["b"], 2))
    later.close()
    (ref,) = list_segments(spool_folder(log.log_folder))
    readable = ref.path.read_bytes()
    make_of_a_later_format(ref)
    assert retain_now(log, clock).large_inputs == 0
    ref.path.write_bytes(readable)
    settle(log, clock)
    assert len(rows_of(log)) == 2
    assert PredictionLog(log).verify().ok


def test_a_row_is_dropped_and_counted_when_its_content_finds_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, parts: Any) -> int:
        return 0

    def no_room(fd: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    clock = ManualClock(T0_US)
    answering = new_writer(tmp_path, clock, replica="answering")
    refusing = new_writer(tmp_path, clock, replica="refusing", on_full="refuse")
    with monkeypatch.context() as patch:
        patch.setattr("holdfast.prediction_log.large_store.os.writev", full)
        patch.setattr("holdfast.prediction_log.large_store.os.write", no_room)
        answering.append(with_pictures(["a"], 1))
        with pytest.raises(LogFullError):
            refusing.append(with_pictures(["b"], 1))
    answering.append(with_pictures(["c"], 1))
    answering.close()
    refusing.close()
    assert (answering.served, answering.stored, answering.dropped) == (2, 1, 1)
    settle(tmp_path, clock)
    assert set(rows_of(tmp_path)) == {"c"}
    assert PredictionLog(tmp_path).verify().ok
    assert len(files(tmp_path)) == 1


def test_synced_contents_are_on_the_disk_before_the_answer_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real(fd)

    monkeypatch.setattr("holdfast.prediction_log.disk.os.fsync", fsync)
    writer = new_writer(tmp_path, ManualClock(T0_US), durability="synced")
    writer.append(with_pictures(["a", "b"], 1, 1))
    assert synced == []
    writer.sync()
    (content,) = files(tmp_path)
    assert {str(content), str(content.parent), str(content.parent.parent)} <= set(synced)
    synced.clear()
    writer.sync()
    assert synced == []
    writer.close()


def test_dropped_and_masked_fields_leave_no_content_and_no_feature(tmp_path: Path) -> None:
    for action in ("drop", "mask", "hash", "redact"):
        privacy = Privacy(field_actions={"photo": action})
        record = redacted(
            [action],
            redactor=Redactor(privacy, KEY),
            large={"photo": picture(1)[None]},
            features={"photo": {"brightness": [1.0]}},
        )
        write(tmp_path, ManualClock(T0_US), record, replica=action)
    assert not large_folder(tmp_path).exists()
    assert not any(name.startswith((LARGE, "feature_")) for name in rows_of(tmp_path)["drop"])


def test_writers_that_use_contents_again_and_erasures_that_remove_them_never_lose_one(tmp_path: Path) -> None:
    """Real threads and locks. Each content is named twice by each writer, so one that is lost stays lost."""
    clock = SystemClock()
    ended = threading.Event()

    def write_on(number: int) -> None:
        writer = new_writer(tmp_path, clock, replica=f"w{number}", segment_bytes=20_000)
        turn = 0
        while not ended.is_set():
            turn += 1
            names = [f"subject-{number}-{turn % 2}"]
            writer.append(with_pictures([f"w{number}-{turn}"], turn // 2, subjects=names))
            ended.wait(0.001)
        writer.close()

    threads = [threading.Thread(target=write_on, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    everybody = [subject_pseudonym(KEY, f"subject-{n}-{k}") for n in range(2) for k in range(2)]
    try:
        for _ in range(5):
            erase(tmp_path, clock, subjects=everybody)  # for a moment no row names a content
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    settle(tmp_path, clock)
    verified = PredictionLog(tmp_path).verify()
    assert verified.ok, verified.large_faults
    assert verified.large_inputs > 0


def test_writers_that_never_all_let_go_do_not_keep_the_keeper_out(tmp_path: Path) -> None:
    ended = threading.Event()

    def hold(number: int) -> None:
        writer = LargeWriter(tmp_path, f"w{number}", synced=False)
        while not ended.is_set():
            with writer.using():
                ended.wait(0.01)
        writer.close()

    threads = [threading.Thread(target=hold, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        ended.wait(0.1)
        moments = [Contents(tmp_path, SystemClock()).moment() for _ in range(3)]
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert moments == sorted(moments)

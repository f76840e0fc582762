"""Erasure: afterwards no file of the log holds a byte of it, whatever died meanwhile; the rest is whole."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import (
    ErasedIds,
    Keeper,
    KeeperBehindError,
    Label,
    PredictionLog,
    PredictionLogError,
    erase,
    search_bytes,
)
from holdfast.prediction_log.erasing import pending_requests, write_request
from holdfast.prediction_log.folders import spool_folder
from holdfast.prediction_log.lease import Lease
from holdfast.prediction_log.scanning import OpenSegment, summarise
from holdfast.prediction_log.segments import list_segments
from holdfast.prediction_log.spool import SpoolWriter
from holdfast.prediction_log.tombstones import blank_records
from holdfast.privacy import Redactor
from holdfast.spec.checklist import Privacy

KEY = b"k" * 32
BY_PATIENT = Redactor(Privacy(subject_field="patient"), KEY)
STEPS = [
    "erased ids noted",
    "erased rows noted",
    "labels erased",
    "predictions erased",
    "history erased",
    "spool erased",
    "erasure reported",
]


def append(writer: SpoolWriter, prefix: str, patients: list[str]) -> list[str]:
    n = len(patients)
    ids = ids_of(prefix, n)
    notes = [f"note of {prefix} about {patient}" for patient in patients]
    inputs = {"dose": np.arange(n, dtype=np.float64), "note": notes}
    writer.append(redacted(ids, redactor=BY_PATIENT, inputs=inputs, context={"patient": patients}))
    writer.append_labels([Label(name, f"outcome {name}", T0_US) for name in ids])
    return ids


def subject_of(log_folder: Path, prediction_id: str) -> str:
    rows = PredictionLog(log_folder).predictions(columns=["prediction_id", "subject"]).read_all()
    subjects: dict[str, str] = dict(zip(*rows.to_pydict().values(), strict=True))
    return subjects[prediction_id]


def fill(log_folder: Path) -> tuple[SpoolWriter, str, list[str]]:
    """A log with a living writer in which Ann is in every commit; her pseudonym and the texts about her."""
    writer = new_writer(log_folder)
    keeper = Keeper(log_folder, ManualClock(T0_US))
    for part in range(3):
        append(writer, f"visit{part}", ["ann", "bob", f"other{part}"])
        keeper.run_once()
    subject = subject_of(log_folder, "visit0-00000")
    texts = [subject, *(f"visit{part}-00000" for part in range(3)), "about ann", "outcome visit1-00000"]
    return writer, subject, texts


def assert_forgotten(log_folder: Path, texts: list[str]) -> None:
    assert search_bytes(log_folder, texts) == []
    log = PredictionLog(log_folder)
    assert sorted(log.predictions(columns=["prediction_id"]).read_all()["prediction_id"].to_pylist()) == [
        f"visit{part}-{row:05d}" for part in range(3) for row in (1, 2)
    ]
    assert log.count().labelled == 6
    report = log.verify()
    assert report.ok, report
    assert (report.ledger.served, report.ledger.stored, report.ledger.erased) == (9, 9, 3)
    assert report.torn_records == 0


def test_no_byte_of_a_subject_is_left_while_its_writer_goes_on(tmp_path: Path) -> None:
    writer, subject, texts = fill(tmp_path)
    assert {one.path.split("/")[-2] for one in search_bytes(tmp_path, texts)} >= {"spool", "predictions"}
    report = erase(tmp_path, ManualClock(T0_US), subjects=[subject])
    assert (report.predictions, report.labels, report.spool_records) == (3, 3, 6)
    assert report.model_versions == ("1",)
    assert_forgotten(tmp_path, texts)
    append(writer, "later", ["carl"])
    writer.close()
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    log = PredictionLog(tmp_path)
    assert log.verify().ok
    assert log.count().predictions == 7
    assert search_bytes(tmp_path, texts) == []


@pytest.mark.parametrize("step", STEPS)
def test_interrupted_after_any_step_the_next_keeper_finishes(tmp_path: Path, step: str) -> None:
    writer, subject, texts = fill(tmp_path)

    class StoppedError(BaseException):
        pass

    def stop(reached: str) -> None:
        if reached == step:
            raise StoppedError

    folder = tmp_path / "erasures"
    lease = Lease(tmp_path)
    assert lease.acquire()
    with pytest.raises(KeeperBehindError):  # a request that nobody carries out yet
        erase(tmp_path, ManualClock(T0_US), subjects=[subject], timeout_s=0)
    lease.release()
    assert len(pending_requests(tmp_path)) == 1
    with pytest.raises(StoppedError):
        Keeper(tmp_path, ManualClock(T0_US), on_step=stop).run_once()
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert pending_requests(tmp_path) == []
    (done,) = folder.iterdir()
    report = msgspec.json.decode(done.read_bytes())
    assert (report["predictions"], report["labels"]) == (3, 3)
    assert_forgotten(tmp_path, texts)
    writer.close()


def test_a_label_for_an_erased_prediction_is_refused_and_counted(tmp_path: Path) -> None:
    writer, subject, texts = fill(tmp_path)
    erase(tmp_path, ManualClock(T0_US), subjects=[subject])
    writer.append_labels([Label("visit0-00000", "late", T0_US), Label("visit0-00001", "late", T0_US + 1)])
    writer.append_labels([Label("visit1-00000", "late", T0_US)])
    writer.close()
    report = Keeper(tmp_path, ManualClock(T0_US)).run_once()
    assert (report.labels, report.labels_refused) == (1, 2)
    verified = PredictionLog(tmp_path).verify()
    assert verified.ok, verified
    assert verified.ledger.labels_refused == 2
    assert search_bytes(tmp_path, texts) == []


def test_other_people_keep_every_value(tmp_path: Path) -> None:
    writer, subject, _ = fill(tmp_path)
    writer.close()
    Keeper(tmp_path, ManualClock(T0_US)).run_once()
    log = PredictionLog(tmp_path)
    before = log.joined().read_all()
    kept = before.filter(pc.not_equal(before["subject"], subject))
    erase(tmp_path, ManualClock(T0_US), subjects=[subject])
    after = log.joined().read_all().select(kept.column_names)
    order = [("prediction_id", "ascending")]
    assert after.sort_by(order).to_pylist() == kept.sort_by(order).to_pylist()


def test_single_predictions_can_be_erased_and_twice_is_harmless(tmp_path: Path) -> None:
    _, _, _ = fill(tmp_path)
    for predictions in (1, 0):
        report = erase(tmp_path, ManualClock(T0_US), prediction_ids=["visit2-00001", "it's unknown"])
        assert report.predictions == predictions
    verified = PredictionLog(tmp_path).verify()
    assert verified.ok, verified
    assert verified.ledger.erased == 1


def test_whoever_is_alive_carries_the_request_out(tmp_path: Path) -> None:
    import threading

    _, subject, texts = fill(tmp_path)
    stop = threading.Event()
    keeper = Keeper(tmp_path, SystemClock(), interval_s=0.02)
    thread = threading.Thread(target=keeper.run, args=(stop,))
    thread.start()
    try:
        report = erase(tmp_path, SystemClock(), subjects=[subject], timeout_s=60)
    finally:
        stop.set()
        thread.join()
    assert report.predictions == 3
    assert_forgotten(tmp_path, texts)


def test_nothing_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PredictionLogError, match="nothing to erase"):
        erase(tmp_path, ManualClock(T0_US))


def test_a_torn_record_is_wiped_too(tmp_path: Path) -> None:
    writer, subject, texts = fill(tmp_path)
    (ref,) = list_segments(spool_folder(tmp_path))
    with OpenSegment(ref) as segment:
        second = list(segment.frames(0))[2]
    with ref.path.open("r+b") as file:  # as if the disk had damaged a label record of Ann
        file.seek(second.start + 20)
        file.write(b"\xff")
    erase(tmp_path, ManualClock(T0_US), subjects=[subject])
    assert search_bytes(tmp_path, texts) == []
    with OpenSegment(ref) as segment:
        assert len(summarise(segment).torn) == 1
    writer.close()


@given(st.integers(2**32, 2**62), st.integers(1, 300), st.text(min_size=1, max_size=40))
def test_any_record_can_be_blanked_without_a_trace_of_damage(at: int, n: int, name: str) -> None:
    with TemporaryDirectory() as folder:
        writer = new_writer(Path(folder), ManualClock(at))
        ids = [f"{name}{row}" for row in range(n)]
        writer.append(redacted(ids, inputs={}, prediction=[]))
        writer.append_labels([Label(one, None, 0) for one in ids])
        (ref,) = list_segments(spool_folder(Path(folder)))
        with OpenSegment(ref) as segment:
            end = segment.size_bytes
            assert blank_records(segment, end, end, lambda _: True) == 2
            assert blank_records(segment, end, end, lambda _: True) == 0
        writer.append(redacted(["after"]))
        with OpenSegment(ref) as segment:
            summary = summarise(segment)
        writer.close()
        assert summary.torn == []
        assert (summary.counters.stored, summary.counters.labels) == (n + 1, n)
        assert [rows[1:] for rows in summary.rows] == [(n, n), (n, n + 1)]


def test_erased_ids_are_known_by_a_hash_that_differs_between_logs(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "other"):
        erased = ErasedIds(tmp_path / name, ManualClock(T0_US))
        assert "p" not in erased
        erased.add(["p", "q"], T0_US)
        erased.add(["p"], T0_US)
        again = ErasedIds(tmp_path / name, ManualClock(T0_US))
        assert "p" in again
        assert "r" not in again
        assert len(again) == 2
        (file,) = (tmp_path / name / "erased").glob("*.parquet")
        digests.append(set(pq.read_table(file)["digest"].to_pylist()))
    assert not digests[0] & digests[1]


def test_the_search_finds_text_that_compression_hides_and_says_in_which_column(tmp_path: Path) -> None:
    texts = [f"patient {row % 10} said so" for row in range(10_000)]
    nested = [[{"who": text}] for text in texts]
    pq.write_table(
        pa.table({"n": range(10_000), "said": texts, "nested": nested}),
        tmp_path / "a.parquet",
        compression="zstd",
        write_statistics=False,
    )
    (tmp_path / "b.txt").write_bytes(b"\0\1patient 7 said so")
    found = search_bytes(tmp_path, ["patient 7 said"])
    assert [(Path(one.path).name, one.column) for one in found] == [
        ("a.parquet", "said"),
        ("a.parquet", "nested"),
        ("b.txt", None),
    ]
    assert search_bytes(tmp_path, ["patient 11 said"]) == []
    odd = "Zoë (a.b)*\n\0"
    (tmp_path / "c.txt").write_bytes(b"\xff" + odd.encode() + b"\xfe")
    assert [Path(one.path).name for one in search_bytes(tmp_path, ["nowhere", odd])] == ["c.txt"]
    assert search_bytes(tmp_path, ["Zoë (a-b)"]) == []
    with pytest.raises(PredictionLogError, match="too short"):
        search_bytes(tmp_path, ["abc"])


def test_a_table_can_still_be_read_and_written_by_others_afterwards(tmp_path: Path) -> None:
    import duckdb
    import polars as pl
    from deltalake import DeltaTable

    _, subject, _ = fill(tmp_path)
    erase(tmp_path, ManualClock(T0_US), subjects=[subject])
    assert pl.read_delta(str(tmp_path / "predictions")).height == 6
    table = DeltaTable(str(tmp_path / "predictions"))
    rows = table.to_pyarrow_dataset()
    assert rows.to_table(filter=pc.field("prediction_id") == "visit0-00001").num_rows == 1
    assert duckdb.execute("SELECT count(*) FROM rows WHERE model_version = '1'").fetchall() == [(6,)]
    table.optimize.compact()
    assert PredictionLog(tmp_path).verify().ok


def test_a_request_is_whole_however_little_the_disk_takes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:7]))
    made = write_request(tmp_path, ManualClock(T0_US), ["a subject"], ["a prediction"])
    monkeypatch.undo()
    assert pending_requests(tmp_path) == [made]

"""Tables on S3-compatible storage: the same log, and several machines that write to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_records import T0_US, ids_of, new_writer, redacted
from object_store import credentials, object_store

from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import (
    Keeper,
    Label,
    PredictionLog,
    PredictionLogError,
    erase,
    label_report,
    search_bytes,
    settle,
)
from holdfast.prediction_log.places import LogPlace
from holdfast.privacy import Redactor
from holdfast.spec.checklist import Privacy

BY_PATIENT = Redactor(Privacy(subject_field="patient"), b"k" * 32)
DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store("predictions") as url:
        yield url


def machine(tmp_path: Path, bucket: str, name: str, log: str) -> LogPlace:
    """The log as one machine sees it: a folder of its own, tables that all share."""
    return LogPlace(tmp_path / name, f"{bucket}/{log}")


def write(place: LogPlace, prefix: str, patients: list[str]) -> None:
    writer = new_writer(place.folder, replica=prefix)
    ids = ids_of(prefix, len(patients))
    writer.append(redacted(ids, redactor=BY_PATIENT, context={"patient": patients}))
    writer.append_labels([Label(name, 1, T0_US) for name in ids[:2]])
    writer.close()


@pytest.mark.slow
def test_everything_that_reads_or_writes_the_tables_works_there(tmp_path: Path, bucket: str) -> None:
    place = machine(tmp_path, bucket, "one", "all")
    write(place, "visit", ["ann", "bob", "carl"])
    report = settle(place, ManualClock(T0_US))
    assert (report.predictions, report.labels, report.segments_deleted) == (3, 2, 1)
    log = PredictionLog(place)
    assert not list(tmp_path.rglob("*.parquet"))
    assert log.verify().ok
    assert log.count().labelled == 2
    assert log.query("SELECT count(*) AS n FROM joined WHERE y = '1'").read_all().to_pylist() == [{"n": 2}]
    assert label_report(place, ManualClock(T0_US + 1)).labelled == 2
    assert [row["prediction_id"] for row in log.tail(2)] == ids_of("visit", 2, 1)
    assert log.export(tmp_path / "rows.parquet") == 3
    subject = log.predictions(columns=["subject"]).read_all()["subject"][0].as_py()
    assert search_bytes(place.tables, [subject])
    erased = erase(place, ManualClock(T0_US), subjects=[subject])
    assert (erased.predictions, erased.labels) == (1, 1)
    assert search_bytes(place.tables, [subject, "visit-00000"]) == []
    keeper = Keeper(place, ManualClock(T0_US + 3 * DAY_US), retention_days=1)
    assert keeper.run_once().expired == 2
    verified = log.verify()
    assert verified.ok, verified
    assert (verified.ledger.erased, verified.ledger.expired) == (1, 2)


@pytest.mark.slow
def test_keepers_of_several_machines_commit_compact_and_erase_side_by_side(
    tmp_path: Path, bucket: str
) -> None:
    places = [machine(tmp_path, bucket, name, "side") for name in ("one", "two")]
    errors: list[Exception] = []

    def keep(place: LogPlace) -> None:
        try:
            keeper = Keeper(place, SystemClock(), upkeep_commits=3)
            for turn in range(3):
                write(place, f"{place.folder.name}-{turn}", ["ann", "bob", "carl", "dora"])
                for left in reversed(range(10)):
                    try:
                        keeper.run_once()
                        break
                    except Exception:
                        if not left:
                            raise
        except Exception as error:  # noqa: BLE001 - the test shows it
            errors.append(error)

    threads = [threading.Thread(target=keep, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    log = PredictionLog(places[0])
    rows = log.predictions(columns=["prediction_id", "subject"]).read_all()
    wanted = {name for place in ("one", "two") for turn in range(3) for name in ids_of(f"{place}-{turn}", 4)}
    assert rows.num_rows == len(wanted)
    assert set(rows["prediction_id"].to_pylist()) == wanted
    for place in places:
        assert PredictionLog(place).verify().ok


@pytest.mark.slow
def test_a_subject_erased_on_one_machine_is_erased_from_the_spools_of_the_others(
    tmp_path: Path, bucket: str
) -> None:
    here, there = (machine(tmp_path, bucket, name, "far") for name in ("here", "there"))
    write(here, "visit", ["ann", "bob"])
    settle(here, ManualClock(T0_US))
    keeper = Keeper(there, ManualClock(T0_US))
    keeper.run_once()
    writer = new_writer(there.folder, replica="far")
    writer.append(redacted(["visit-of-ann"], redactor=BY_PATIENT, context={"patient": ["ann"]}))
    writer.append(redacted(["visit-of-carl"], redactor=BY_PATIENT, context={"patient": ["carl"]}))
    subject = PredictionLog(here).tail(2)[0]["subject"]
    assert erase(here, ManualClock(T0_US + 1), subjects=[subject]).predictions == 1
    assert search_bytes(there.folder, [subject])
    assert search_bytes(there.folder, ["visit-of-ann"])
    keeper.run_once()
    assert search_bytes(there.folder, [subject, "visit-of-ann"]) == []
    assert search_bytes(there.tables, [subject, "visit-of-ann"]) == []
    verified = PredictionLog(there).verify()
    assert verified.ok, verified
    assert verified.ledger.erased == 2
    again = ManualClock(T0_US + 5)
    writer.close()
    writer = new_writer(there.folder, again, replica="later")
    writer.append(redacted(["late-0"], redactor=BY_PATIENT, context={"patient": ["ann"]}))
    writer.close()
    assert Keeper(there, again).run_once().predictions == 1  # what is logged after the erasure stays


def test_an_object_store_that_does_not_answer_is_said_and_the_spool_keeps_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in credentials(1).items():
        monkeypatch.setenv(name, value)
    place = machine(tmp_path, "s3://nowhere", "one", "none")
    write(place, "visit", ["ann"])
    with pytest.raises(PredictionLogError, match="cannot be reached") as refused:
        Keeper(place, ManualClock(T0_US)).run_once()
    assert "AWS_ACCESS_KEY_ID" in str(refused.value)
    assert "testing-secret" not in str(refused.value)
    assert len(list((place.folder / "spool").iterdir())) == 1

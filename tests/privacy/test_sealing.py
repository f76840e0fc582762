"""What is encrypted opens with its subject's key and the master key, and with nothing else, ever."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from holdfast.clock import ManualClock
from holdfast.privacy import (
    MASTER_KEY_VARIABLE,
    MasterKeyError,
    PredictionRecord,
    PrivacyError,
    Redactor,
    Sealer,
    SubjectStore,
    open_redactor,
    open_sealer,
    subject_pseudonym,
)
from holdfast.privacy.subjects import read_master_key
from holdfast.spec.checklist import Privacy

MASTER, OTHER = bytes(range(32)), bytes(range(1, 33))
KEY = b"a key of sixteen bytes or more"
SECRETS = {MASTER_KEY_VARIABLE: MASTER.hex(), "HOLDFAST_PSEUDONYM_KEY": KEY.decode()}
HIGH = Privacy(sensitivity="high", subject_field="patient", fields={"name": "identifier"})
CLOCK = ManualClock(start_us=5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SubjectStore]:
    with SubjectStore(tmp_path) as opened:
        yield opened


def record(**columns: list[Any]) -> PredictionRecord:
    rows = len(next(iter(columns.values())))
    context: dict[str, Any] = {name: columns.pop(name) for name in ("patient", "ward") if name in columns}
    return PredictionRecord(
        model_version="1",
        arm="champion",
        prediction_ids=[f"p{row}" for row in range(rows)],
        times_us=[0] * rows,
        latency_us=[1] * rows,
        inputs=columns,
        context=context,
        prediction=[0] * rows,
    )


def test_with_high_sensitivity_no_input_is_readable_and_all_can_be_opened_again(tmp_path: Path) -> None:
    raw = record(
        age=[47, None],
        dose=[1.5, 2.5],
        name=["Ada", "Bob"],
        ward=["geriatric ward 7b", "8"],
        patient=["a", "b"],
    )
    with closing(open_redactor(HIGH, tmp_path, SECRETS, CLOCK)) as redactor:
        redacted = redactor.redact(raw)
    assert set(redacted.inputs) == {"name"}
    assert set(redacted.context) == {"sealed"}
    table = pa.table(
        {
            "prediction_id": raw.prediction_ids,
            "subject": redacted.subject,
            "context_sealed": redacted.context["sealed"],
        }
    )
    assert b"geriatric" not in b"".join(str(one).encode() for one in redacted.context["sealed"])
    sealer = open_sealer(HIGH, tmp_path, SECRETS, CLOCK)
    assert sealer is not None
    with sealer:
        opened = sealer.open_table(table)
    assert opened.drop_columns(["prediction_id", "subject"]).to_pylist() == [
        {"input_age": 47, "input_dose": 1.5, "context_ward": "geriatric ward 7b"},
        {"input_age": None, "input_dose": 2.5, "context_ward": "8"},
    ]


def test_a_closed_redactor_has_closed_the_file_of_its_keys(tmp_path: Path) -> None:
    redactor = open_redactor(HIGH, tmp_path, SECRETS, CLOCK)
    redactor.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        redactor.redact(record(age=[47], patient=["a"]))
    open_redactor(Privacy(), tmp_path, {}, CLOCK).close()  # which has none


def test_a_sealed_row_opens_for_its_own_subject_and_prediction_only(store: SubjectStore) -> None:
    sealer = Sealer(store, MASTER, CLOCK)
    sealed = sealer.seal("ann", "p1", {"x": 1})
    sealer.seal("bob", "p2", {"x": 2})
    assert sealer.open("ann", "p1", sealed) == {"x": 1}
    assert sealer.open("bob", "p1", sealed) is None
    assert sealer.open("ann", "p2", sealed) is None
    assert sealer.open("eve", "p1", sealed) is None
    assert sealer.open("ann", "p1", sealed[:-6] + "AAAAAA") is None
    for other in (None, "", "1:", "1:!", "2:" + sealed[2:]):
        assert sealer.open("ann", "p1", other) is None


def test_equal_values_give_unequal_texts(store: SubjectStore) -> None:
    sealer = Sealer(store, MASTER, CLOCK)
    assert len({sealer.seal("ann", "p1", {"x": 1}) for _ in range(20)}) == 20


def test_destroying_a_key_ends_its_rows_in_copies_made_before_and_no_others(
    store: SubjectStore, tmp_path: Path
) -> None:
    mine = Sealer(store, MASTER, CLOCK)
    kept = mine.seal("bob", "p2", {"x": 2})
    backup = mine.seal("ann", "p1", {"x": 1})
    with SubjectStore(tmp_path) as elsewhere:  # another process
        theirs = Sealer(elsewhere, MASTER, CLOCK)
        assert theirs.open("ann", "p1", backup) == {"x": 1}
        wrapped = wrapped_key(tmp_path, "ann")
        assert store.erase(["ann"]) == (1, 0)
        for sealer in (mine, theirs):
            assert sealer.open("ann", "p1", backup) is None
            assert sealer.open("bob", "p2", kept) == {"x": 2}
        fresh = theirs.seal("ann", "p3", {"x": 3})
        assert mine.open("ann", "p3", fresh) == {"x": 3}
        assert mine.open("ann", "p1", backup) is None
    for path in tmp_path.iterdir():
        assert wrapped not in path.read_bytes(), path.name


def wrapped_key(folder: Path, subject: str) -> bytes:
    with closing(sqlite3.connect(folder / "subjects.db")) as raw, raw:
        row: tuple[bytes] = raw.execute(
            "SELECT wrapped FROM data_keys WHERE subject = ?", (subject,)
        ).fetchone()
    return row[0]


def test_a_data_key_stands_in_no_file_and_neither_file_nor_master_key_alone_opens_anything(
    store: SubjectStore, tmp_path: Path
) -> None:
    key = store.data_key(MASTER, "ann", 0)
    assert len(key) == 32
    for path in tmp_path.iterdir():
        assert key not in path.read_bytes()
        assert MASTER not in path.read_bytes()
    with SubjectStore(tmp_path) as again:
        assert again.data_key(MASTER, "ann", 0) == key
    with SubjectStore(tmp_path) as again, pytest.raises(MasterKeyError, match="not the master key"):
        again.data_key(OTHER, "ann", 0)
    assert (tmp_path / "subjects.db").stat().st_mode & 0o077 == 0


def test_two_workers_that_meet_a_subject_at_once_use_one_key(store: SubjectStore, tmp_path: Path) -> None:
    with SubjectStore(tmp_path) as other:
        assert len({one.data_key(MASTER, f"s{i}", 0) for i in range(20) for one in (store, other)}) == 20


def test_the_master_key_comes_from_the_environment_before_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(OTHER.hex() + "\n")
    assert read_master_key(SECRETS, file, needed_by="x") == MASTER
    assert read_master_key({}, file, needed_by="x") == OTHER
    with pytest.raises(MasterKeyError, match="there is none"):
        read_master_key({}, None, needed_by="x")
    with pytest.raises(MasterKeyError, match="cannot be read"):
        read_master_key({}, tmp_path / "none", needed_by="x")
    for wrong in ("", "secret-secret", MASTER.hex()[:-2], "z" * 64):
        with pytest.raises(MasterKeyError, match="64 hexadecimal") as refused:
            read_master_key({MASTER_KEY_VARIABLE: wrong}, None, needed_by="x")
        assert not wrong or wrong not in str(refused.value)


def test_high_sensitivity_without_a_master_key_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyError):
        open_redactor(HIGH, tmp_path, {"HOLDFAST_PSEUDONYM_KEY": KEY.decode()}, CLOCK)
    with pytest.raises(PrivacyError, match="must be encrypted"):
        Redactor(HIGH, KEY)


def test_the_newest_statement_counts_as_of_a_time(store: SubjectStore) -> None:
    ann = subject_pseudonym(KEY, "ann")
    store.record_consent(agreed=True, subject=ann, at_us=10, now_us=100, recorded_by="key 1")
    store.record_consent(agreed=False, subject=ann, at_us=20, now_us=101, recorded_by="key 1")
    store.record_consent(agreed=True, prediction_id="p9", at_us=15, now_us=102, recorded_by="ann")
    assert [(one.subject, one.prediction_id, one.agreed) for one in store.consents()] == [
        (ann, None, True),
        (None, "p9", True),
        (ann, None, False),
    ]
    assert len(store.consents(as_of_us=15)) == 2
    with pytest.raises(sqlite3.IntegrityError):
        store.record_consent(agreed=True, at_us=1, now_us=1, recorded_by="x")
    assert store.erase([ann], ["p9"]) == (0, 3)
    assert store.consents() == []


def test_after_a_rotation_the_new_master_key_opens_and_the_old_one_does_nothing(
    store: SubjectStore, tmp_path: Path
) -> None:
    keys = {name: store.data_key(MASTER, name, 0) for name in ("ann", "bob")}
    with SubjectStore(tmp_path) as worker:
        assert worker.find_data_key(MASTER, "ann") == keys["ann"]
        assert store.rotate_master_key(MASTER, OTHER) == 2
        assert {name: worker.find_data_key(OTHER, name) for name in keys} == keys
    with SubjectStore(tmp_path) as behind:
        for use in (behind.find_data_key, lambda key, name: behind.data_key(key, name, 0)):
            with pytest.raises(MasterKeyError):
                use(MASTER, "ann")
        with pytest.raises(MasterKeyError):
            behind.data_key(MASTER, "someone new", 0)
    with pytest.raises(MasterKeyError):
        store.rotate_master_key(MASTER, KEY.ljust(32)[:32])
    assert store.rotate_master_key(OTHER, MASTER) == 2
    assert store.find_data_key(MASTER, "bob") == keys["bob"]


KILLED = """
import os, signal, sys
from pathlib import Path
from holdfast.privacy import subjects
wrap, turns = subjects._wrap, iter(range(3))
def wrap_and_die(*arguments):
    if next(turns) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return wrap(*arguments)
store = subjects.SubjectStore(Path(sys.argv[1]))
subjects._wrap = wrap_and_die
store.rotate_master_key(bytes(range(32)), bytes(range(1, 33)))
"""


def test_a_rotation_that_is_killed_in_the_middle_has_changed_nothing(tmp_path: Path) -> None:
    with SubjectStore(tmp_path) as store:
        keys = {f"s{i}": store.data_key(MASTER, f"s{i}", 0) for i in range(5)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    with SubjectStore(tmp_path) as store:
        assert {name: store.find_data_key(MASTER, name) for name in keys} == keys
        assert store.rotate_master_key(MASTER, OTHER) == 5


def test_an_erasure_that_fails_has_removed_nothing_and_can_be_done_again(
    store: SubjectStore, tmp_path: Path
) -> None:
    store.data_key(MASTER, "ann", 1)
    store.record_consent(agreed=True, subject="ann", at_us=1, now_us=1, recorded_by="cli:bob")
    with closing(sqlite3.connect(tmp_path / "subjects.db")) as other:
        other.execute("ALTER TABLE consents RENAME TO away")
        with pytest.raises(PrivacyError, match=r"subjects\.db.*no such table: consents"):
            store.erase(["ann"])
        assert store.find_data_key(MASTER, "ann") is not None
        other.execute("ALTER TABLE away RENAME TO consents")
    assert store.erase(["ann"]) == (1, 1)


def test_a_file_of_keys_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "subjects.db").write_bytes(b"no database" * 100)
    with pytest.raises(PrivacyError, match=r"subjects\.db.*not a database"):
        SubjectStore(tmp_path)

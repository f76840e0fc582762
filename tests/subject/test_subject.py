"""A subject is exported whole, asked for consent, and forgotten everywhere."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyarrow import parquet

from holdfast.cli.app import root
from holdfast.clock import SystemClock
from holdfast.prediction_log import (
    Label,
    PredictionLog,
    PredictionLogError,
    SpoolWriter,
    large_folder,
    large_path,
    settle,
)
from holdfast.privacy import (
    Consent,
    PredictionRecord,
    PrivacyError,
    Sealer,
    SubjectStore,
    open_redactor,
    open_sealer,
    subject_pseudonym,
)
from holdfast.registry import Registry, file_sha256, reference_changes, reference_fault, rows_left
from holdfast.spec import Deployment
from holdfast.subject import (
    CertificateError,
    DropError,
    SignedCertificate,
    consented,
    erase_subject,
    export_subject,
    verify_certificate,
)
from holdfast.subject.certificate import subject_proof
from holdfast.subject.data_files import Wanted, remove_rows

PSEUDONYM_KEY = b"a pseudonym key of many bytes"
SIGNING_KEY = bytes(32)
SECRETS = {"HOLDFAST_PSEUDONYM_KEY": PSEUDONYM_KEY.decode(), "HOLDFAST_MASTER_KEY": "ab" * 32}
TOML = """
[model]
name = "ward"
[security]
auth = "keys"
[privacy]
sensitivity = "high"
subject_field = "patient"
consent_field = "agreed"
field_actions = { dose = "generalise" }
[privacy.generalise]
dose = "width 5"
"""
SCAN = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
"""The same for every patient."""
ANN, BOB = "patient-4711-ann", "patient-0815-bob"


@dataclass
class Place:
    """A deployment whose log, references and data sets hold rows of two patients."""

    deployment: Deployment
    registry: Registry
    writer: SpoolWriter

    def say(self, patient: str, *ids: str) -> None:
        rows = len(ids)
        record = PredictionRecord(
            model_version="1",
            arm="champion",
            prediction_ids=ids,
            times_us=[1_000_000] * rows,
            latency_us=[1] * rows,
            inputs={"note": [f"about {patient}"] * rows, "dose": [7.5] * rows},
            context={"patient": [patient] * rows, "agreed": [True] * rows},
            prediction=[0.5] * rows,
            large={"scan": np.stack([SCAN] * rows)},
            features={"scan": {"brightness": [0.5] * rows}},
        )
        privacy, folder = self.deployment.checklist.privacy, self.deployment.folder
        with closing(open_redactor(privacy, folder, SECRETS, SystemClock())) as redactor:
            self.writer.append(redactor.redact(record))

    def erase(self, subject: str) -> SignedCertificate:
        return erase_subject(
            self.deployment,
            self.registry,
            subject,
            pseudonym_key=PSEUDONYM_KEY,
            signing_key=SIGNING_KEY,
            actor="carol",
            clock=SystemClock(),
        )

    def export(self, subject: str) -> dict[str, Any]:
        clock = SystemClock()
        with self.sealer() as sealer:
            return export_subject(
                self.deployment,
                self.registry,
                subject,
                pseudonym_key=PSEUDONYM_KEY,
                sealer=sealer,
                actor="carol",
                clock=clock,
            )

    def sealer(self) -> Sealer:
        sealer = open_sealer(
            self.deployment.checklist.privacy, self.deployment.folder, SECRETS, SystemClock()
        )
        assert sealer is not None
        return sealer


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "holdfast.toml").write_text(TOML)
    deployment = Deployment.open(tmp_path, {})
    clock = SystemClock()
    writer = SpoolWriter(deployment.log_folder, deployment="ward", replica="worker-0", clock=clock)
    with Registry.open(deployment.registry_url, clock) as registry:
        for number in (1, 2):
            registry.add_version(
                name="ward",
                sha256=f"{number:064x}",
                created_at_us=1,
                created_by="ann",
                metadata={"data_sets": ["datasets/spring.parquet"]} if number == 2 else {},
            )
        place = Place(deployment, registry, writer)
        place.say(ANN, "prediction-a-1", "prediction-a-2")
        place.say(BOB, "prediction-b-1")
        writer.append_labels([Label("prediction-a-1", 1.0, 5), Label("prediction-b-1", 0.0, 5)])
        settle(deployment, clock=clock)
        place.say(ANN, "prediction-a-3")  # still in the spool of a writer that lives
        for folder, name in (("references/1", "reference"), ("datasets", "spring")):
            (tmp_path / folder).mkdir(parents=True)
            table = pa.table({"patient": [ANN, BOB, ANN], "dose": [1.0, 2.0, 3.0]})
            parquet.write_table(table, tmp_path / folder / f"{name}.parquet")
        (tmp_path / "scored.csv").write_text("prediction_id,score\nprediction-a-1,0.5\nprediction-b-1,0.25\n")
        with SubjectStore(tmp_path) as store:
            for who in (ANN, BOB):
                pseudonym = subject_pseudonym(PSEUDONYM_KEY, who)
                store.record_consent(agreed=True, subject=pseudonym, at_us=1, now_us=1, recorded_by="x")
        yield place
        writer.close()


def everything(folder: Path) -> bytes:
    """All bytes of all files, and all values of all tables."""
    parts = []
    for path in folder.rglob("*"):
        if path.is_file():
            parts.append(path.read_bytes())
            if path.suffix == ".parquet":
                parts.append(repr(parquet.read_table(path).to_pydict()).encode())
    return b"\0".join(parts)


def test_nothing_readable_of_a_highly_sensitive_record_is_in_the_folder(place: Place) -> None:
    settle(place.deployment, clock=SystemClock())
    held = everything(place.deployment.log_folder)
    assert b"about patient" not in held
    assert ANN.encode() not in held
    assert SCAN.tobytes()[:64] not in held
    assert b"feature_scan" not in held
    assert subject_pseudonym(PSEUDONYM_KEY, ANN).encode() in held


def test_an_export_holds_everything_about_one_subject_in_the_clear_and_nothing_about_another(
    place: Place,
) -> None:
    held = place.export(ANN)
    assert sorted(row["prediction_id"] for row in held["predictions"]) == [
        "prediction-a-1", "prediction-a-2", "prediction-a-3",
    ]  # fmt: skip
    assert {row["input_note"] for row in held["predictions"]} == {f"about {ANN}"}
    assert {row["input_dose"] for row in held["predictions"]} == {5.0}
    assert [row["y"] for row in held["predictions"] if row["prediction_id"] == "prediction-a-1"] == ["1"]
    (scan,) = held["large_inputs"].values()
    np.testing.assert_array_equal(np.load(io.BytesIO(base64.b64decode(scan))), SCAN)
    assert {row["feature_scan_brightness"] for row in held["predictions"]} == {0.5}
    assert len(held["consents"]) == 1
    assert {path: len(rows) for path, rows in held["data_files"].items()} == {
        "references/1/reference.parquet": 2,
        "datasets/spring.parquet": 2,
        "scored.csv": 1,
    }
    assert BOB not in repr(held)
    assert [one.action for one in place.registry.audit.entries()][-1] == "read.subject"


def test_after_an_erasure_no_byte_of_the_subject_is_in_the_folder_and_all_of_the_other(place: Place) -> None:
    before = place.export(BOB)
    folder = place.deployment.folder
    pseudonym = subject_pseudonym(PSEUDONYM_KEY, ANN).encode()
    texts = [ANN.encode(), pseudonym, b"prediction-a-1", b"prediction-a-2", b"prediction-a-3"]
    assert all(text in everything(folder) for text in texts)
    signed = place.erase(ANN)
    held = everything(folder)
    assert [text for text in texts if text in held] == []
    after = place.export(BOB)
    assert {**after, "exported_at": ""} == {**before, "exported_at": ""}
    done = signed.certificate
    assert (done.predictions, done.labels, done.data_keys, done.consents) == (3, 1, 1, 1)
    assert done.large_inputs == 1
    assert done.data_files == {
        "datasets/spring.parquet": 2, "references/1/reference.parquet": 2, "scored.csv": 1,
    }  # fmt: skip
    assert (done.answered_by, done.trained_with, done.judged_on) == (("1",), ("2",), ("1",))
    assert (done.complete, done.still_found) == (True, ())
    assert PredictionLog(place.deployment).verify().ok
    assert place.registry.audit.verify().ok
    again = place.erase(ANN).certificate
    assert (again.predictions, again.labels, again.complete) == (0, 0, True)


def registered(place: Place) -> Place:
    """Versions whose references stand in their record; of the second one no row names anybody."""
    folder = place.deployment.references_folder
    (folder / "4").mkdir()
    parquet.write_table(pa.table({"dose": [1.0, 2.0]}), folder / "4" / "reference.parquet")
    shutil.copytree(folder / "1", folder / "3")
    for number, rows in ((3, 3), (4, 2)):
        sha256 = file_sha256(folder / str(number) / "reference.parquet")
        place.registry.add_version(
            name="ward",
            sha256=f"{number:064x}",
            created_at_us=1,
            created_by="ann",
            metadata={"reference_sha256": sha256, "reference_rows": rows},
        )
    return place


def test_packed_tables_and_those_with_semicolons_are_searched_and_written_as_they_were(place: Place) -> None:
    folder = place.deployment.folder
    rows = f"patient;dose\n{ANN};1,5\n{BOB};2,5\n"
    (folder / "given.csv").write_text(rows)
    (folder / "packed.csv.gz").write_bytes(gzip.compress(rows.replace(";", "\t").encode()))
    parquet.write_table(pa.table({"patient": [BOB, ANN]}), folder / "short.pq")
    done = place.erase(ANN).certificate
    assert {path: rows for path, rows in done.data_files.items() if "/" not in path} == {
        "given.csv": 1, "packed.csv.gz": 1, "scored.csv": 1, "short.pq": 1,
    }  # fmt: skip
    left = rows.replace(f"{ANN};1,5\n", "")
    assert (folder / "given.csv").read_text() == left
    assert gzip.decompress((folder / "packed.csv.gz").read_bytes()).decode() == left.replace(";", "\t")
    assert parquet.read_table(folder / "short.pq").to_pydict() == {"patient": [BOB]}
    assert done.complete


def test_a_subject_whose_name_is_digits_is_found_in_csv_and_other_rows_stay_as_they_are_written(
    place: Place,
) -> None:
    given = place.deployment.folder / "given.csv"
    given.write_text('patient,ward,note\n00123,007,"a, b"\n0456,007,"a, c"\n')
    assert place.erase("00123").certificate.data_files == {"given.csv": 1}
    assert given.read_text() == 'patient,ward,note\n0456,007,"a, c"\n'


def test_an_erasure_that_breaks_off_before_a_table_is_replaced_leaves_it_and_nothing_beside_it(
    place: Place,
) -> None:
    given = place.deployment.folder / "given.csv"
    rows = f"patient,dose\n{ANN},1\n{BOB},2\n".encode()
    given.write_bytes(rows)

    def refused(path: Path, rows: int) -> None:
        raise PrivacyError("no")

    with pytest.raises(PrivacyError):
        remove_rows(given, Wanted(ANN, "p", frozenset(), "patient"), refused)
    assert given.read_bytes() == rows
    assert [path.name for path in given.parent.glob(".*.partial")] == []


def test_the_record_of_a_version_says_which_erasure_changed_its_reference(place: Place) -> None:
    folder, registry = registered(place).deployment.references_folder, place.registry
    before = registry.version("3").metadata["reference_sha256"]
    assert reference_fault(registry, registry.version("3"), folder) is None
    certificate = place.erase(ANN).certificate
    version = registry.version("3")
    (change,) = reference_changes(registry, version.version)
    assert (change.rows, change.sha256_before, change.certificate) == (2, before, certificate.request_id)
    assert change.sha256_after == file_sha256(folder / "3" / "reference.parquet") != before
    assert (rows_left(registry, version), version.metadata["reference_sha256"]) == (1, before)
    assert reference_fault(registry, version, folder) is None
    pseudonym = subject_pseudonym(PSEUDONYM_KEY, ANN)
    assert all(text not in repr(registry.evidence("3")) for text in (ANN, pseudonym))
    place.erase(BOB)
    assert [one.rows for one in reference_changes(registry, "3")] == [2, 1]
    assert reference_fault(registry, registry.version("3"), folder) is None
    (folder / "3" / "reference.parquet").write_bytes(b"somebody's own")
    assert reference_fault(registry, registry.version("3"), folder) == "it is not what was registered"
    (folder / "3" / "reference.parquet").unlink()
    assert reference_fault(registry, registry.version("3"), folder) == "it is missing"


def test_a_reference_that_somebody_changed_stays_at_fault_after_an_erasure(place: Place) -> None:
    folder, registry = registered(place).deployment.references_folder, place.registry
    table = pa.table({"patient": [ANN, BOB], "dose": [9.0, 9.0]})
    parquet.write_table(table, folder / "3" / "reference.parquet")
    place.erase(ANN)
    assert "by nobody on record" in str(reference_fault(registry, registry.version("3"), folder))


def test_an_erasure_that_died_beside_a_reference_is_one_change_once_it_is_repeated(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, registry = registered(place).deployment.references_folder, place.registry
    replace = Path.replace

    def die(path: Path, target: Path) -> Path:
        if "references/3" in str(path):
            raise OSError("power is gone")
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(OSError, match="power"):
            place.erase(ANN)
    assert reference_fault(registry, registry.version("3"), folder) == "an erasure was interrupted: repeat it"
    certificate = place.erase(ANN).certificate
    (change,) = reference_changes(registry, "3")
    assert (change.rows, change.certificate) == (2, certificate.request_id)
    assert reference_fault(registry, registry.version("3"), folder) is None


def test_tables_that_name_nobody_stand_in_the_certificate_and_a_reference_can_be_dropped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, path = place.registry, registered(place).deployment.references_folder / "4/reference.parquet"
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    at = ["-C", str(place.deployment.folder)]

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(root, arguments, standalone_mode=False, catch_exceptions=False)

    said = run("erase", "--subject", ANN, *at)
    assert "Names nobody, so no row of it could be found: references/4/reference.parquet" in said.output
    assert "holdfast subject drop-reference VERSION" in said.output
    assert place.erase(BOB).certificate.naming_nobody == ("references/4/reference.parquet",)
    registry.promote("4", reason="first", actor="ann")
    with pytest.raises(DropError, match="the monitor is blind"):
        run("subject", "drop-reference", "4", "--reason", "asked to", *at)
    assert path.exists()
    said = run("subject", "drop-reference", "4", "--reason", "asked to", "--champion", *at)
    assert said.output == "Dropped the reference of version 4: 2 rows.\n"
    assert not path.exists()
    version = registry.version("4")
    (change,) = reference_changes(registry, version.version)
    assert (change.reason, change.sha256_after, rows_left(registry, version)) == ("asked to", "", 0)
    assert reference_fault(registry, version, path.parents[1]) is None
    assert registry.audit.entries()[-1].action == "reference.drop"
    with pytest.raises(DropError, match="has no reference"):
        run("subject", "drop-reference", "4", "--reason", "again", *at)


def test_a_copy_of_a_sealed_content_cannot_be_opened_once_its_subject_is_erased(place: Place) -> None:
    (digest,) = place.export(ANN)["large_inputs"]
    backup = large_path(large_folder(place.deployment.log_folder), digest)
    assert backup is not None
    content = backup.read_bytes()
    assert len(content) > SCAN.nbytes
    place.erase(ANN)
    assert not backup.exists()
    backup.write_bytes(content)
    for who in (ANN, BOB):
        with place.sealer() as sealer, pytest.raises(PredictionLogError, match="sealed"):
            PredictionLog(place.deployment).large_input(
                digest, sealer=sealer, subject=subject_pseudonym(PSEUDONYM_KEY, who)
            )


def test_a_subject_that_comes_back_starts_anew(place: Place) -> None:
    place.erase(ANN)
    place.say(ANN, "prediction-a-9")
    held = place.export(ANN)
    assert [(row["prediction_id"], row["input_note"]) for row in held["predictions"]] == [
        ("prediction-a-9", f"about {ANN}")
    ]


def test_what_an_erasure_could_not_reach_is_named(place: Place) -> None:
    (place.deployment.folder / "artifacts").mkdir()
    (place.deployment.folder / "artifacts" / "notes.txt").write_text(f"remember {ANN}")
    certificate = place.erase(ANN).certificate
    assert certificate.still_found == ("artifacts/notes.txt",)
    assert not certificate.complete


def test_a_certificate_names_nobody_and_shows_whom_it_is_about_to_the_holder_of_the_key(place: Place) -> None:
    signed = place.erase(ANN)
    document = next((place.deployment.folder / "certificates").iterdir()).read_bytes()
    assert verify_certificate(document, public_key=signed.public_key) == signed
    assert ANN.encode() not in document
    assert subject_pseudonym(PSEUDONYM_KEY, ANN).encode() not in document
    done = signed.certificate
    assert subject_proof(PSEUDONYM_KEY, done.nonce, ANN) == done.subject_proof
    assert subject_proof(PSEUDONYM_KEY, done.nonce, BOB) != done.subject_proof
    forged = msgspec.structs.replace(signed, certificate=msgspec.structs.replace(done, predictions=99))
    for wrong in (msgspec.json.encode(forged), b"{}", b"", document[:-9]):
        with pytest.raises(CertificateError):
            verify_certificate(wrong)
    with pytest.raises(CertificateError, match="another key"):
        verify_certificate(document, public_key="00" * 32)


def test_consent_is_what_was_said_last_before_a_time_and_silence_is_none() -> None:
    rows = pa.table(
        {
            "prediction_id": ["p1", "p2", "p3", "p4"],
            "subject": ["ann", "ann", "bob", None],
            "consent": [True, False, None, True],
        }
    )

    def one(subject: str | None, name: str | None, at_us: int, *, agreed: bool) -> Consent:
        return Consent(subject, name, agreed, at_us, at_us, "x")

    statements = [
        one("ann", None, 10, agreed=False),
        one(None, "p2", 20, agreed=True),
        one("bob", None, 30, agreed=True),
        one("ann", None, 40, agreed=True),
        one("ann", None, 40, agreed=False),
    ]
    for as_of_us, expected in {
        5: [True, False, False, True],
        15: [False, False, False, True],
        25: [False, True, False, True],
        35: [False, True, True, True],
        45: [False, False, True, True],
    }.items():
        assert consented(rows, statements, as_of_us).to_pylist() == expected, as_of_us


def test_the_commands_do_what_they_say(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    at = ["-C", str(place.deployment.folder)]

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(root, arguments, standalone_mode=False, catch_exceptions=False)

    assert "does not agree" in run("consent", "--subject", ANN, "--withdraw", *at).output
    held = json.loads(run("subject", "export", ANN, *at).output)
    assert [one["agreed"] for one in held["consents"]] == [True, False]
    erased = run("erase", "--subject", ANN, "--json", *at)
    document = json.loads(erased.output)
    assert erased.return_value == 0
    path = place.deployment.folder / "certificates" / f"{document['certificate']['request_id']}.json"
    assert "is what was signed" in run("subject", "verify", str(path)).output
    acts = [one.action for one in place.registry.audit.entries()]
    assert acts[-3:] == ["consent", "read.subject", "erase"]
    assert ANN.encode() not in everything(place.deployment.folder)


def test_a_certificate_signed_before_a_field_was_known_stays_what_was_signed(place: Place) -> None:
    document = json.loads(msgspec.json.encode(place.erase(ANN)))
    del document["certificate"]["assignments"]  # as an older holdfast wrote it
    key = Ed25519PrivateKey.from_private_bytes(SIGNING_KEY)
    said = json.dumps(document["certificate"], sort_keys=True, separators=(",", ":"))
    document["signature"] = key.sign(said.encode()).hex()
    assert verify_certificate(json.dumps(document).encode()).certificate.assignments == 0
    document["certificate"]["predictions"] += 1
    with pytest.raises(CertificateError):
        verify_certificate(json.dumps(document).encode())

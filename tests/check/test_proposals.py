"""What `init` reads out of a model file and a reference, and what it warns of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from holdfast.check import suggest
from holdfast.cli import main
from holdfast.spec import Deployment

ROWS = 40
PATIENTS = pa.table(
    {
        "patient_nbr": [i % 7 for i in range(ROWS)],
        "encounter_id": list(range(ROWS)),
        "admitted_at": [f"2026-03-{1 + i % 28:02d}T02:00:00" for i in range(ROWS)],
        "age": [20 + i for i in range(ROWS)],
        "postcode": ["AB1 2CD"] * ROWS,
        "diag_1": ["250.1"] * ROWS,
        "contact": [f"ada{i}@example.org" for i in range(ROWS)],
        "note": ["the patient said that the pain had come back again last night"] * ROWS,
        "insulin": ["up"] * ROWS,
        "readmitted": [i % 2 for i in range(ROWS)],
    }
)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "patients.parquet"
    parquet.write_table(PATIENTS, str(path))
    return path


def test_columns_about_people_are_classed_and_the_sensitive_ones_make_it_high(reference: Path) -> None:
    found = suggest(None, reference)
    assert found.value("privacy.subject_field") == "patient_nbr"
    assert found.value("predictions.time_field") == "admitted_at"
    assert found.value("privacy.fields") == {
        "encounter_id": "identifier",
        "age": "quasi-identifier",
        "postcode": "quasi-identifier",
        "diag_1": "sensitive",
        "contact": "identifier",
        "note": "free-text",
        "insulin": "sensitive",
    }
    assert found.value("privacy.sensitivity") == "high"
    assert any("readmitted" in note for note in found.notes)


def test_a_reason_names_columns_and_never_repeats_a_value(reference: Path) -> None:
    found = suggest(None, reference)
    text = " ".join(one.reason for one in found.proposals)
    assert "example.org" not in text
    assert "250.1" not in text


def test_measurements_of_parts_get_no_proposal_about_people(tmp_path: Path) -> None:
    path = tmp_path / "parts.csv"
    path.write_text("width,height,scratches\n1.5,2.5,0\n1.6,2.4,1\n")
    assert suggest(None, path).proposals == ()


def test_a_word_within_another_is_no_word_about_people(tmp_path: Path) -> None:
    path = tmp_path / "machines.csv"
    path.write_text(
        "image_mean,mileage,capacity,trace,archive_kb,diagonal\n" + "1.5,2.5,0.1,4.5,3.5,9.5\n" * 4
    )
    assert suggest(None, path).proposals == ()


@pytest.mark.parametrize("name", ["age", "patientAge", "age_group", "AGE", "sex", "homeCity", "zip"])
def test_a_word_about_people_is_found_however_the_name_is_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(f"{name}\n1.5\n2.5\n")
    assert suggest(None, path).value("privacy.fields") == {name: "quasi-identifier"}


def test_a_column_called_patient_is_the_subject_where_it_tells_many_apart(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for people, found in ((60, "Patient"), (3, None)):
        path.write_text("Patient,dose\n" + "\n".join(f"P{row % people},{row}.5" for row in range(120)))
        assert suggest(None, path).value("privacy.subject_field") == found


def test_the_day_of_birth_is_not_the_time_of_the_row(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("birth_date,seen_at\n1950-02-03,2026-01-01T00:00:00\n1960-02-03,2026-01-02T00:00:00\n")
    found = suggest(None, path)
    assert found.value("predictions.time_field") == "seen_at"
    assert found.value("privacy.fields") == {"birth_date": "quasi-identifier"}


def test_the_size_of_the_model_proposes_memory(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x" * 100_000_000)
    found = suggest(model, None, cores=2)
    # 450 + 2 * (100 + 3 * 100) = 1250, to the next 256.
    assert found.value("compute.memory_mb") == 1280
    assert found.value("compute.model_size_mb") == 200.0


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["init", *arguments, "--yes", "--json"])
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)


def test_init_writes_what_was_proposed_and_a_flag_outweighs_it(
    tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "triage"
    code, printed = run(
        capsys, str(folder), "--reference", str(reference), "--set", "privacy.subject_field=contact"
    )
    assert code == 0
    assert "privacy.sensitivity" in printed["proposed"]
    checklist = Deployment.open(folder, {}).checklist
    assert checklist.privacy.sensitivity == "high"
    assert checklist.security.auth == "keys"
    assert checklist.privacy.subject_field == "contact"


def test_init_warns_of_a_page_that_would_load_a_large_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x" * 60_000_000)
    _, printed = run(capsys, str(tmp_path / "page"), "--model", str(model), "--set", "target.where=browser")
    assert any("60 MB" in warning for warning in printed["conflicts"])

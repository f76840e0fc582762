"""Functions that the checklist names make columns of inputs, from files in the deployment's folder only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from holdfast.monitor import MonitorError
from holdfast.monitor.own_measures import OwnMeasures
from holdfast.spec import ChecklistError, parse_checklist
from holdfast.stats import Coded

CODE = """
import numpy as np

def ratio(table):
    return table.column("a").to_numpy() / table.column("b").to_numpy()

def sign(table):
    return np.where(table.column("a").to_numpy() > 0, "up", "down")

def short(table):
    return [1.0]

number = 7
"""
ROWS = pa.table({"a": [1.0, -2.0], "b": [2.0, 8.0]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ward"
    folder.mkdir()
    (folder / "measures.py").write_text(CODE)
    (tmp_path / "outside.py").write_text(CODE)
    return folder


def test_a_function_makes_the_column_of_its_name(folder: Path) -> None:
    own = OwnMeasures.open(folder, ["measures.py:ratio", "measures.py:sign"], ["a", "b"])
    made = own.columns(ROWS, strict=True)
    assert np.asarray(made["ratio"]).tolist() == [0.5, -0.25]
    assert isinstance(made["sign"], Coded)
    assert [made["sign"].words[code] for code in made["sign"].codes] == ["up", "down"]


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("../outside.py:ratio", "not in the deployment's folder"),
        ("absent.py:ratio", "not in the deployment's folder"),
        ("measures.py:absent", "does not have"),
        ("measures.py:number", "does not have"),
        ("measures.py:taken", "name of another column"),
        ("broken.py:ratio", "cannot be run"),
    ],
)
def test_what_cannot_be_run_is_an_error_that_says_where(folder: Path, target: str, what: str) -> None:
    (folder / "broken.py").write_text("import nothing_of_the_kind")
    with pytest.raises(MonitorError, match=what) as error:
        OwnMeasures.open(folder, [target], ["taken"])
    assert "monitoring.own_columns" in str(error.value)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "link.py").symlink_to(folder.parent / "outside.py")
    with pytest.raises(MonitorError, match="not in the deployment's folder"):
        OwnMeasures.open(folder, ["link.py:ratio"], [])


def test_a_function_that_fails_is_an_error_on_the_reference_and_missing_with_a_note_on_the_log(
    folder: Path,
) -> None:
    own = OwnMeasures.open(folder, ["measures.py:short"], [])
    with pytest.raises(MonitorError, match="1 values for 2 rows"):
        own.columns(ROWS, strict=True)
    assert np.isnan(np.asarray(own.columns(ROWS, strict=False)["short"])).all()
    assert own.notes == ["'short' counts as missing in some rows: ValueError: 1 values for 2 rows"]


def test_other_code_has_another_digest(folder: Path) -> None:
    before = OwnMeasures.open(folder, ["measures.py:ratio"], []).digest
    assert before == OwnMeasures.open(folder, ["measures.py:ratio"], []).digest
    (folder / "measures.py").write_text(CODE.replace("/", "*"))
    assert before != OwnMeasures.open(folder, ["measures.py:ratio"], []).digest


def test_a_name_that_is_no_function_of_a_file_is_refused_by_the_checklist() -> None:
    with pytest.raises(ChecklistError, match="own_columns"):
        parse_checklist('[model]\nname = "ward"\n[monitoring]\nown_columns = ["os.system"]\n', source="here")

"""The deployment folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from holdfast.spec import ChecklistError, Deployment, checklist_hash


def written(folder: Path, text: str = '[model]\nname = "fraud"\n') -> Path:
    (folder / "holdfast.toml").write_text(text)
    return folder


def test_its_places_are_in_the_folder(tmp_path: Path) -> None:
    deployment = Deployment.open(written(tmp_path), {})
    assert deployment.folder == tmp_path
    assert deployment.name == "fraud"
    assert deployment.registry_url == f"sqlite:///{tmp_path}/registry.db"
    assert deployment.artifacts_folder == tmp_path / "artifacts"
    assert deployment.references_folder == tmp_path / "references"
    assert deployment.log_folder == tmp_path / "log"
    assert deployment.run_folder == tmp_path / "run"
    assert deployment.monitor_folder == tmp_path / "monitor"


def test_opening_creates_nothing(tmp_path: Path) -> None:
    Deployment.open(written(tmp_path), {})
    assert [path.name for path in tmp_path.iterdir()] == ["holdfast.toml"]


def test_the_log_may_lie_on_another_disk(tmp_path: Path) -> None:
    other = tmp_path / "disk"
    deployment = Deployment.open(written(tmp_path), {"HOLDFAST_LOGGING__PATH": str(other)})
    assert deployment.log_folder == other


def test_a_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fraud").mkdir()
    written(tmp_path / "fraud")
    monkeypatch.chdir(tmp_path)
    assert Deployment.open(Path("fraud"), {}).folder == tmp_path / "fraud"


def test_overrides_are_part_of_its_checklist_and_hash(tmp_path: Path) -> None:
    plain = Deployment.open(written(tmp_path), {})
    overridden = Deployment.open(tmp_path, {"HOLDFAST_COMPUTE__CORES": "2"})
    assert overridden.checklist.compute.cores == 2
    assert overridden.checklist_hash == checklist_hash(overridden.checklist) != plain.checklist_hash


def test_it_cannot_be_changed(tmp_path: Path) -> None:
    deployment = Deployment.open(written(tmp_path), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        deployment.folder = tmp_path  # type: ignore[misc]  # the point of the test
    with pytest.raises(AttributeError, match="immutable"):
        deployment.checklist.compute.cores = 4  # type: ignore[misc]  # the point of the test


def test_a_folder_without_a_checklist_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ChecklistError, match="holdfast init"):
        Deployment.open(tmp_path / "nowhere", {})

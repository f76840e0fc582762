"""Which files of a folder are brought to the disk, and how often."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.files import sync_file
from holdfast.prediction_log import disk
from holdfast.prediction_log.disk import SyncedFiles


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was brought to the disk."""
    names: list[str] = []

    def noted(path: Path) -> None:
        sync_file(path)
        names.append(path.name)

    monkeypatch.setattr(disk, "sync_file", noted)
    return names


def test_each_file_goes_to_the_disk_once_and_before_its_folder(tmp_path: Path, synced: list[str]) -> None:
    files = SyncedFiles(tmp_path)
    (tmp_path / "a").touch()
    files.sync()
    (tmp_path / "b").touch()
    (tmp_path / "folder").mkdir()
    files.sync()
    assert synced == ["a", tmp_path.name, "b", tmp_path.name]


def test_a_file_that_changes_goes_to_the_disk_each_time(tmp_path: Path, synced: list[str]) -> None:
    files = SyncedFiles(tmp_path, frozenset({"pointer", "absent"}))
    (tmp_path / "pointer").touch()
    files.sync()
    files.sync()
    assert synced == ["pointer", tmp_path.name] * 2


def test_a_name_that_comes_again_is_another_file(tmp_path: Path, synced: list[str]) -> None:
    files = SyncedFiles(tmp_path)
    (tmp_path / "a").touch()
    files.sync()
    (tmp_path / "a").unlink()
    files.sync()
    (tmp_path / "a").touch()
    files.sync()
    assert synced == ["a", tmp_path.name, tmp_path.name, "a", tmp_path.name]


def test_a_file_that_goes_meanwhile_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).touch()

    def goes(path: Path) -> None:
        (tmp_path / "b").unlink(missing_ok=True)
        sync_file(path)

    monkeypatch.setattr(disk, "sync_file", goes)
    SyncedFiles(tmp_path).sync()

"""Folders in which something is built, and what of them a killed process leaves."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.building import building_folder

BUILDER = """
import pathlib, sys, time
from holdfast.building import building_folder
with building_folder(pathlib.Path(sys.argv[1]), ".building-") as folder:
    (folder / "half").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(600)
"""


def building(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process, and the folder in which it builds."""
    command = [sys.executable, "-c", BUILDER, str(parent)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def age(folder: Path, seconds: float) -> None:
    then_s = time.time() - seconds
    os.utime(folder, (then_s, then_s))


def test_what_a_killed_process_was_building_goes_with_the_next_build_and_a_living_one_is_left(
    tmp_path: Path,
) -> None:
    (killed, left), (living, built) = building(tmp_path), building(tmp_path)
    try:
        killed.kill()
        killed.wait()
        for folder in (left, built):
            age(folder, 3 * 86400)
        with building_folder(tmp_path, ".building-") as ours:
            assert sorted(tmp_path.iterdir()) == sorted([built, ours])
            assert list(built.iterdir())
    finally:
        living.kill()
        living.communicate()
        killed.communicate()
    assert list(tmp_path.iterdir()) == [built]


def test_a_folder_that_has_just_been_made_and_is_not_locked_yet_is_left(tmp_path: Path) -> None:
    fresh = tmp_path / ".building-fresh"
    fresh.mkdir()
    with building_folder(tmp_path, ".building-"):
        assert fresh.exists()


def test_what_is_no_folder_of_a_build_is_left(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "model").write_bytes(b"x")
    (tmp_path / ".building-link").symlink_to(kept)
    (tmp_path / ".building-file").write_bytes(b"x")
    age(kept, 3 * 86400)
    with building_folder(tmp_path, ".building-"):
        pass
    assert {one.name for one in tmp_path.iterdir()} == {"kept", ".building-link", ".building-file"}
    assert list(kept.iterdir())


def test_where_nothing_can_be_locked_only_folders_older_than_a_day_are_taken_for_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for name, seconds in (("hour", 3600), ("days", 3 * 86400)):
        folder = tmp_path / f".building-{name}"
        folder.mkdir()
        age(folder, seconds)
    with building_folder(tmp_path, ".building-") as ours:
        assert sorted(tmp_path.iterdir()) == sorted([tmp_path / ".building-hour", ours])


def test_a_folder_that_was_renamed_stays_and_one_that_was_not_goes(tmp_path: Path) -> None:
    with building_folder(tmp_path, ".building-") as folder:
        folder.rename(tmp_path / "whole")
    with pytest.raises(KeyError), building_folder(tmp_path, ".building-") as folder:
        raise KeyError
    assert [one.name for one in tmp_path.iterdir()] == ["whole"]

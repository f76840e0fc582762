"""Which commits of a table are whole: the smallest damage that a loss of power can do, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.prediction_log.mending import mend, note_synced

Damage = Callable[[Path, Path], object]


def commit_of(table: Path, version: int) -> Path:
    return table / "_delta_log" / f"{version:020}.json"


def add_commit(table: Path, version: int, name: str | None = None) -> Path:
    """A commit that adds one file; returns the file."""
    name = name or f"part-{version}.parquet"
    data = table / name
    data.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": [version]}), data)
    path = name.replace("%", "%25").replace(" ", "%20")
    actions = [{"add": {"path": path, "size": data.stat().st_size}}, {"commitInfo": {"operation": "WRITE"}}]
    commit = commit_of(table, version)
    commit.parent.mkdir(exist_ok=True)
    commit.write_text("\n".join(map(json.dumps, actions)) + "\n")
    return data


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "predictions"
    for version in range(3):
        add_commit(folder, version)
    return folder


def write(content: bytes) -> Damage:
    return lambda commit, _: commit.write_bytes(content)


def change(how: Callable[[bytes], bytes]) -> Damage:
    return lambda commit, _: commit.write_bytes(how(commit.read_bytes()))


DAMAGES: dict[str, Damage] = {
    "empty": write(b""),
    "zeros where the text was": change(lambda text: bytes(len(text))),
    "zeros at its end": change(lambda text: text[:-8] + bytes(8)),
    "cut in a line": change(lambda text: text[:-5]),
    "cut between lines": change(lambda text: text.splitlines(keepends=True)[0]),
    "its file is not there": lambda _, data: data.unlink(),
    "its file is shorter": lambda _, data: data.write_bytes(data.read_bytes()[:-1]),
    "its file is longer": lambda _, data: data.write_bytes(b"PAR1" + data.read_bytes()),
    "its file holds zeros": lambda _, data: data.write_bytes(bytes(data.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_commit_and_all_after_it_are_taken_away(table: Path, damage: Damage) -> None:
    assert mend(table) == 0
    damage(commit_of(table, 1), table / "part-1.parquet")
    assert mend(table) == 2
    assert [commit_of(table, version).exists() for version in range(3)] == [True, False, False]
    assert mend(table) == 0


@pytest.mark.parametrize("name", ["a b.parquet", "day=2026-01-01/p.parquet", "50%.parquet"])
def test_a_file_is_found_whatever_is_in_its_name(table: Path, name: str) -> None:
    add_commit(table, 3, name)
    assert mend(table) == 0


def test_what_was_brought_to_the_disk_is_not_looked_at_again(table: Path) -> None:
    note_synced(table, 1)
    (table / "part-1.parquet").unlink()  # removed by a later commit, as a compaction does
    assert mend(table) == 0
    commit_of(table, 2).write_bytes(b"")
    assert mend(table) == 1


def test_commits_before_a_checkpoint_may_be_gone(table: Path) -> None:
    commit_of(table, 0).unlink()
    assert mend(table) == 0
    commit_of(table, 2).write_bytes(b"")
    assert mend(table) == 1
    assert commit_of(table, 1).exists()


def test_a_checkpoint_of_what_is_taken_away_goes_with_its_pointer(table: Path) -> None:
    log = table / "_delta_log"
    pointer = log / "_last_checkpoint"
    for version in (0, 2):
        pq.write_table(pa.table({"x": [version]}), log / f"{version:020}.checkpoint.parquet")
    pointer.write_text('{"version":2,"size":1}')
    assert mend(table) == 0
    assert pointer.exists()
    commit_of(table, 2).write_bytes(b"")
    assert mend(table) == 1
    assert sorted(path.name for path in log.glob("*checkpoint*")) == [f"{0:020}.checkpoint.parquet"]


@pytest.mark.parametrize("content", ["", "{}", '{"version":7}', "[]"])
def test_a_pointer_to_no_checkpoint_is_removed(table: Path, content: str) -> None:
    pointer = table / "_delta_log" / "_last_checkpoint"
    pointer.write_text(content)
    assert mend(table) == 0
    assert not pointer.exists()


def test_a_torn_checkpoint_is_removed_where_it_was_not_yet_on_the_disk(table: Path) -> None:
    torn = table / "_delta_log" / f"{1:020}.checkpoint.parquet"
    torn.write_bytes(b"PAR1")
    note_synced(table, 1)
    assert (mend(table), torn.exists()) == (0, True)
    note_synced(table, 0)
    assert (mend(table), torn.exists()) == (0, False)


def test_a_folder_without_commits_is_left_alone(tmp_path: Path) -> None:
    assert mend(tmp_path / "nothing") == 0

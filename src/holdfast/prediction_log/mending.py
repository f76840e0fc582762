"""A table on this machine's disk after a loss of power: back to its last whole version.

The Delta library leaves it to the kernel when a commit reaches the disk, so after a loss of power the newest
commits may be cut off, empty, or name data files that are. Such a table opens for nobody. Nothing of them is
the only copy: a segment of the spool goes only when all commits are on the disk. So the keeper, before it
opens a table, looks at the commits made since it was last brought to the disk, takes those from the first one
that is not whole away, and commits their rows again.
"""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from holdfast.files import sync_file

_COMMIT: Final = re.compile(r"(\d{20})\.json")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint.*\.parquet")
_log: Final = logging.getLogger("holdfast.keeper")


def note_synced(table: Path, version: int) -> None:
    """This version and all before it are on the disk."""
    path = _mark(table)
    if _synced(table) == version:
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(str(version))
    sync_file(partial)
    partial.replace(path)
    sync_file(path.parent)


def mend(table: Path) -> int:
    """Take away the commits from the first one that is not whole; returns how many.

    Call it before the table is opened, in the process that alone commits to it.
    """
    log_folder = table / "_delta_log"
    try:
        names = sorted(path.name for path in log_folder.iterdir())
    except FileNotFoundError:
        return 0
    commits = {int(found[1]): log_folder / name for name in names if (found := _COMMIT.fullmatch(name))}
    synced = _synced(table)
    checkpoints = {
        log_folder / name: int(found[1]) for name in names if (found := _CHECKPOINT.fullmatch(name))
    }
    torn = {
        path: version
        for path, version in checkpoints.items()
        if version > synced and not _is_whole_parquet(path)
    }
    for path in torn:
        path.unlink()
    whole_to = _whole_to(table, commits, synced)
    doomed = sorted((version for version in commits if version > whole_to), reverse=True)
    if doomed:
        for path, version in checkpoints.items():
            if version > whole_to:
                path.unlink(missing_ok=True)
    pointer = log_folder / "_last_checkpoint"
    kept = {version for path, version in checkpoints.items() if path.exists()}
    if pointer.exists() and _version_in(pointer) not in kept:
        pointer.unlink()
    for version in doomed:  # the last one first: whatever stops us leaves no gap
        commits[version].unlink()
    if doomed or torn:
        sync_file(log_folder)
        _log.warning(
            "%s: %d commits were cut off by a loss of power; their rows are taken from the spool again",
            table,
            len(doomed),
        )
    return len(doomed)


def _whole_to(table: Path, commits: dict[int, Path], synced: int) -> int:
    version = max(synced, min(commits, default=0) - 1)
    while version + 1 in commits and _is_whole(table, commits[version + 1]):
        version += 1
    return version


def _is_whole(table: Path, commit: Path) -> bool:
    """Whether each line is an action, and each file that it adds is there; those removed since are not."""
    content = commit.read_bytes()
    if not content or b"\0" in content:
        return False
    try:
        actions: list[dict[str, Any]] = [msgspec.json.decode(line) for line in content.splitlines() if line]
    except msgspec.MsgspecError:
        return False
    if not any("commitInfo" in one for one in actions):
        return False
    return all(_is_there(table, one["add"]) for one in actions if "add" in one)


def _is_there(table: Path, added: dict[str, Any]) -> bool:
    path = table / unquote(added["path"])
    try:
        return path.stat().st_size == added["size"] and _is_whole_parquet(path)
    except FileNotFoundError:
        return False


def _is_whole_parquet(path: Path) -> bool:
    """Its footer is written last, and what was cut off has none."""
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def _version_in(pointer: Path) -> int | None:
    with contextlib.suppress(msgspec.MsgspecError, KeyError, TypeError):
        return int(msgspec.json.decode(pointer.read_bytes())["version"])
    return None


def _mark(table: Path) -> Path:
    return table.with_name(f"{table.name}.synced")


def _synced(table: Path) -> int:
    try:
        return int(_mark(table).read_text())
    except (FileNotFoundError, ValueError):
        return -1

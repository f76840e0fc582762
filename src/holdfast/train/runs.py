"""One folder for each training: what was asked for and what came of it. One training at a time."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from holdfast.clock import Clock, iso_utc
from holdfast.spec import Deployment
from holdfast.train.errors import TrainError
from holdfast.train.manifest import MANIFEST_FILE, read_manifest
from holdfast.train.storing import BUILDING

RUN_FILE: Final = "run.json"
LOCK_FILE: Final = ".lock"
MOST_RUNS: Final = 50
"""Older ones are removed: their outcome stands in the audit and in the registry."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A training, ended or not."""

    id: str
    started_at_us: int
    trigger: str
    state: Literal["running", "registered", "worse", "failed"] = "running"
    data_set: str | None = None
    version: str | None = None
    champion: str | None = None
    seconds: float | None = None
    error: str | None = None
    from_diagnosis: int | None = None
    comparison: dict[str, Any] | None = None
    data_until_us: int | None = None
    """Time of the newest row at the start: what triggers count from where rows carry their own time."""
    change_us: int | None = None
    """Beginning of the change that an alarm told of last, microseconds since the epoch."""
    change_rows: int | None = None
    """Labelled rows since then that could teach at the start."""


@contextlib.contextmanager
def only_training(deployment: Deployment) -> Iterator[None]:
    """Hold the lock of the deployment's trainings, with what a killed one left behind cleared away.

    The kernel lets go of the lock however we end.

    Raises:
        TrainError: another process trains, or builds a data set, in this folder.
    """
    root = deployment.training_folder
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainError(
                "a training of this deployment is under way",
                where=str(root),
                expected="one at a time",
                next_step="Wait for its end; its output stands in log.txt of the newest folder there",
            ) from error
        _clear(deployment)
        yield


def _clear(deployment: Deployment) -> None:
    """What a process that was killed could not: half-built data sets, opened secrets, runs without an end."""
    root = deployment.datasets_folder
    for path in root.glob(f"{BUILDING}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in root.glob(f"*/{MANIFEST_FILE}"):
        manifest = read_manifest(path.parent)
        if not manifest.files_kept:
            for name in manifest.splits:
                (path.parent / f"{name}.parquet").unlink(missing_ok=True)
    for run in past_runs(deployment):
        if run.state == "running":
            ended = msgspec.structs.replace(run, state="failed", error="its process was ended from outside")
            write_run(deployment.training_folder / run.id, ended)


def start_run(
    deployment: Deployment,
    trigger: str,
    from_diagnosis: int | None,
    clock: Clock,
    *,
    data_until_us: int | None = None,
    change: tuple[int, int] | None = None,
) -> tuple[Run, Path]:
    """A new folder, which only this user can enter; the oldest ones beyond 50 are removed.

    Args:
        deployment: whose.
        trigger: what started it, in words.
        from_diagnosis: number of the evidence that says how.
        clock: of the start.
        data_until_us: time of the newest row.
        change: beginning of the change that an alarm told of last, and the rows since then that can teach.
    """
    root = deployment.training_folder
    root.mkdir(parents=True, exist_ok=True)
    now_us = clock.now_us()
    stamp = iso_utc(now_us)[:19].replace(":", "").replace("-", "")
    run = Run(
        id=f"{stamp}-{secrets.token_hex(3)}",
        started_at_us=now_us,
        trigger=trigger,
        from_diagnosis=from_diagnosis,
        data_until_us=data_until_us,
        change_us=None if change is None else change[0],
        change_rows=None if change is None else change[1],
    )
    folder = root / run.id
    folder.mkdir(mode=0o700)
    write_run(folder, run)
    for old in sorted(path for path in root.iterdir() if path.is_dir())[:-MOST_RUNS]:
        shutil.rmtree(old, ignore_errors=True)
    return run, folder


def write_run(folder: Path, run: Run) -> None:
    """Whole or not at all."""
    partial = folder / f".{RUN_FILE}"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2))
    partial.replace(folder / RUN_FILE)


def past_runs(deployment: Deployment) -> Iterator[Run]:
    """Every training that is still on record, oldest first."""
    if not deployment.training_folder.is_dir():
        return
    for path in sorted(deployment.training_folder.glob(f"*/{RUN_FILE}")):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=Run)
        except (OSError, msgspec.MsgspecError):
            continue

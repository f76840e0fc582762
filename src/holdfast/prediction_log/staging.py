"""Rows that enter the log together with a file, all of them or none.

A table that is scored must be in the log exactly once, however often the run was interrupted and begun again.
So its rows are spooled in a folder of their own, and moved into the spool when the target has appeared:

1. rows are written to `staged/<run>/`, which is locked by its writer;
2. `promise`: all rows are there; the marker names the hidden file that is about to become the target;
3. the hidden file takes the target's place: from now on the rows count;
4. `publish`: segments and large inputs are moved, and the folder goes.

Whoever finds a run whose writer is gone decides by the marker: if there is one, and the hidden file is no
longer there, the target had appeared, and the rows are published; otherwise they are thrown away.

An erasure that finds rows of its subject in a run takes the marker's place first: the run is spoiled, its
files are removed at once, and its writer, who can promise no more, begins again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from holdfast.files import sync_file
from holdfast.prediction_log.blocks import PredictionBlock
from holdfast.prediction_log.errors import SpoiledRunError
from holdfast.prediction_log.frames import Damage
from holdfast.prediction_log.large_store import PARTIAL_SUFFIX, LargeWriter, large_folder
from holdfast.prediction_log.scanning import OpenSegment, decode
from holdfast.prediction_log.segments import OPENING_TRIES, list_segments, spool_folder

_LOCK: Final = "lock"
_OPENING: Final = ".opening"
_MARKER: Final = "promised.json"


class _Promise(msgspec.Struct, frozen=True):
    hidden: str | None
    """The file that becomes the target; None: the run is spoiled."""


def staged_folder(log_folder: Path) -> Path:
    """Rows of runs that are under way, one folder each."""
    return log_folder / "staged"


class StagedRun:
    """The rows of one run. `folder` is to the writer what a log's folder is.

    Args:
        log_folder: that the rows enter in the end.
    """

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self.folder = staged_folder(log_folder) / secrets.token_hex(6)
        self._lock = -1
        for left in reversed(range(OPENING_TRIES)):
            try:
                self._open()
                break
            except FileNotFoundError:  # a keeper came before the lock, and took us for a writer that is dead
                self._let_go()
                if not left:
                    raise

    def _open(self) -> None:
        """Make the folder, under its own name only once it is locked: nobody takes it for abandoned."""
        opening = self.folder.with_suffix(_OPENING)
        opening.mkdir(parents=True)
        self._lock = os.open(opening / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        opening.rename(self.folder)

    def promise(self, hidden: Path) -> None:
        """All rows are written, their writer is closed, and they count once this file has its other name.

        Raises:
            SpoiledRunError: an erasure has removed rows of this run.
        """
        # Whoever does not find it any more must know that it was there.
        sync_file(hidden.parent)
        if not _mark(self.folder, _Promise(str(hidden.resolve()))):
            raise SpoiledRunError(
                "a subject of this run was erased while it ran",
                where=str(self.folder),
                expected="a run in which nobody is to be forgotten",
                next_step="Nothing of it was written or logged: take the subject out of the source, and run "
                "the same command again",
            )
        # Before the target appears the run must have its name, whatever happens to the power.
        for folder in (staged_folder(self._log_folder), self._log_folder, self._log_folder.parent):
            sync_file(folder)

    def publish(self) -> None:
        """Let the rows enter the log."""
        _publish(self.folder, self._log_folder)
        self._let_go()

    def discard(self) -> None:
        """Forget the rows. Do so before the hidden file is removed. A second call does nothing."""
        (self.folder / _MARKER).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def spoil_runs(log_folder: Path, is_meant: Callable[[PredictionBlock], bool]) -> bool:
    """Remove what runs under way hold, if it is of somebody who is to be forgotten.

    Args:
        log_folder: of the log.
        is_meant: whether a block has rows of such a subject.

    Returns:
        Whether nothing of them is left: a run that has promised is about to be published, and its rows are
        found in the spool soon.
    """
    clean = True
    for folder in _folders(log_folder):
        with contextlib.suppress(FileNotFoundError):
            if not _holds(folder, is_meant):
                continue
            if _mark(folder, _Promise(None)) or _promised(folder) == _Promise(None):
                _empty(folder)
            else:
                clean = False
    return clean


def _holds(folder: Path, is_meant: Callable[[PredictionBlock], bool]) -> bool:
    for ref in list_segments(spool_folder(folder)):
        with OpenSegment(ref) as segment:
            for found in segment.frames(0):
                block = None if isinstance(found, Damage) else decode(found, ref.name)
                if isinstance(block, PredictionBlock) and is_meant(block):
                    return True
    return False


def _empty(folder: Path) -> None:
    """Whoever still writes there writes into files that have no name; folders stay, for they are in use."""
    for path in (
        *(ref.path for ref in list_segments(spool_folder(folder))),
        *large_folder(folder).glob("??/*"),
    ):
        if path.suffix != PARTIAL_SUFFIX:
            path.unlink(missing_ok=True)
    sync_file(spool_folder(folder))


def _mark(folder: Path, promise: _Promise) -> bool:
    """Whether this promise stands now; only the first one does."""
    fresh = folder / f"{_MARKER}.{secrets.token_hex(4)}"
    fresh.write_bytes(msgspec.json.encode(promise))
    sync_file(fresh)
    try:
        os.link(fresh, folder / _MARKER)
    except FileExistsError:
        return False
    finally:
        fresh.unlink()
    sync_file(folder)
    return True


def _promised(folder: Path) -> _Promise | None:
    try:
        return msgspec.json.decode((folder / _MARKER).read_bytes(), type=_Promise)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def finish_abandoned(log_folder: Path) -> tuple[int, int]:
    """Publish or throw away the rows of runs whose writer is gone; returns how many runs of each."""
    _remove_unopened(log_folder)
    published = discarded = 0
    for folder in _abandoned(_folders(log_folder)):
        promise = _promised(folder)
        hidden = None if promise is None or promise.hidden is None else Path(promise.hidden)
        if hidden is not None and not hidden.exists():
            _publish(folder, log_folder)
            published += 1
            continue
        (folder / _MARKER).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        if hidden is not None:
            hidden.unlink(missing_ok=True)
        discarded += 1
    return published, discarded


def _remove_unopened(log_folder: Path) -> None:
    """Remove folders whose writer died before they had their name."""
    folders = list(staged_folder(log_folder).glob(f"*{_OPENING}"))
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()  # there is not even a lock in it
    for folder in _abandoned(folders):
        shutil.rmtree(folder, ignore_errors=True)


def _folders(log_folder: Path) -> list[Path]:
    """Of runs that were begun."""
    try:
        folders = sorted(staged_folder(log_folder).iterdir())
    except FileNotFoundError:
        return []
    return [folder for folder in folders if folder.suffix != _OPENING]


def _abandoned(folders: Iterable[Path]) -> Iterator[Path]:
    """Those whose writer is gone, locked while they are looked at."""
    for folder in folders:
        try:
            fd = os.open(folder / _LOCK, os.O_RDWR)
        except FileNotFoundError:  # just begun, or being removed
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        try:
            if folder.exists():
                yield folder
        finally:
            os.close(fd)


def _publish(folder: Path, log_folder: Path) -> None:
    """Move contents and segments, in this order; whatever was moved before an interruption stays moved."""
    spool = spool_folder(log_folder)
    spool.mkdir(parents=True, exist_ok=True)
    moved = [path for path in sorted(large_folder(folder).glob("??/*")) if path.suffix != PARTIAL_SUFFIX]
    homes = {path: large_folder(log_folder) / path.parent.name / path.name for path in moved}
    places = sorted({home.parent for home in homes.values()})
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    for place in (*places, *([large_folder(log_folder)] if places else []), log_folder):
        sync_file(place)
    writer = LargeWriter(log_folder, "staged", synced=False)
    with writer.using() if large_folder(folder).is_dir() else contextlib.nullcontext():
        for path, home in homes.items():
            path.replace(home)
            os.utime(home)
        for place in places:
            sync_file(place)
        for segment in list_segments(spool_folder(folder)):  # in the order in which they were written
            segment.path.rename(spool / segment.path.name)
    writer.close()
    sync_file(spool)
    shutil.rmtree(folder, ignore_errors=True)

"""Folders in which something is built: gone when the work ends, however it ends.

Whoever builds holds a lock on the folder, which the system gives back when the process is gone. So what a
killed process left behind is known from what another one works in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_BEGINNING_S: Final = 60.0
"""A folder may be so old and not locked yet."""
_LONGEST_S: Final = 86400.0
"""No build takes so long: where nothing can be locked, only older folders are taken for left behind."""


@contextmanager
def building_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new, empty folder, which is removed at the end unless it has been renamed.

    Folders of the same parent and prefix that killed processes left behind are removed first.

    Args:
        parent: exists.
        prefix: of the names of such folders, and of no others.
    """
    _clear(parent, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _clear(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # another one clears up too, or it is somebody else's
            if _is_left_behind(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left_behind(folder: Path) -> bool:
    """Whether nobody builds in a folder any more.

    Raises:
        OSError: it is no folder, is gone, or may not be read.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        age_s = time.time() - found.st_mtime
        if found.st_uid != os.getuid() or age_s < _BEGINNING_S:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return age_s > _LONGEST_S
        return True
    finally:
        os.close(handle)

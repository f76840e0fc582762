"""Files that appear whole or not at all and outlive a loss of power; a disk that refuses names them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_OF_WRITING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """A disk that refuses in the middle of a file is an error with the name of that file.

    Neither Arrow nor the `write` of an open file says which one it was.

    Args:
        path: as the user calls the file, also while it grows under a hidden name.

    Raises:
        OSError: of the same kind, with `filename`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _OF_WRITING and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def sync_file(path: Path) -> None:
    """Return once the file's content, or the folder's entries, are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(target: Path, content: bytes) -> None:
    """A file that appears under its name when it is whole and on the disk; until then what was there stays.

    Raises:
        OSError: names the target.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        with writing_to(target):
            partial.write_bytes(content)
            sync_file(partial)
        partial.replace(target)
        sync_file(target.parent)
    finally:
        partial.unlink(missing_ok=True)

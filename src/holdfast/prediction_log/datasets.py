"""Delta tables as pyarrow data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.fs as pfs
from deltalake import DeltaTable


def dataset_of(table: DeltaTable, folder: Path) -> Any:
    """The table's snapshot as a pyarrow data set, its files opened by Arrow itself.

    By default the Delta library opens them through a file system written in Python. Arrow's threads then need
    the interpreter, and one that still reads ahead while the interpreter ends is killed by it: the process
    hangs in its exit, or crashes there.
    """
    files = pfs.SubTreeFileSystem(str(folder.resolve()), pfs.LocalFileSystem())
    return table.to_pyarrow_dataset(filesystem=files)

"""Which rows the files of a table hold, read once for each: a table only adds and removes whole files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as pds
from deltalake import DeltaTable

from holdfast.prediction_log import proof
from holdfast.prediction_log.places import TablePlace

_BATCH_ROWS: Final = 262_144
_COLUMNS: Final = pa.schema([("replica", pa.string()), ("sequence", pa.int64())])
_Stamp = tuple[int, int]
"""Size in bytes and nanoseconds of the last change."""


class KnownRanges:
    """Sequence numbers by replica in one table's files, remembered from one look to the next.

    A file is believed while it has the size and the time that it had when it was read. On an object store,
    which shows neither for nothing, all are read each time. `verify_log` reads all of them anyhow.
    """

    def __init__(self) -> None:
        self._files: dict[str, tuple[_Stamp, dict[str, list[proof.Range]]]] = {}
        self.files_read = 0
        """In all looks."""

    def of(self, delta: DeltaTable, place: TablePlace) -> dict[str, list[proof.Range]]:
        """Of all files of this snapshot.

        Raises:
            FileNotFoundError: one is gone.
        """
        marks_rows = "deletionVectors" in (delta.protocol().reader_features or ())  # of a foreign writer
        if place.folder is None or marks_rows:
            return proof.ranges_by_replica(batches(delta, place))
        names = [uri.rpartition("/")[2] for uri in delta.file_uris()]
        self._files = {name: self._known(place.folder / name) for name in names}
        found: dict[str, list[proof.Range]] = defaultdict(list)
        for _, of_file in self._files.values():
            for replica, parts in of_file.items():
                found[replica] += parts
        return {replica: proof.joined(parts) for replica, parts in found.items()}

    def _known(self, path: Path) -> tuple[_Stamp, dict[str, list[proof.Range]]]:
        status = path.stat()
        stamp = status.st_size, status.st_mtime_ns
        known = self._files.get(path.name)
        if known is not None and known[0] == stamp:
            return known
        self.files_read += 1
        rows: Any = pds.dataset(str(path), schema=_COLUMNS, format="parquet")
        return stamp, proof.ranges_by_replica(rows.to_batches(batch_size=_BATCH_ROWS))


def batches(delta: DeltaTable, place: TablePlace) -> Iterator[pa.RecordBatch]:
    """Replica and sequence number of every row."""
    yield from place.dataset(delta).to_batches(columns=_COLUMNS.names, batch_size=_BATCH_ROWS)

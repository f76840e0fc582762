"""Tables outside the log that may hold rows of a subject: references, data sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from holdfast.privacy import canonical_text
from holdfast.spec import Deployment

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_FILE: Final = "manifest.json"
"""Beside the files of a data set."""
_SUFFIXES = frozenset({".parquet", ".csv"})


class Wanted:
    """Whose rows are meant.

    Args:
        subject: as callers name the subject.
        pseudonym: as the log does.
        prediction_ids: of the subject's predictions.
        subject_field: the column that holds the subject in tables that come from elsewhere.
    """

    def __init__(
        self, subject: str, pseudonym: str, prediction_ids: frozenset[str], subject_field: str
    ) -> None:
        self._by_column: dict[str, frozenset[str]] = {
            "subject": frozenset({pseudonym, subject}),
            "prediction_id": prediction_ids,
            subject_field: frozenset({subject, pseudonym}),
        }

    def keep(self, table: pa.Table) -> pa.Array | None:
        """For each row whether it is about somebody else; None if no column could tell."""
        import pyarrow as pa

        meant: list[bool] | None = None
        for name, texts in self._by_column.items():
            if name in table.column_names:
                found = [
                    value is not None and canonical_text(value) in texts
                    for value in table.column(name).to_pylist()
                ]
                meant = found if meant is None else [a or b for a, b in zip(meant, found, strict=True)]
        return None if meant is None else pa.array([not one for one in meant], pa.bool_())


def data_files(deployment: Deployment) -> Iterator[Path]:
    """Every table outside the log."""
    for path in sorted(deployment.folder.rglob("*")):
        if path.suffix in _SUFFIXES and path.is_file() and not path.is_relative_to(deployment.log_folder):
            yield path


def rows_of(path: Path, wanted: Wanted) -> pa.Table | None:
    """The rows that are meant; None if there are none."""
    import pyarrow.compute as pc

    table = _read(path)
    keep = wanted.keep(table)
    if keep is None or pc.all(keep).as_py() is not False:
        return None
    return table.filter(pc.invert(keep))


def remove_rows(path: Path, wanted: Wanted, written: Callable[[Path, int], None] | None = None) -> int | None:
    """Write the file anew without the rows that are meant, whole or not at all.

    Args:
        path: of the table.
        wanted: whose rows.
        written: called with the new file and the rows that are left out, before it takes the old one's place.

    Returns:
        How many rows; None: no column could tell whom a row is about.
    """
    table = _read(path)
    keep = wanted.keep(table)
    if keep is None:
        return None
    kept = table.filter(keep)
    removed = table.num_rows - kept.num_rows
    if removed:
        partial = path.with_name(f".{path.name}.partial")
        _write(kept, partial, path.suffix)
        fd = os.open(partial, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        if written is not None:
            written(partial, int(removed))
        partial.replace(path)
    return int(removed)


def note_in_manifests(
    deployment: Deployment,
    removed: Mapping[str, int],
    versions: Mapping[str, Sequence[str]],
    said: dict[str, str],
) -> None:
    """Write into the manifest of each data set how many rows it has lost, and to whom it had taught them.

    Args:
        deployment: whose data sets.
        removed: rows by file, relative to the deployment folder.
        versions: model versions that were trained with a file.
        said: what else stands there: the request and the time.
    """
    import msgspec

    lost: dict[Path, list[str]] = {}
    for path in removed:
        if (manifest := deployment.folder / Path(path).parent / MANIFEST_FILE).is_file():
            lost.setdefault(manifest, []).append(path)
    for manifest, paths in lost.items():
        document = msgspec.json.decode(manifest.read_bytes())
        erasure = {
            **said,
            "rows": sum(removed[path] for path in paths),
            "versions": sorted({one for path in paths for one in versions.get(path, ())}, key=int),
        }
        document["erasures"] = [*document.get("erasures", ()), erasure]
        partial = manifest.with_name(f".{MANIFEST_FILE}.partial")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))
        partial.replace(manifest)


def _read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(path)
    from pyarrow import csv

    return csv.read_csv(path)


def _write(table: Any, path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        from pyarrow import parquet

        parquet.write_table(table, path)
    else:
        from pyarrow import csv

        csv.write_csv(table, path)

"""Tables outside the log that may hold rows of a subject: references, data sets."""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from holdfast.artifact.csv_files import csv_delimiter, is_csv
from holdfast.files import sync_file, write_whole, writing_to
from holdfast.privacy import PrivacyError, canonical_text
from holdfast.spec import Deployment

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_FILE: Final = "manifest.json"
"""Beside the files of a data set."""
_PARQUET: Final = frozenset({".parquet", ".pq"})


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
        is_table = is_csv(path) or path.suffix.lower() in _PARQUET
        if is_table and path.is_file() and not path.is_relative_to(deployment.log_folder):
            yield path


def rows_of(path: Path, wanted: Wanted) -> pa.Table | None:
    """The rows that are meant; None if there are none.

    Raises:
        PrivacyError: the file cannot be read.
    """
    import pyarrow.compute as pc

    table = _read(path)
    keep = _kept(path, table, wanted)
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

    Raises:
        PrivacyError: the file cannot be read, or not written anew.
    """
    table = _read(path)
    keep = _kept(path, table, wanted)
    if keep is None:
        return None
    removed = keep.false_count
    if removed:
        partial = path.with_name(f".{path.name}.partial")
        try:
            with writing_to(path):
                _write_kept(path, partial, table, keep)
            if written is not None:
                written(partial, int(removed))
            partial.replace(path)
            sync_file(path.parent)  # a loss of power must not bring the rows back
        finally:
            partial.unlink(missing_ok=True)
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
        write_whole(manifest, msgspec.json.format(msgspec.json.encode(document), indent=2))


def _kept(path: Path, table: pa.Table, wanted: Wanted) -> pa.Array | None:
    """`Wanted.keep`, of CSV under both readings: a subject called 00123 is a number to one of them."""
    import pyarrow.compute as pc

    keep = wanted.keep(table)
    if keep is None or not is_csv(path):
        return keep
    return pc.and_(keep, wanted.keep(_read(path, as_text=True)))


def _read(path: Path, *, as_text: bool = False) -> pa.Table:
    """A table; of CSV all values may be text, as they are written.

    Raises:
        PrivacyError: it cannot be read, so nobody knows whose rows it holds.
    """
    from pyarrow import ArrowException

    try:
        return _opened(path, as_text=as_text)
    except (ArrowException, OSError) as error:
        raise PrivacyError(
            "a table cannot be read, so nobody knows whether it holds rows of the subject",
            where=str(path),
            received=str(error).partition("\n")[0].rstrip("."),
            next_step="Mend it, or move it out of the deployment folder, and try again.",
        ) from error


def _opened(path: Path, *, as_text: bool) -> pa.Table:
    if not is_csv(path):
        from pyarrow import parquet

        return parquet.read_table(path)
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    between = arrow_csv.ParseOptions(delimiter=csv_delimiter(path), newlines_in_values=True)
    if not as_text:
        return arrow_csv.read_csv(path, parse_options=between)
    with arrow_csv.open_csv(path, parse_options=between) as head:
        types = dict.fromkeys(head.schema.names, pa.string())
    as_it_is = arrow_csv.ConvertOptions(column_types=types)
    return arrow_csv.read_csv(path, parse_options=between, convert_options=as_it_is)


def _write_kept(path: Path, target: Path, table: pa.Table, keep: pa.Array) -> None:
    """The rows that are kept, on the disk."""
    if is_csv(path):
        _copy_csv(path, target, keep.to_pylist())
    else:
        from pyarrow import parquet

        parquet.write_table(table.filter(keep), target)
    sync_file(target)


def _copy_csv(path: Path, target: Path, keep: list[bool]) -> None:
    """The rows that are kept, value by value as they are written."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    between = csv_delimiter(path)
    longest = csv.field_size_limit(sys.maxsize)
    try:
        with (
            opened(path, "rt", encoding="utf-8", newline="") as old,
            opened(target, "wt", encoding="utf-8", newline="") as new,
        ):
            rows = (row for row in csv.reader(old, delimiter=between) if row)
            written = csv.writer(new, delimiter=between, lineterminator="\n")
            written.writerow(next(rows))
            written.writerows(row for row, kept in zip(rows, keep, strict=True) if kept)
    except (ValueError, csv.Error) as error:
        raise PrivacyError(
            "a table cannot be written anew without some of its rows",
            where=str(path),
            expected="as many rows as were read",
            next_step="Remove them, or the table, by hand, and erase again.",
        ) from error
    finally:
        csv.field_size_limit(longest)

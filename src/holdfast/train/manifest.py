"""What a data set is: where its rows came from, what was left out and why, and the hash of what is left."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np

from holdfast.prediction_log import Snapshot
from holdfast.train.errors import DataSetError

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_FILE: Final = "manifest.json"
SPLITS: Final = ("train", "dev", "test")


class SourceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One source as it was when the data set was built."""

    name: str
    kind: str
    """`log`, or what the file's description says: historical, licensed, purchased."""
    licence: str
    basis: str
    """Why its rows may be used."""
    time_column: str
    rows: int
    """Read, before any filter but the stretch of time."""
    path: str = ""
    description_sha256: str = ""
    sha256: str = ""
    """Of a file's bytes."""
    snapshot: Snapshot | None = None
    """Of the log."""


class Removed(msgspec.Struct, frozen=True):
    """Rows that a filter left out."""

    filter: str
    rows: int


class SplitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One split."""

    rows: int
    since: str | None
    until: str | None
    """Times of its first and last row."""
    label_mean: float | None
    """Share of the positive class, or mean of the numbers."""
    reviewed: int
    """Rows whose label came from the review queue."""
    reviewed_label_mean: float | None
    sha256: str
    """Of the Parquet file as it was written."""


class ConsentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who had agreed when the data set was built."""

    as_of: str
    rule: str
    statements: int
    refused_rows: int


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One feature over all splits. It holds no value of a row but the extremes of numbers."""

    type: str
    missing: int
    distinct: int | None = None
    mean: float | None = None
    sd: float | None = None
    minimum: float | None = None
    maximum: float | None = None


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a split that have a near double, or a row of the same subject, in an earlier one."""

    split: str
    earlier: str
    near_duplicates: int
    same_subject: int
    rows: int


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that were taken out of the files afterwards."""

    request_id: str
    at: str
    rows: int
    versions: tuple[str, ...]
    """Model versions that had been trained with this data set: they have seen the rows."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for: with the same request and sources the same data set comes out."""

    as_of_us: int
    """Now, in the time of the rows."""
    since_us: int | None
    until_us: int | None
    labels_known_by_us: int | None
    """Labels observed later are not used; None: all."""
    consent_as_of_us: int
    settings: dict[str, Any]
    """The section `[training]`, as plain values."""
    label_delay_us: int
    features: tuple[str, ...]
    task: str
    classes: tuple[str | int, ...]
    types: dict[str, str]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One data set."""

    format: Literal[1] = 1
    sha256: str
    """Of the content: every row of every split, in order."""
    deployment: str
    created_at: str
    made_by: str
    """The release of holdfast."""
    checklist_hash: str
    request: Request
    sources: tuple[SourceRecord, ...]
    removed: tuple[Removed, ...]
    splits: dict[str, SplitRecord]
    consent: ConsentRecord
    profile: dict[str, ColumnProfile]
    overlaps: tuple[Overlap, ...]
    notes: tuple[str, ...] = ()
    files_kept: bool = True
    """False where the log's inputs are encrypted: then the rows are on disk only while a trainer runs."""
    erasures: tuple[Erasure, ...] = ()

    @property
    def name(self) -> str:
        """Of its folder under `datasets`."""
        return self.sha256[:32]

    @property
    def rows(self) -> int:
        """Of all splits."""
        return sum(split.rows for split in self.splits.values())


def content_hash(splits: dict[str, pa.Table]) -> str:
    """SHA-256 of the values, whatever file or library holds them."""
    digest = hashlib.sha256()
    for name, table in splits.items():
        digest.update(f"{name} {table.num_rows}\n".encode())
        for column, field in zip(table.columns, table.schema, strict=True):
            digest.update(f"{field.name} {field.type}\n".encode())
            for chunk in _pieces(column):
                digest.update(chunk)
    return digest.hexdigest()


def _pieces(column: pa.ChunkedArray) -> Any:
    import pyarrow as pa

    kind = column.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind)
    for start in range(0, len(column), 65_536):
        part = column.slice(start, 65_536).combine_chunks()
        if numeric:
            yield np.asarray(part.is_null().to_numpy(zero_copy_only=False)).tobytes()
            whole = part.cast(pa.int64()) if pa.types.is_timestamp(kind) else part
            values = whole.fill_null(0).to_numpy(zero_copy_only=False)
            if values.dtype.kind == "f":
                values = np.where(np.isnan(values), np.nan, values).astype(values.dtype)  # one NaN of many
            yield np.ascontiguousarray(values).tobytes()
        else:
            yield msgspec.msgpack.encode(part.to_pylist())


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a data set's folder.

    Raises:
        DataSetError: there is none, or it cannot be read.
    """
    path = folder / MANIFEST_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataSetError("not a data set's manifest", where=str(path), received=str(error)) from error


def manifest_bytes(manifest: Manifest) -> bytes:
    """As it stands in the file: indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2)


def find_manifest(datasets_folder: Path, name: str) -> Manifest:
    """The data set whose content hash begins so.

    Raises:
        DataSetError: none or several do.
    """
    found = sorted(
        folder.name
        for folder in (datasets_folder.iterdir() if datasets_folder.is_dir() else ())
        if (folder / MANIFEST_FILE).is_file()
    )
    meant = [one for one in found if one.startswith(name[:32])]
    if len(meant) != 1 or not name:
        raise DataSetError(
            "no data set has this name" if not meant else "several data sets have names that begin so",
            where=name or "(empty)",
            expected=", ".join(one[:12] for one in found) or "none, since no data set was built yet",
        )
    return read_manifest(datasets_folder / meant[0])

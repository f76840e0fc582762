"""A data set to its folder: the splits as Parquet, the manifest, the metadata, all of them or none."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import holdfast
from holdfast.clock import Clock, iso_utc
from holdfast.files import sync_file
from holdfast.spec import Deployment
from holdfast.train.croissant import CROISSANT_FILE, croissant_bytes
from holdfast.train.manifest import (
    MANIFEST_FILE,
    ConsentRecord,
    Manifest,
    Removed,
    Request,
    SourceRecord,
    SplitRecord,
    content_hash,
    file_hash,
    manifest_bytes,
    read_manifest,
)
from holdfast.train.overlapping import overlaps
from holdfast.train.profiling import profile, suspicious
from holdfast.train.rows import LABEL, REVIEWED, TIME, Plan

if TYPE_CHECKING:
    import pyarrow as pa

BUILDING: Final = ".building-"
"""Beginning of the name of a folder that is not whole yet."""


@dataclass(frozen=True, slots=True)
class Built:
    """A data set in memory, and where its files lie."""

    manifest: Manifest
    splits: dict[str, pa.Table] = field(repr=False)
    folder: Path


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be stored, and how it came to be."""

    deployment: Deployment
    request: Request
    plan: Plan
    sources: tuple[SourceRecord, ...]
    splits: dict[str, pa.Table] = field(repr=False)
    removed: tuple[Removed, ...]
    notes: tuple[str, ...]
    statements: int
    """Of consent, that were asked."""
    refused_rows: int
    files_kept: bool
    clock: Clock


def store_data_set(draft: Draft, folder: Path | None) -> Built:
    """Write the folder of a data set; one with the same content is there once.

    Args:
        draft: all of it.
        folder: where data sets lie; None: the deployment's.
    """
    splits = draft.splits
    sha256 = content_hash(splits)
    root = draft.deployment.datasets_folder if folder is None else folder
    root.mkdir(parents=True, exist_ok=True)
    target = root / sha256[:32]
    building = Path(tempfile.mkdtemp(prefix=BUILDING, dir=root))
    try:
        records = {
            name: _split_record(draft, table, _write(table, building / f"{name}.parquet"))
            for name, table in splits.items()
        }
        manifest = Manifest(
            sha256=sha256,
            deployment=draft.deployment.name,
            created_at=iso_utc(draft.clock.now_us()),
            made_by=f"holdfast {holdfast.__version__}",
            checklist_hash=draft.deployment.checklist_hash,
            request=draft.request,
            sources=draft.sources,
            removed=draft.removed,
            splits=records,
            consent=ConsentRecord(
                as_of=iso_utc(draft.request.consent_as_of_us),
                rule=_rule(draft.deployment),
                statements=draft.statements,
                refused_rows=draft.refused_rows,
            ),
            profile=profile(
                splits,
                draft.plan.features,
                show_values=draft.deployment.checklist.privacy.sensitivity != "high",
            ),
            overlaps=overlaps(splits, draft.plan.features),
            notes=(*draft.notes, *suspicious(splits["train"], draft.plan)),
            files_kept=draft.files_kept,
        )
        if (target / MANIFEST_FILE).exists():
            manifest = read_manifest(target)
        else:
            (building / MANIFEST_FILE).write_bytes(manifest_bytes(manifest))
            (building / CROISSANT_FILE).write_bytes(croissant_bytes(manifest, splits))
            sync_file(building / MANIFEST_FILE)
            sync_file(building / CROISSANT_FILE)
        _publish(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Built(manifest, splits, target)


def _rule(deployment: Deployment) -> str:
    if deployment.checklist.privacy.consent_field:
        return "only rows whose subject agrees"
    return "nobody was asked; rows of whoever has said no are left out"


def _split_record(draft: Draft, table: pa.Table, path: Path) -> SplitRecord:
    import pyarrow as pa
    import pyarrow.compute as pc

    times = table.column(TIME).cast(pa.int64()).to_pylist()
    reviewed = table.filter(table.column(REVIEWED))
    return SplitRecord(
        rows=table.num_rows,
        since=iso_utc(min(times)) if times else None,
        until=iso_utc(max(times)) if times else None,
        label_mean=_label_mean(draft, table),
        reviewed=int(pc.sum(table.column(REVIEWED)).as_py() or 0),
        reviewed_label_mean=_label_mean(draft, reviewed) if reviewed.num_rows else None,
        sha256=file_hash(path),
    )


def _label_mean(draft: Draft, table: pa.Table) -> float | None:
    import pyarrow.compute as pc

    if draft.plan.task == "regression":
        mean = pc.mean(table.column(LABEL)).as_py()
        return None if mean is None else float(mean)
    if draft.plan.task != "binary" or not table.num_rows:
        return None
    wanted = draft.deployment.checklist.model.positive_class
    names = sorted({str(one) for one in draft.plan.classes or table.column(LABEL).to_pylist()})
    positive = wanted if wanted in names else names[-1]
    labels = [str(one) for one in table.column(LABEL).to_pylist()]
    return sum(one == positive for one in labels) / len(labels)


def _write(table: pa.Table, path: Path) -> Path:
    from pyarrow import parquet

    parquet.write_table(table.combine_chunks(), str(path), compression="zstd", row_group_size=65_536)
    sync_file(path)
    return path


def _publish(building: Path, target: Path) -> None:
    """The whole folder appears at once; one that is there already gets its files back, not its manifest."""
    building.chmod(0o700)
    if not target.exists():
        sync_file(building)
        building.rename(target)
        sync_file(target.parent)
        return
    for path in building.iterdir():
        path.replace(target / path.name)

"""Registering a model: recognise it, convert it, compare it with its original, describe it, store it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import (
    Answer,
    Artifact,
    Reference,
    Signature,
    open_artifact,
    open_source,
    store_artifact,
)
from holdfast.artifact.card import write_card
from holdfast.artifact.store import python_model_file
from holdfast.building import building_folder
from holdfast.clock import Clock
from holdfast.errors import HoldfastError
from holdfast.files import sync_file, writing_to
from holdfast.privacy import PSEUDONYM_KEY_VARIABLE, subject_pseudonym
from holdfast.registry.actor import user_of_this_process
from holdfast.registry.candidate import Candidate, prepare
from holdfast.registry.quality import label_notes, measure_quality
from holdfast.registry.reference_table import reference_table
from holdfast.registry.references import is_dropped
from holdfast.registry.registry import Registry
from holdfast.registry.values import ModelVersion
from holdfast.spec import Deployment

if TYPE_CHECKING:
    import pyarrow as pa

_NOT_FOUND: Final = (
    f"an erasure cannot find a subject's rows in this reference, since {PSEUDONYM_KEY_VARIABLE} is not set"
)
_WARMUP_ROWS: Final = 64
_WARMUP_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of a model beyond itself and its reference, and stored with it."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    evidence: Callable[[str], Mapping[str, Mapping[str, Any]]] = field(default=lambda _: {})
    """Findings by kind, about the version of this number."""
    data_sets: tuple[str, ...] = ()
    """Names for the card's head."""
    card_sections: Mapping[str, str] = field(default_factory=dict)
    """Markdown by heading."""


def register_model(
    deployment: Deployment,
    registry: Registry,
    source: object,
    *,
    reference: object | None = None,
    labels: str | None = None,
    time: str | None = None,
    whose: pa.Table | None = None,
    trust_pickle: bool = False,
    trust_python: bool = False,
    promote: bool = False,
    actor: str | None = None,
    clock: Clock,
    judge: Callable[[Signature, Answer], Judgement] | None = None,
    answer: Answer | None = None,
) -> ModelVersion:
    """Store a model as a new version. The first becomes the champion; later ones wait to be promoted.

    Registering the same model with the same reference again returns the version that is already there.

    Args:
        deployment: whose checklist says what is allowed and wanted.
        registry: of the deployment.
        source: a path, `module:function`, or a live model (see `holdfast.artifact.open_source`).
        reference: the data the model was judged good on: its inputs, and the label and time columns if known.
            A Parquet or CSV file, or any frame that speaks Arrow.
        labels: column of the reference with the true answer.
        time: column of the reference with the time of each row.
        whose: subjects (pseudonyms) and prediction ids of the reference's rows, by which an erasure finds
            them; None: pseudonyms of the column that `[privacy] subject_field` names, if it is there and
            HOLDFAST_PSEUDONYM_KEY is set.
        trust_pickle: a pickle may be loaded, which runs whatever code it holds.
        trust_python: a Python callable may be imported, now and by every worker.
        promote: make it the champion even if there is one.
        actor: who registers; the user of this process by default.
        clock: the time of what is stored.
        judge: called with the signature and the answers over the reference, as the stored model gives them,
            before anything is stored; what it raises ends the registration.
        answer: to take for its answers over the reference, where it has learnt from these rows and a twin has
            not; None: its own.

    Raises:
        ArtifactError: the model or the reference cannot be taken as it is.
        ParityError: the converted model does not answer as the original does.
        RuntimeFailure: the model cannot be loaded or fails on the reference.
    """
    opened = open_source(source, trust_pickle=trust_pickle, trust_python=trust_python)
    table = None if reference is None else Reference.read(reference, label=labels, time=time)
    if table is not None:
        table = replace(table, whose=_pseudonyms(table, deployment, os.environ) if whose is None else whose)
    candidate = prepare(opened, table, deployment.checklist)
    if table is not None and table.whose is None and _about_people(table, deployment):
        candidate = replace(candidate, notes=(*candidate.notes, _NOT_FOUND))
    try:
        version = add_candidate(
            deployment,
            registry,
            candidate,
            table,
            actor=actor or user_of_this_process(),
            now_us=clock.now_us(),
            judge=judge,
            answer=answer,
        )
    finally:
        candidate.runtime.close()
    route = registry.route()
    if promote or route.champion is None:
        registry.promote(
            version.version,
            reason="the first version" if route.champion is None else "promoted at registration, unchecked",
            actor=actor or user_of_this_process(),
            checklist_hash=deployment.checklist_hash,
        )
    return registry.version(version.version)


def add_candidate(
    deployment: Deployment,
    registry: Registry,
    candidate: Candidate,
    reference: Reference | None,
    *,
    actor: str,
    now_us: int,
    judge: Callable[[Signature, Answer], Judgement] | None = None,
    answer: Answer | None = None,
) -> ModelVersion:
    """Store a prepared model with its reference, its card and what was measured of it."""
    checklist = deployment.checklist
    private = checklist.privacy.sensitivity == "high"
    if reference is not None:
        noted = (
            *candidate.notes,
            *label_notes(candidate.signature, reference.labels(), show_values=not private),
        )
        candidate = replace(candidate, notes=noted)
    answered = None
    quality: dict[str, float] = {}
    judgement = Judgement()
    if reference is not None:
        answer = candidate.answer(reference) if answer is None else answer
        answered = reference_table(reference, candidate.signature, answer)
        quality = measure_quality(candidate.signature, answer, reference.labels())
        if judge is not None:
            judgement = judge(candidate.signature, answer)
    card = write_card(
        checklist.model.name,
        candidate.signature,
        origin=candidate.origin,
        reference=reference,
        quality=quality,
        notes=candidate.notes,
        show_values=not private,
        data_sets=judgement.data_sets,
        sections=judgement.card_sections,
    )
    # An artifact stays as it is for ever and is copied to where no erasure reaches: no rows about people.
    personal = private or bool(checklist.privacy.subject_field)
    warm = None if personal else reference
    artifact = _store(deployment, candidate, warm, card)
    deployment.references_folder.mkdir(parents=True, exist_ok=True)

    def publish(number: str) -> None:
        """Under the registry's write lock: what stands there is of a registration that never committed."""
        if not artifact.folder.exists():  # another registration of it has failed meanwhile
            _store(deployment, candidate, warm, card)
        _publish(building, deployment.references_folder / number)

    with building_folder(deployment.references_folder, ".building-") as building:
        try:
            reference_hash = "" if answered is None else _write_reference(building, answered)
            metadata = {**_metadata(candidate, reference, reference_hash, quality), **judgement.metadata}
            evidence: dict[str, Any] = {}
            if candidate.parity is not None:
                evidence["parity"] = _finite(msgspec.to_builtins(candidate.parity))
            if quality:
                evidence["reference quality"] = {**quality, "rows": len(reference or ())}
            version = registry.add_version(
                name=checklist.model.name,
                sha256=artifact.sha256,
                created_at_us=now_us,
                created_by=actor,
                metadata=metadata,
                evidence=lambda number: {**evidence, **judgement.evidence(number)},
                same=lambda old: (
                    old.metadata.get("reference_sha256") == reference_hash
                    and not is_dropped(registry, old.version)
                ),
                before_commit=publish,
            )
        except BaseException:
            with contextlib.suppress(HoldfastError, OSError):  # why it failed is what is to be told
                registry.if_unnamed(artifact.sha256, lambda: shutil.rmtree(artifact.folder))
            raise
    return version


def _about_people(reference: Reference, deployment: Deployment) -> bool:
    return deployment.checklist.privacy.subject_field in reference.table.column_names


def _pseudonyms(reference: Reference, deployment: Deployment, environ: Mapping[str, str]) -> pa.Table | None:
    import pyarrow as pa

    field = deployment.checklist.privacy.subject_field
    key = environ.get(PSEUDONYM_KEY_VARIABLE)
    if not key or not _about_people(reference, deployment):
        return None
    subjects = [
        None if value is None or value == "" else subject_pseudonym(key.encode(), value)
        for value in reference.table.column(field).to_pylist()
    ]
    return pa.table({"subject": pa.array(subjects, pa.string())})


def _store(deployment: Deployment, candidate: Candidate, reference: Reference | None, card: str) -> Artifact:
    target = candidate.execution.python_target
    stored = store_artifact(
        deployment.artifacts_folder,
        runtime="onnx" if target is None else "python",
        model=candidate.model if target is None else python_model_file(target),
        signature=candidate.signature,
        execution=candidate.execution,
        warmup=None if reference is None else _warmup(candidate, reference),
        card=card,
    )
    return open_artifact(stored.folder)


def _warmup(candidate: Candidate, reference: Reference) -> Mapping[str, list[Any]] | None:
    """A few reference rows; none if rows are large (images)."""
    columns = candidate.signature.columns
    if any(column.shape for column in columns):
        return None
    head = reference.head(_WARMUP_ROWS)
    rows = {column.name: _plain(head.values(column.name)) for column in columns}
    return rows if len(msgspec.json.encode(rows)) <= _WARMUP_BYTES else None


def _plain(values: NDArray[np.generic]) -> list[Any]:
    if values.dtype.kind == "f":
        return [value if np.isfinite(value) else None for value in values.tolist()]
    return list(values.tolist())


def _metadata(
    candidate: Candidate, reference: Reference | None, reference_hash: str, quality: Mapping[str, float]
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "origin": candidate.origin,
        "task": candidate.signature.task,
        "notes": list(candidate.notes),
        "reference_sha256": reference_hash,
        "reference_rows": 0 if reference is None else len(reference),
        "quality": dict(quality),
    }
    if candidate.parity is not None:
        metadata["parity"] = _finite(msgspec.to_builtins(candidate.parity))
    return metadata


def _finite(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in payload.items() if not isinstance(value, float) or np.isfinite(value)
    }


def _write_reference(folder: Path, table: Any) -> str:
    from pyarrow import parquet

    path = folder / "reference.parquet"
    with writing_to(path.parent.parent / path.name):
        parquet.write_table(table, str(path), compression="zstd")
    digest = hashlib.sha256()
    with path.open("rb+") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _publish(building: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    building.chmod(0o755)
    sync_file(building)
    building.rename(folder)
    sync_file(folder.parent)

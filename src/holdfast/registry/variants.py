"""A version made of another one: other numbers inside, the same inputs, outputs and reference."""

from __future__ import annotations

from holdfast.artifact import ArtifactError, Reference, Signature, open_artifact, read_graph
from holdfast.clock import Clock
from holdfast.registry.candidate import Candidate, measured_execution, open_usual
from holdfast.registry.reference_table import RESERVED, WHOSE
from holdfast.registry.registration import add_candidate
from holdfast.registry.registry import Registry
from holdfast.registry.values import ModelVersion
from holdfast.spec import Deployment


def stored_reference(deployment: Deployment, version: ModelVersion) -> Reference:
    """The reference that a version was registered with, its label and time where it had them.

    Raises:
        ReferenceDataError: it has none, or it cannot be read.
    """
    found = Reference.read(deployment.references_folder / version.version / "reference.parquet")
    names = found.table.column_names
    inputs = {
        column.name
        for column in open_artifact(deployment.artifacts_folder / version.artifact_folder).signature.columns
    }
    whose = [name for name in names if name in WHOSE and name not in inputs]
    unwanted = {*RESERVED, *whose} - {"label", "time"}
    kept = [name for name in names if name not in unwanted]
    return Reference(
        found.table.select(kept),
        "label" if "label" in kept else None,
        "time" if "time" in kept else None,
        found.table.select(whose) if whose else None,
    )


def prepare_variant(
    model: bytes, signature: Signature, reference: Reference, *, where: str, notes: tuple[str, ...] = ()
) -> Candidate:
    """Make a graph ready to stand for the version whose signature it has.

    Raises:
        ArtifactError: it is not ONNX, or has other inputs or outputs than the signature.
        RuntimeFailure: it cannot be loaded, or fails on the reference.
    """
    graph = read_graph(model, where=where)
    given = {(tensor.name, tensor.dtype) for tensor in (*graph.inputs, *graph.outputs)}
    wanted = {(tensor.name, tensor.dtype) for tensor in (*signature.inputs, *signature.outputs)}
    if given != wanted:
        raise ArtifactError(
            "the graph has other inputs or outputs than the version it was made of",
            where=where,
            expected=", ".join(f"{name} {dtype}" for name, dtype in sorted(wanted)),
            received=", ".join(f"{name} {dtype}" for name, dtype in sorted(given)),
        )
    runtime, execution, found = measured_execution(
        graph, open_usual(graph, where), signature, reference, where
    )
    return Candidate(runtime, signature, execution, graph.model, where, None, (*notes, *found))


def register_variant(
    deployment: Deployment,
    registry: Registry,
    candidate: Candidate,
    reference: Reference,
    *,
    actor: str,
    clock: Clock,
) -> ModelVersion:
    """Store a prepared variant as a new version; it waits to be promoted.

    The same variant again returns the version that is there.
    """
    return add_candidate(deployment, registry, candidate, reference, actor=actor, now_us=clock.now_us())

"""A model made ready to be registered: something that runs, its signature, its distance from its original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import (
    Answer,
    ArtifactError,
    Column,
    EstimatorSource,
    Execution,
    Inputs,
    OnnxSource,
    OutputReader,
    Packer,
    PythonSource,
    Reference,
    ReferenceDataError,
    Signature,
    Tensor,
    Wanted,
    conversions,
    graph_inputs,
    infer_signature,
    read_graph,
)
from holdfast.artifact.block_kinds import with_block_kinds
from holdfast.artifact.describing import describe_columns
from holdfast.artifact.graph import Graph
from holdfast.runtime import Parity, Runtime, RuntimeFailure, check_parity
from holdfast.runtime.invariance import first_invariant, rows_that_differ
from holdfast.runtime.onnx import OnnxRuntime
from holdfast.runtime.parity import refuse_difference
from holdfast.runtime.python import PythonRuntime
from holdfast.spec import Checklist

PARITY_ROWS: Final = 100_000
_USUAL_THRESHOLD: Final = 0.5
"""At which a model's own decision output keeps the word."""
_BLOCK_ROWS: Final = 8192
_SAMPLE_ROWS: Final = 256
_INVARIANCE_ROWS: Final = 128
_COSTLIER: Final = (
    Execution(row_multiple=2),
    Execution(row_multiple=4),
    Execution(row_multiple=8),
    Execution(row_multiple=16),
    Execution(one_by_one=True),
)
"""Ways to run a graph whose usual way is not invariant, cheapest first."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Everything that will be stored, and the answers over the reference."""

    runtime: Runtime
    signature: Signature
    execution: Execution
    model: bytes = field(repr=False)
    """The bytes of the model file; empty for a callable."""
    origin: str
    """What it was made from, in words."""
    parity: Parity | None
    notes: tuple[str, ...]

    def answer(self, reference: Reference) -> Answer:
        """What it says of every reference row, in blocks."""
        return answer_all(self.runtime, self.signature, reference)


def answer_all(runtime: Runtime, signature: Signature, reference: Reference) -> Answer:
    """Run a model over a table, block by block.

    Raises:
        RuntimeFailure: the model fails on a block.
    """
    packer, reader = Packer(signature), OutputReader(signature)
    columns = reference.columns(column.name for column in signature.columns)
    parts: list[Answer] = []
    for start in range(0, len(reference), _BLOCK_ROWS):
        block = {name: values[start : start + _BLOCK_ROWS] for name, values in columns.items()}
        rows = min(_BLOCK_ROWS, len(reference) - start)
        parts.append(reader.read(runtime.run(packer.pack(block, rows))))
    if signature.task == "tensor":
        return Answer((), None, _joined([part.outputs for part in parts]))
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Answer(
        np.concatenate([np.asarray(part.prediction) for part in parts]),
        np.concatenate(probabilities) if probabilities else None,
        _joined([part.outputs for part in parts]),
    )


def _joined(parts: list[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def prepare(
    source: OnnxSource | PythonSource | EstimatorSource, reference: Reference | None, checklist: Checklist
) -> Candidate:
    """Make a source ready to be stored.

    Raises:
        ArtifactError: it cannot be described, converted or fed with the reference.
        ParityError: no conversion answers as the original does.
        RuntimeFailure: it cannot be loaded or fails on the reference.
    """
    wanted = Wanted(
        task=checklist.model.task,
        positive_class=checklist.model.positive_class,
        threshold=checklist.model.threshold,
    )
    if isinstance(source, OnnxSource):
        candidate = _from_graph(source, reference, wanted, checklist)
    elif isinstance(source, PythonSource):
        candidate = _from_callable(source, reference, wanted)
    else:
        candidate = _from_estimator(source, reference, wanted, checklist)
    signature, notes = with_block_kinds(candidate.signature, checklist.model.kinds)
    signature, decided = _by_threshold(signature)
    return replace(candidate, signature=signature, notes=(*candidate.notes, *notes, *decided))


def _by_threshold(signature: Signature) -> tuple[Signature, tuple[str, ...]]:
    """Where the checklist states a threshold, it decides, not the model's own decision output."""
    own = signature.prediction_output
    usual = signature.threshold == _USUAL_THRESHOLD
    if signature.task != "binary" or usual or own is None or signature.probability_output is None:
        return signature, ()
    note = (
        f"answers {signature.positive_class} from a probability of {signature.threshold:g} on "
        f"([model] threshold), whatever its own output {own!r} says"
    )
    return msgspec.structs.replace(signature, by_threshold=True), (note,)


def _from_graph(
    source: OnnxSource, reference: Reference | None, wanted: Wanted, checklist: Checklist
) -> Candidate:
    graph = read_graph(source.model, where=source.where, largest_mb=checklist.compute.model_size_mb)
    inputs = graph_inputs(graph, reference)
    columns = tuple(
        msgspec.structs.replace(one, null_text=source.null_texts.get(one.name, one.null_text))
        for one in inputs.columns
    )
    inputs = replace(inputs, columns=columns)
    runtime = open_usual(graph, source.where)
    signature = _describe(graph, inputs, runtime, reference, wanted, known_classes=graph.classes)
    runtime, execution, found = measured_execution(graph, runtime, signature, reference, source.where)
    return Candidate(
        runtime,
        signature,
        execution,
        graph.model,
        f"the ONNX file {source.where}",
        None,
        (*graph.notes, *found, *_ignored(inputs)),
    )


def _from_callable(source: PythonSource, reference: Reference | None, wanted: Wanted) -> Candidate:
    if reference is None:
        raise ReferenceDataError(
            "a Python callable does not say what it takes, so a reference is needed",
            where=source.target,
            next_step="Give a table of its inputs with reference= (--reference)",
        )
    columns = describe_columns(reference, reference.input_names)
    tensors = tuple(_column_tensor(column) for column in columns)
    runtime = PythonRuntime(source.target)
    inputs = Inputs(columns, tensors)
    sample = _sample(runtime, inputs, reference)
    outputs = tuple(_observed(name, array) for name, array in sample.items())
    signature = infer_signature(
        inputs,
        outputs,
        wanted=wanted,
        known_classes=None,
        activations={name: "Sigmoid" for name in sample if "prob" in name.lower()},
        sample=sample,
        labels=reference.labels(),
    )
    return Candidate(
        runtime,
        signature,
        Execution(python_target=source.target),
        b"",
        f"the Python callable {source.target}",
        None,
        ("runs a Python callable, which is imported by every worker and is not part of the artifact",),
    )


def _column_tensor(column: Column) -> Tensor:
    dtype = column.dtype
    if column.nullable and dtype != "string" and not dtype.startswith("float"):
        dtype = "float64"
    return Tensor(name=column.name, dtype=dtype, shape=(-1, *column.shape), columns=(column.name,))


def _observed(name: str, array: NDArray[Any]) -> Tensor:
    known = {"b": "bool", "O": "string"}
    dtype: Any = known.get(array.dtype.kind, array.dtype.name)
    return Tensor(name=name, dtype=dtype, shape=(-1, *array.shape[1:]))


def _from_estimator(
    source: EstimatorSource, reference: Reference | None, wanted: Wanted, checklist: Checklist
) -> Candidate:
    estimator = source.estimator
    taken = estimator.inputs(reference)
    if estimator.classes is None and wanted.task == "auto":
        wanted = Wanted(task="regression")
    checked = None if reference is None else reference.head(PARITY_ROWS)
    originals = None if checked is None else estimator.answers(checked, taken.names)
    where = estimator.description
    refused: list[tuple[str, Parity | str]] = []
    for conversion in conversions(estimator.model, taken):
        graph = read_graph(conversion.model, where=where, largest_mb=checklist.compute.model_size_mb)
        ignored = () if reference is None else tuple(n for n in reference.input_names if n not in taken.names)
        inputs = Inputs(taken.columns, conversion.inputs, ignored)
        try:
            runtime = open_usual(graph, where)
            signature = _describe(
                graph, inputs, runtime, reference, wanted, known_classes=estimator.classes or graph.classes
            )
            if not estimator.gives_probabilities and signature.prediction_output is not None:
                signature = msgspec.structs.replace(signature, probability_output=None)
            parity = None
            if checked is not None and originals is not None:
                answer = answer_all(runtime, signature, checked)
                parity = check_parity(
                    original_prediction=originals.prediction,
                    original_probabilities=originals.probabilities,
                    prediction=np.asarray(answer.prediction),
                    probabilities=answer.probabilities,
                    tolerance=checklist.model.parity_tolerance,
                )
        except RuntimeFailure as failure:
            refused.append((conversion.how, str(failure.received or failure.what)))
            continue
        if parity is None or parity.within:
            runtime, execution, found = measured_execution(graph, runtime, signature, reference, where)
            how = f"converted to ONNX with {conversion.how}"
            notes = (how, *_parity_note(parity), *found, *_ignored(inputs))
            return Candidate(
                runtime,
                signature,
                execution,
                graph.model,
                where,
                parity,
                notes,
            )
        refused.append((conversion.how, parity))
    raise refuse_difference(refused, where=where)


def _parity_note(parity: Parity | None) -> tuple[str, ...]:
    if parity is None:
        return ("not compared with the original: there is no reference",)
    found = f"{parity.largest_difference:.2g} (allowed {parity.tolerance:g})"
    return (f"largest difference from the original over {parity.rows} reference rows: {found}",)


def _ignored(inputs: Inputs) -> tuple[str, ...]:
    if not inputs.ignored:
        return ()
    return ("the model does not take these columns of the reference: " + ", ".join(inputs.ignored),)


def open_usual(graph: Graph, where: str) -> OnnxRuntime:
    """Run a graph in the usual way for its operators."""
    return OnnxRuntime(graph.model, where=where, execution=_usual(graph))


def _usual(graph: Graph) -> Execution:
    return Execution(row_multiple=2 if graph.batch_sensitive else 1)


def measured_execution(
    graph: Graph, runtime: OnnxRuntime, signature: Signature, reference: Reference | None, where: str
) -> tuple[OnnxRuntime, Execution, tuple[str, ...]]:
    """Find another way to run if on this machine a row's answer depends on the rows beside it."""
    usual = _usual(graph)
    if reference is None:
        return runtime, usual, ()
    rows = reference.head(_INVARIANCE_ROWS)
    feeds = Packer(signature).pack(rows.columns(column.name for column in signature.columns), len(rows))
    if rows_that_differ(runtime, feeds) == 0:
        return runtime, usual, ()

    def open_with(execution: Execution) -> OnnxRuntime:
        return OnnxRuntime(graph.model, where=where, execution=execution)

    found = first_invariant(open_with, _COSTLIER, feeds)
    if found is None:
        return runtime, usual, ("a row's answer differs in its last bits with the rows that share its run",)
    runtime.close()
    way = "one row at a time" if found.one_by_one else f"on multiples of {found.row_multiple} rows"
    return open_with(found), found, (f"runs {way}, so that a row is answered alike in every batch",)


def _sample(runtime: Runtime, inputs: Inputs, reference: Reference) -> dict[str, NDArray[Any]]:
    rows = reference.head(_SAMPLE_ROWS)
    draft = Signature(columns=inputs.columns, inputs=inputs.tensors, outputs=(), task="tensor")
    columns = rows.columns(column.name for column in inputs.columns)
    return runtime.run(Packer(draft).pack(columns, len(rows)))


def _describe(
    graph: Graph,
    inputs: Inputs,
    runtime: Runtime,
    reference: Reference | None,
    wanted: Wanted,
    *,
    known_classes: tuple[str | int, ...] | None,
) -> Signature:
    sample = None if reference is None else _sample(runtime, inputs, reference)
    if sample is not None:
        rows = min(_SAMPLE_ROWS, len(reference or ()))
        for name, array in sample.items():
            if array.ndim == 0 or len(array) != rows:
                raise ArtifactError(
                    "the graph does not answer row by row",
                    where=f"output {name!r}",
                    expected=f"a first dimension of {rows}, as its inputs have",
                    received=str(list(array.shape)),
                )
    return infer_signature(
        inputs,
        tuple(Tensor(name=out.name, dtype=out.dtype, shape=(-1, *out.shape[1:])) for out in graph.outputs),
        wanted=wanted,
        known_classes=known_classes,
        activations=graph.activations,
        sample=sample,
        labels=None if reference is None else reference.labels(),
    )

"""The signature of a model, read from its graph, its reference and what it answered there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.errors import ArtifactError, ReferenceDataError
from holdfast.artifact.graph import Graph, GraphTensor
from holdfast.artifact.reference import Reference, describe_column, nearest
from holdfast.artifact.signature import Column, Signature, Task, Tensor

Outputs = Mapping[str, NDArray[np.generic]]
_SCALAR_RANK: Final = 2
_FEWEST_CLASSES: Final = 2
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the checklist says about the answer; the defaults leave everything to the model."""

    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    positive_class: str = ""
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class Inputs:
    """The input half of a signature."""

    columns: tuple[Column, ...]
    tensors: tuple[Tensor, ...]
    ignored: tuple[str, ...] = field(default=())
    """Columns of the reference that the model does not take."""


def graph_inputs(graph: Graph, reference: Reference | None) -> Inputs:
    """The columns of a bare graph: one for each scalar input, several for a packed one.

    Raises:
        ReferenceDataError: a column that an input is named after is missing, or the number does not fit.
    """
    tensors: list[Tensor] = []
    columns: list[Column] = []
    for given in graph.inputs:
        shape = (-1, *given.shape[1:])
        names = _column_names(given, graph, reference)
        if names is None:
            columns.append(_block_column(given))
            names = (given.name,)
        else:
            columns.extend(_scalar_column(given, name, reference) for name in names)
        tensors.append(Tensor(name=given.name, dtype=given.dtype, shape=shape, columns=names))
    taken = {column.name for column in columns}
    if len(taken) != len(columns):
        raise ArtifactError(
            "two inputs of the graph would hold the same column", received=", ".join(sorted(taken))
        )
    ignored = () if reference is None else tuple(n for n in reference.input_names if n not in taken)
    return Inputs(tuple(columns), tuple(tensors), ignored)


def _column_names(given: GraphTensor, graph: Graph, reference: Reference | None) -> tuple[str, ...] | None:
    """Names of the scalar columns that an input packs; None if a row's value is an array."""
    rank = len(given.shape)
    if rank > _SCALAR_RANK or rank == 0:
        return None
    width = given.shape[1] if rank == _SCALAR_RANK else 1
    if width == 1:
        if reference is not None and given.name not in reference.table.column_names:
            if len(graph.inputs) == 1 and len(reference.input_names) == 1:
                return reference.input_names
            raise ReferenceDataError(
                f"the reference has no column {given.name!r}, which the graph takes",
                expected=", ".join(tensor.name for tensor in graph.inputs),
                received=", ".join(reference.table.column_names),
                next_step=nearest(given.name, reference.table.column_names),
            )
        return (given.name,)
    if reference is None:
        return None if width < 0 else tuple(f"{given.name}_{index}" for index in range(width))
    if given.name in reference.table.column_names:
        return None
    others = {tensor.name for tensor in graph.inputs}
    free = tuple(name for name in reference.input_names if name not in others)
    numbered = tuple(f"{given.name}_{index}" for index in range(width))
    if set(numbered) <= set(free) and width > 0:
        return numbered
    if width in (-1, len(free)):
        return free
    raise ReferenceDataError(
        f"the graph's input {given.name!r} takes {width} columns in order, and the reference has {len(free)}",
        expected=f"{width} columns, or columns named {numbered[0]} to {numbered[-1]}",
        received=", ".join(free[:40]),
        next_step="Give a reference with exactly the inputs, in order; name the label and time columns",
    )


def _scalar_column(given: GraphTensor, name: str, reference: Reference | None) -> Column:
    if reference is None:
        kind: Literal["categorical", "boolean", "numeric"] = "numeric"
        if given.dtype in {"string", "bool"}:
            kind = "categorical" if given.dtype == "string" else "boolean"
        return Column(name=name, dtype=given.dtype, kind=kind)
    column = describe_column(reference, name, categorical=given.dtype == "string")
    if (column.dtype == "string") != (given.dtype == "string"):
        raise ReferenceDataError(
            "the column is of another type than the graph's input",
            where=name,
            expected=given.dtype,
            received=column.dtype,
            next_step="Give the column as the model was trained on it",
        )
    if column.nullable and given.dtype.startswith(("int", "uint", "bool")):
        raise ReferenceDataError(
            "the column has missing values, and the graph's input cannot hold one",
            where=name,
            expected=f"{given.dtype} in every row",
            next_step="Drop these rows from the reference, or give the graph a float input",
        )
    return column


def _block_column(given: GraphTensor) -> Column:
    shape = given.shape[1:]
    kind: Literal["text", "image", "audio", "embedding"] = "embedding"
    if given.dtype == "string":
        kind = "text"
    elif len(shape) == 3:
        kind = "image"
    elif len(shape) == 1 and shape[0] == -1:
        kind = "audio"
    return Column(name=given.name, dtype=given.dtype, kind=kind, shape=shape)


def infer_signature(
    inputs: Inputs,
    graph_outputs: Sequence[Tensor],
    *,
    wanted: Wanted,
    known_classes: tuple[str | int, ...] | None,
    activations: Mapping[str, str],
    sample: Outputs | None,
    labels: NDArray[np.generic] | None,
) -> Signature:
    """The whole signature.

    Args:
        inputs: what the model takes.
        graph_outputs: every output.
        wanted: by the checklist.
        known_classes: by the estimator, or by a classifier operator of the graph.
        activations: for each output, the operator that makes it.
        sample: what the model answered on reference rows.
        labels: the true answers of these rows.

    Raises:
        ArtifactError: the outputs do not give what the checklist wants, or the positive class is unknown.
    """
    prediction, number = _roles(graph_outputs, sample)
    scores = number
    if number is not None and not _are_probabilities(number, wanted, activations, sample):
        scores = None
    common: dict[str, Any] = {
        "columns": inputs.columns,
        "inputs": inputs.tensors,
        "outputs": tuple(graph_outputs),
        "threshold": wanted.threshold,
    }
    shows_classes = known_classes is not None or prediction is not None or scores is not None
    if wanted.task == "regression" or (wanted.task == "auto" and not shows_classes):
        if number is not None and _width(number, sample) == 1:
            return Signature(**common, task="regression", prediction_output=number.name)
        width = 0 if number is None else _width(number, sample)
        if wanted.task == "regression" and width > 1:
            raise ArtifactError(
                "several numbers for each row are no answer of task = 'regression'",
                where="[model] task",
                expected="one number for each row",
                received=str(width),
                next_step="Register a model for each number",
            )
        if wanted.task == "regression":
            raise ArtifactError(
                "the checklist says task = 'regression', and no output of the model is one number per row",
                where="[model] task",
                received=_listed(graph_outputs),
            )
        return Signature(**common, task="tensor")
    classes = _classes(known_classes, scores, sample, _distinct(labels))
    if prediction is not None and sample is not None and not _are_among(sample[prediction.name], classes):
        prediction = None  # something beside the answer, such as an id that is passed on
    if len(classes) < _FEWEST_CLASSES or (prediction is None and scores is None):
        if wanted.task == "auto":
            return Signature(**common, task="tensor")
        raise ArtifactError(
            f"the checklist says task = {wanted.task!r}, and no output of the model fits it",
            where="[model] task",
            received=_listed(graph_outputs),
            next_step="End the graph with Softmax or Sigmoid, or with a class label",
        )
    task: Task = "binary" if len(classes) == _FEWEST_CLASSES else "multiclass"
    if wanted.task not in {"auto", task}:
        raise ArtifactError(
            f"the checklist says task = {wanted.task!r}, and the model tells {len(classes)} classes apart",
            where="[model] task",
            received=", ".join(map(str, classes[:20])),
        )
    return Signature(
        **common,
        task=task,
        classes=classes,
        positive_class=_positive(wanted.positive_class, classes) if task == "binary" else None,
        prediction_output=None if prediction is None else prediction.name,
        probability_output=None if scores is None else scores.name,
    )


def _listed(outputs: Sequence[Tensor]) -> str:
    return ", ".join(f"{output.name} {output.dtype}{list(output.shape)}" for output in outputs)


def _roles(outputs: Sequence[Tensor], sample: Outputs | None) -> tuple[Tensor | None, Tensor | None]:
    """Which output holds the class and which the scores or the number."""
    classes = [
        output
        for output in outputs
        if (output.dtype.startswith(("int", "uint")) or output.dtype in {"string", "bool"})
        and _width(output, sample) == 1
    ]
    floats = [
        output for output in outputs if output.dtype.startswith("float") and _width(output, sample) != 0
    ]
    scores = next((output for output in floats if "prob" in output.name.lower()), None)
    if scores is None and len(floats) == 1:
        scores = floats[0]
    return (classes[0] if len(classes) == 1 else None), scores


def _width(output: Tensor, sample: Outputs | None) -> int:
    """Values per row; 0 for arrays of more than one dimension."""
    if sample is not None:
        shape = sample[output.name].shape
        return 1 if len(shape) == 1 else (int(shape[1]) if len(shape) == _SCALAR_RANK else 0)
    if len(output.shape) == 1:
        return 1
    return output.shape[1] if len(output.shape) == _SCALAR_RANK else 0


def _classes(
    known: tuple[str | int, ...] | None,
    scores: Tensor | None,
    sample: Outputs | None,
    labels: tuple[str | int, ...] | None,
) -> tuple[str | int, ...]:
    """The model's own names; else the labels', if there are as many; else 0, 1, 2, ..."""
    width = 0 if scores is None else _width(scores, sample)
    count = _FEWEST_CLASSES if width == 1 else max(width, 0)
    if known is not None:
        if count and len(known) != count:
            raise ArtifactError(
                "the model has another number of probabilities than of classes",
                expected=f"{len(known)} ({', '.join(map(str, known[:20]))})",
                received=str(count),
            )
        return known
    if labels is not None and (count == 0 or len(labels) == count):
        return labels
    return tuple(range(count))


def _are_among(values: NDArray[np.generic], classes: tuple[str | int, ...]) -> bool:
    """Whether an output that could hold the class holds nothing but classes."""
    said = {str(int(one)) if values.dtype.kind in "biuf" else str(one) for one in np.unique(values)}
    return said <= {str(name) for name in classes}


def _are_probabilities(
    scores: Tensor, wanted: Wanted, activations: Mapping[str, str], sample: Outputs | None
) -> bool:
    """By what they are over the reference, and by the operator that makes them."""
    maker = activations.get(scores.name, "")
    width = _width(scores, sample)
    if sample is not None:
        values = sample[scores.name].astype(np.float64)
        inside = bool((values >= -_ROUNDING).all() and (values <= 1 + _ROUNDING).all())
        if not inside:
            return False
        if width > 1:
            return bool(np.allclose(values.sum(axis=1), 1, atol=1e-4))
    elif width > 1:
        return maker == "Softmax" or maker.endswith("Classifier")
    return maker == "Sigmoid" or wanted.task == "binary"


def _distinct(labels: NDArray[np.generic] | None) -> tuple[str | int, ...] | None:
    """Sorted class names among the labels; None for numbers that name no class."""
    if labels is None:
        return None
    if labels.dtype == object:
        return tuple(sorted({str(label) for label in labels if label is not None}))
    numbers = np.unique(labels[np.isfinite(labels)] if labels.dtype.kind == "f" else labels)
    if labels.dtype.kind == "f" and bool((numbers != np.round(numbers)).any()):
        return None
    return tuple(int(number) for number in numbers)


def _positive(wanted: str, classes: tuple[str | int, ...]) -> str | int:
    if not wanted:
        return max(classes, key=lambda name: (isinstance(name, str), name))
    for name in classes:
        if str(name) == wanted:
            return name
    raise ArtifactError(
        "the checklist names a positive class that the model does not know",
        where="[model] positive_class",
        expected=" or ".join(str(name) for name in classes),
        received=wanted,
        next_step=nearest(wanted, [str(name) for name in classes]),
    )


def describe_columns(reference: Reference, names: Sequence[str]) -> tuple[Column, ...]:
    """Columns as the reference shows them, for a model that says nothing of its inputs."""
    return tuple(describe_column(reference, name) for name in names)

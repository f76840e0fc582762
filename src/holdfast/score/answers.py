"""The answers as columns beside the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from holdfast.artifact import Answer, Signature


def answer_fields(signature: Signature) -> list[tuple[str, Any]]:
    """Names and Arrow types of the columns that hold an answer, in order.

    `prediction`; for a binary model `score`, the probability of the positive class; for every class
    `probability_<class>`. A `tensor` task has its outputs instead, as `output_<name>`.
    """
    if signature.task == "tensor":
        return [
            (f"output_{tensor.name}", _nested(tensor.dtype, len(tensor.shape) - 1))
            for tensor in signature.outputs
        ]
    fields: list[tuple[str, Any]] = [("prediction", _prediction_type(signature))]
    if signature.probability_output is not None:
        if signature.task == "binary":
            fields.append(("score", pa.float64()))
        fields += [(f"probability_{name}", pa.float64()) for name in signature.classes]
    return fields


def answer_columns(signature: Signature, answer: Answer) -> list[Any]:
    """The Arrow arrays for `answer_fields`; floats become doubles, which changes no value."""
    fields = answer_fields(signature)
    if signature.task == "tensor":
        return [
            pa.array(np.asarray(answer.outputs[name.removeprefix("output_")]).tolist(), kind)
            for name, kind in fields
        ]
    columns: list[Any] = [np.asarray(answer.prediction).tolist()]
    score = positive_score(signature, answer)
    if score is not None:
        columns.append(np.asarray(score, dtype=np.float64))
    if answer.probabilities is not None:
        columns += list(np.asarray(answer.probabilities, dtype=np.float64).T)
    return [pa.array(values, kind) for values, (_, kind) in zip(columns, fields, strict=True)]


def positive_score(signature: Signature, answer: Answer) -> NDArray[Any] | None:
    """Binary: the probability of the positive class, `[N]`; None for other tasks or without probabilities."""
    if answer.probabilities is None or signature.task != "binary":
        return None
    positive = signature.positive_class
    at = signature.classes.index(positive) if positive in signature.classes else -1
    column: NDArray[Any] = answer.probabilities[:, at]
    return column


def _prediction_type(signature: Signature) -> Any:
    if signature.task == "regression":
        return pa.float64()
    return pa.int64() if signature.classes and isinstance(signature.classes[0], int) else pa.string()


def _nested(dtype: str, depth: int) -> Any:
    kind = {"string": pa.string(), "bool": pa.bool_()}.get(dtype) or pa.from_numpy_dtype(np.dtype(dtype))
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind

"""What a model takes and gives: the signature that codecs, the log and the monitor all read.

Two views of the same inputs live side by side. `columns` is how people and tables speak: named fields.
`inputs` is how the graph and the Open Inference Protocol speak: tensors. A tensor either packs several scalar
columns of one row (a scaler and MLP with one `[N, 20]` input) or holds exactly one column.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Dtype = Literal[
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64", "string",
]  # fmt: skip
Kind = Literal["numeric", "categorical", "boolean", "text", "image", "audio", "embedding"]
Task = Literal["binary", "multiclass", "regression", "tensor"]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One named input field of a row."""

    name: str
    dtype: Dtype
    kind: Kind
    shape: tuple[int, ...] = ()
    """Shape of one row's value; () is a scalar, -1 a variable dimension."""
    nullable: bool = False
    """Whether null (NaN for floats) was present in the reference and is answered, not refused."""
    categories: tuple[str | int, ...] | None = None
    """Values seen in the reference, for categorical columns. Others are answered and logged as unseen."""
    minimum: float | None = None
    """Smallest finite value in the reference (numeric); informs the monitor, refuses nothing."""
    maximum: float | None = None
    """Largest finite value in the reference (numeric)."""
    null_text: str = ""
    """What a missing string is given to the graph as (graphs have no null): the text it was fitted on."""


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output tensor of the graph; the first dimension is the batch (-1)."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()
    """For inputs: names of the columns it holds, in order. Empty for outputs."""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs and outputs of one model version."""

    columns: tuple[Column, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    task: Task
    """`tensor` is a graph whose answer has no class or single number: outputs are passed on as they are."""
    classes: tuple[str | int, ...] = ()
    """Class names in the order of the probability columns (binary and multiclass)."""
    positive_class: str | int | None = None
    """Binary only: the class whose probability is the score."""
    prediction_output: str | None = None
    """Name of the output that holds the class or the number; None: derived from the probabilities."""
    probability_output: str | None = None
    """Name of the output that holds probabilities, `[N, K]` in the order of `classes`, or `[N]`/`[N, 1]` for
    the positive class alone."""
    threshold: float = 0.5
    """Binary: the score from which the positive class is answered, where nothing else decides."""
    by_threshold: bool = False
    """Whether the threshold decides, though the model has a decision output of its own."""

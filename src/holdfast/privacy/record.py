"""What may be logged: the raw record of a batch, and the only thing the log writer accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.generic] | Sequence[str | int | float | bool | None]
"""One column of N rows: an array whose first dimension is N, or a sequence of N scalars (None: missing)."""


class PredictionRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """N answered rows of one model version, column by column, before redaction.

    Its repr shows no value, since a record holds people's data. A struct of msgspec's, since one is made per
    batch and a frozen data class takes some microseconds to make.
    """

    model_version: str
    arm: str
    prediction_ids: Sequence[str]
    times_us: Sequence[int] | NDArray[np.int64]
    """The time each prediction belongs to, microseconds since the epoch."""
    latency_us: Sequence[int] | NDArray[np.int64]
    """From the last byte of the request to the answer being ready, per row."""
    inputs: Mapping[str, Values]
    """By column name of the signature."""
    context: Mapping[str, Values]
    """Fields logged beside the inputs and never given to the model; also the checklist's subject and consent
    fields, which the redactor turns into columns of their own."""
    prediction: Values
    """Class names or numbers, N values; empty for a `tensor` task."""
    probabilities: NDArray[np.generic] | None = None
    """`[N, K]` in the order of the signature's classes; None where the model has none."""
    score: Values | None = None
    """Binary: P(positive class), N values. None: the second of two probabilities."""
    outputs: Mapping[str, Values] = msgspec.field(default_factory=dict)
    """Raw outputs, only for a `tensor` task."""
    large: Mapping[str, NDArray[np.generic]] = msgspec.field(default_factory=dict)
    """Inputs that are stored beside the tables, by column name; they are not among `inputs`."""
    features: Mapping[str, Mapping[str, Values]] = msgspec.field(default_factory=dict)
    """Short features of large inputs: by the input's name, then by the feature's."""

    def __len__(self) -> int:
        return len(self.prediction_ids)

    def __repr__(self) -> str:
        return f"PredictionRecord(rows={len(self)}, model_version={self.model_version!r}, arm={self.arm!r})"

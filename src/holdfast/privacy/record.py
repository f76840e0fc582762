"""What may be logged: the raw record of a batch, and the only thing the log writer accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.generic] | Sequence[str | int | float | bool | None]
"""One column of N rows: an array whose first dimension is N, or a sequence of N scalars (None: missing)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRecord:
    """N answered rows of one model version, column by column, before redaction.

    Its repr shows no value, since a record holds people's data.
    """

    model_version: str
    arm: str
    prediction_ids: Sequence[str] = field(repr=False)
    times_us: Sequence[int] | NDArray[np.int64] = field(repr=False)
    """The time each prediction belongs to, microseconds since the epoch."""
    latency_us: Sequence[int] | NDArray[np.int64] = field(repr=False)
    """From the last byte of the request to the answer being ready, per row."""
    inputs: Mapping[str, Values] = field(repr=False)
    """By column name of the signature."""
    context: Mapping[str, Values] = field(repr=False)
    """Fields logged beside the inputs and never given to the model; also the checklist's subject and consent
    fields, which the redactor turns into columns of their own."""
    prediction: Values = field(repr=False)
    """Class names or numbers, N values; empty for a `tensor` task."""
    probabilities: NDArray[np.generic] | None = field(default=None, repr=False)
    """`[N, K]` in the order of the signature's classes; None where the model has none."""
    score: Values | None = field(default=None, repr=False)
    """Binary: P(positive class), N values. None: the second of two probabilities."""
    outputs: Mapping[str, Values] = field(default_factory=dict, repr=False)
    """Raw outputs, only for a `tensor` task."""
    large: Mapping[str, NDArray[np.generic]] = field(default_factory=dict, repr=False)
    """Inputs that are stored beside the tables, by column name; they are not among `inputs`."""
    features: Mapping[str, Mapping[str, Values]] = field(default_factory=dict, repr=False)
    """Short features of large inputs: by the input's name, then by the feature's."""

    def __len__(self) -> int:
        return len(self.prediction_ids)

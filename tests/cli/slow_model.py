"""A model so slow that a busy machine's delays in sending are small beside its latency."""

from __future__ import annotations

import time
from typing import Any

import numpy as np


def answer(columns: dict[str, Any]) -> dict[str, Any]:
    """The chances of two classes, after 50 ms and 4 ms a row."""
    positive = 1 / (1 + np.exp(np.asarray(columns["b"]) - np.asarray(columns["a"])))
    time.sleep(0.05 + 0.004 * len(positive))
    return {"probabilities": np.stack([1 - positive, positive], axis=1)}

"""Small streams whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW, REFERENCE_WINDOWS, WINDOWS, ONSET = 500, 12, 20, 10
Frame = dict[str, Any]
Numbers = NDArray[np.float64]


def chance(columns: Frame, effect: Numbers | float = 1.0, base: Numbers | float = -0.4) -> Numbers:
    """P(y = 1 | x)."""
    linear = effect * columns["age"] - 0.7 * columns["dose"] + 0.8 * (np.asarray(columns["ward"]) == "north")
    result: Numbers = 1 / (1 + np.exp(-linear - base))
    return result


def inputs(seed: int, windows: int) -> Frame:
    """Two numbers and a category, in order of time."""
    random = np.random.default_rng([77, seed, windows])
    rows = windows * WINDOW
    return {
        "age": random.normal(size=rows),
        "dose": random.exponential(size=rows) - 1,
        "ward": random.choice(["north", "south", "east", "west"], rows, p=[0.4, 0.3, 0.2, 0.1]),
    }


def since_onset() -> NDArray[np.bool_]:
    """Rows of the current data that lie after the change."""
    return np.arange(WINDOWS * WINDOW) >= ONSET * WINDOW


def answered(
    columns: Frame,
    seed: int,
    *,
    effect: Numbers | float = 1.0,
    base: Numbers | float = -0.4,
    model: Frame | None = None,
) -> Frame:
    """The columns with the model's score (it knows the mapping of the reference) and the truth."""
    random = np.random.default_rng([78, seed, len(columns["age"])])
    truth = random.random(len(columns["age"])) < chance(model or columns, effect, base)
    return columns | {"score": chance(columns, 1.0, base), "y": truth.astype(np.int64)}


def reference(seed: int = 0, base: Numbers | float = -0.4) -> Frame:
    return answered(inputs(seed + 1000, REFERENCE_WINDOWS), seed, base=base)


def current(
    seed: int = 0, *, effect: Numbers | float = 1.0, base: Numbers | float = -0.4, **changes: Any
) -> Frame:
    """Current data; changes replace whole columns before the model sees them, as drift does."""
    return answered(inputs(seed, WINDOWS) | changes, seed, effect=effect, base=base)


NAMES: dict[str, Any] = {"target": "y", "score": "score", "window": f"{WINDOW} rows"}
JUDGED: dict[str, Any] = NAMES | {"explain": False}
"""The verdict alone. Reasons may take concept drift back, so where none is expected this asks for more."""

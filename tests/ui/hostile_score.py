"""Two versions of a model whose inputs bear hostile names: any importable callable can be registered."""

from __future__ import annotations

from typing import Any

import numpy as np

NUMBER = "<img src=x onerror=pwned(1)>"
WORD = "'><script>pwned(2)</script>"
CATEGORIES = ("<b>north</b>", "'south'", "east & west")


def first(columns: dict[str, Any]) -> dict[str, Any]:
    """The chances of the two classes."""
    return both(chance(columns))


def second(columns: dict[str, Any]) -> dict[str, Any]:
    """The same, less sure."""
    return both(0.5 + (chance(columns) - 0.5) * 0.9)


def chance(columns: dict[str, Any]) -> np.ndarray:
    north = np.array([word == CATEGORIES[0] for word in columns[WORD]], dtype=np.float64)
    positive: np.ndarray = 1 / (1 + np.exp(-1.5 * np.asarray(columns[NUMBER], dtype=np.float64) - north))
    return positive


def both(positive: np.ndarray) -> dict[str, Any]:
    return {"probabilities": np.stack([1 - positive, positive], axis=1)}

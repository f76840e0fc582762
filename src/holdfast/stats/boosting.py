"""Boosted trees of the statistics: small and few, so that they learn what changed and not what chance did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SMALL_TREES: Final[Mapping[str, Any]] = {
    "max_iter": 60,
    "learning_rate": 0.1,
    "max_leaf_nodes": 8,
    "l2_regularization": 1.0,
    "early_stopping": False,
}
"""Tell two samples apart: a law that did not change must not be told apart by noise."""
MAPPING_TREES: Final[Mapping[str, Any]] = {**SMALL_TREES, "max_iter": 80}
"""Learn a mapping from inputs to a truth or a loss, which has more to it than a difference of two samples."""


def least_leaf(rows: int) -> int:
    """Rows of a leaf: one in 200, at least 20, so that a leaf's mean is known to a quarter of its spread.

    Example:
        >>> least_leaf(100_000), least_leaf(100)
        (500, 20)
    """
    return max(20, rows // 200)

"""An embedding as a few fixed random projections, and its length."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

PROJECTIONS: Final = 8
"""A shift of length L moves a projection by about L / sqrt(d); one of eight by more than half of that, with a
chance of 0.9995."""
NORM: Final = "norm"


def projection_signs(dimension: int, seed: int = 0, count: int = PROJECTIONS) -> NDArray[np.float64]:
    """`[count, dimension]` of +1 and -1, the same on every machine and in every release.

    They are the bits of SHAKE-256 over the seed, the number of the projection and the dimension, not of a
    library's generator, so that profiles of years ago stay comparable.

    Example:
        >>> projection_signs(6, seed=7, count=1)
        array([[-1., -1.,  1.,  1.,  1., -1.]])
    """
    rows = []
    for number in range(count):
        text = f"holdfast projection {seed} {number} {dimension}".encode()
        packed = np.frombuffer(hashlib.shake_256(text).digest(-(-dimension // 8)), dtype=np.uint8)
        rows.append(np.unpackbits(packed, count=dimension) * 2.0 - 1.0)
    return np.array(rows).reshape(count, dimension)


def embedding_features(
    embeddings: NDArray[Any], seed: int = 0, count: int = PROJECTIONS
) -> dict[str, NDArray[np.float64]]:
    """Norm and random projections of N embeddings.

    The projection is s·x / sqrt(d) with fixed random signs s (Achlioptas, 2003): its mean square over s is
    |x|² / d, so a shift between two means that has any length moves some projection. Costs one product of
    matrices.

    Args:
        embeddings: `[N, d]`; NaN makes all numbers of its row NaN.
        seed: of the signs. It stands in the names, since projections of another seed are other columns.
        count: how many projections.

    Returns:
        `[N]` numbers by name: `norm`, `projection_1_seed_0`, and so on.

    Raises:
        StatisticsError: the array is not two-dimensional, or has no dimension.

    Example:
        >>> found = embedding_features(np.array([[3.0, 4.0], [0.0, 0.0]]), count=1)
        >>> {name: values.tolist() for name, values in found.items() if name == "norm"}
        {'norm': [5.0, 0.0]}
    """
    values = np.asarray(embeddings)
    if values.dtype.kind not in "uif" or values.ndim != 2 or values.shape[1] == 0:
        raise StatisticsError(
            "these are no embeddings",
            expected="numbers of shape [N, d]",
            received=f"{values.dtype} of shape {list(values.shape)}",
        )
    numbers = values.astype(np.float64)
    dimension = numbers.shape[1]
    projected = numbers @ projection_signs(dimension, seed, count).T / np.sqrt(dimension)
    found = {NORM: np.sqrt((numbers**2).sum(axis=1))}
    found |= {f"projection_{number + 1}_seed_{seed}": projected[:, number] for number in range(count)}
    return found

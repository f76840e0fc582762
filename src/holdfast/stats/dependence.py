"""Has the dependence between two columns changed while each of them stayed as it was?

The correlation of normal scores in pooled windows, centred and scaled by the windows' own moments, so that a
shift or a spread of one column alone does not show. See docs/methods/dependence.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.scan import SCALES, pooled

_LARGEST: Final = 0.999
"""Correlations are cut there: a column that is a copy of another has no Fisher value."""

_STRETCH: Final = 1 << 11
"""Rows at a time."""


@dataclass(frozen=True, slots=True)
class PairMoments:
    """Sums over the rows of W windows, for P columns of scores; windows merge by adding."""

    rows: NDArray[np.float64] = field(repr=False)
    """`[W]`."""
    total: NDArray[np.float64] = field(repr=False)
    """`[W, P]`."""
    products: NDArray[np.float64] = field(repr=False)
    """`[W, P, P]`."""


def correlations(moments: PairMoments) -> NDArray[np.float64]:
    """`[W, P, P]`, the correlation of each pair of columns in each window; 0 where one does not vary.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])
        >>> one = PairMoments(np.array([3.0]), rows.sum(axis=0)[None], (rows.T @ rows)[None])
        >>> correlations(one)[0, 0, 1].round(6).item()
        1.0
    """
    rows = np.maximum(moments.rows, 1.0)[:, None]
    mean = moments.total / rows
    covariance = moments.products / rows[:, :, None] - mean[:, :, None] * mean[:, None, :]
    deviation = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
    scale = deviation[:, :, None] * deviation[:, None, :]
    found = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 1e-9)
    limited: NDArray[np.float64] = np.clip(found, -1.0, 1.0)
    return limited


def fisher_variance(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[P, P]`, variance of the Fisher value of each pair's correlation, times the rows.

    1 for two normal columns that depend linearly; estimated from the rows for all others, by the influence
    function `a b - r (a^2 + b^2) / 2` of a correlation of standard scores a and b (Devlin et al. 1975).

    Args:
        scores: `[N, P]` of the reference.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> fisher_variance(random.normal(size=(100_000, 2)))[0, 1].round(1).item()
        1.0
    """
    rows, width = max(len(scores), 1), scores.shape[1]
    mean, deviation = scores.mean(axis=0), scores.std(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9)
    r, both, cubed = (np.zeros((width, width)) for _ in range(3))
    # Stretch by stretch: what is made of one stays in the cache.
    for start in range(0, len(scores), _STRETCH):
        unit = (scores[start : start + _STRETCH] - mean) * scale
        square = unit * unit
        r += unit.T @ unit
        both += square.T @ square
        cubed += (square * unit).T @ unit
    r, both, cubed = np.clip(r / rows, -_LARGEST, _LARGEST), both / rows, cubed / rows
    fourth = np.diagonal(both)
    variance = both - r * (cubed + cubed.T) + r**2 / 4 * (fourth[:, None] + 2 * both + fourth[None, :])
    result: NDArray[np.float64] = np.maximum(variance, 1e-3) / (1 - r**2) ** 2
    return result


def scan_pairs(
    windows: PairMoments,
    reference: PairMoments,
    variance: NDArray[np.float64],
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard normal values, and changes of correlation, for each window, pair and scale: both `[W, K, S]`.

    Args:
        windows: in order of time.
        reference: one window, the whole reference.
        variance: from `fisher_variance`.
        pairs: positions of the first and of the second column of each of K pairs.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(1)
        >>> def moments(rows):
        ...     total, products = rows.sum(axis=0)[None], (rows.T @ rows)[None]
        ...     return PairMoments(np.array([float(len(rows))]), total, products)
        >>> old, new = random.normal(size=(20_000, 2)), random.normal(size=(1000, 2))
        >>> new[:, 1] = 0.6 * new[:, 0] + 0.8 * new[:, 1]
        >>> pair = (np.array([0]), np.array([1]))
        >>> z, change = scan_pairs(moments(new), moments(old), fisher_variance(old), pair)
        >>> bool(z[0, 0, 0] > 15), change[0, 0, 0].round(1).item()
        (True, 0.6)
    """
    count, size = len(windows.rows), len(pairs[0])
    z, change = np.empty((count, size, len(SCALES))), np.empty((count, size, len(SCALES)))
    for position, found in enumerate(pairs_by_scale(windows, reference, variance, pairs)):
        z[:, :, position], change[:, :, position] = found
    return z, change


def pairs_by_scale(
    windows: PairMoments,
    reference: PairMoments,
    variance: NDArray[np.float64],
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """`scan_pairs`, one scale after the other, both `[W, K]`: for a year of windows.

    Example:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).normal(size=(5000, 2))
        >>> one = PairMoments(np.array([5000.0]), rows.sum(axis=0)[None], (rows.T @ rows)[None])
        >>> z, change = next(pairs_by_scale(one, one, np.ones((2, 2)), (np.array([0]), np.array([1]))))
        >>> z.tolist(), change.tolist()
        ([[0.0]], [[0.0]])
    """
    first, second = pairs
    before = np.clip(correlations(reference)[0][first, second], -_LARGEST, _LARGEST)
    kappa = variance[first, second]
    own = np.arange(windows.total.shape[1])
    for scale in SCALES:
        rows = np.maximum(pooled(windows.rows[:, None], scale), 1.0)
        mean = pooled(windows.total, scale) / rows
        square = pooled(windows.products[:, own, own], scale) / rows - mean**2
        deviation = np.sqrt(np.maximum(square, 0.0))
        both = pooled(windows.products[:, first, second], scale) / rows - mean[:, first] * mean[:, second]
        size = deviation[:, first] * deviation[:, second]
        now = np.divide(both, size, out=np.zeros_like(both), where=size > 1e-9)
        now = np.clip(now, -_LARGEST, _LARGEST)
        spread = np.sqrt(kappa * (1 / rows + 1 / np.maximum(reference.rows[0], 1.0)))
        yield (np.arctanh(now) - np.arctanh(before)) / spread, now - before

"""Distances between two distributions given as counts on the same cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError


def _shares(
    reference: NDArray[Any], current: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise StatisticsError(
            "counts of different cells", expected=f"shape {first.shape}", received=f"shape {second.shape}"
        )
    for counts in (first, second):
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise StatisticsError("counts that are none", expected="numbers from 0", received=f"{counts}")
    if first.sum() <= 0 or second.sum() <= 0:
        raise StatisticsError("counts of no row")
    return first / first.sum(), second / second.sum()


def population_stability_index(reference: NDArray[Any], current: NDArray[Any]) -> float:
    """Symmetrised Kullback-Leibler divergence, sum (q - p) ln(q / p), with half a row added to each cell.

    Cells without a row of either are left out. Without drift the mean is about (cells - 1)(1/n + 1/m) for n
    and m rows, which is subtracted (down to 0), so that a short window does not look drifted. With fewer than
    about five rows a cell that is too much: the index is then too low, never too high. Read on coarse cells:
    about ten, as the usual bounds 0.1 and 0.25 assume (Siddiqi 2006).

    Example:
        >>> import numpy as np
        >>> big = 10**9
        >>> round(population_stability_index(np.array([1, 1]) * big, np.array([3, 1]) * big), 4)
        0.2747
    """
    _shares(reference, current)
    held = np.asarray(reference) + np.asarray(current) > 0
    first = np.asarray(reference, dtype=np.float64)[held] + 0.5
    second = np.asarray(current, dtype=np.float64)[held] + 0.5
    p, q = _shares(first, second)
    raw = float(((q - p) * np.log(q / p)).sum())
    bias = (len(p) - 1) * (1 / first.sum() + 1 / second.sum())
    return max(0.0, raw - float(bias))


def jensen_shannon_distance(reference: NDArray[Any], current: NDArray[Any]) -> float:
    """Square root of the Jensen-Shannon divergence in bits, from 0 to 1 (Lin 1991). Few rows bias it upwards.

    Example:
        >>> jensen_shannon_distance(np.array([5, 0]), np.array([0, 9]))
        1.0
    """
    p, q = _shares(reference, current)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log2(p / middle), 0.0).sum()
        right = np.where(q > 0, q * np.log2(q / middle), 0.0).sum()
    return float(np.sqrt(max(0.0, (left + right) / 2)))


def hellinger_distance(reference: NDArray[Any], current: NDArray[Any]) -> float:
    """Hellinger distance, from 0 to 1. Biased upwards by few rows.

    Example:
        >>> hellinger_distance(np.array([1, 0]), np.array([0, 1]))
        1.0
    """
    p, q = _shares(reference, current)
    return float(np.sqrt(max(0.0, 1 - np.sqrt(p * q).sum())))


def total_variation(reference: NDArray[Any], current: NDArray[Any]) -> float:
    """The largest difference of any event's probability, from 0 to 1. Biased upwards by few rows.

    Example:
        >>> total_variation(np.array([1, 1]), np.array([3, 1]))
        0.25
    """
    p, q = _shares(reference, current)
    return float(np.abs(p - q).sum() / 2)


def kolmogorov_smirnov(reference: NDArray[Any], current: NDArray[Any]) -> float:
    """Largest difference of the distribution functions at the cells' right edges, for ordered cells.

    Lies below the value on raw data by at most the largest cell's share.

    Example:
        >>> kolmogorov_smirnov(np.array([1, 1, 0]), np.array([0, 1, 1]))
        0.5
    """
    p, q = _shares(reference, current)
    return float(np.abs(np.cumsum(p - q)).max())


def wasserstein_distance(reference: NDArray[Any], current: NDArray[Any], positions: NDArray[Any]) -> float:
    """Mean distance that mass must move, in the unit of `positions`: of each ordered cell one, rising.

    Raises:
        StatisticsError: the positions are not as many as the cells, not finite, or not rising.

    Example:
        >>> wasserstein_distance(np.array([1, 0, 0]), np.array([0, 0, 1]), np.array([0.0, 1.0, 3.0]))
        3.0
    """
    p, q = _shares(reference, current)
    at = np.asarray(positions, dtype=np.float64)
    if at.shape != p.shape or not np.isfinite(at).all() or bool((at[1:] < at[:-1]).any()):
        raise StatisticsError(
            "positions of other cells", expected=f"{len(p)} finite numbers, rising", received=f"{at}"
        )
    moved = np.abs(np.cumsum(p - q))[:-1]
    if np.isfinite(float(at[-1]) - float(at[0])):
        return float((moved * np.diff(at)).sum())
    # The range of all doubles is wider than the greatest of them.
    return float(2 * (moved * np.diff(at / 2)).sum())


def mean_shift(reference: NDArray[Any], current: NDArray[Any], positions: NDArray[Any]) -> float:
    """Mean of the current rows less that of the reference's, in the unit of `positions`: of each cell one.

    Without bias, whatever the number of rows; off by no more than values lie from their cell's position.

    Raises:
        StatisticsError: the positions are not as many as the cells, or not finite.

    Example:
        >>> mean_shift(np.array([1, 1, 0]), np.array([0, 1, 1]), np.array([0.0, 1.0, 4.0]))
        2.0
    """
    p, q = _shares(reference, current)
    at = np.asarray(positions, dtype=np.float64)
    if at.shape != p.shape or not np.isfinite(at).all():
        raise StatisticsError(
            "positions of other cells", expected=f"{len(p)} finite numbers", received=f"{at}"
        )
    return float(q @ at - p @ at)


def quantile_shift(
    reference: NDArray[Any], current: NDArray[Any], edges: NDArray[Any], share: float = 0.5
) -> float:
    """A quantile of the current rows less the same of the reference's; by default the median.

    Rows are spread evenly within their cell, so either lies within the cell of that of raw values. Of few
    rows a quantile scatters by sqrt(share (1 - share) / n) over the density there, nearly without bias.

    Args:
        reference: `[B]` rows in each cell.
        current: `[B]` the same.
        edges: `[B + 1]` bounds of the cells, rising.
        share: of the rows below, from 0 to 1.

    Raises:
        StatisticsError: edges that are not one more than the cells, not finite or not rising; a share
            beyond 0 to 1.

    Example:
        >>> quantile_shift(np.array([10, 10]), np.array([0, 10]), np.array([0.0, 2.0, 4.0]))
        1.0
    """
    _shares(reference, current)
    at = np.asarray(edges, dtype=np.float64)
    wanted = len(np.asarray(reference)) + 1
    if at.shape != (wanted,) or not np.isfinite(at).all() or bool((at[1:] < at[:-1]).any()):
        raise StatisticsError(
            "edges of other cells", expected=f"{wanted} finite numbers, rising", received=f"{at}"
        )
    if not 0 <= share <= 1:
        raise StatisticsError("a share that is none", expected="a number from 0 to 1", received=f"{share}")
    return _quantile(np.asarray(current), at, share) - _quantile(np.asarray(reference), at, share)


def _quantile(counts: NDArray[Any], edges: NDArray[np.float64], share: float) -> float:
    held = np.flatnonzero(counts > 0)
    passed = np.concatenate([[0.0], np.cumsum(counts[held] / counts.sum())])
    # The last cell that has any row below it reaches to the whole.
    cell = min(max(int(np.searchsorted(passed, share, side="left")) - 1, 0), len(held) - 1)
    part = (share - passed[cell]) / (passed[cell + 1] - passed[cell])
    low, high = edges[held[cell]], edges[held[cell] + 1]
    return float(low + min(max(part, 0.0), 1.0) * (high - low))


def chi_square(reference: NDArray[Any], current: NDArray[Any]) -> tuple[float, int]:
    """Pearson's homogeneity statistic of the two-row table and its degrees of freedom, without empty cells.

    Example:
        >>> chi_square(np.array([10, 30]), np.array([30, 10]))
        (20.0, 1)
    """
    table = np.stack([np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)])
    _shares(table[0], table[1])
    table = table[:, table.sum(axis=0) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(((table - expected) ** 2 / expected).sum()), table.shape[1] - 1

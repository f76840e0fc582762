"""Quantiles with intervals, for values that come in an order and hang together (latencies of a queue)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError
from holdfast.stats.quality import Estimate

_STEP: Final = 1.002
"""Ratio of the resampled values' grid: 0.2 %, well inside the interval of any latency."""
_FEWEST_BLOCKS: Final = 5


def quantile_ranks(rows: int, q: float, confidence: float = 0.95) -> tuple[int, int]:
    """Ranks, from 1, of the order statistics that enclose a quantile of independent values.

    Exact for any distribution: the number of values below the quantile is binomial (Conover, *Practical
    Nonparametric Statistics*, 1999, section 3.2). A rank of 0 or of `rows + 1` says that there are too few
    values for that end.

    Example:
        >>> quantile_ranks(10, 0.5)  # coverage 0.979, as tables of the sign test have it
        (2, 9)
    """
    from scipy.stats import binom

    half = (1 - confidence) / 2
    return int(binom.ppf(half, rows, q)), int(binom.ppf(1 - half, rows, q)) + 1


def quantile_estimate(
    values: NDArray[Any],
    q: float,
    *,
    blocks: NDArray[np.integer[Any]] | None = None,
    rng: np.random.Generator | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Estimate:
    """A quantile with its interval: exact for independent values, wider where blocks of them differ.

    Latencies of one second resemble each other, so that the exact interval alone is too narrow. With `blocks`
    whole blocks are drawn again (block bootstrap; Kuensch 1989) and the wider end counts. The value is the
    smallest one that at least a share `q` of the values does not exceed.

    Args:
        values: `[N]`, not negative; infinite ones (no answer) count as larger than any.
        q: between 0 and 1.
        blocks: `[N]`, a number from 0 for each value, the same for values of one stretch of time; below 5
            blocks they are not used.
        rng: draws the blocks; needed with `blocks`.
        confidence: of the two-sided interval.
        resamples: draws of blocks. Cost: N plus `resamples` times blocks times about 3000.

    Raises:
        StatisticsError: no value.

    Example:
        >>> import numpy as np
        >>> quantile_estimate(np.arange(1.0, 11.0), 0.5)
        Estimate(value=5.0, low=2.0, high=9.0, rows=10)
    """
    numbers = np.sort(np.asarray(values, dtype=np.float64))
    rows = numbers.size
    if rows == 0:
        raise StatisticsError("no value")
    value = float(numbers[max(int(np.ceil(q * rows)) - 1, 0)])
    below, above = quantile_ranks(rows, q, confidence)
    low = float(numbers[below - 1]) if below >= 1 else 0.0
    high = float(numbers[above - 1]) if above <= rows else float("inf")
    if blocks is not None and rng is not None:
        drawn = _drawn(np.asarray(values, dtype=np.float64), q, np.asarray(blocks), rng, resamples)
        if drawn is not None:
            half = (1 - confidence) / 2
            low = min(low, float(np.quantile(drawn, half, method="lower")))
            high = max(high, float(np.quantile(drawn, 1 - half, method="higher")))
    return Estimate(value, min(low, value), max(high, value), rows)


def _drawn(
    values: NDArray[np.float64],
    q: float,
    blocks: NDArray[np.integer[Any]],
    rng: np.random.Generator,
    resamples: int,
) -> NDArray[np.float64] | None:
    """The quantile of each draw of blocks; None if there are too few to say anything."""
    count = int(blocks.max()) + 1
    if len(np.unique(blocks)) < _FEWEST_BLOCKS:
        return None
    finite = values[np.isfinite(values) & (values > 0)]
    floor = float(finite.min()) if finite.size else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.log(np.maximum(values, floor) / floor) / np.log(_STEP)
    last = int(np.ceil(steps[np.isfinite(steps)].max(initial=0.0))) + 1
    cells = np.where(np.isfinite(steps), np.ceil(np.where(np.isfinite(steps), steps, 0)), last)
    width = last + 1
    table = np.bincount(blocks * width + cells.astype(np.int64), minlength=count * width)
    counts = table.reshape(count, width).astype(np.float32)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float32)
    sums = np.cumsum(weights @ counts, axis=1)
    found = np.argmax(sums >= q * sums[:, -1:], axis=1)
    drawn = floor * _STEP ** found.astype(np.float64)
    return np.where(found == last, np.inf, drawn)

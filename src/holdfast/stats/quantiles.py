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
_FEWEST_ROUNDS: Final = 3


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
    rounds: NDArray[np.integer[Any]] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> Estimate:
    """A quantile with its interval: exact for independent values, wider where blocks of them differ.

    Latencies of one second resemble each other, so that the exact interval alone is too narrow. With `blocks`
    whole blocks are drawn again (block bootstrap; Kuensch 1989) and the wider end counts. Measurements that
    were begun anew differ by more than stretches of one do (Kalibera and Jones, Rigorous Benchmarking in
    Reasonable Time, ISMM 2013). With `rounds` the interval is at least Student's for the mean of their
    quantiles, on the logarithm, about the value (batch means). The value is the smallest one that at least a
    share `q` of the values does not exceed.

    Args:
        values: `[N]`, not negative; infinite ones (no answer) count as larger than any.
        q: between 0 and 1.
        blocks: `[N]`, a number from 0 for each value, the same for values of one stretch of time; below 5
            blocks they are not used.
        rng: draws the blocks; needed with `blocks`.
        rounds: `[N]`, a number from 0 for each value, the same for values of one measurement of several that
            were each begun anew; below 3 they are not used.
        confidence: of the two-sided interval.
        resamples: draws of blocks. Cost: N plus `resamples` times blocks times about 3000.

    Raises:
        StatisticsError: no value, one that is missing, or a share that is none.

    Example:
        >>> import numpy as np
        >>> quantile_estimate(np.arange(1.0, 11.0), 0.5)
        Estimate(value=5.0, low=2.0, high=9.0, rows=10)

        Three rounds whose medians are 1, 2 and 4: their logarithms have a standard deviation of log 2, and
        Student's t for 2 degrees of freedom is 4.303, so the factor is 2 ** (4.303 / 3 ** 0.5) = 5.59.

        >>> rounds = np.repeat([0, 1, 2], 1000)
        >>> found = quantile_estimate(np.repeat([1.0, 2.0, 4.0], 1000), 0.5, rounds=rounds)
        >>> round(found.low, 2), found.value, round(found.high, 1)
        (0.36, 2.0, 11.2)
    """
    numbers = np.sort(np.asarray(values, dtype=np.float64))
    rows = numbers.size
    if rows == 0:
        raise StatisticsError("no value")
    if not 0 < q < 1:
        raise StatisticsError("a share that is none", expected="between 0 and 1", received=f"{q}")
    if np.isnan(numbers[-1]):
        raise StatisticsError(
            "a value is missing, so values have no order",
            received=f"{int(np.isnan(numbers).sum())} of {rows} missing",
            next_step="Leave it out, or count what never came as infinite",
        )
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
    if rounds is not None and np.isfinite(value):
        factor = _between(np.asarray(values, dtype=np.float64), q, np.asarray(rounds), confidence)
        low, high = min(low, value / factor), max(high, value * factor)
    return Estimate(value, min(low, value), max(high, value), rows)


def _between(
    values: NDArray[np.float64], q: float, rounds: NDArray[np.integer[Any]], confidence: float
) -> float:
    """By which factor the mean of the rounds' quantiles is uncertain; 1 where they are too few."""
    from scipy.stats import t

    of_rounds = []
    for number in np.unique(rounds):
        part = np.sort(values[rounds == number])
        of_rounds.append(part[max(int(np.ceil(q * part.size)) - 1, 0)])
    found = np.array(of_rounds)
    if found.size < _FEWEST_ROUNDS or np.any(found <= 0):
        return 1.0
    if not np.all(np.isfinite(found)):
        return float("inf")
    error = float(np.log(found).std(ddof=1)) / np.sqrt(found.size)
    return float(np.exp(t.ppf((1 + confidence) / 2, found.size - 1) * error))


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

"""When each request is meant to be sent, decided before the first one is."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.loadtest.errors import LoadTestError

Pattern = Literal["poisson", "constant", "replay"]


def poisson_arrivals(rate_per_s: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Times in `[0, seconds)` of independent callers: a Poisson process of that rate, ascending."""
    count = int(rng.poisson(rate_per_s * seconds))
    return np.sort(rng.random(count)) * seconds


def constant_arrivals(rate_per_s: float, seconds: float) -> NDArray[np.float64]:
    """Times in `[0, seconds)` at equal distances, the first at 0."""
    return np.arange(int(np.ceil(rate_per_s * seconds - 1e-9))) / rate_per_s


def replayed_arrivals(
    times_us: NDArray[np.integer[Any]], rate_per_s: float | None = None, seconds: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The arrivals of a log: rows of one moment are one request, bursts and lulls stay as they were.

    With a rate and a length, the newest requests that make them up; a log with fewer is repeated.

    Args:
        times_us: when each row arrived, in any order, microseconds since the epoch.
        rate_per_s: requests per second of the result, by running the log faster or slower; None: as it was.
        seconds: where to cut the result off.

    Returns:
        Ascending times in seconds from 0, and the rows of each request.

    Raises:
        LoadTestError: fewer than two moments.
    """
    moments, rows = np.unique(np.asarray(times_us, dtype=np.int64), return_counts=True)
    if len(moments) < 2:
        raise LoadTestError(
            "there is nothing to replay",
            expected="rows of at least two moments in the log",
            received=f"{len(moments)}",
            next_step="Use Poisson arrivals until the service has been asked",
        )
    if rate_per_s is not None and seconds is not None:
        newest = max(int(np.ceil(rate_per_s * seconds)), 2)
        moments, rows = moments[-newest:], rows[-newest:]
    offsets = (moments - moments[0]) / 1e6
    # The last gap is not known; the mean one lets the log be repeated without a jump.
    length = float(offsets[-1]) * len(offsets) / (len(offsets) - 1)
    if rate_per_s is not None:
        factor = (len(offsets) / length) / rate_per_s
        offsets, length = offsets * factor, length * factor
    if seconds is None:
        return offsets, rows.astype(np.int64)
    times = int(np.ceil(seconds / length))
    repeated = (offsets[None, :] + length * np.arange(times)[:, None]).reshape(-1)
    inside = repeated < seconds
    return repeated[inside], np.tile(rows, times)[inside].astype(np.int64)


def rate_of_log(times_us: NDArray[np.integer[Any]], seconds: float) -> float:
    """Requests per second in the newest stretch of a log; at least two requests' worth.

    Raises:
        LoadTestError: fewer than two moments.
    """
    moments = np.unique(np.asarray(times_us, dtype=np.int64))
    if len(moments) < 2:
        raise LoadTestError(
            "the log has no rate",
            expected="rows of at least two moments in the log",
            received=f"{len(moments)}",
            next_step="Use Poisson arrivals until the service has been asked",
        )
    inside = int((moments > moments[-1] - seconds * 1e6).sum())
    return max(inside, 2) / seconds

"""Sums of windows and tests, taken apart and put together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from holdfast.stats import Sums

_Arrays = tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]
]


def of_tests(sums: Sums, chosen: NDArray[np.bool_]) -> Sums:
    """Of some of the `[K]` tests."""
    return Sums(*(array[:, chosen] for array in _arrays(sums)))


def of_windows(sums: Sums, some: slice) -> Sums:
    """Of some of the windows."""
    return Sums(*(array[some] for array in _arrays(sums)))


def with_tests(parts: Iterable[Sums]) -> Sums:
    """Of the same windows and all tests, those of the first part first."""
    return Sums(*(np.concatenate(some, axis=1) for some in zip(*map(_arrays, parts), strict=True)))


def with_windows(parts: Iterable[Sums]) -> Sums:
    """Of the same tests and all windows, those of the first part first."""
    return Sums(*(np.concatenate(some) for some in zip(*map(_arrays, parts), strict=True)))


def _arrays(sums: Sums) -> _Arrays:
    return sums.observed, sums.expected, sums.variance, sums.third, sums.weight

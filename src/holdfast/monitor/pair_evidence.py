"""Tests of the dependence between two numeric columns each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from holdfast.monitor.family import Budget, Tests, limits_of
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS
from holdfast.stats import SCALES, PairMoments, pairs_by_scale, scan_pairs, spread_of, spread_of_pools

LEAST_CORRELATION: Final = 0.1
"""A correlation that moved by less is immaterial: it explains one hundredth of the variance at most."""
PAIR_MARK: Final = " ~ "
"""Between the two columns in the name of a pair."""


def pair_tests(reference: ReferenceModel, windows: Sequence[WindowProfile], budget: Budget) -> Tests | None:
    """Of all pairs; None where there are too few columns, or windows whose pairs were not counted."""
    variance, own = reference.pair_variance, _moments(reference, reference.windows)
    current = _moments(reference, windows)
    if variance is None or own is None or current is None:
        return None
    whole = PairMoments(*(each.sum(axis=0, keepdims=True) for each in (own.rows, own.total, own.products)))
    first, second = np.triu_indices(len(reference.paired), 1)
    spread = np.ones((len(SCALES), len(first)))
    if len(reference.windows) >= LEAST_REFERENCE_WINDOWS:
        spread = spread_of(scan_pairs(own, _endless(whole), variance, (first, second))[0])
    limits = limits_of("pairs", len(first), budget)
    strength = np.zeros((len(windows), len(first)))
    single = shift = strength
    for position, (values, change) in enumerate(pairs_by_scale(current, whole, variance, (first, second))):
        z = values / np.sqrt(spread_of_pools(spread, position, current.rows > 0))
        material = np.abs(change) >= LEAST_CORRELATION
        strength = np.maximum(strength, np.where(material, np.abs(z) / limits[position], 0.0))
        if position == 0:
            single, shift = z, change
    names = tuple(
        (f"{reference.paired[one]}{PAIR_MARK}{reference.paired[other]}", "dependence")
        for one, other in zip(first, second, strict=True)
    )
    return Tests("pairs", names, single, strength, shift)


def _moments(reference: ReferenceModel, windows: Sequence[WindowProfile]) -> PairMoments | None:
    """Around each window's own means: what these vary by from window to window is no dependence of rows."""
    products = [window.products for window in windows if window.products is not None]
    if not products or len(products) < len(windows):
        return None
    total = np.stack(
        [
            np.stack([window.counts[name] for window in windows]) @ reference.features[name].functionals[:, 0]
            for name in reference.paired
        ],
        axis=1,
    )
    rows = np.array([float(window.rows) for window in windows])
    within = np.stack(products)
    # A year of hours has no room for a second array of all pairs.
    for number, by_column in enumerate(total / np.sqrt(np.maximum(rows, 1.0))[:, None]):
        within[number] -= np.outer(by_column, by_column)
    # A row of each window has told its mean.
    return PairMoments(np.maximum(rows - 1, 0.0), np.zeros_like(total), within)


def _endless(moments: PairMoments) -> PairMoments:
    """The same reference, as if it had no error: its own windows are part of it."""
    many = 1e9
    return PairMoments(moments.rows * many, moments.total * many, moments.products * many)

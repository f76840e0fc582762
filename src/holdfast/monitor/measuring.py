"""How far every column is from the reference, whether in alarm or not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.diagnosis import ColumnMeasures
from holdfast.monitor.features import Feature
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.stats import (
    NumericBins,
    hellinger_distance,
    jensen_shannon_distance,
    kolmogorov_smirnov,
    mean_shift,
    population_stability_index,
    total_variation,
    wasserstein_distance,
)


def measure_columns(
    reference: ReferenceModel, windows: Sequence[WindowProfile]
) -> tuple[ColumnMeasures, ...]:
    """Of all columns that are judged, the most changed first.

    Args:
        reference: that the windows are compared with.
        windows: whose rows are added up.
    """
    found = [
        _measured(feature, np.sum([window.counts[name] for window in windows], axis=0))
        for name, feature in reference.judged.items()
        if windows
    ]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: -(one.psi or 0.0)))


def _measured(feature: Feature, counts: NDArray[np.int64]) -> ColumnMeasures | None:
    if not counts.sum():
        return None
    # Categories end with missing, numbers with missing and those that are not finite.
    ordered = isinstance(feature.bins, NumericBins)
    missing = -2 if ordered else -1
    old, new = (np.bincount(feature.broad, some) for some in (feature.counts, counts))
    before, after = feature.counts[:-2], counts[:-2]
    found = ColumnMeasures(
        name=feature.name,
        missing_before=_rounded(feature.counts[missing] / max(feature.rows, 1)),
        missing=_rounded(counts[missing] / counts.sum()),
        psi=_rounded(population_stability_index(old, new)),
        jensen_shannon=_rounded(jensen_shannon_distance(old, new)),
        hellinger=_rounded(hellinger_distance(old, new)),
        total_variation=_rounded(total_variation(old, new)),
    )
    if not ordered or not before.sum() or not after.sum():
        return found
    return msgspec.structs.replace(
        found,
        kolmogorov_smirnov=_rounded(kolmogorov_smirnov(before, after)),
        wasserstein=_digits(wasserstein_distance(before, after, feature.positions)),
        mean_shift=_digits(mean_shift(before, after, feature.positions)),
        median_before=_digits(_median(feature, feature.counts)),
        median=_digits(_median(feature, counts)),
    )


def _median(feature: Feature, counts: NDArray[np.int64]) -> float:
    side = feature.beyond(counts, 0.5)
    if side is not None:
        return float(feature.positions[0 if side == "below" else -1])
    return feature.quantile(counts, 0.5)


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _digits(value: float) -> float:
    """Six of them, whatever the column's unit."""
    return float(f"{value:.6g}")

"""Arrays in, numbers out: profiles on the reference's bins, distances, calibrated scans, onsets, quality."""

from holdfast.stats.arrivals import ArrivalCurve, arrival_curve
from holdfast.stats.binning import Bins, CategoryBins, Counts, NumericBins
from holdfast.stats.errors import StatisticsError
from holdfast.stats.measures import (
    chi_square,
    hellinger_distance,
    jensen_shannon_distance,
    kolmogorov_smirnov,
    population_stability_index,
    total_variation,
    wasserstein_distance,
)
from holdfast.stats.onset import OnsetEstimate, Shape, change_shape, estimate_onset
from holdfast.stats.quality import Z95, Estimate, area_under_curve, mean_estimate
from holdfast.stats.scan import SCALES, Sums, natural_spread, pooled, scan, threshold
from holdfast.stats.tails import signed_z

__all__ = [
    "SCALES",
    "Z95",
    "ArrivalCurve",
    "Bins",
    "CategoryBins",
    "Counts",
    "Estimate",
    "NumericBins",
    "OnsetEstimate",
    "Shape",
    "StatisticsError",
    "Sums",
    "area_under_curve",
    "arrival_curve",
    "change_shape",
    "chi_square",
    "estimate_onset",
    "hellinger_distance",
    "jensen_shannon_distance",
    "kolmogorov_smirnov",
    "mean_estimate",
    "natural_spread",
    "pooled",
    "population_stability_index",
    "scan",
    "signed_z",
    "threshold",
    "total_variation",
    "wasserstein_distance",
]

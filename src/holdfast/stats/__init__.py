"""Arrays in, numbers out: profiles on the reference's bins, distances, calibrated scans, onsets, quality."""

from holdfast.stats.arrivals import ArrivalCurve, arrival_curve
from holdfast.stats.binning import Bins, CategoryBins, Coded, Counts, NumericBins
from holdfast.stats.dependence import PairMoments, correlations, fisher_variance, scan_pairs
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
from holdfast.stats.scan import SCALES, Sums, natural_spread, pooled, scan, spread_of, threshold
from holdfast.stats.season import Period, Season, SeasonalError, calendar_periods, counted_periods, fit_season
from holdfast.stats.tails import signed_z

__all__ = [
    "SCALES",
    "Z95",
    "ArrivalCurve",
    "Bins",
    "CategoryBins",
    "Coded",
    "Counts",
    "Estimate",
    "NumericBins",
    "OnsetEstimate",
    "PairMoments",
    "Period",
    "Season",
    "SeasonalError",
    "Shape",
    "StatisticsError",
    "Sums",
    "area_under_curve",
    "arrival_curve",
    "calendar_periods",
    "change_shape",
    "chi_square",
    "correlations",
    "counted_periods",
    "estimate_onset",
    "fisher_variance",
    "fit_season",
    "hellinger_distance",
    "jensen_shannon_distance",
    "kolmogorov_smirnov",
    "mean_estimate",
    "natural_spread",
    "pooled",
    "population_stability_index",
    "scan",
    "scan_pairs",
    "signed_z",
    "spread_of",
    "threshold",
    "total_variation",
    "wasserstein_distance",
]

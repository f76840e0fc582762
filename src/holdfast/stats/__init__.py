"""Arrays in, numbers out: profiles on the reference's bins, distances, calibrated scans, onsets, quality."""

from holdfast.stats.arrivals import ArrivalCurve, arrival_curve
from holdfast.stats.backtest import Backtest, Sample, backtest, rows_to_decide
from holdfast.stats.betting import STAKES, MeanBounds, betting_bounds, log_capital
from holdfast.stats.binning import Bins, CategoryBins, Coded, Counts, NumericBins
from holdfast.stats.calibration import (
    Calibration,
    ClassCalibration,
    calibrate,
    calibrate_classes,
    score_edges,
)
from holdfast.stats.calm import SHORT_LAG, CalmWindows, calm_so_far, level_error, settled, stretches
from holdfast.stats.decomposition import Decomposition, decompose
from holdfast.stats.dependence import PairMoments, correlations, fisher_variance, pairs_by_scale, scan_pairs
from holdfast.stats.domain import DomainShift, tell_apart
from holdfast.stats.e_detector import EDetector, rank_scores, reference_slack
from holdfast.stats.embeddings import PROJECTIONS, embedding_features, projection_signs
from holdfast.stats.errors import StatisticsError
from holdfast.stats.estimated import (
    ASSUMPTION,
    CONFUSION_METRICS,
    Confusion,
    estimate_area,
    estimate_class_accuracy,
    estimate_class_confusion,
    estimate_confusion,
)
from holdfast.stats.grid import Room
from holdfast.stats.images import IMAGE_FEATURES, image_features
from holdfast.stats.kind_features import MEASURED_KINDS, RATE_HZ, feature_names, kind_features
from holdfast.stats.label_shift import (
    LabelShift,
    explain_by_shares,
    label_shift_gain,
    shares_by_confusion,
    shares_by_likelihood,
)
from holdfast.stats.loss_bounds import LossBound, loss_bound
from holdfast.stats.loss_model import LossModel
from holdfast.stats.measures import (
    chi_square,
    hellinger_distance,
    jensen_shannon_distance,
    kolmogorov_smirnov,
    population_stability_index,
    total_variation,
    wasserstein_distance,
)
from holdfast.stats.mixtures import (
    PRIOR_ROWS,
    QuantileBounds,
    count_boundaries,
    log_mixture,
    quantile_bounds,
    quantile_bounds_of_counts,
    sample_ratio_evidence,
    share_bounds,
)
from holdfast.stats.onset import (
    SURE,
    OnsetEstimate,
    Shape,
    ShapeOdds,
    change_shape,
    estimate_onset,
    shape_odds,
)
from holdfast.stats.paired import Paired, average_precision, paired_area, paired_bootstrap, paired_mean
from holdfast.stats.quality import Z95, Estimate, area_under_curve, mean_estimate
from holdfast.stats.quantiles import quantile_estimate, quantile_ranks
from holdfast.stats.regions import Region, expected_truth, find_regions
from holdfast.stats.scaling import Scaling, log_odds, scale_log_odds, scale_number, scale_temperature
from holdfast.stats.scan import (
    SCALES,
    LevelError,
    Sums,
    doubt_of_variance,
    natural_spread,
    pooled,
    scan,
    scan_by_scale,
    spread_of,
    threshold,
)
from holdfast.stats.season import Period, Season, SeasonalError, calendar_periods, counted_periods, fit_season
from holdfast.stats.sounds import AUDIO_FEATURES, audio_features
from holdfast.stats.tails import signed_z
from holdfast.stats.texts import TEXT_FEATURES, HashedVocabulary, text_features, tokens_of

__all__ = [
    "ASSUMPTION",
    "AUDIO_FEATURES",
    "CONFUSION_METRICS",
    "IMAGE_FEATURES",
    "MEASURED_KINDS",
    "PRIOR_ROWS",
    "PROJECTIONS",
    "RATE_HZ",
    "SCALES",
    "SHORT_LAG",
    "STAKES",
    "SURE",
    "TEXT_FEATURES",
    "Z95",
    "ArrivalCurve",
    "Backtest",
    "Bins",
    "Calibration",
    "CalmWindows",
    "CategoryBins",
    "ClassCalibration",
    "Coded",
    "Confusion",
    "Counts",
    "Decomposition",
    "DomainShift",
    "EDetector",
    "Estimate",
    "HashedVocabulary",
    "LabelShift",
    "LevelError",
    "LossBound",
    "LossModel",
    "MeanBounds",
    "NumericBins",
    "OnsetEstimate",
    "PairMoments",
    "Paired",
    "Period",
    "QuantileBounds",
    "Region",
    "Room",
    "Sample",
    "Scaling",
    "Season",
    "SeasonalError",
    "Shape",
    "ShapeOdds",
    "StatisticsError",
    "Sums",
    "area_under_curve",
    "arrival_curve",
    "audio_features",
    "average_precision",
    "backtest",
    "betting_bounds",
    "calendar_periods",
    "calibrate",
    "calibrate_classes",
    "calm_so_far",
    "change_shape",
    "chi_square",
    "correlations",
    "count_boundaries",
    "counted_periods",
    "decompose",
    "doubt_of_variance",
    "embedding_features",
    "estimate_area",
    "estimate_class_accuracy",
    "estimate_class_confusion",
    "estimate_confusion",
    "estimate_onset",
    "expected_truth",
    "explain_by_shares",
    "feature_names",
    "find_regions",
    "fisher_variance",
    "fit_season",
    "hellinger_distance",
    "image_features",
    "jensen_shannon_distance",
    "kind_features",
    "kolmogorov_smirnov",
    "label_shift_gain",
    "level_error",
    "log_capital",
    "log_mixture",
    "log_odds",
    "loss_bound",
    "mean_estimate",
    "natural_spread",
    "paired_area",
    "paired_bootstrap",
    "paired_mean",
    "pairs_by_scale",
    "pooled",
    "population_stability_index",
    "projection_signs",
    "quantile_bounds",
    "quantile_bounds_of_counts",
    "quantile_estimate",
    "quantile_ranks",
    "rank_scores",
    "reference_slack",
    "rows_to_decide",
    "sample_ratio_evidence",
    "scale_log_odds",
    "scale_number",
    "scale_temperature",
    "scan",
    "scan_by_scale",
    "scan_pairs",
    "score_edges",
    "settled",
    "shape_odds",
    "share_bounds",
    "shares_by_confusion",
    "shares_by_likelihood",
    "signed_z",
    "spread_of",
    "stretches",
    "tell_apart",
    "text_features",
    "threshold",
    "tokens_of",
    "total_variation",
    "wasserstein_distance",
]

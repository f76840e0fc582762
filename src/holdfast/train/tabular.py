"""The ready-made trainer for tables: boosted trees with the right encoders, stopped early, calibrated.

Numbers go in as they are, missing ones too. Of a text column the 32 most frequent values get a column each,
the others share "none of them". Trees are added until the dev split has not gained for 20 rounds; then the
scores are calibrated on the dev split, inside the trees, so that the model stays one that converts to ONNX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.stats import (
    Scaling,
    StatisticsError,
    scale_log_odds,
    scale_number,
    scale_temperature,
)
from holdfast.stats.domain import least_leaf
from holdfast.train.data_set import DataSet
from holdfast.train.errors import TrainerFailedError

if TYPE_CHECKING:
    import pandas as pd

MOST_TREES: Final = 500
PATIENCE: Final = 20
MOST_CATEGORIES: Final = 32
LEAST_EVENTS: Final = 30
"""Dev rows of the rarer class below which calibration would be noise."""
_LEAST_SLOPE: Final = 0.05
_SETTINGS: Final = {
    "learning_rate": 0.08,
    "max_leaf_nodes": 15,
    "l2_regularization": 1.0,
    "max_iter": MOST_TREES,
    "n_iter_no_change": PATIENCE,
    "tol": 1e-6,
    "early_stopping": True,
}


def train(data: DataSet) -> Any:
    """A fitted scikit-learn pipeline.

    Raises:
        TrainerFailedError: a feature is neither a number nor a text.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits

    rows, held = data.train, data.dev
    frame, dev = _plain(data.frame(rows)), _plain(data.frame(held))
    labels, dev_labels = data.labels(rows), data.labels(held)
    if data.task == "regression":
        maker: Any = HistGradientBoostingRegressor
    else:
        maker = HistGradientBoostingClassifier
        # A class that only the dev split has cannot be learnt, and the dev loss of it is endless.
        known = np.isin(dev_labels, np.unique(labels))
        dev, dev_labels, held = dev[known], dev_labels[known], held.filter(known)
    columns = _columns(frame)
    data.progress(0.05, "encoding columns")
    encoded, dev_encoded = columns.fit_transform(frame), columns.transform(dev)
    trees = maker(**_SETTINGS, min_samples_leaf=least_leaf(len(frame)), random_state=data.seed)
    data.progress(0.1, "growing trees")
    with threadpool_limits(data.cores, "openmp"):
        trees.fit(
            encoded,
            labels,
            sample_weight=data.weights(rows),
            X_val=dev_encoded,
            y_val=dev_labels,
            sample_weight_val=data.weights(held),
        )
        data.progress(0.9, f"{trees.n_iter_} rounds of trees; calibrating")
        found = calibrate_trees(trees, dev_encoded, dev_labels, data.weights(held))
    print(f"{trees.n_iter_} rounds of trees; " + _said(found))  # noqa: T201 - into the captured log
    return Pipeline([("columns", columns), ("trees", trees)])


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Texts as Python objects with None for missing, as they were for the service."""
    for name in frame.columns:
        if frame[name].dtype.kind not in "biuf":
            known = frame[name].dropna()
            if len(known) and all(isinstance(value, bool | np.bool_) for value in known):
                frame[name] = frame[name].astype(np.float64)
                continue
            values = np.empty(len(frame), dtype=object)
            values[:] = [None if one is None or one != one else one for one in frame[name]]  # noqa: PLR0124 - NaN
            frame[name] = values
    return frame


def _columns(frame: pd.DataFrame) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder

    numbers = [name for name in frame.columns if frame[name].dtype.kind in "biuf"]
    texts = [name for name in frame.columns if name not in numbers]
    frequent = []
    for name in texts:
        counts = frame[name].dropna().value_counts()
        if any(not isinstance(value, str) for value in counts.index[:1]):
            raise TrainerFailedError(
                "the ready-made trainer takes numbers and texts",
                where=name,
                received=type(counts.index[0]).__name__,
                next_step="Name a trainer of your own: [training] trainer",
            )
        frequent.append(sorted(counts.index[:MOST_CATEGORIES]) or [""])
    steps: list[Any] = [("numbers", "passthrough", numbers)] if numbers else []
    if texts:
        encoder = OneHotEncoder(
            categories=[np.array(values, dtype=object) for values in frequent],
            handle_unknown="ignore",
            sparse_output=False,
        )
        steps.append(("texts", encoder, texts))
    return ColumnTransformer(steps)


def calibrate_trees(trees: Any, dev: Any, labels: Any, weights: Any) -> Scaling | None:
    """Scale a fitted histogram gradient boosting's raw scores so that they are right on the dev split.

    A line on raw scores is a factor on every leaf plus a baseline, so the model keeps its kind. Returns None,
    and changes nothing, where the dev split is too small or the line would turn the order of scores around.
    """
    raw = trees._raw_predict(np.asarray(dev, dtype=np.float64))  # noqa: SLF001 - no public access to raw scores
    try:
        if not hasattr(trees, "classes_"):
            found = scale_number(raw[:, 0], labels, weights)
        else:
            codes = np.searchsorted(trees.classes_, labels)
            counts = np.bincount(codes, minlength=len(trees.classes_))
            if counts.min() < LEAST_EVENTS:
                return None
            if len(trees.classes_) > 2:
                found = scale_temperature(raw, codes, weights)
            else:
                found = scale_log_odds(raw[:, 0], codes, weights)
    except StatisticsError:
        return None
    if not np.isfinite([found.slope, found.level]).all() or found.slope < _LEAST_SLOPE:
        return None
    for stage in trees._predictors:  # noqa: SLF001 - as above
        for predictor in stage:
            predictor.nodes["value"] *= found.slope
    trees._baseline_prediction = trees._baseline_prediction * found.slope + found.level  # noqa: SLF001 - as above
    return found


def _said(found: Scaling | None) -> str:
    if found is None:
        return "not calibrated: the dev split is too small"
    return f"calibrated on dev (slope {found.slope:.4g}, level {found.level:.4g})"

"""The ready-made trainer for tables: boosted trees with the right encoders, stopped early, calibrated.

Numbers go in as they are, missing ones too. Of a text column the 32 most frequent values get a column each,
the others share "none of them". Trees are added until the dev split has not gained for 20 rounds, and the
scaling that calibrates them there is found; then as many trees are grown on train and dev together, since the
newest rows are the most like those to come, and scaled inside, so that the model converts to ONNX. What the
scaling made up for between train and dev, it makes up for between dev and the rows to come.
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
    "n_iter_no_change": PATIENCE,
    "tol": 1e-6,
}


def train(data: DataSet) -> Any:
    """A fitted scikit-learn pipeline.

    Raises:
        TrainerFailedError: a feature is neither a number nor a text.
    """
    import pandas as pd
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits

    rows, held = data.train, data.dev
    frame, dev = _plain(data.frame(rows)), _plain(data.frame(held))
    labels, dev_labels = data.labels(rows), data.labels(held)
    weights, dev_weights = data.weights(rows), data.weights(held)
    # A class that only the dev split has cannot be learnt before it is there, and its dev loss is endless.
    known = np.isin(dev_labels, np.unique(labels)) | (data.task == "regression")
    data.progress(0.05, "encoding columns")
    columns = _columns(frame)
    encoded, dev_encoded = columns.fit_transform(frame), columns.transform(dev[known])
    data.progress(0.1, "growing trees")
    with threadpool_limits(data.cores, "openmp"):
        trees = _trees(data, len(frame), early_stopping=True, max_iter=MOST_TREES)
        trees.fit(
            encoded,
            labels,
            sample_weight=weights,
            X_val=dev_encoded,
            y_val=dev_labels[known],
            sample_weight_val=dev_weights[known],
        )
        found = scaling_of(trees, dev_encoded, dev_labels[known], dev_weights[known])
        if found is not None:
            scale_trees(trees, found)
        loss = _dev_loss(trees, dev_encoded, dev_labels[known], dev_weights[known])
        data.progress(0.5, f"{trees.n_iter_} rounds of trees; growing them on train and dev")
        whole = _plain(pd.concat([frame, dev], ignore_index=True))
        columns = _columns(whole)
        trees = _trees(data, len(whole), early_stopping=False, max_iter=trees.n_iter_).fit(
            columns.fit_transform(whole),
            np.concatenate([labels, dev_labels]),
            sample_weight=np.concatenate([weights, dev_weights]),
        )
    if found is not None:
        scale_trees(trees, found)
    data.report_loss(loss)
    print(f"{trees.n_iter_} rounds of trees; " + _said(found))  # noqa: T201 - into the captured log
    return Pipeline([("columns", columns), ("trees", trees)])


def _trees(data: DataSet, rows: int, *, early_stopping: bool, max_iter: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    regression = data.task == "regression"
    maker: Any = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    return maker(
        **settings_of(data.candidate, data.seed),
        early_stopping=early_stopping,
        max_iter=max_iter,
        min_samples_leaf=least_leaf(rows),
        random_state=data.seed,
    )


def settings_of(candidate: int, seed: int) -> dict[str, float | int]:
    """The first candidate has settings that do well on most tables; each further one is drawn around them."""
    if candidate == 0:
        return dict(_SETTINGS)
    random = np.random.default_rng([seed, candidate])
    return {
        **_SETTINGS,
        "learning_rate": float(np.exp(random.uniform(np.log(0.02), np.log(0.2)))),
        "max_leaf_nodes": int(random.integers(4, 64)),
        "l2_regularization": float(np.exp(random.uniform(np.log(0.01), np.log(30.0)))),
    }


def _dev_loss(trees: Any, dev: Any, labels: Any, weights: Any) -> float:
    from sklearn.metrics import log_loss, mean_absolute_error

    if not hasattr(trees, "classes_"):
        return float(mean_absolute_error(labels, trees.predict(dev), sample_weight=weights))
    chance = trees.predict_proba(dev)
    return float(log_loss(labels, chance, sample_weight=weights, labels=trees.classes_))


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


def scaling_of(trees: Any, dev: Any, labels: Any, weights: Any) -> Scaling | None:
    """What to multiply a fitted histogram gradient boosting's raw scores by, and add, to be right on dev.

    None where the dev split is too small or the line would turn the order of scores around.
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
    return found


def scale_trees(trees: Any, by: Scaling) -> None:
    """Scale the raw scores: a line on them is a factor on every leaf plus a baseline, so the kind stays."""
    for stage in trees._predictors:  # noqa: SLF001 - as above
        for predictor in stage:
            predictor.nodes["value"] *= by.slope
    trees._baseline_prediction = trees._baseline_prediction * by.slope + by.level  # noqa: SLF001 - as above


def _said(found: Scaling | None) -> str:
    if found is None:
        return "not calibrated: the dev split is too small"
    return f"calibrated on dev (slope {found.slope:.4g}, level {found.level:.4g})"

"""The ready-made trainer for tables: boosted trees with the right encoders, validated forward, calibrated.

Numbers go in as they are, missing ones too. Of a text column the 32 most frequent values get a column each,
the others share "none of them". How fast old rows fade, how many trees are grown and how sure their scores
may be is chosen on four blocks of time, each answered by trees of the rows before it (see `forward`). Then
they are grown on train and dev together, since the newest rows are the most like those to come, and scaled
inside, so that the model converts to ONNX. Scores are scaled around the share of the classes: a level that
was right in one month is a guess in the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.stats.boosting import least_leaf
from holdfast.train.data_set import DataSet
from holdfast.train.errors import TrainerFailedError
from holdfast.train.forward import Choice, Rows, age_weights, try_forward

if TYPE_CHECKING:
    import pandas as pd

MOST_TREES: Final = 500
PATIENCE: Final = 20
MOST_CATEGORIES: Final = 32
TREES_UNTRIED: Final = 60
"""Where there is nothing to choose by."""
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
    import pyarrow as pa
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits

    table = pa.concat_tables([data.train, data.dev]).sort_by("time")
    frame, labels, weights = _plain(data.frame(table)), data.labels(table), data.weights(table)
    times_us = data.times(table).astype("datetime64[us]").astype(np.int64)
    if data.task == "regression":
        labels = labels.astype(np.float64)
    data.progress(0.05, "encoding columns")
    columns = _columns(frame)
    encoded = np.asarray(columns.fit_transform(frame), dtype=np.float64)
    data.progress(0.1, "trying blocks of time")

    def grow(x: Any, y: Any, w: Any, held: tuple[Any, Any, Any]) -> Any:
        found = _trees(data, y, early_stopping=True, max_iter=MOST_TREES)
        return found.fit(x, y, sample_weight=w, X_val=held[0], y_val=held[1], sample_weight_val=held[2])

    with threadpool_limits(data.cores, "openmp"):
        choice = try_forward(Rows(encoded, labels, weights, times_us, _gap_us(data)), grow)
        data.progress(0.6, "growing trees")
        count = TREES_UNTRIED if choice is None else choice.trees
        if choice is not None:
            weights = weights * age_weights(times_us, choice.half_life)
        trees = _trees(data, labels, early_stopping=False, max_iter=count)
        trees.fit(encoded, labels, sample_weight=weights)
    if choice is not None:
        scale_trees(trees, choice.slope)
        data.report_loss(choice.loss)
    print(_said(choice, times_us))  # noqa: T201 - into the captured log
    return Pipeline([("columns", columns), ("trees", trees)])


def _gap_us(data: DataSet) -> int:
    """What lies between train and dev."""
    taught, held = (
        data.times(one).astype("datetime64[us]").astype(np.int64) for one in (data.train, data.dev)
    )
    return max(int(held.min() - taught.max()), 0) if len(taught) and len(held) else 0


def _trees(data: DataSet, labels: Any, *, early_stopping: bool, max_iter: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    regression = data.task == "regression"
    maker: Any = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    return maker(
        **settings_of(data.candidate, data.seed),
        early_stopping=early_stopping,
        max_iter=max_iter,
        min_samples_leaf=least_leaf(telling_rows(labels)),
        random_state=data.seed,
    )


def telling_rows(labels: Any) -> int:
    """As many rows as equal classes would need to tell as much: rare ones must find room in a leaf.

    Of 100 000 payments 500 are frauds, in a few kinds. A leaf of one row in 200 would hold every kind and
    its honest neighbours; with this number it holds twenty.
    """
    if np.issubdtype(np.asarray(labels).dtype, np.floating):
        return len(labels)
    counts = np.unique(labels, return_counts=True)[1]
    return int(len(counts) * counts.min())


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


def scale_trees(trees: Any, slope: float) -> None:
    """Scale raw scores around their baseline: a factor on every leaf, so the kind of the model stays."""
    for stage in trees._predictors:  # noqa: SLF001 - no public access to leaves
        for predictor in stage:
            predictor.nodes["value"] *= slope


def _said(choice: Choice | None, times_us: Any) -> str:
    if choice is None:
        return f"{TREES_UNTRIED} rounds of trees: too few rows to try anything on blocks of time"
    fades = "old rows count as much as new ones"
    if choice.half_life is not None:
        fades = f"a row counts half at {choice.half_life * np.ptp(times_us) / 86_400e6:.3g} days of age"
    return (
        f"{choice.trees} rounds of trees; {fades}; scores scaled by {choice.slope:.4g}; "
        f"loss of the blocks {', '.join(f'{one:.4g}' for one in choice.blocks)}"
    )

"""What a team would have done before it comes to holdfast: split by time, train a small model, test it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from holdfast.demo.world import INPUTS, LABEL, TIME, World

_CATEGORICAL = ("weekday", "category", "country", "entry")


def train(world: World) -> Pipeline:
    """A logistic regression on the training weeks; numbers are scaled, text is one-hot encoded."""
    rows = world.rows(0, world.settings.training_days)
    numbers = [name for name in INPUTS if name not in _CATEGORICAL]
    model = Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [
                        ("numbers", StandardScaler(), numbers),
                        ("text", OneHotEncoder(handle_unknown="ignore"), list(_CATEGORICAL)),
                    ]
                ),
            ),
            ("model", LogisticRegression(max_iter=1000)),
        ]
    )
    return model.fit(world.inputs(rows), world.fraud[rows].astype(np.int64))


def reference(world: World) -> pa.Table:
    """The weeks between training and live traffic, with labels and times: data the model has never seen."""
    rows = world.rows(world.settings.training_days, world.settings.first_live_day)
    table = world.inputs(rows)
    table = table.append_column(LABEL, pa.array(world.fraud[rows].astype(np.int64)))
    return table.append_column(TIME, pa.array(world.time_us[rows], pa.timestamp("us", tz="UTC")))


def area_under_curve(model: Any, table: pa.Table) -> float:
    """ROC AUC of a model on a table of `reference`'s columns."""
    scores = model.predict_proba(table.select(list(INPUTS)))[:, 1]
    return float(roc_auc_score(table[LABEL].to_numpy(), scores))

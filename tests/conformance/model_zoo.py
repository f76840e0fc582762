"""Every kind of model that can be registered, small, with the original's own answers to compare with."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from holdfast.artifact import Artifact, open_artifact
from holdfast.clock import ManualClock
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

NUMBERS = ["when", "amount", "age", "gap"]
WORDS = ["city", "shop"]
ROWS = 500


def table(rows: int, seed: int) -> pd.DataFrame:
    """Seconds since 1970 (float32 cannot tell them apart), heavy tails, whole numbers, NaN, missing text."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "when": 1.7e9 + rng.integers(0, 1000, rows),
            "amount": rng.lognormal(size=rows),
            "age": rng.integers(18, 90, rows),
            "gap": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)),
            "code": rng.integers(0, 4, rows),
            "flag": rng.random(rows) < 0.5,
            "city": rng.choice(["Aarhus", "Brno", "Cádiz"], rows),
            "shop": rng.choice(np.array(["u", "v", None], dtype=object), rows, p=[0.4, 0.4, 0.2]),
        }
    )


def strength(frame: pd.DataFrame) -> Any:
    return (
        (frame.amount > 1).astype(float)
        + (frame.when > 1.7e9 + 500)
        + (frame.gap.fillna(0) > 0)
        + (frame.city == "Aarhus")
        + (frame["shop"] == "u")
    ).to_numpy()


def two(frame: pd.DataFrame) -> Any:
    return np.where(strength(frame) > 2, "fraud", "fine")


def zero_one(frame: pd.DataFrame) -> Any:
    return (strength(frame) > 2).astype(int)


def three(frame: pd.DataFrame) -> Any:
    return np.minimum(strength(frame), 2).astype(int)


def number(frame: pd.DataFrame) -> Any:
    return strength(frame) + np.sin(frame.age.to_numpy())


@dataclass(frozen=True)
class Kind:
    """How to make one kind of model."""

    make: Callable[[], Any]
    """Unfitted."""
    target: Callable[[pd.DataFrame], Any]
    columns: list[str]
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    as_matrix: bool = False
    takes_missing: bool = True
    takes_unseen: bool = False
    """The original answers a category that it was not fitted on."""
    tolerance: float = 1e-5


@dataclass(frozen=True)
class Zoo:
    """A registered model of one kind."""

    kind: Kind
    model: Any = field(repr=False)
    reference: pd.DataFrame = field(repr=False)
    folder: Path

    def artifact(self) -> Artifact:
        return open_artifact(self.folder)

    def fresh(self, rows: int = 200) -> pd.DataFrame:
        """Rows that neither the model nor its registration has seen."""
        return self.kind.prepare(table(rows, seed=99))[self.kind.columns]

    def original(self, frame: pd.DataFrame) -> tuple[Any, Any]:
        given = frame.to_numpy() if self.kind.as_matrix else frame
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prediction = np.asarray(self.model.predict(given)).reshape(len(frame))
            chance = self.model.predict_proba(given) if hasattr(self.model, "predict_proba") else None
        return prediction, chance


def _columns() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    fill = SimpleImputer(strategy="constant", fill_value="none")
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
            ("city", OneHotEncoder(handle_unknown="ignore"), ["city", "code"]),
            ("shop", make_pipeline(fill, OneHotEncoder(handle_unknown="ignore")), ["shop"]),
            ("flag", "passthrough", ["flag"]),
        ]
    )


def _after_columns(estimator: Any) -> Callable[[], Any]:
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline

    return lambda: make_pipeline(_columns(), clone(estimator))


def _scaled(estimator: Any) -> Callable[[], Any]:
    from sklearn.base import clone
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return lambda: make_pipeline(SimpleImputer(), StandardScaler(), clone(estimator))


def _categories(frame: pd.DataFrame) -> pd.DataFrame:
    known = {"city": ["Aarhus", "Brno", "Cádiz"], "shop": ["u", "v"]}
    made = {}
    for name, values in known.items():
        made[name] = pd.Categorical(frame[name].where(frame[name].isin(values)), values)
    return frame.assign(**made)


@cache
def kinds() -> dict[str, Kind]:
    import lightgbm as lgb
    import xgboost as xgb
    from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, svm, tree

    mixed = [*NUMBERS, "code", "flag", *WORDS]
    native = [*NUMBERS, *WORDS]
    small = {"random_state": 0}
    mlp = neural_network.MLPClassifier((16, 9), max_iter=25, **small)
    return {
        "logistic": Kind(_scaled(linear_model.LogisticRegression()), two, NUMBERS),
        "logistic of a matrix": Kind(
            _scaled(linear_model.LogisticRegression()), three, NUMBERS, as_matrix=True
        ),
        "columns and logistic": Kind(
            _after_columns(linear_model.LogisticRegression()), two, mixed, takes_unseen=True
        ),
        "ridge": Kind(_scaled(linear_model.Ridge()), number, NUMBERS),
        "columns and mlp": Kind(_after_columns(mlp), three, mixed, takes_unseen=True),
        "mlp regressor": Kind(
            _scaled(neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=25, **small)),
            number,
            NUMBERS,
        ),
        "linear svm": Kind(_scaled(svm.LinearSVC(**small)), three, NUMBERS),
        "naive bayes": Kind(_scaled(naive_bayes.GaussianNB()), two, NUMBERS),
        "neighbours": Kind(_scaled(neighbors.KNeighborsRegressor(3)), number, NUMBERS),
        "tree": Kind(lambda: tree.DecisionTreeClassifier(max_depth=6, **small), two, NUMBERS),
        "forest": Kind(lambda: ensemble.RandomForestClassifier(12, **small), three, NUMBERS),
        "columns and forest": Kind(
            _after_columns(ensemble.RandomForestClassifier(12, **small)), two, mixed, takes_unseen=True
        ),
        "extra trees regressor": Kind(lambda: ensemble.ExtraTreesRegressor(12, **small), number, NUMBERS),
        "columns and boosting": Kind(
            _after_columns(ensemble.GradientBoostingClassifier(n_estimators=15, **small)),
            three,
            mixed,
            takes_unseen=True,
        ),
        "histogram boosting": Kind(
            lambda: ensemble.HistGradientBoostingClassifier(max_iter=15, **small), three, NUMBERS
        ),
        "histogram boosting of categories": Kind(
            lambda: ensemble.HistGradientBoostingClassifier(max_iter=15, **small),
            two,
            native,
            _categories,
            takes_unseen=True,
        ),
        "histogram boosting regressor": Kind(
            lambda: ensemble.HistGradientBoostingRegressor(max_iter=15, loss="gamma", **small),
            lambda frame: number(frame) + 2,
            NUMBERS,
        ),
        "columns and histogram boosting": Kind(
            _after_columns(ensemble.HistGradientBoostingClassifier(max_iter=15, **small)),
            two,
            mixed,
            takes_unseen=True,
        ),
        "xgboost": Kind(lambda: xgb.XGBClassifier(n_estimators=12, n_jobs=1), zero_one, NUMBERS),
        "xgboost of categories": Kind(
            lambda: xgb.XGBClassifier(n_estimators=12, enable_categorical=True, n_jobs=1),
            three,
            native,
            _categories,
        ),
        "xgboost regressor": Kind(
            lambda: xgb.XGBRegressor(n_estimators=12, objective="reg:gamma", n_jobs=1),
            lambda frame: number(frame) + 2,
            NUMBERS,
        ),
        "columns and xgboost": Kind(
            _after_columns(xgb.XGBClassifier(n_estimators=12, n_jobs=1)), zero_one, mixed, takes_unseen=True
        ),
        "lightgbm": Kind(lambda: lgb.LGBMClassifier(n_estimators=12, n_jobs=1, verbose=-1), three, NUMBERS),
        "lightgbm of categories": Kind(
            lambda: lgb.LGBMClassifier(n_estimators=12, n_jobs=1, verbose=-1),
            two,
            native,
            _categories,
            takes_unseen=True,
        ),
        "lightgbm regressor": Kind(
            lambda: lgb.LGBMRegressor(n_estimators=12, n_jobs=1, verbose=-1), number, NUMBERS
        ),
    }


@cache
def registered(name: str) -> Zoo:
    """One model of a kind, fitted and registered once per process."""
    kind = kinds()[name]
    frame = kind.prepare(table(ROWS, seed=1))[kind.columns]
    target = kind.target(table(ROWS, seed=1))
    model = kind.make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(frame.to_numpy() if kind.as_matrix else frame, target)
    folder = Path(tempfile.mkdtemp(prefix="holdfast-zoo-"))
    (folder / "holdfast.toml").write_text('[model]\nname = "zoo"\n')
    deployment = Deployment.open(folder, {})
    reference = frame.assign(y=target)
    with Registry.open(deployment.registry_url, ManualClock()) as registry:
        version = register_model(
            deployment, registry, model, reference=reference, labels="y", actor="test", clock=ManualClock()
        )
    return Zoo(kind, model, reference, deployment.artifacts_folder / version.artifact_folder)

"""Small deployments with real registered models, for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from holdfast.clock import SystemClock
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment


def ward_table(rows: int, seed: int = 0) -> pa.Table:
    """Patients with numbers, text and a truth value; `age` may be missing."""
    random = np.random.default_rng(seed)
    age = np.round(random.normal(60, 15, rows), 1)
    return pa.table(
        {
            "age": pa.array(age, mask=random.random(rows) < 0.05),
            "visits": random.integers(0, 12, rows),
            "ward": random.choice(["north", "south", "", "ünïcode"], rows),
            "urgent": random.random(rows) < 0.3,
        }
    )


def outcomes(table: pa.Table) -> np.ndarray:
    """The label: a noisy rule."""
    random = np.random.default_rng(99)
    age = np.nan_to_num(table["age"].to_numpy(), nan=60.0)
    logit = (age - 60) / 10 + table["visits"].to_numpy() / 4 - 1 + (table["ward"].to_numpy() == "north")
    labels: np.ndarray = (random.random(len(age)) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    return labels


def ward_model(table: pa.Table, labels: np.ndarray) -> Any:
    """A Pipeline with a ColumnTransformer and strings."""
    from sklearn.impute import SimpleImputer

    numbers = Pipeline([("fill", SimpleImputer()), ("scale", StandardScaler())])
    return Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [
                        ("numbers", numbers, ["age", "visits"]),
                        ("text", OneHotEncoder(handle_unknown="ignore"), ["ward"]),
                        ("rest", "passthrough", ["urgent"]),
                    ]
                ),
            ),
            ("model", LogisticRegression()),
        ]
    ).fit(table.to_pandas(), labels)


def sensor_table(rows: int, seed: int = 0) -> pa.Table:
    """Twenty plain numbers."""
    random = np.random.default_rng(seed)
    return pa.table({f"x{i}": random.normal(size=rows) for i in range(20)})


def sensor_model(table: pa.Table) -> Any:
    """A scaler and a multilayer perceptron with three classes named by text."""
    values = np.column_stack([table[name].to_numpy() for name in table.column_names])
    labels = np.array(["cold", "mild", "warm"])[
        np.digitize(values[:, 0] + values[:, 1] * values[:, 2], [-0.5, 0.5])
    ]
    perceptron = MLPClassifier((64, 64), max_iter=15, random_state=0)
    perceptron._no_improvement_count = 0
    from warnings import catch_warnings, simplefilter

    with catch_warnings():
        simplefilter("ignore")
        return Pipeline([("scale", StandardScaler()), ("model", perceptron)]).fit(values, labels), labels


def deployment(folder: Path, model: Any, reference: pa.Table, labels: Any, checklist: str = "") -> Deployment:
    """A deployment folder whose champion is that model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "holdfast.toml").write_text(f'[model]\nname = "clinic"\n{checklist}')
    opened = Deployment.open(folder, {})
    clock = SystemClock()
    with Registry.open(opened.registry_url, clock) as registry:
        register_model(
            opened,
            registry,
            model,
            reference=reference.append_column("outcome", pa.array(labels)),
            labels="outcome",
            clock=clock,
        )
    return opened

"""Boosters as ONNX graphs, where their own answers turn on one value."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from sklearn.ensemble import RandomForestClassifier

from holdfast.artifact.boosters import lightgbm_to_onnx, xgboost_to_onnx
from holdfast.artifact.categories import category_codes
from holdfast.artifact.errors import ConversionError
from holdfast.artifact.estimators import Estimator
from holdfast.artifact.signature import Tensor


@pytest.mark.parametrize("number", [-999.0, 0.0])
def test_the_number_that_xgboost_was_told_is_missing_is_missing_in_the_graph_too(number: float) -> None:
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 2)).astype(np.float32)
    absent = rng.random(600) < 0.3
    labels = np.where(absent, 1, rows[:, 0] > 0)
    rows[absent, 0] = number
    model = xgboost.XGBClassifier(n_estimators=4, max_depth=3, missing=number).fit(rows, labels)
    rows[:50, 1] = np.nan
    session = onnxruntime.InferenceSession(xgboost_to_onnx(model).SerializeToString())
    _, probabilities = session.run(None, {"X": rows})
    np.testing.assert_allclose(probabilities, model.predict_proba(rows), atol=1e-6)


def test_categories_that_are_large_numbers_are_told_apart() -> None:
    known = [2**24, 2**24 + 1, 2**53 - 1]
    tensor = Tensor(name="shop", dtype="float64", shape=(-1, 1), columns=("shop",))
    graph = category_codes([tensor], {"shop": known}, ["shop"])
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    asked = np.array([[2**24 + 1], [2**53 - 1], [2**24], [2**24 + 2], [np.nan]])
    (codes,) = session.run(None, {"shop": asked})
    np.testing.assert_array_equal(codes[:, 0], [1, 2, 0, np.nan, np.nan])


@pytest.mark.parametrize("objective", ["cross_entropy", "binary"])
def test_a_regressor_of_rates_answers_with_the_rate(objective: str) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(600, 2))
    rates = 1 / (1 + np.exp(-rows[:, 0]))
    labels = rates if objective == "cross_entropy" else rates > 0.5
    model = lightgbm.LGBMRegressor(objective=objective, n_estimators=4, verbose=-1).fit(rows, labels)
    session = onnxruntime.InferenceSession(lightgbm_to_onnx(model).SerializeToString())
    (answers,) = session.run(None, {"X": rows})
    np.testing.assert_allclose(answers.ravel(), model.predict(rows), atol=1e-12)


def test_a_booster_of_one_class_is_refused_with_what_is_wrong() -> None:
    xgboost = pytest.importorskip("xgboost")
    rows = np.random.default_rng(2).normal(size=(50, 2))
    model = xgboost.XGBClassifier(n_estimators=2).fit(rows, np.zeros(50, dtype=int))
    with pytest.raises(ConversionError, match="labels of both classes"):
        xgboost_to_onnx(model)


def test_a_classifier_of_one_class_is_refused_before_it_is_converted() -> None:
    rows = np.random.default_rng(3).normal(size=(50, 2))
    model = RandomForestClassifier(3, random_state=0).fit(rows, np.zeros(50, dtype=int))
    with pytest.raises(ConversionError, match="one class only"):
        _ = Estimator(model).classes

"""Boosters as ONNX graphs, where their own answers turn on one value."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from holdfast.artifact.boosters import xgboost_to_onnx
from holdfast.artifact.categories import category_codes
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

"""Quality on a reference of which some rows are answered with no number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.artifact import Answer, Column, Signature, Tensor
from holdfast.registry.quality import measure_quality


def signature(task: Any) -> Signature:
    return Signature(
        columns=(Column(name="x", dtype="float64", kind="numeric"),),
        inputs=(Tensor(name="x", dtype="float64", shape=(-1, 1), columns=("x",)),),
        outputs=(Tensor(name="y", dtype="float64", shape=(-1, 1)),),
        task=task,
        classes=(0, 1) if task == "binary" else (),
        positive_class=1 if task == "binary" else None,
        prediction_output="y",
    )


def test_numbers_that_are_none_are_left_out_and_counted() -> None:
    labels = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    said = Answer(np.array([1.5, np.nan, 2.5, np.inf, 1.0]), None, {})
    found = measure_quality(signature("regression"), said, labels)
    assert (found["unanswered_share"], found["mean_absolute_error"]) == (0.5, 0.5)
    nothing = Answer(np.full(5, np.nan), None, {})
    assert measure_quality(signature("regression"), nothing, labels) == {"unanswered_share": 1.0}
    whole = measure_quality(signature("regression"), Answer(np.arange(5.0), None, {}), labels)
    assert "unanswered_share" not in whole


def test_chances_that_are_none_are_left_out_and_counted() -> None:
    labels, chance = np.array([0, 1, 0, 1]), np.array([0.2, 0.9, 0.6, np.nan])
    said = Answer(np.array([0, 1, 1, 1]), np.stack([1 - chance, chance], axis=1), {})
    found = measure_quality(signature("binary"), said, labels)
    assert (found["unanswered_share"], found["roc_auc"]) == (0.25, 1.0)
    assert found["accuracy"] == pytest.approx(2 / 3)

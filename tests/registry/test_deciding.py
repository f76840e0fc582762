"""The one loss that decides, at training and in a rollout."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from holdfast.artifact import Signature
from holdfast.artifact.signature import Task
from holdfast.registry import RegistryError, deciding_loss
from holdfast.spec.checklist import Checklist


def signature(task: Task) -> Signature:
    classes = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c")}.get(task, ())
    return Signature(
        columns=(), inputs=(), outputs=(), task=task, classes=classes,
        positive_class="yes" if task == "binary" else None,
    )  # fmt: skip


def checklist(rollout: dict[str, Any] | None = None, **monitoring: Any) -> Checklist:
    return msgspec.convert(
        {"model": {"name": "demo"}, "rollout": rollout or {}, "monitoring": monitoring}, Checklist
    )


@pytest.mark.parametrize(
    ("task", "rollout", "monitoring", "name"),
    [
        ("binary", {}, {}, "error_rate"),
        ("binary", {}, {"cost_false_negative": 9.0}, "cost"),
        ("binary", {"loss": "brier_score"}, {"cost_false_negative": 9.0}, "brier_score"),
        ("binary", {"loss": "error_rate"}, {"cost_false_negative": 9.0}, "error_rate"),
        ("multiclass", {}, {"cost_false_negative": 9.0}, "error_rate"),
        ("regression", {"loss_scale": 10.0}, {}, "absolute_error"),
    ],
)
def test_what_is_stated_decides_then_costs_then_what_callers_meet(
    task: Task, rollout: dict[str, Any], monitoring: dict[str, Any], name: str
) -> None:
    found = deciding_loss(checklist(rollout, **monitoring), signature(task))
    assert found.name == name
    assert found.reason


def test_costs_are_in_units_of_the_dearer_error() -> None:
    found = deciding_loss(checklist(cost_false_positive=3.0, cost_false_negative=12.0), signature("binary"))
    assert (found.false_positive, found.false_negative, found.scale) == (0.25, 1.0, 12.0)


def test_numbers_without_a_scale_take_the_spread_of_the_labels() -> None:
    labels = np.append(np.arange(1001.0), [np.nan, 1e9])
    found = deciding_loss(checklist(), signature("regression"), labels)
    assert found.scale == pytest.approx(980, abs=2)
    assert "in units of 981 " in found.words
    assert "in units of 980,980" in deciding_loss(checklist(), signature("regression"), 1e3 * labels).words


@pytest.mark.parametrize(
    ("task", "rollout", "labels", "match"),
    [
        ("regression", {"loss": "error_rate"}, [1.0, 2.0], "absolute_error for a model of task regression"),
        ("multiclass", {"loss": "brier_score"}, None, "not one of this model's task"),
        ("regression", {}, None, "loss_scale"),
        ("regression", {}, [5.0, 5.0], "all but equal"),
    ],
)
def test_a_loss_that_cannot_decide_is_an_error_that_names_the_key(
    task: Task, rollout: dict[str, Any], labels: list[float] | None, match: str
) -> None:
    with pytest.raises(RegistryError, match=match):
        deciding_loss(checklist(rollout), signature(task), labels)

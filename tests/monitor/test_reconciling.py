"""Larger houses are no rise of prices: a model that errs where the reference has no rows met data drift."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from holdfast.monitor import Diagnosis, diagnose
from holdfast.monitor.explained import LossChange
from holdfast.monitor.reconciling import ADVICE, APART, NOTE, is_of_inputs, of_inputs
from holdfast.stats import Estimate

WINDOW, WINDOWS = 400, 10


def houses(random: np.random.Generator, rows: int, larger: Any = 0.0, dearer: Any = 0.0) -> dict[str, Any]:
    """The model has never seen a house above 160 square metres and takes it for one of 160."""
    size = random.normal(110, 20, rows).clip(40, 160) + larger
    age = random.uniform(0, 80, rows)
    price = (3.0 * size - 0.5 * age + random.normal(0, 15, rows)) * (1 + dearer)
    return {"size": size, "age": age, "said": 3.0 * np.minimum(size, 160) - 0.5 * age, "price": price}


def found(larger: float, dearer: float) -> Diagnosis:
    random = np.random.default_rng(11)
    after = np.arange(WINDOW * WINDOWS) >= WINDOW * WINDOWS // 2
    return diagnose(
        houses(random, 4000),
        houses(random, WINDOW * WINDOWS, larger * after, dearer * after),
        target="price",
        score="said",
        window=f"{WINDOW} rows",
    )


def test_larger_houses_are_data_drift_though_the_model_errs_on_them() -> None:
    told = found(larger=60.0, dearer=0.0)
    assert told.kinds == ("data drift",)
    assert told.verdict == "data drift"
    assert told.summary.startswith("Data drift, ")
    assert "The absolute error changed by" in told.summary  # what followed the first sentence is still there
    assert ADVICE in told.advice
    assert not any("older rows teach the old mapping" in one for one in told.advice)
    assert NOTE in told.notes
    assert all("concept drift" not in one.kinds for one in told.features)
    assert told.regions == ()


def test_errors_at_new_inputs_that_no_residual_alarm_saw_are_not_just_watched() -> None:
    seen = msgspec.structs.replace(found(larger=0.0, dearer=0.0), kinds=("data drift",))
    rose = Estimate(20.0, 18.0, 22.0, 100)
    none = Estimate(0.0, -0.1, 0.1, 100)
    change = LossChange(
        loss="error rate", total=rose, harder_inputs=none, changed_mapping=none, new_inputs=rose, overlap=0.5
    )
    assert of_inputs(seen, change).advice == (ADVICE, *seen.advice)
    fell = msgspec.structs.replace(change, total=Estimate(-20.0, -22.0, -18.0, 100))
    assert ADVICE not in of_inputs(seen, fell).advice


def test_new_inputs_that_explain_the_loss_are_data_drift_where_no_test_saw_them_change() -> None:
    dearer = found(larger=0.0, dearer=0.15)
    far = msgspec.structs.replace(dearer, measures=found(larger=60.0, dearer=0.0).measures)
    rose, little = Estimate(20.0, 18.0, 22.0, 100), Estimate(-0.5, -2.0, 1.0, 100)
    change = LossChange(
        loss="absolute error",
        total=rose,
        harder_inputs=little,
        changed_mapping=little,
        new_inputs=rose,
        overlap=0.2,
    )
    told = of_inputs(far, change)
    assert told.kinds == ("data drift",)
    assert [one.name for one in told.features] == ["size", "said"]
    assert "Most in: size, said." in told.summary
    assert told.advice[0] == ADVICE
    assert NOTE in told.notes
    assert of_inputs(dearer, change) == dearer  # no column is far from the reference
    unsure = msgspec.structs.replace(change, changed_mapping=Estimate(1.0, -10.0, 12.0, 100))
    assert of_inputs(far, unsure) == far  # the mapping may have more than half of it


def test_dearer_houses_are_concept_drift() -> None:
    told = found(larger=0.0, dearer=0.15)
    assert told.kinds == ("concept drift",)
    assert NOTE not in told.notes
    assert APART not in told.notes
    change = told.loss_change
    assert change is not None
    strange = msgspec.structs.replace(change, overlap=0.01)
    assert of_inputs(told, strange).notes == (*told.notes, APART)


def test_larger_and_dearer_houses_are_both() -> None:
    told = found(larger=25.0, dearer=0.15)
    assert told.kinds == ("data drift", "concept drift")
    assert NOTE not in told.notes


@pytest.mark.parametrize(
    ("total", "mapping", "of_the_inputs"),
    [
        ((20, 18, 22), (0.5, -1, 2), True),
        ((20, 18, 22), (4, 3, 5), False),  # some of it is the mapping's
        ((20, 18, 22), (-4, -5, -3), True),  # by the mapping it would have fallen
        ((20, 18, 22), (6, -1, 13), False),  # too little is known of the mapping
        ((1, -1, 3), (0, -1, 1), False),  # the loss has not changed: nothing is explained
        ((-20, -22, -18), (0, -1, 1), True),
    ],
)
def test_only_a_loss_that_changed_without_its_mapping_is_laid_to_the_inputs(
    total: tuple[float, float, float], mapping: tuple[float, float, float], *, of_the_inputs: bool
) -> None:
    none = Estimate(0.0, 0.0, 0.0, 100)
    change = LossChange(
        loss="absolute error",
        total=Estimate(*total, 100),
        harder_inputs=none,
        changed_mapping=Estimate(*mapping, 100),
        new_inputs=none,
        overlap=0.5,
    )
    assert is_of_inputs(change) == of_the_inputs

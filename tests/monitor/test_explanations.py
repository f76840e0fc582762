"""Reasons, costs and estimates in a diagnosis, on streams whose truth is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from small_worlds import NAMES, ONSET, WINDOW, WINDOWS, chance, current, inputs, reference, since_onset

from holdfast.monitor import diagnose
from holdfast.monitor.explained import Cost
from holdfast.monitor.explained_words import price_words
from holdfast.stats import Estimate

AFTER = since_onset()
DAY_US = 86_400_000_000


def without(frame: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: values for name, values in frame.items() if name not in names}


def test_a_flip_is_explained_by_the_mapping_and_priced() -> None:
    x = inputs(0, WINDOWS)
    found = diagnose(
        reference(),
        current(effect=np.where(AFTER, -1.0, 1.0)),
        **NAMES,
        cost_false_positive=1,
        cost_false_negative=10,
        currency="CHF",
    )
    change = found.loss_change
    assert change is not None
    parts = change.harder_inputs.value + change.changed_mapping.value + change.new_inputs.value
    assert parts == pytest.approx(change.total.value, abs=1e-5)
    # What the errors are at the inputs since the onset, by the chances that drew the labels.
    after = {name: np.asarray(values)[AFTER] for name, values in x.items()}
    answered = chance(after) > 0.5

    def error_rate(effect: float) -> float:
        truth = chance(after, effect)
        return float(np.where(answered, 1 - truth, truth).mean())

    truth = error_rate(-1.0) - error_rate(1.0)
    assert change.changed_mapping.low <= truth <= change.changed_mapping.high
    assert found.cost is not None
    assert found.cost.basis == "labels"
    assert found.cost.so_far.low <= truth * AFTER.sum() <= found.cost.so_far.high
    assert found.cost.money_so_far is not None
    assert found.cost.money_so_far.low > 0
    assert found.cost.per_day is None
    assert "CHF" in found.summary
    assert "by a changed mapping from x to y" in found.summary
    assert json.loads(found.to_json())["cost"]["currency"] == "CHF"
    assert {column for region in found.regions for column in region.columns} == {"age"}


def test_one_slice_is_named_in_words() -> None:
    x = inputs(0, WINDOWS)
    ward = np.asarray(x["ward"])
    turned = np.where(AFTER & (ward == "south"), -1.5, 1.0)
    found = diagnose(reference(), current(effect=turned), **NAMES)
    assert "concept drift" in found.kinds
    assert any("ward is south" in region.words for region in found.regions)


def test_estimated_quality_follows_a_covariate_shift_without_labels() -> None:
    x = inputs(3, WINDOWS)
    labelled = current(3, age=np.where(AFTER, 0.4 * x["age"], x["age"]))
    found = diagnose(reference(), without(labelled, "y"), **NAMES)
    assert all(window.estimated_quality is not None for window in found.windows)
    area = found.estimated[0]
    assert area.metric == "area under the ROC curve"
    assert area.after is not None
    realised = roc_auc_score(labelled["y"][AFTER], labelled["score"][AFTER])
    assert area.after.low <= realised <= area.after.high
    assert area.reference is not None
    assert area.after.value < area.reference.value - 0.02
    assert "cannot see concept drift" in found.summary
    assert found.estimated[1].metric == "accuracy"


def test_expected_error_of_a_regression_is_estimated_without_labels() -> None:
    random = np.random.default_rng(1)

    def drawn(windows: int, seed: int, spread: np.ndarray | float) -> dict[str, Any]:
        x = inputs(seed, windows)
        dose = x["dose"] * spread
        mean = 20 + 3 * x["age"]
        return x | {"dose": dose, "said": mean, "y": random.normal(mean, 1 + np.abs(dose))}

    labelled = drawn(WINDOWS, 1, np.where(AFTER, 0.4, 1.0))
    found = diagnose(
        drawn(12, 2, 1.0),
        without(labelled, "y"),
        target="y",
        prediction="said",
        window=NAMES["window"],
    )
    expected = found.estimated[0]
    assert expected.metric == "mean absolute error"
    assert expected.before is not None
    assert expected.after is not None
    loss = np.abs(labelled["y"] - labelled["said"])
    assert expected.before.value == pytest.approx(loss[~AFTER].mean(), abs=0.1)
    assert expected.after.value == pytest.approx(loss[AFTER].mean(), abs=0.1)


def test_three_classes_are_estimated_from_the_class_that_was_answered() -> None:
    random = np.random.default_rng(2)

    def drawn(seed: int, windows: int) -> dict[str, Any]:
        x = inputs(seed, windows)
        truth = np.digitize(x["age"] + 0.6 * random.normal(size=len(x["age"])), [-0.5, 0.5])
        said = np.digitize(x["age"], [-0.5, 0.5])
        names = np.array(["low", "mid", "high"])
        return x | {"said": names[said], "y": names[truth]}

    labelled = drawn(2, WINDOWS)
    found = diagnose(
        drawn(1, 12), without(labelled, "y"), target="y", prediction="said", window=NAMES["window"]
    )
    assert found.estimated[0].metric == "accuracy"
    assert found.estimated[0].before is not None
    realised = (labelled["said"] == labelled["y"]).mean()
    assert found.estimated[0].before.low <= realised <= found.estimated[0].before.high


def test_times_give_a_cost_a_day() -> None:
    rows = WINDOW * WINDOWS
    at = (20_000 * DAY_US + np.arange(rows) * (DAY_US // WINDOW)).astype("datetime64[us]")
    old = reference()
    before = (19_900 * DAY_US + np.arange(len(old["y"])) * (DAY_US // WINDOW)).astype("datetime64[us]")
    found = diagnose(
        old | {"at": before},
        current(effect=np.where(AFTER, -1.0, 1.0)) | {"at": at},
        target="y",
        score="score",
        window="1d",
    )
    assert found.cost is not None
    assert found.cost.per_day is not None
    assert found.cost.per_day.value == pytest.approx(found.cost.so_far.value / (WINDOWS - ONSET), rel=0.01)
    assert found.cost.money_per_day is None


def test_a_change_that_spares_errors_says_fewer_and_no_minus() -> None:
    spared = Cost(
        loss="error rate",
        basis="labels",
        per_row=Estimate(-0.134, -0.146, -0.121, 1800),
        rows=1800,
        so_far=Estimate(-241.0, -263.0, -218.0, 1800),
        per_day=Estimate(-40.0, -44.0, -36.0, 1800),
    )
    assert price_words(spared) == "So far that is 241 (218 to 263) errors fewer, 40 (36 to 44) a day."


def test_rows_are_told_apart_when_asked_and_columns_named() -> None:
    age = inputs(0, WINDOWS)["age"] + 1.0 * AFTER
    found = diagnose(reference(), without(current(age=age), "y"), window=NAMES["window"], explain=True)
    assert found.multivariate is not None
    assert found.multivariate.area.low > 0.6
    assert "age" in {name for name, _ in found.multivariate.columns[:2]}


def test_nothing_is_worked_out_without_an_alarm_or_when_refused() -> None:
    quiet = diagnose(reference(), current(), **NAMES)
    assert (quiet.loss_change, quiet.cost, quiet.regions) == (None, None, ())
    refused = diagnose(reference(), current(effect=np.where(AFTER, -1.0, 1.0)), **NAMES, explain=False)
    assert refused.alarm
    assert refused.loss_change is None


def test_options_are_tried_when_asked_and_the_best_is_advised_first() -> None:
    found = diagnose(reference(), current(effect=np.where(AFTER, -1.0, 1.0)), **NAMES, options=True)
    best = found.options[0]
    assert (best.action, best.detail, best.sure) == ("retrain", "on the rows since the change", True)
    assert {one.action for one in found.options} >= {"leave", "recalibrate", "move the threshold"}
    assert found.advice[0].startswith("Retrain on the rows since the change: tried on")
    # Beside what was tried no other way to retrain is advised, which may be the worse one.
    assert sum("etrain" in one for one in found.advice) == 1


def test_an_estimate_beyond_the_range_of_the_reference_says_that_it_is_a_guess() -> None:
    far = inputs(0, WINDOWS)["age"] + 6.0 * AFTER
    unlabelled = without(current(age=far), "y")
    found = diagnose(reference(), unlabelled, **NAMES, explain=False)
    assert any("values of age beyond the reference's range" in note for note in found.notes)
    near = diagnose(reference(), without(current(), "y"), **NAMES, explain=False)
    assert not any("beyond the reference's range" in note for note in near.notes)


def test_the_model_as_it_is_answers_from_its_own_threshold_on() -> None:
    # A missed positive costs nine times a false alarm, so the model answers from 0.1 on.
    told = {**NAMES, "cost_false_positive": 1.0, "cost_false_negative": 9.0, "options": True}
    new = current(base=np.where(AFTER, 0.6, -0.4))
    by_name = {one.action: one for one in diagnose(reference(), new, **told, threshold=0.1).options}
    # By hand: the model's own answers against every other threshold on the same rows.
    score, truth = new["score"][AFTER], new["y"][AFTER]

    def paid(above: float) -> float:
        said = score >= above
        return float(np.mean(1.0 * (said & (truth == 0)) + 9.0 * (~said & (truth == 1))))

    best = min(paid(cut) for cut in np.quantile(score, np.linspace(0, 1, 101)))
    assert by_name["move the threshold"].gain.value <= paid(0.1) - best + 0.03
    at_half = {one.action: one for one in diagnose(reference(), new, **told).options}
    moved = at_half["move the threshold"].gain
    assert moved.low < paid(0.5) - best < moved.high


def test_with_several_classes_retraining_is_tried() -> None:
    random = np.random.default_rng(12)

    def rows(windows: int, turned: np.ndarray | bool) -> dict[str, Any]:
        size = windows * WINDOW
        x = random.choice(["a", "b", "c"], size)
        other = np.select([x == "a", x == "b"], ["b", "c"], "a")
        y = np.where(turned, other, x)
        y = np.where(random.random(size) < 0.1, "c", y)
        return {"x": x, "said": x, "y": y}

    found = diagnose(
        rows(12, turned=False),
        rows(20, AFTER),
        target="y",
        prediction="said",
        window="500 rows",
        options=True,
    )
    assert "concept drift" in found.kinds
    best = found.options[0]
    assert best.action == "retrain"
    assert best.sure
    assert {one.action for one in found.options} == {"leave", "retrain"}

"""The model's own answers, and one class in the place of labels to come, are no change of the mapping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_worlds import NAMES, Numbers, chance, current, inputs, reference, since_onset

from holdfast.monitor import Diagnosis, diagnose


def found(seed: int, change: Any) -> Diagnosis:
    """What is said of labels that are changed since the onset."""
    rows = current(seed)
    random = np.random.default_rng([41, seed])
    return diagnose(
        reference(seed), rows | {"y": np.where(since_onset(), change(rows, random), rows["y"])}, **NAMES
    )


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_the_model_s_own_answers_are_a_fault_of_the_labels(threshold: float) -> None:
    said = found(1, lambda rows, _: (rows["score"] >= threshold).astype(int))
    assert said.kinds == ("data fault",)
    assert said.features[0].name == "labels"
    assert "the model's own answers" in said.features[0].description


def test_numbers_that_are_the_model_s_own_answers_are_a_fault_though_no_residual_moved() -> None:
    random = np.random.default_rng(6)
    x, noise = random.normal(size=(2, 9000))
    old = {"x": x[:4000], "said": 3 * x[:4000], "y": 3 * x[:4000] + noise[:4000]}
    new = {"x": x[4000:], "said": 3 * x[4000:], "y": 3 * x[4000:] + noise[4000:]}
    given: dict[str, Any] = {"target": "y", "prediction": "said", "window": "500 rows"}
    assert diagnose(old, new, **given).verdict == "healthy"
    copied = diagnose(old, new | {"y": np.where(np.arange(5000) >= 3000, new["said"], new["y"])}, **given)
    assert copied.kinds == ("data fault",)
    assert [one.name for one in copied.features] == ["labels"]
    assert copied.since is not None
    assert copied.since.estimate == "3000"
    assert copied.quality is not None
    assert copied.quality.after is None


def test_a_truth_that_became_easier_is_not_the_model_s_own_answers() -> None:
    said = diagnose(reference(2), current(2, effect=np.where(since_onset(), 4.0, 1.0)), **NAMES)
    assert "concept drift" in said.kinds


@pytest.mark.parametrize("sides", [(1.0, 1.0), (-1.0, 1.0)], ids=["one class", "both classes"])
def test_inputs_of_which_no_model_errs_do_not_make_labels_its_own_answers(sides: tuple[float, float]) -> None:
    """Rows moved to where the class is certain, which a cautious model does not say."""
    random = np.random.default_rng(4)
    old, calm = reference(4), inputs(4, 20)["age"]
    far = calm + 6 * random.choice(sides, len(calm)) * since_onset()
    new = current(4, age=far)
    cautious = [one | {"score": np.clip(one["score"], 0.08, 0.92)} for one in (old, new)]
    said = diagnose(*cautious, **NAMES)
    assert "data fault" not in said.kinds
    assert "data drift" in said.kinds


def filled(rows: Any, random: np.random.Generator) -> Numbers:
    result: Numbers = np.where(random.random(len(rows["y"])) < 0.5, 0, rows["y"])
    return result


def rarer_in_the_north(rows: Any, random: np.random.Generator) -> Numbers:
    truth = random.random(len(rows["y"])) < chance(rows, base=-0.4 - 2.0 * (rows["ward"] == "north"))
    result: Numbers = truth.astype(int)
    return result


def rarer(rows: Any, random: np.random.Generator) -> Numbers:
    result: Numbers = (random.random(len(rows["y"])) < chance(rows, base=-1.4)).astype(int)
    return result


@pytest.mark.parametrize(
    ("change", "asked"),
    [(filled, True), (rarer_in_the_north, False), (rarer, False)],
    ids=["filled", "north", "all"],
)
def test_only_a_class_that_is_rarer_by_one_factor_everywhere_may_be_filled(
    change: Any, *, asked: bool
) -> None:
    said = found(3, change)
    assert said.alarm
    assert any("rarer by one factor" in note for note in said.notes) == asked


def test_rare_positives_that_were_lost_are_asked_for() -> None:
    rows = current(7, base=-2.8)
    lost = np.where(since_onset(), filled(rows, np.random.default_rng(7)), rows["y"])
    said = diagnose(reference(7, base=-2.8), rows | {"y": lost, "score": chance(rows, base=-2.8)}, **NAMES)
    assert any("Positives are rarer by one factor" in note for note in said.notes)


def test_a_mapping_that_was_another_for_a_time_may_be_wrong_labels() -> None:
    turned = since_onset() & (np.arange(len(since_onset())) < len(since_onset()) * 3 // 4)
    said = diagnose(reference(4), current(4, effect=np.where(turned, -1.0, 1.0)), **NAMES)
    assert (said.kinds, said.shape) == (("concept drift",), "temporary")
    assert any("Wrong labels in these windows would look the same" in note for note in said.notes)


def test_labels_that_take_longer_than_was_said_are_noted() -> None:
    day = np.timedelta64(1, "D")
    times = np.datetime64("2026-01-01") + np.arange(8000) * np.timedelta64(200, "s")
    rows, old = current(5), reference(5)
    rows = {name: values[:8000] for name, values in rows.items()} | {"time": times}
    old = old | {"time": times[: len(old["age"])] - 20 * day}
    age = (rows["time"][-1] - rows["time"]) / day
    late = np.random.default_rng(5).exponential(3, 8000) > age
    given: dict[str, Any] = {
        "target": "y",
        "score": "score",
        "time": "time",
        "window": "1d",
        "explain": False,
    }
    some = rows | {"y": np.where(late, np.nan, rows["y"])}
    said = diagnose(old, some, label_delay="1d", **given)
    assert any("Labels may take longer than label_delay says" in note for note in said.notes)
    assert not any("take longer" in note for note in diagnose(old, rows, label_delay="1d", **given).notes)

"""Labels in another unit, swapped or stuck are named as such, and a mapping that changed is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.monitor import Diagnosis, diagnose

ROWS, REFERENCE, WINDOWS, ONSET = 300, 10, 20, 10
CHANGED = np.arange(WINDOWS * ROWS) >= ONSET * ROWS
SINCE = np.maximum(np.arange(WINDOWS * ROWS) // ROWS - ONSET + 1, 0)


def numbers(seed: int, *, celsius: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Prices, or degrees, and what a model says of them."""
    random = np.random.default_rng([31, seed])
    x = random.normal(size=(REFERENCE + WINDOWS) * ROWS)
    answer = 12 + 8 * x if celsius else np.exp(12 + 0.4 * x)
    truth = (
        answer + random.normal(0, 3, len(x)) if celsius else answer * np.exp(random.normal(0, 0.3, len(x)))
    )
    table = {"x": x, "said": answer, "y": truth}
    return tuple(  # type: ignore[return-value]  # of two parts
        {name: values[part] for name, values in table.items()}
        for part in (slice(0, REFERENCE * ROWS), slice(REFERENCE * ROWS, None))
    )


def judged(old: dict[str, Any], new: dict[str, Any], **answer: str) -> Diagnosis:
    return diagnose(old, new, target="y", window=f"{ROWS} rows", **answer)  # type: ignore[arg-type]  # names


@pytest.mark.parametrize(
    ("celsius", "factor", "offset", "words"),
    [
        (False, 1000.0, 0.0, "larger by a factor of 1000"),
        (False, 0.01, 0.0, "smaller by a factor of 100 (cents"),
        (False, 3.2808, 0.0, "larger by a factor of 3.28 (feet"),
        (True, 1.8, 32.0, "in Fahrenheit where they were in Celsius"),
        (False, 0.0, 7.0, "stuck at 7 in every row"),
    ],
)
def test_labels_in_another_unit_are_a_fault(
    *, celsius: bool, factor: float, offset: float, words: str
) -> None:
    old, new = numbers(1, celsius=celsius)
    found = judged(
        old, new | {"y": np.where(CHANGED, new["y"] * factor + offset, new["y"])}, prediction="said"
    )
    assert found.verdict == "data fault"
    assert [(one.name, one.of_column) for one in found.features] == [("labels", False)]
    assert words in found.features[0].description
    assert words in found.summary
    assert found.since is not None
    assert found.since.estimate == str(ONSET * ROWS)
    # Nothing is made of labels that are broken.
    assert found.quality is not None
    assert found.quality.after is None
    assert found.cost is None
    assert found.loss_change is None


@pytest.mark.parametrize(
    "growth",
    [np.where(CHANGED, 1.1, 1.0), np.where(CHANGED, 2.0, 1.0), 1.5 ** (SINCE / 5), 10.0 ** (SINCE / 10)],
    ids=["a tenth", "doubled", "half a year", "tenfold by and by"],
)
def test_prices_that_rise_are_no_other_unit(growth: np.ndarray) -> None:
    old, new = numbers(2)
    found = judged(old, new | {"y": new["y"] * growth}, prediction="said")
    assert found.kinds == ("concept drift",)


def classes(seed: int, level: float, *, turned: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    random = np.random.default_rng([32, seed])
    x = random.normal(size=(REFERENCE + WINDOWS) * ROWS)
    effect = np.where(turned & (np.arange(len(x)) >= (REFERENCE + ONSET) * ROWS), -2.0, 2.0)
    truth = (random.random(len(x)) < 1 / (1 + np.exp(-level - effect * x))).astype(float)
    table = {"x": x, "score": 1 / (1 + np.exp(-level - 2 * x)), "y": truth}
    cut = REFERENCE * ROWS
    old, new = (
        {name: values[part] for name, values in table.items()} for part in (slice(cut), slice(cut, None))
    )
    return old, new


def test_classes_that_swapped_are_a_fault() -> None:
    old, new = classes(1, -2.0)
    found = judged(old, new | {"y": np.where(CHANGED, 1 - new["y"], new["y"])}, score="score")
    assert found.kinds == ("data fault",)
    assert "the labels are swapped" in found.features[0].description


def test_a_mapping_that_turned_round_is_none() -> None:
    found = judged(*classes(2, -2.0, turned=True), score="score")
    assert found.kinds == ("concept drift",)
    # With as many positives as negatives nothing tells the two apart, and a note says so.
    found = judged(*classes(3, 0.0, turned=True), score="score")
    assert found.kinds == ("concept drift",)
    assert any("If 0 and 1 were swapped in the labels" in note for note in found.notes)


def test_one_class_in_every_row_is_a_fault() -> None:
    old, new = classes(4, -2.0)
    found = judged(old, new | {"y": np.where(CHANGED, 0.0, new["y"])}, score="score")
    assert found.kinds == ("data fault",)
    assert "of the negative class in every row" in found.features[0].description


def grades(seed: int, levels: list[float], *, turned: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Three grades along one input, the one that is likeliest answered."""
    random = np.random.default_rng([33, seed])
    x = random.normal(size=(REFERENCE + WINDOWS) * ROWS)
    effect = np.where(turned & (np.arange(len(x)) >= (REFERENCE + ONSET) * ROWS), -3.0, 3.0)
    names = np.array(["low", "mid", "high"])
    truth = (effect * x + random.logistic(size=len(x)))[:, None] > levels
    table = {"x": x, "said": names[((3.0 * x)[:, None] > levels).sum(axis=1)], "y": names[truth.sum(axis=1)]}
    cut = REFERENCE * ROWS
    old, new = (
        {name: values[part] for name, values in table.items()} for part in (slice(cut), slice(cut, None))
    )
    return old, new


def renamed(labels: np.ndarray, **others: str) -> np.ndarray:
    return np.array([others.get(one, one) if new else one for one, new in zip(labels, CHANGED, strict=True)])


def test_classes_under_each_others_names_are_a_fault() -> None:
    old, new = grades(5, [-2.0, 2.0])
    round_about = new | {"y": renamed(new["y"], low="mid", mid="high", high="low")}
    found = judged(old, round_about, prediction="said")
    assert found.kinds == ("data fault",)
    assert "exchanged between classes" in found.features[0].description
    # Codes that begin at 1 instead of 0: the last class is none that the reference has.
    found = judged(
        old, new | {"y": renamed(new["y"], low="mid", mid="high", high="higher")}, prediction="said"
    )
    assert found.kinds == ("data fault",)


def test_grades_that_turned_round_are_concept_drift_with_a_question() -> None:
    found = judged(*grades(6, [-2.0, 2.0], turned=True), prediction="said")
    assert found.kinds == ("concept drift",)
    assert any("exchanged in the labels" in note for note in found.notes)
    # A low grade that is commoner than a high one does not take its share when the effect turns.
    found = judged(*grades(7, [0.0, 4.0], turned=True), prediction="said")
    assert found.kinds == ("concept drift",)
    assert not any("exchanged in the labels" in note for note in found.notes)

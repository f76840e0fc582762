"""Filled holes, other names, degrees and inches are broken pipes; inputs never seen are no other mapping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_worlds import JUDGED, NAMES, WINDOW, Numbers, current, reference, since_onset

from holdfast.monitor import Diagnosis, diagnose

Frame = dict[str, Any]


def with_holes(rows: Frame, since: Any, fill: float) -> Frame:
    """One row in eight without a dose; since the change another value is in its place."""
    hole = np.random.default_rng(len(rows["dose"])).random(len(rows["dose"])) < 1 / 8
    return rows | {"dose": np.where(hole, np.where(since, fill, np.nan), rows["dose"])}


def test_missing_values_that_are_filled_with_one_value_are_a_fault() -> None:
    old = with_holes(reference(1), since=False, fill=0.0)
    found = diagnose(old, with_holes(current(1), since_onset(), 0.013), **JUDGED)
    assert found.kinds == ("data fault",)
    assert "filled: missing in 1" in found.features[0].description
    # Where the values themselves came nothing was filled.
    rows = current(1)
    mended = rows | {
        "dose": np.where(since_onset(), rows["dose"], with_holes(rows, since_onset(), np.nan)["dose"])
    }
    assert diagnose(old, mended, **JUDGED).kinds == ("data drift",)


def words(rows: Frame, since: Any, change: dict[str, str]) -> Frame:
    ward = rows["ward"].astype(object)
    rare = (ward == "west") & (np.arange(len(ward)) % 2 == 0)
    ward = np.where(rare, "annex", ward)
    return rows | {"ward": np.where(since, [change.get(word, word) for word in ward], ward)}


def test_a_rare_category_with_another_name_is_a_fault_and_one_that_ends_is_none() -> None:
    old = words(reference(2), since=False, change={})
    found = diagnose(old, words(current(2), since_onset(), {"annex": "Annex B"}), **JUDGED)
    assert found.kinds == ("data fault",)
    assert "and as many no more 'annex': renamed?" in found.features[0].description
    assert not any("are no fault where they are meant" in note for note in found.notes)
    ended = diagnose(old, words(current(2), since_onset(), {"annex": "north"}), **JUDGED)
    assert "data fault" not in ended.kinds
    part = current(2)
    joined = np.where(since_onset() & (np.arange(len(part["age"])) % 5 == 0), "new site", part["ward"])
    told = diagnose(reference(2), part | {"ward": joined}, **JUDGED)
    assert "renamed?" not in told.features[0].description
    assert any("are no fault where they are meant" in note for note in told.notes)


@pytest.mark.parametrize(
    ("factor", "offset", "said"),
    [
        (25.4, 0.0, "a factor of 25.4 (inches, millimetres)"),
        (1.8, 32.0, "in Fahrenheit where it was in Celsius"),
        (1.0, 273.15, "in kelvin where it was in Celsius"),
        (1.8, 20.0, ""),
        (1.5, 32.0, ""),
        (1.0, 10.0, ""),
    ],
)
def test_inches_and_degrees_are_told_from_other_changes(factor: float, offset: float, said: str) -> None:
    old, new = ({"age": 4 * rows["age"] + 20} for rows in (reference(3), current(3)))
    changed = {"age": np.where(since_onset(), new["age"] * factor + offset, new["age"])}
    found = diagnose(old, changed, window=f"{WINDOW} rows")
    assert found.kinds == (("data fault",) if said else ("data drift",))
    assert said in found.features[0].description


def mostly_nothing(seed: int, rows: int) -> Frame:
    """Two sums that are nought in most rows, of much the same shares."""
    random = np.random.default_rng([52, seed, rows])
    return {
        "loss": np.where(random.random(rows) < 0.8, 0.0, random.poisson(6, rows) * 50.0),
        "gain": np.where(random.random(rows) < 0.85, 0.0, random.lognormal(8, 1, rows)),
        "beside": random.normal(size=rows),
    }


def test_columns_that_are_mostly_nought_are_told_when_they_change_places_and_not_when_they_grow() -> None:
    old, new, since = mostly_nothing(4, 6000), mostly_nothing(4, 10_000), np.arange(10_000) >= 5000
    swapped = {
        one: np.where(since, new[other], new[one]) for one, other in (("loss", "gain"), ("gain", "loss"))
    }
    found = diagnose(old, new | swapped, window="500 rows")
    assert found.kinds == ("data fault",)
    assert {one.description.split(": ")[-1] for one in found.features} == {"swapped columns?"}
    grown = {name: np.where(since, 2 * new[name], new[name]) for name in ("loss", "gain")}
    assert "data fault" not in diagnose(old, new | grown, window="500 rows").kinds


def answered(seed: int, rows: int, shift: Any, effect: Any = 1.0, idle: Any = 0.0) -> Frame:
    """A model that is right where it was taught, and extrapolates a cube beyond it."""
    random = np.random.default_rng([51, seed, rows])
    x, other, beside = random.normal(size=(3, rows))
    said: Numbers = 1.2 * (x + shift) - 0.25 * (x + shift) ** 3
    true = effect * 1.2 * np.sin(1.2 * (x + shift)) + 0.7 * other
    return {
        "x": x + shift, "other": other, "beside": beside + idle,
        "score": 1 / (1 + np.exp(-said - 0.7 * other)),
        "y": (random.random(rows) < 1 / (1 + np.exp(-true))).astype(int),
    }  # fmt: skip


def judged(seed: int, shift: float = 0.0, effect: float = 1.0, idle: float = 0.0) -> Diagnosis:
    since = np.arange(10_000) >= 5000
    new = answered(seed, 10_000, shift * since, np.where(since, effect, 1.0), idle * since)
    return diagnose(answered(seed, 6000, 0.0), new, **NAMES)


def test_inputs_that_the_reference_never_had_say_nothing_of_the_mapping() -> None:
    far = judged(1, shift=9.0)
    assert far.kinds == ("data drift",)
    assert any("cannot be told apart" in note for note in far.notes)
    assert far.advice[0].startswith("Have such rows labelled")
    # A column that the truth does not depend on hides no change of the mapping.
    both = judged(1, idle=20.0, effect=-1.0)
    assert both.kinds == ("data drift", "concept drift")

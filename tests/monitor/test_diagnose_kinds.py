"""The right verdict on streams whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_worlds import (
    JUDGED,
    NAMES,
    ONSET,
    WINDOW,
    WINDOWS,
    answered,
    current,
    inputs,
    reference,
    since_onset,
)

from holdfast.monitor import Diagnosis, diagnose

SEEDS = range(3)


def onset_window(found: Diagnosis) -> int:
    assert found.since is not None
    return int(found.since.estimate) // WINDOW


def columns(found: Diagnosis, kind: str) -> set[str]:
    return {one.name for one in found.features if kind in one.kinds}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_change_is_healthy(seed: int) -> None:
    found = diagnose(reference(seed), current(seed), **NAMES)
    assert (found.verdict, found.kinds, found.alarm, found.since) == ("healthy", (), False, None)
    assert found.coverage.rows == WINDOW * WINDOWS
    assert found.coverage.label_coverage == 1.0
    assert len(found.windows) == WINDOWS


@pytest.mark.parametrize("seed", SEEDS)
def test_a_shift_is_data_drift_of_its_column_from_its_window_on(seed: int) -> None:
    age = inputs(seed, WINDOWS)["age"] + 0.5 * since_onset()
    found = diagnose(reference(seed), current(seed, age=age), **JUDGED)
    assert found.kinds == ("data drift",)
    assert found.features[0].name == "age"
    assert columns(found, "data drift") <= {"age", "score"}
    assert abs(onset_window(found) - ONSET) <= 1
    assert found.shape == "sudden"
    assert found.features[0].shift_sd == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_flipped_effect_is_concept_drift_and_not_data_drift(seed: int) -> None:
    effect = np.where(since_onset(), -1.0, 1.0)
    found = diagnose(reference(seed), current(seed, effect=effect), **NAMES)
    assert found.kinds == ("concept drift",)
    assert "age" in columns(found, "concept drift")
    assert abs(onset_window(found) - ONSET) <= 1
    assert found.quality is not None
    assert found.quality.before is not None
    assert found.quality.after is not None
    assert found.quality.after.high < found.quality.before.low


@pytest.mark.parametrize("seed", SEEDS)
def test_other_inputs_under_the_same_mapping_are_no_concept_drift(seed: int) -> None:
    x = inputs(seed, WINDOWS)
    after = since_onset()
    changed = current(
        seed,
        age=np.where(after, 1.4 * x["age"] + 0.4, x["age"]),
        ward=np.where(after & (np.arange(len(after)) % 3 == 0), "north", x["ward"]),
    )
    found = diagnose(reference(seed), changed, **JUDGED)
    assert found.kinds == ("data drift",)
    assert {"age", "ward"} <= columns(found, "data drift")


def test_other_prior_shares_of_the_same_classes_are_label_shift() -> None:
    random = np.random.default_rng(0)

    def drawn(rows: int, positives: np.ndarray | float) -> dict[str, np.ndarray]:
        y = (random.random(rows) < positives).astype(np.int64)
        x = random.normal(1.2 * y)
        return {"score": 1 / (1 + np.exp(-(1.2 * x - 0.72))), "y": y}

    share = np.where(since_onset(), 0.75, 0.5)
    found = diagnose(drawn(6000, 0.5), drawn(WINDOW * WINDOWS, share), **JUDGED)
    assert found.kinds == ("label shift",)
    # A pipe that breaks later is a fault of its own.
    broken = np.arange(WINDOW * WINDOWS) >= (ONSET + 6) * WINDOW
    spare = np.where(broken & (np.arange(WINDOW * WINDOWS) % 2 == 0), np.nan, random.normal(size=len(broken)))
    both = diagnose(
        drawn(6000, 0.5) | {"spare": random.normal(size=6000)},
        drawn(WINDOW * WINDOWS, share) | {"spare": spare},
        **JUDGED,
    )
    assert both.kinds == ("data fault", "label shift")
    assert columns(both, "data fault") == {"spare"}


@pytest.mark.parametrize("manner", ["incremental", "mixed"])
def test_a_gradual_change_is_called_so_with_its_length_and_manner(manner: str) -> None:
    ramp = np.clip((np.arange(WINDOW * WINDOWS) / WINDOW - 4) / 12, 0, 1)
    share = ramp if manner == "incremental" else np.random.default_rng(3).random(len(ramp)) < ramp
    age = inputs(0, WINDOWS)["age"] + 1.5 * share
    found = diagnose(reference(), current(age=age), **JUDGED)
    assert found.shape == "gradual"
    assert found.ramp is not None
    assert found.ramp.manner == manner
    assert found.ramp.windows_low <= 12 <= found.ramp.windows_high
    assert abs(int(found.ramp.begin) / WINDOW - 4) <= 1
    assert abs(onset_window(found) - 4) <= 1
    assert abs(int(found.features[0].since or 0) / WINDOW - 4) <= 1
    assert found.ramp.end is not None
    assert abs(int(found.ramp.end) / WINDOW - 16) <= 1
    assert "It took 12 windows" in found.summary or "It took 11 windows" in found.summary


def test_how_rows_moved_beyond_the_range_is_not_guessed() -> None:
    ramp = np.clip((np.arange(WINDOW * WINDOWS) / WINDOW - 4) / 12, 0, 1)
    random = np.random.default_rng(4)
    old = {"level": random.uniform(-1, 1, 6000)}
    found = diagnose(old, {"level": random.uniform(-1, 1, len(ramp)) + ramp}, window=f"{WINDOW} rows")
    assert found.ramp is not None
    assert found.ramp.manner is None


def test_a_mean_that_climbs_beyond_the_reference_began_where_it_left_it_not_where_squares_show() -> None:
    random = np.random.default_rng(1)
    climb = np.clip((np.arange(60 * 200) / 200 - 15) / 45, 0, 1)
    found = diagnose(
        {"level": random.normal(size=4000), "other": random.normal(size=4000)},
        {"level": random.normal(size=12000) + 3 * climb, "other": random.normal(size=12000)},
        window="200 rows", explain=False,
    )  # fmt: skip
    assert found.shape == "gradual"
    assert found.since is not None
    assert int(found.since.earliest) <= 15 * 200 <= int(found.since.latest)
    assert abs(int(found.since.estimate) / 200 - 15) <= 1


def test_a_change_that_still_grows_has_no_end() -> None:
    ramp = np.clip((np.arange(WINDOW * WINDOWS) / WINDOW - 4) / 40, 0, 1)
    found = diagnose(reference(), current(age=inputs(0, WINDOWS)["age"] + 6 * ramp), **JUDGED)
    assert found.ramp is not None
    assert found.ramp.end is None
    assert found.ramp.arrived < 0.5
    assert "and goes on" in found.summary


def long_age(changed: Callable[[np.ndarray], np.ndarray]) -> Diagnosis:
    """Of WINDOWS + 40 windows, higher by a standard deviation in some of them."""
    parts = inputs(0, WINDOWS), inputs(9, 40)
    long = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    long["age"] = long["age"] + 1.0 * changed(np.arange(WINDOW * (WINDOWS + 40)) // WINDOW)
    return diagnose(reference(), answered(long, 0), **JUDGED)


def test_a_change_that_comes_again_is_recurring_since_it_came_first() -> None:
    found = long_age(lambda window: ((window >= 5) & (window < 12)) | ((window >= 24) & (window < 32)))
    assert found.shape == "recurring"
    assert [(int(one.start) // WINDOW, int(one.end or -1) // WINDOW) for one in found.periods] == [
        (5, 12),
        (24, 32),
    ]
    assert onset_window(found) == 5
    assert found.features[0].since == found.periods[0].start
    assert "for now it is over" in found.summary


def test_a_change_that_stands_again_has_a_last_period_without_end() -> None:
    found = long_age(lambda window: ((window >= 5) & (window < 12)) | (window >= 40))
    assert found.shape == "recurring"
    assert [one.end is None for one in found.periods] == [False, True]
    assert f"since row {40 * WINDOW}." in found.summary


def test_a_change_that_is_over_is_temporary() -> None:
    # The longest scale forgets after 32 windows: the pooled evidence must be left behind too.
    found = long_age(lambda window: (window >= 5) & (window < 7))
    assert found.kinds == ("data drift",)
    assert found.shape == "temporary"
    assert [(int(one.start) // WINDOW, int(one.end or -1) // WINDOW) for one in found.periods] == [(5, 7)]
    assert onset_window(found) == 5


def test_a_change_in_the_last_windows_is_too_early_to_shape() -> None:
    window = np.arange(WINDOW * WINDOWS) // WINDOW
    age = inputs(0, WINDOWS)["age"] + 1.0 * (window >= WINDOWS - 2)
    found = diagnose(reference(), current(age=age), **JUDGED)
    assert found.shape == "too early to tell"


@pytest.mark.parametrize("seed", SEEDS)
def test_rare_positives_are_quiet_without_change(seed: int) -> None:
    found = diagnose(reference(seed, base=-6.0), current(seed, base=-6.0), **NAMES)
    assert found.verdict == "healthy"


def test_regression_whose_target_grows_by_a_tenth_is_concept_drift() -> None:
    random = np.random.default_rng(1)

    def drawn(windows: int, seed: int, growth: np.ndarray | float) -> dict[str, np.ndarray]:
        x = inputs(seed, windows)
        mean = 20 + 3 * x["age"] + x["dose"]
        price = growth * mean + random.normal(size=len(mean))
        return x | {"said": 5e4 * mean, "y": 5e4 * price}

    names: dict[str, Any] = {"target": "y", "prediction": "said", "window": f"{WINDOW} rows"}
    grown = drawn(WINDOWS, 1, np.where(since_onset(), 1.1, 1.0))
    found = diagnose(drawn(12, 2, 1.0), grown, **names)
    assert found.kinds == ("concept drift",)
    assert abs(onset_window(found) - ONSET) <= 1
    said = next(one.description for one in found.features if one.name == "score")
    assert "prediction" in said
    assert "score" not in said
    assert "e+" not in said
    assert diagnose(drawn(12, 2, 1.0), drawn(WINDOWS, 1, 1.0), **names).verdict == "healthy"


@pytest.mark.parametrize("name_prediction", [True, False])
def test_three_classes_are_judged_with_and_without_a_prediction(name_prediction: bool) -> None:
    random = np.random.default_rng(2)

    def drawn(windows: int, seed: int, *, turned: np.ndarray | bool) -> dict[str, np.ndarray]:
        x = inputs(seed, windows)
        noisy = x["age"] + 0.6 * random.normal(size=len(x["age"]))
        truth = np.digitize(np.where(turned, -noisy, noisy), [-0.5, 0.5])
        said = {"said": np.array(["low", "mid", "high"])[np.digitize(x["age"], [-0.5, 0.5])]}
        return x | {"y": np.array(["low", "mid", "high"])[truth]} | (said if name_prediction else {})

    names: dict[str, Any] = {"target": "y", "window": f"{WINDOW} rows"} | (
        {"prediction": "said"} if name_prediction else {}
    )
    found = diagnose(drawn(8, 1, turned=False), drawn(WINDOWS, 2, turned=since_onset()), **names)
    assert "concept drift" in found.kinds
    assert "data drift" not in found.kinds
    assert diagnose(drawn(8, 1, turned=False), drawn(WINDOWS, 2, turned=False), **names).verdict == "healthy"


def test_without_a_prediction_a_model_stands_in() -> None:
    def bare(frame: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: values for name, values in frame.items() if name != "score"}

    names: dict[str, Any] = {"target": "y", "window": f"{WINDOW} rows"}
    flipped = bare(current(effect=np.where(since_onset(), -1.0, 1.0)))
    found = diagnose(bare(reference()), flipped, **names)
    assert found.kinds == ("concept drift",)
    assert any("stands in" in note for note in found.notes)
    assert diagnose(bare(reference()), bare(current()), **names).verdict == "healthy"


def test_chosen_classes_serve_where_there_is_no_probability() -> None:
    def chosen(frame: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        said = np.where(frame["score"] > 0.5, "yes", "no")
        truth = np.where(frame["y"] == 1, "yes", "no")
        return {name: frame[name] for name in ("age", "dose", "ward")} | {"said": said, "y": truth}

    names: dict[str, Any] = {"target": "y", "prediction": "said", "window": f"{WINDOW} rows"}
    flipped = chosen(current(effect=np.where(since_onset(), -1.0, 1.0)))
    assert diagnose(chosen(reference()), flipped, **names).kinds == ("concept drift",)
    assert diagnose(chosen(reference()), chosen(current()), **names).verdict == "healthy"


def test_without_labels_only_the_data_are_judged_and_the_diagnosis_says_so() -> None:
    found = diagnose(reference(), current(effect=np.where(since_onset(), -1.0, 1.0)), window=NAMES["window"])
    assert "concept drift" not in found.kinds
    assert any("cannot be seen" in note for note in found.notes)


def test_each_column_has_its_own_onset() -> None:
    window = np.arange(WINDOW * WINDOWS) // WINDOW
    x = inputs(0, WINDOWS)
    found = diagnose(
        reference(),
        current(age=x["age"] + 1.0 * (window >= 5), dose=x["dose"] + 1.0 * (window >= 14)),
        **NAMES,
    )
    began = {one.name: int(one.since or -1) // WINDOW for one in found.features}
    assert (began["age"], began["dose"]) == (5, 14)
    assert onset_window(found) == 5


def test_a_reference_that_the_model_knows_by_heart_is_suspected() -> None:
    random = np.random.default_rng(6)

    def drawn(rows: int, *, seen: bool) -> dict[str, np.ndarray]:
        x = random.normal(size=rows)
        truth = random.random(rows) < 1 / (1 + np.exp(-x))
        # An overfitted model adds what it has memorised of the rows it saw, and noise elsewhere.
        memory = 1.5 * (2 * truth - 1) if seen else 1.5 * random.choice([-1, 1], rows)
        return {"x": x, "score": 1 / (1 + np.exp(-x - memory)), "y": truth.astype(np.int64)}

    found = diagnose(drawn(6000, seen=True), drawn(8000, seen=False), **NAMES)
    assert "concept drift" in found.kinds
    assert any("held out" in note for note in found.notes)
    turned = diagnose(reference(), current(effect=np.where(since_onset(), -1.0, 1.0)), **NAMES)
    assert not any("held out" in note for note in turned.notes)


def test_two_columns_that_part_while_each_stays_are_named_as_a_pair() -> None:
    random = np.random.default_rng(5)

    def drawn(windows: int, correlation: np.ndarray | float) -> dict[str, np.ndarray]:
        a, noise, other = random.normal(size=(3, windows * WINDOW))
        return {"a": a, "b": correlation * a + np.sqrt(1 - np.square(correlation)) * noise, "c": other}

    turned = drawn(WINDOWS, np.where(since_onset(), -0.6, 0.6))
    found = diagnose(drawn(12, 0.6), turned, window=NAMES["window"])
    assert found.kinds == ("data drift",)
    assert [one.name for one in found.features] == ["a ~ b"]
    assert abs(onset_window(found) - ONSET) <= 1
    assert diagnose(drawn(12, 0.6), drawn(WINDOWS, 0.6), window=NAMES["window"]).verdict == "healthy"


def test_a_model_that_misses_an_effect_does_not_make_covariate_shift_concept_drift() -> None:
    random = np.random.default_rng(6)

    def drawn(windows: int, moved: np.ndarray | float, sign: np.ndarray | float = 1.0) -> dict[str, Any]:
        x = random.normal(size=windows * WINDOW) + moved
        z = random.normal(size=windows * WINDOW)
        truth = random.random(len(x)) < 1 / (1 + np.exp(-(z + sign * 1.5 * np.abs(x) - 1)))
        # The score knows nothing of x.
        return {"x": x, "z": z, "score": 1 / (1 + np.exp(-z)), "y": truth.astype(np.int64)}

    shifted = diagnose(drawn(20, 0.0), drawn(WINDOWS, 0.7 * since_onset()), **JUDGED)
    assert shifted.kinds == ("data drift",)
    turned = diagnose(drawn(20, 0.0), drawn(WINDOWS, 0.0, np.where(since_onset(), -1.0, 1.0)), **NAMES)
    assert turned.kinds == ("concept drift",)


def test_a_week_that_the_reference_shows_hides_no_shift_and_raises_no_alarm() -> None:
    def drawn(windows: int, first: int, seed: int, shift: np.ndarray | float) -> dict[str, np.ndarray]:
        random = np.random.default_rng(seed)
        window = np.repeat(np.arange(first, first + windows), WINDOW)
        wave = 0.4 * np.sin(2 * np.pi * window / 7)
        time = (window * 86_400 * 10**6).astype("datetime64[us]")
        return {"t": time, "x": random.normal(size=len(window)) + wave + shift}

    old = drawn(28, 0, 7, 0.0)
    names: dict[str, Any] = {"time": "t", "window": "1d"}
    assert diagnose(old, drawn(WINDOWS, 28, 8, 0.0), **names).verdict == "healthy"
    found = diagnose(old, drawn(WINDOWS, 28, 9, 0.4 * since_onset()), **names)
    assert found.kinds == ("data drift",)
    assert [window.alarm for window in found.windows].index(True) == ONSET


def test_words_that_rarely_meet_make_no_pair() -> None:
    random = np.random.default_rng(8)

    def drawn(rows: int) -> dict[str, np.ndarray]:
        return {f"w{number}": (random.random(rows) < 0.03).astype(np.int64) for number in range(12)}

    assert diagnose(drawn(300), drawn(2000), window="50 rows").verdict == "healthy"


def test_a_stand_in_that_is_always_right_raises_no_alarm() -> None:
    random = np.random.default_rng(9)

    def drawn(rows: int) -> dict[str, np.ndarray]:
        x = random.integers(0, 3, size=(2, rows))
        return {"a": x[0], "b": x[1], "y": ((x[0] == 0) & (x[1] == 0)).astype(np.int64)}

    assert diagnose(drawn(5000), drawn(3000), target="y", window="250 rows").verdict == "healthy"

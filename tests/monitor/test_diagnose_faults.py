"""Broken pipes are told from drift, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_worlds import JUDGED, ONSET, WINDOW, WINDOWS, answered, inputs, reference, since_onset

from holdfast.monitor import Diagnosis, diagnose

AFTER = since_onset()
EVERY_FIFTH = np.arange(len(AFTER)) % 5 == 0


def judged(**broken: Any) -> Diagnosis:
    """The pipe to the log is broken: the model and the truth saw the right values."""
    sound = answered(inputs(0, WINDOWS), 0)
    return diagnose(reference(), sound | broken, **JUDGED)


def faults(found: Diagnosis) -> dict[str, str]:
    return {one.name: one.description for one in found.features if "data fault" in one.kinds}


def test_a_burst_of_missing_values_is_a_fault() -> None:
    found = judged(age=np.where(AFTER & EVERY_FIFTH, np.nan, inputs(0, WINDOWS)["age"]))
    assert found.kinds == ("data fault",)
    assert list(faults(found)) == ["age"]
    assert "missing" in faults(found)["age"]


def test_a_burst_of_missing_categories_is_a_fault() -> None:
    ward = [
        None if lost else value
        for lost, value in zip(AFTER & EVERY_FIFTH, inputs(0, WINDOWS)["ward"], strict=True)
    ]
    found = judged(ward=[None if value is None else str(value) for value in ward])
    assert found.kinds == ("data fault",)
    assert "missing" in faults(found)["ward"]


def test_a_column_that_stands_still_is_a_fault() -> None:
    found = judged(age=np.where(AFTER, 0.25, inputs(0, WINDOWS)["age"]))
    assert found.kinds == ("data fault",)
    assert "stuck at 0.25" in faults(found)["age"]


@pytest.mark.parametrize(
    ("factor", "words"), [(1000.0, "1000"), (0.01, "100"), (10.764, "10.764"), (2.54, "2.54")]
)
def test_another_unit_is_a_fault(factor: float, words: str) -> None:
    # A column with a zero point: lengths, prices, durations.
    random = np.random.default_rng(3)
    old = reference() | {"size": random.lognormal(1, 0.4, 6000)}
    size = random.lognormal(1, 0.4, WINDOW * WINDOWS)
    new = answered(inputs(0, WINDOWS), 0) | {"size": np.where(AFTER, factor * size, size)}
    found = diagnose(old, new, **JUDGED)
    assert found.kinds == ("data fault",)
    assert f"factor of {words} " in faults(found)["size"]


def test_categories_never_seen_are_a_fault() -> None:
    found = judged(ward=np.where(AFTER & EVERY_FIFTH, "N0RTH", inputs(0, WINDOWS)["ward"]))
    assert found.kinds == ("data fault",)
    assert "never had" in faults(found)["ward"]


def test_values_that_are_not_finite_are_a_fault() -> None:
    found = judged(dose=np.where(AFTER & EVERY_FIFTH, np.inf, inputs(0, WINDOWS)["dose"]))
    assert found.kinds == ("data fault",)
    assert "not finite" in faults(found)["dose"]


def test_a_column_that_is_gone_is_a_fault_and_named_in_the_notes() -> None:
    new = answered(inputs(0, WINDOWS), 0)
    del new["dose"]
    found = diagnose(reference(), new, **JUDGED)
    assert found.kinds == ("data fault",)
    assert list(faults(found)) == ["dose"]
    assert any("'dose' is absent" in note for note in found.notes)


def test_swapped_columns_are_a_fault_of_both() -> None:
    age, dose = (inputs(0, WINDOWS)[name] for name in ("age", "dose"))
    found = judged(age=np.where(AFTER, dose, age), dose=np.where(AFTER, age, dose))
    assert found.kinds == ("data fault",)
    assert sorted(faults(found)) == ["age", "dose"]
    assert "the values of dose" in faults(found)["age"]


def test_a_fault_that_the_model_was_fed_is_not_called_drift_for_its_answers() -> None:
    columns = inputs(0, WINDOWS)
    age, dose = columns["age"], columns["dose"]
    fed = columns | {"age": np.where(AFTER, dose, age), "dose": np.where(AFTER, age, dose)}
    found = diagnose(reference(), answered(fed, 0, model=columns), **JUDGED)
    assert found.kinds == ("data fault",)
    assert any("broken inputs" in note for note in found.notes)


def test_some_rows_with_one_value_are_a_stuck_device() -> None:
    found = judged(age=np.where(AFTER & (np.arange(len(AFTER)) % 3 == 0), 0.25, inputs(0, WINDOWS)["age"]))
    assert found.kinds == ("data fault",)
    assert "stuck near 0.2" in faults(found)["age"]


def test_a_batch_delivered_twice_is_a_fault_and_no_drift() -> None:
    sound = answered(inputs(0, WINDOWS), 0)
    order = np.arange(len(AFTER))
    low = ONSET * WINDOW
    order[low + WINDOW // 2 : low + WINDOW] = order[low : low + WINDOW // 2]
    found = diagnose(reference(), {name: values[order] for name, values in sound.items()}, **JUDGED)
    assert found.kinds == ("data fault",)
    assert "50% of the rows are there twice" in faults(found)["rows"]
    assert [number for number, window in enumerate(found.windows) if window.alarm] == [ONSET]


def test_a_window_that_comes_again_later_is_a_fault() -> None:
    sound = answered(inputs(0, WINDOWS), 0)
    order = np.arange(len(AFTER))
    order[ONSET * WINDOW : (ONSET + 1) * WINDOW] = order[:WINDOW]
    found = diagnose(reference(), {name: values[order] for name, values in sound.items()}, **JUDGED)
    assert found.kinds == ("data fault",)
    assert "came again" in faults(found)["rows"]
    assert found.since is not None
    assert found.since.estimate == str(ONSET * WINDOW)


def test_rows_that_a_wrong_clock_dated_are_left_out_and_named() -> None:
    hour = 3_600_000_000
    random = np.random.default_rng(6)

    def timed(first: int, hours: int) -> dict[str, Any]:
        at = (first + np.repeat(np.arange(hours), 60)) * hour
        return {"x": random.normal(size=len(at)), "at": at}

    def table(columns: dict[str, Any]) -> pa.Table:
        return pa.table(columns | {"at": pa.array(columns["at"], pa.timestamp("us", "UTC"))})

    new = timed(500_100, 96)
    new["at"][7] = 0
    new["at"][11] = 900_000 * hour
    found = diagnose(table(timed(500_000, 72)), table(new), time="at", window="6h")
    assert found.kinds == ("data fault",)
    assert len(found.windows) == 16
    assert "1 row dated 1970-01-01" in faults(found)["time"]
    assert "1 row dated 2072-" in faults(found)["time"]


def test_few_columns_of_few_values_have_twins_by_chance() -> None:
    random = np.random.default_rng(5)
    old, new = ({"n": random.integers(0, 9, rows)} for rows in (4000, 8000))
    assert diagnose(old, new, window="400 rows").verdict == "healthy"


def test_a_column_that_is_text_where_numbers_were_is_a_fault() -> None:
    found = judged(dose=[f"{value:.3f} mg" for value in inputs(0, WINDOWS)["dose"]])
    assert found.kinds == ("data fault",)
    assert "of another type" in faults(found)["dose"]


def test_one_wild_value_changes_nothing() -> None:
    age = inputs(0, WINDOWS)["age"]
    age[len(age) // 2] = 1e6
    assert judged(age=age).verdict == "healthy"


def test_one_row_of_a_million_in_every_5000_moves_no_score_by_one_per_cent() -> None:
    random = np.random.default_rng(6)
    old, new = ({"x": random.normal(size=rows), "y": random.normal(size=rows)} for rows in (40_000, 60_000))
    new["x"][20_000:] += 0.5
    wild = new["x"].copy()
    wild[2500::5000] = 1e6
    with_it, without = (diagnose(old, new | {"x": x}, window="5000 rows") for x in (wild, new["x"]))
    assert with_it.kinds == without.kinds == ("data drift",)
    assert with_it.since == without.since
    (one,), (other,) = with_it.features, without.features
    assert one.log_e == pytest.approx(other.log_e, rel=0.01)
    assert one.shift_sd == pytest.approx(other.shift_sd, rel=0.01)
    assert one.psi == pytest.approx(other.psi, rel=0.01)
    scores = [[window.log_e_data for window in found.windows[4:]] for found in (with_it, without)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=0.01)


def test_one_wild_truth_of_a_regression_changes_nothing() -> None:
    random = np.random.default_rng(4)

    def drawn(windows: int) -> dict[str, np.ndarray]:
        x = inputs(1, windows)
        return x | {"said": x["age"], "y": x["age"] + random.normal(size=len(x["age"]))}

    new = drawn(WINDOWS)
    new["y"][3000] = 1e6
    found = diagnose(drawn(12), new, target="y", prediction="said", window=f"{WINDOW} rows")
    assert found.verdict == "healthy"


@pytest.mark.parametrize("seed", range(4))
def test_a_column_that_breaks_whole_is_missing_and_no_second_delivery(seed: int) -> None:
    # Rows are then told apart by one column alone, and many share its cells.
    random = np.random.default_rng([seed, 2, 200])
    old, new = ({"x": random.normal(size=2000), "y": random.normal(size=2000)} for _ in range(2))
    found = diagnose(old, new | {"x": np.full(2000, np.nan)}, window="200 rows")
    assert list(faults(found)) == ["x"]
    assert "missing in every row" in faults(found)["x"]


def test_a_batch_that_comes_again_in_the_next_window_is_a_fault() -> None:
    sound = answered(inputs(0, WINDOWS), 0)
    order = np.arange(len(AFTER))
    low = ONSET * WINDOW
    order[low + WINDOW : low + 2 * WINDOW - 100] = order[low : low + WINDOW - 100]
    found = diagnose(reference(), {name: values[order] for name, values in sound.items()}, **JUDGED)
    assert found.kinds == ("data fault",)
    assert "80% of the rows came in a window before" in faults(found)["rows"]


def test_the_same_records_scored_in_every_window_are_no_fault() -> None:
    random = np.random.default_rng(8)
    records = {name: random.normal(size=500) for name in "abcd"}
    again = np.concatenate([random.permutation(500)[:450] for _ in range(12)])
    old = {name: random.normal(size=4000) for name in "abcd"}
    found = diagnose(old, {name: values[again] for name, values in records.items()}, window="450 rows")
    assert "rows" not in faults(found)


@pytest.mark.parametrize("windows", [6, 20])
def test_twins_by_chance_in_small_windows_of_one_column_are_no_second_delivery(windows: int) -> None:
    for seed in range(8):
        values = np.random.default_rng([seed, windows]).normal(size=50 * (windows + 60))
        old, new = values[: 50 * windows], values[50 * windows :]
        found = diagnose({"load": old}, {"load": new}, window="50 rows", explain=False)
        assert not any("twice" in one.description for one in found.features)


def test_a_second_delivery_of_a_small_window_is_named() -> None:
    values = np.random.default_rng(5).normal(size=50 * 60)
    again = values[50 * 20 :].copy()
    again[50 * 30 + 25 : 50 * 31] = again[50 * 30 : 50 * 30 + 25]
    found = diagnose({"load": values[: 50 * 20]}, {"load": again}, window="50 rows", explain=False)
    assert any("twice" in one.description for one in found.features)


def test_a_fault_that_labels_see_and_answers_hardly_show_is_no_concept_drift() -> None:
    random = np.random.default_rng(8)

    def houses(rows: int, lost: Any = False) -> dict[str, Any]:
        area, plot = random.normal(size=rows), random.gamma(2, 1, rows)
        known = np.where(lost & (random.random(rows) < 0.3), np.nan, plot)
        said = 2 * area + 0.3 * np.nan_to_num(known)
        price = 2 * area + 0.3 * plot + random.normal(0, 0.3, rows)
        return {"area": area, "plot": known, "said": said, "price": price}

    lost = np.arange(6000) >= 3000
    found = diagnose(houses(6000), houses(6000, lost), target="price", prediction="said", window="300 rows")
    assert found.kinds == ("data fault",)
    assert set(faults(found)) == {"plot"}
    assert any("broken inputs" in note for note in found.notes)

"""Columns of which many parts change, each by less than shows by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from holdfast.monitor import Diagnosis, diagnose

ROWS = 1000
BEFORE, AFTER = 10, 10


def codes(random: np.random.Generator, rows: int, shares: NDArray[np.float64]) -> NDArray[Any]:
    return np.char.add("k", random.choice(len(shares), rows, p=shares / shares.sum()).astype(str))


def judged(old: NDArray[Any], new: NDArray[Any], rows: int = ROWS) -> Diagnosis:
    random = np.random.default_rng(1)
    return diagnose(
        {"a": old, "b": random.normal(size=len(old))},
        {"a": new, "b": random.normal(size=len(new))},
        window=f"{rows} rows",
        explain=False,
    )


def found_at_once(found: Diagnosis) -> bool:
    alarm = [window.alarm for window in found.windows]
    return not any(alarm[:BEFORE]) and any(alarm[BEFORE : BEFORE + 2]) and all(alarm[BEFORE + 2 :])


@pytest.mark.parametrize("factor", [0.0, 3.0])
def test_half_of_many_like_categories_that_vanish_or_swell_are_found_within_two_windows(
    factor: float,
) -> None:
    random = np.random.default_rng(56)
    like = np.ones(400)
    changed = np.where(random.random(400) < 0.5, factor, 1.0)
    new = [codes(random, BEFORE * ROWS, like), codes(random, AFTER * ROWS, changed)]
    found = judged(codes(random, 20 * ROWS, like), np.concatenate(new))
    assert found_at_once(found)
    assert found.verdict == "data drift"
    assert found.since is not None
    assert int(found.since.estimate) == BEFORE * ROWS
    assert [one.name for one in found.features] == ["a"]
    assert "many of its categories changed their share" in found.features[0].description


def test_thousands_of_categories_too_rare_for_cells_of_their_own_are_seen_together() -> None:
    random = np.random.default_rng(57)
    like = np.ones(3000)
    changed = np.where(random.random(3000) < 0.5, 0.0, 1.0)
    found = judged(codes(random, 20 * ROWS, like), codes(random, 16 * ROWS, changed))
    assert found.windows[-1].alarm


@pytest.mark.parametrize(
    ("step", "words"), [(1.0, "whole numbers"), (0.5, "multiples of 0.5"), (5.0, "multiples of 5")]
)
def test_numbers_that_arrive_rounded_are_a_fault(step: float, words: str) -> None:
    random = np.random.default_rng(58)
    old, new = (random.normal(50, 10, size) for size in (20 * ROWS, (BEFORE + AFTER) * ROWS))
    new[BEFORE * ROWS :] = np.round(new[BEFORE * ROWS :] / step) * step
    found = judged(old, new)
    assert found_at_once(found)
    assert found.verdict == "data fault"
    assert found.features[0].description == (
        f"a is rounded: its values are {words}, those of the reference were not"
    )


def test_numbers_that_grew_are_not_rounded_wherever_the_few_lie_that_others_had() -> None:
    random = np.random.default_rng(10)
    spread = random.uniform(0.3, 1.2)
    old, new = random.lognormal(0, spread, 2000), 50 * random.lognormal(0, spread, 1000)
    assert diagnose({"x": old}, {"x": new}, window="100 rows").kinds == ("data drift",)


def test_rounding_shows_beside_a_season_of_the_column_s_mean() -> None:
    random = np.random.default_rng(62)
    wave = 10 * np.cos(np.arange(60_000) / 7000 * 2 * np.pi)
    values = 50 + 10 * random.normal(size=60_000) + wave
    new = values[28_000:48_000]
    new[BEFORE * ROWS :] = np.round(new[BEFORE * ROWS :])
    found = judged(values[:28_000], new)
    assert found_at_once(found)
    assert found.verdict == "data fault"


def test_every_second_bin_emptied_into_the_next_is_found_at_once() -> None:
    random = np.random.default_rng(59)
    old, new = (random.random(size) for size in (20 * ROWS, (BEFORE + AFTER) * ROWS))
    place = np.floor(new * 256)
    new = np.where((np.arange(len(new)) >= BEFORE * ROWS) & (place % 2 == 1), new - 1 / 256, new)
    found = judged(old, new)
    assert found_at_once(found)
    assert found.verdict == "data drift"
    assert "many narrow ranges of its values changed their share" in found.features[0].description


def test_an_immaterial_change_of_all_categories_is_quiet_however_many_the_rows() -> None:
    random = np.random.default_rng(60)
    changed = np.where(random.random(400) < 0.5, 0.9, 1.1)
    old, new = codes(random, 1_000_000, np.ones(400)), codes(random, 400_000, changed)
    assert judged(old, new, 50_000).verdict == "healthy"


def test_a_mix_that_varies_from_window_to_window_in_the_reference_raises_no_alarm() -> None:
    random = np.random.default_rng(61)
    windows = [codes(random, ROWS, random.gamma(2.0, size=300)) for _ in range(60)]
    found = judged(np.concatenate(windows[:20]), np.concatenate(windows[20:]))
    assert not any(window.alarm for window in found.windows)

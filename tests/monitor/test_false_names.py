"""Changes, and no changes, that look like a fault at first sight and must not be called one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from holdfast import diagnose

Frame = dict[str, Any]
ROWS, DAY = 2400, 240
HOUR_US = 3_600_000_000


def remembering(random: np.random.Generator, rows: int) -> np.ndarray:
    values: np.ndarray = lfilter([1.0], [1.0, -0.8], 0.6 * random.normal(size=rows + 200))[200:]
    return values


def swings(random: np.random.Generator, factor: float, level: float) -> tuple[Frame, Frame]:
    """A series about zero that changes its scale or level."""
    values = remembering(random, 2 * ROWS)
    return {"x": values[:ROWS]}, {"x": factor * values[ROWS:] + level}


def noise(random: np.random.Generator, factor: float) -> tuple[Frame, Frame]:
    """Independent rows about zero, whose spread alone changes."""
    values = random.normal(size=2 * ROWS)
    return {"x": values[:ROWS]}, {"x": factor * values[ROWS:]}


def longer_nights(random: np.random.Generator) -> tuple[Frame, Frame]:
    """Power of the sun: nought in every row of a night's windows, later of more windows."""
    place = np.arange(ROWS) % DAY
    sun = np.where(place < DAY // 2, np.sin(np.pi * place / (DAY // 2)), 0.0)
    power = np.maximum(sun * (1 + 0.1 * random.normal(size=ROWS)), 0.0)
    return {"power": power}, {"power": np.where(place < DAY // 4, power, 0.0)}


def nearly_the_same(random: np.random.Generator) -> tuple[Frame, Frame]:
    """Two sensors of one thing, which becomes warmer."""
    truth = random.normal(size=2 * ROWS) + 0.6 * (np.arange(2 * ROWS) >= ROWS)
    two = {name: truth + 0.1 * random.normal(size=2 * ROWS) for name in ("left", "right")}
    return {name: some[:ROWS] for name, some in two.items()}, {
        name: some[ROWS:] for name, some in two.items()
    }


def an_hour_is_missing(random: np.random.Generator) -> tuple[Frame, Frame]:
    """Local time, in spring."""
    minutes = np.arange(2 * ROWS) * 60_000_000
    at = (minutes + HOUR_US * (np.arange(2 * ROWS) >= 3 * ROWS // 2)).astype("datetime64[us]")
    x = random.normal(size=2 * ROWS)
    return {"at": at[:ROWS], "x": x[:ROWS]}, {"at": at[ROWS:], "x": x[ROWS:]}


def an_hour_comes_twice(random: np.random.Generator) -> tuple[Frame, Frame]:
    """Local time, in autumn."""
    minutes = np.arange(2 * ROWS) * 60_000_000
    at = (minutes - HOUR_US * (np.arange(2 * ROWS) >= 3 * ROWS // 2)).astype("datetime64[us]")
    x = random.normal(size=2 * ROWS)
    return {"at": at[:ROWS], "x": x[:ROWS]}, {"at": at[ROWS:], "x": x[ROWS:]}


def few_values(random: np.random.Generator) -> tuple[Frame, Frame]:
    """Rows that equal each other by chance, more of them once an answer becomes common."""

    def answers(share: float) -> Frame:
        return {
            "yes": (random.random(ROWS) < share).astype(float),
            "stars": random.integers(1, 6, ROWS).astype(float),
            "shop": random.choice(["a", "b", "c"], ROWS),
        }

    return answers(0.5), answers(0.8)


LOOKS_LIKE: dict[str, Callable[[np.random.Generator], tuple[Frame, Frame]]] = {
    "a spread 2.5 times as wide": lambda random: swings(random, 2.5, 0.0),
    "a spread of two fifths": lambda random: swings(random, 0.4, 0.0),
    "independent rows 2.54 times as wide": lambda random: noise(random, 2.54),
    "independent rows of two fifths": lambda random: noise(random, 0.4),
    "another level": lambda random: swings(random, 1.0, 1.5),
    "another level and spread": lambda random: swings(random, 2.5, 1.0),
    "longer nights": longer_nights,
    "two sensors of one thing": nearly_the_same,
    "an hour is missing": an_hour_is_missing,
    "an hour comes twice": an_hour_comes_twice,
    "few values": few_values,
}


@pytest.mark.parametrize("change", sorted(LOOKS_LIKE))
def test_what_only_looks_like_a_fault_is_called_none(change: str) -> None:
    for seed in range(4):
        old, new = LOOKS_LIKE[change](np.random.default_rng([51, seed]))
        found = diagnose(
            old, new, time="at" if "at" in old else None, window="1h" if "at" in old else "60 rows"
        )
        assert "data fault" not in found.kinds, [feature.description for feature in found.features]


@pytest.mark.parametrize("factor", [2.54, 1 / 2.54])
def test_centimetres_of_a_column_with_a_zero_are_still_named(factor: float) -> None:
    for seed in range(4):
        random = np.random.default_rng([52, seed])
        old, new = (random.lognormal(1, 0.5, ROWS) for _ in range(2))
        found = diagnose({"length": old}, {"length": factor * new}, window="100 rows")
        assert found.kinds == ("data fault",)
        assert "2.54" in found.features[0].description


def test_growth_by_fifty_is_no_factor_of_sixty() -> None:
    for seed in range(3):
        random = np.random.default_rng([51, seed])
        old, new = random.normal(size=(2, 6000))
        found = diagnose({"x": old}, {"x": 50 * new}, window="500 rows", explain=False)
        assert found.kinds == ("data drift",), found.features[0].description


@pytest.mark.parametrize(
    ("window", "said"), [(60, "about a factor of 60"), (500, "larger by a factor of 60")]
)
def test_a_factor_that_few_rows_hardly_tell_is_about_so_much(window: int, said: str) -> None:
    for seed in range(2):
        random = np.random.default_rng(seed)
        grown = random.normal(size=20 * window) * np.where(np.arange(20 * window) >= 10 * window, 60, 1)
        old = random.normal(size=6000)
        found = diagnose({"x": old}, {"x": grown}, window=f"{window} rows", explain=False)
        assert said in found.features[0].description

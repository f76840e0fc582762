"""Stretches of a change that comes and goes."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from holdfast.stats import OnsetEstimate, Visit, estimate_onset, find_visits
from holdfast.stats.onset import ENDING_GAIN


def visited(z: np.ndarray) -> tuple[Visit, ...]:
    return find_visits(z, estimate_onset(z)).stretches


def level(windows: int, *visits: tuple[int, int | None], height: float = 4.0, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(windows, 2))
    for start, end in visits:
        z[start:end] += height
    return z


@pytest.mark.parametrize(
    "visits",
    [
        [(30, None)],
        [(30, 40)],
        [(10, 20), (40, 50)],
        [(10, 20), (40, None)],
        [(5, 12), (20, 31), (44, 52), (60, None)],
    ],
)
def test_each_visit_of_a_change_is_found_and_nothing_else(visits: list[tuple[int, int | None]]) -> None:
    assert visited(level(80, *visits)) == tuple(Visit(*one) for one in visits)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ramp", [1, 20])
def test_a_change_that_stays_is_one_visit(seed: int, ramp: int) -> None:
    z = level(120, seed=seed) + 3 * np.clip((np.arange(120) - 40) / ramp, 0, 1)[:, None]
    found = find_visits(z, estimate_onset(z))
    assert [one.end for one in found.stretches] == [None]
    assert found.probability == 1.0


def test_one_far_window_is_no_visit() -> None:
    z = level(80, (50, None))
    z[20] += 8
    assert visited(z) == (Visit(50, None),)


@pytest.mark.parametrize("seed", range(8))
def test_tests_that_say_the_same_thing_count_once(seed: int) -> None:
    random = np.random.default_rng([seed, 5])
    shared = random.normal(size=(35, 1))
    z = np.sqrt(0.9) * shared + np.sqrt(0.1) * random.normal(size=(35, 12))
    z[20:] += 2.0
    found = estimate_onset(z)
    assert found.end is None
    assert found.earliest <= 20 <= found.latest
    assert visited(z) == (Visit(found.estimate, None),)


@pytest.mark.parametrize("seed", range(4))
def test_a_change_that_is_now_larger_and_now_smaller_stays(seed: int) -> None:
    random = np.random.default_rng([seed, 6])
    z = random.normal(size=(60, 7))
    z[20:] += 3.0 * np.exp(0.7 * random.normal(size=(40, 1)))
    assert [one.end for one in visited(z)] == [None]


def test_one_window_as_before_is_no_end_and_three_are() -> None:
    z = np.zeros((40, 1))
    z[10:] = 9.0
    for gap, stretches in ((1, 1), (3, 2)):
        holed = z.copy()
        holed[20 : 20 + gap] = 0
        assert len(visited(holed)) == stretches


@pytest.mark.parametrize("blocks", [[1, 0, 1, 0, 1], [0, 1, 0, 0, 1], [1, 0, 0, 1, 0]])
@pytest.mark.parametrize("seed", range(4))
def test_the_stretches_are_the_best_of_all_that_there_are(seed: int, blocks: list[int]) -> None:
    random = np.random.default_rng(seed)
    z = 7.0 * np.repeat(blocks, 3)[:, None] + random.normal(size=(15, 1))
    found = find_visits(z, OnsetEstimate(0, 0, 0, None)).stretches
    assert len(found) > 1
    # The height is that of the visits found: the best stretches for it are tried one by one.
    changed = np.zeros(15, dtype=bool)
    for one in found:
        changed[one.start : one.end] = True
    full = z[changed].mean() ** 2 / 2
    gain = np.clip((z * z[changed].mean())[:, 0] - full, -full, full)
    _, stretches = max(_worth(gain, pattern) for pattern in range(1, 2**15))
    assert stretches == [(one.start, one.end or 15) for one in found]


def _worth(gain: np.ndarray, pattern: int) -> tuple[float, list[tuple[int, int]]]:
    place, worth = 0, 0.0
    stretches: list[tuple[int, int]] = []
    runs = [(bit, len(list(same))) for bit, same in groupby((pattern >> at) & 1 for at in range(15))]
    for number, (bit, length) in enumerate(runs):
        if length < (2 if bit else 3) and not (number == 0 and not bit):
            return -np.inf, []
        if bit:
            edges = (len(stretches) > 0) + (place + length < 15)
            worth += float(gain[place : place + length].sum()) - ENDING_GAIN * edges
            stretches.append((place, place + length))
        place += length
    return worth, stretches


@pytest.mark.parametrize("windows", [1, 2, 8])
def test_a_single_visit_has_the_probability_by_which_its_end_was_found(windows: int) -> None:
    z = np.zeros((100, 1))
    z[20 : 20 + windows] = 8.0
    found = find_visits(z, estimate_onset(z))
    assert found.stretches == (Visit(20, 20 + windows),)
    # Over 80 windows the same sum gains 1/80 of its square half; the end is one window of 100.
    gain = (8.0 * windows) ** 2 / 2 * (1 / windows - 1 / 80)
    assert 1 - found.probability == pytest.approx(100 * np.exp(-gain), rel=1e-6, abs=1e-15)


def test_the_probability_is_that_of_one_visit_more_against_its_price() -> None:
    z = np.zeros((1000, 1))
    z[10:20] = z[600:610] = 2.3
    found = find_visits(z, estimate_onset(z))
    # A visit of ten windows gains 10 * 2.3^2 / 2; each of its two edges is one window of 1000.
    assert 1 - found.probability == pytest.approx(np.exp(-10 * 2.3**2 / 2) * 1000**2, rel=1e-4)

"""Calm windows tell a reference's mean and seasons better, unless they have crept away from it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from holdfast.stats import CalmWindows, LevelError, calm_so_far, level_error, settled, stretches

ROWS, REFERENCE = 50.0, 400.0


def test_what_calm_windows_and_a_reference_say_is_what_least_squares_says() -> None:
    random = np.random.default_rng(1)
    windows = 60
    shapes = np.column_stack([np.ones(windows), *random.normal(size=(2, windows))])
    apart = ROWS * random.normal(0.02, 0.05, size=windows)
    calm = CalmWindows(np.full((1, 3), 1 / REFERENCE), np.ones(1))
    calm.add(apart[:, None], np.full((windows, 1), ROWS), shapes, np.ones((windows, 1), dtype=bool))
    # The reference is rows that say 0 of each coefficient, with the weight of its own rows.
    design = np.concatenate([np.sqrt(ROWS) * shapes, np.sqrt(REFERENCE) * np.eye(3)])
    wanted = np.concatenate([apart / np.sqrt(ROWS), np.zeros(3)])
    expected = np.linalg.lstsq(design, wanted, rcond=None)[0]
    wrong, covariance = calm.known(np.full(1, 100.0))
    assert wrong[0] == pytest.approx(expected)
    assert covariance[0] == pytest.approx(np.linalg.inv(design.T @ design))


def test_calm_windows_that_crept_away_are_not_believed() -> None:
    one = np.ones((1, 1))
    for shift, believed in ((0.5, True), (4.0, False)):
        calm = CalmWindows(one / REFERENCE, np.ones(1))
        error = np.sqrt(1 / REFERENCE + 1 / (20 * ROWS))
        calm.add(20 * ROWS * shift * error * one, 20 * ROWS * one, one, np.ones((1, 1), dtype=bool))
        wrong, covariance = calm.known(np.ones(1))
        assert bool(wrong[0, 0] != 0) is believed
        assert covariance[0, 0, 0] == pytest.approx(1 / (REFERENCE + 20 * ROWS * believed))


def test_no_window_within_a_sum_in_alarm_joins() -> None:
    alarm = np.zeros((120, 2), dtype=bool)
    alarm[50, 1] = True
    quiet = settled(alarm)
    assert len(quiet) == 120 - 31
    assert quiet[:, 0].all()
    assert np.flatnonzero(~quiet[:, 1]).tolist() == list(range(19, 51))
    assert settled(alarm[30:]).tolist() == quiet[30:].tolist()


def test_a_window_is_calm_so_far_until_it_or_a_later_one_raises_an_alarm() -> None:
    alarm = np.random.default_rng(3).random((40, 5)) < 0.05
    calm = calm_so_far(alarm)
    assert calm.tolist() == [[not alarm[window:, test].any() for test in range(5)] for window in range(32)]
    assert calm_so_far(alarm[:8]).shape == (0, 5)


def test_stretches_hold_every_window_once() -> None:
    for windows in (0, 1, 32, 33, 5000):
        numbers = [number for some in stretches(windows) for number in range(some.start, some.stop)]
        assert numbers == list(range(windows))


def test_what_is_not_known_of_mean_and_season_adds_up_as_a_quadratic_form() -> None:
    random = np.random.default_rng(2)
    root = random.normal(size=(3, 3))
    shapes = np.column_stack([np.ones(6), *random.normal(size=(2, 6))])
    weight = random.uniform(1, 2, size=(6, 1))
    error, level = level_error(shapes, (root @ root.T)[None])
    assert error.tolist() == [0.0]
    assert isinstance(level, LevelError)
    total = (weight * shapes)[2:6].sum(axis=0)
    assert level.added(weight, 4)[5, 0] == pytest.approx(total @ root @ root.T @ total)


@pytest.mark.parametrize(("spread", "factor"), [(0.25, 1.0), (1.0, 1.0), (4.0, 2.0)])
def test_calm_windows_are_believed_within_what_passes_once_in_a_hundred(spread: float, factor: float) -> None:
    def wrong(mean: float) -> float:
        calm, one = CalmWindows(np.array([[1 / 100]]), np.ones(1)), np.ones((3, 1))
        calm.add(100 * mean * one, 100 * one, one, np.ones((3, 1), dtype=bool))
        return float(calm.known(np.array([spread]))[0][0, 0])

    # The mean of 300 rows against one of 100: both err.
    limit = factor * norm.isf(0.005) * np.sqrt(1 / 300 + 1 / 100)
    assert wrong(0.999 * limit) == pytest.approx(0.75 * 0.999 * limit)
    assert wrong(1.001 * limit) == 0.0


def test_a_test_whose_rows_do_not_vary_learns_nothing_from_calm_windows() -> None:
    calm, one = CalmWindows(np.array([[1 / 100], [1 / 100]]), np.array([0.0, 1.0])), np.ones((3, 2))
    calm.add(one, 100 * one, one[:, :1], np.ones((3, 2), dtype=bool))
    wrong, covariance = calm.known(np.ones(2))
    assert (wrong[0, 0], covariance[0, 0, 0]) == (0.0, 0.0)
    assert wrong[1, 0] == pytest.approx(0.0075)


def test_waves_that_hardly_show_are_drawn_towards_none_and_others_stay() -> None:
    one = np.ones((1, 1))
    heights = (0.0, 0.3, 5.0)
    calm = CalmWindows(
        np.full((3, 3), 1 / REFERENCE), np.ones(3), np.array([[0.0, height, -height] for height in heights])
    )
    shapes = np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, -1.0]])
    weight = np.full((4, 3), 10 * ROWS)
    calm.add(0 * weight, weight, shapes, np.ones((4, 3), dtype=bool))
    wrong, covariance = calm.known(np.ones(3))
    unaware = CalmWindows(calm.prior, calm.unit)
    unaware.add(0 * weight, weight, shapes, np.ones((4, 3), dtype=bool))
    error = unaware.known(np.ones(3))[1][0]
    assert error[0, 0] == pytest.approx(1 / (REFERENCE + 40 * ROWS))
    assert covariance[:, 0, 0] == pytest.approx(error[0, 0])
    # A wave of nothing has its error as the variance of its own height: half of it is left.
    assert covariance[0, 1, 1] == pytest.approx(error[1, 1] / 2)
    assert wrong[2, 1:] == pytest.approx([0.0, 0.0], abs=1e-3)
    assert covariance[2, 1, 1] == pytest.approx(error[1, 1], rel=1e-3)
    # A reference that is hardly told better keeps what it has found.
    few = CalmWindows(calm.prior, calm.unit, calm.coefficients)
    few.add(one, ROWS * np.ones((1, 3)), np.ones((1, 3)), np.ones((1, 3), dtype=bool))
    fewer = CalmWindows(calm.prior, calm.unit)
    fewer.add(one, ROWS * np.ones((1, 3)), np.ones((1, 3)), np.ones((1, 3), dtype=bool))
    assert few.known(np.ones(3))[1] == pytest.approx(fewer.known(np.ones(3))[1])


@pytest.mark.parametrize("height", [0.0, 1.0, 2.0, 4.0])
def test_a_wave_drawn_in_is_wrong_by_no_more_than_is_said(height: float) -> None:
    random = np.random.default_rng(4)
    tests, rows = 4000, 60 * ROWS
    true = height * np.sqrt(1 / rows) * np.array([1.0, 1.0])
    # What all windows tell of it, and nothing is left to learn of the mean.
    told = true + random.normal(size=(tests, 2)) / np.sqrt(rows)
    heights = np.concatenate([np.zeros((tests, 1)), told], axis=1)
    calm = CalmWindows(np.full((tests, 3), 1 / REFERENCE), np.ones(tests), heights)
    calm.told[:] = np.eye(3) * (rows - REFERENCE)
    calm.weight[:] = rows - REFERENCE
    wrong, covariance = calm.known(np.ones(tests))
    off = told + wrong[:, 1:] - true
    # Where it is wrong, sums of two windows of those sixty pass 4.2 standard deviations more often.
    turn = random.uniform(0, 2 * np.pi, tests)
    shape = np.sqrt(2) * np.column_stack([np.sin(turn), np.cos(turn)])
    weight = 2 * ROWS
    width = np.sqrt(1 + weight * (shape**2 * covariance[:, [1, 2], [1, 2]]).sum(axis=1))
    apart = np.sqrt(weight) * (shape * off).sum(axis=1)
    chance = (norm.sf(4.2 * width - apart) + norm.sf(4.2 * width + apart)).mean()
    assert chance <= 1.2 * 2 * norm.sf(4.2)

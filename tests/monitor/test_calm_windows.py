"""Windows that stayed calm sharpen the alarm and absorb no change."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.monitor.family import Budget, Family, Plan, limits_of
from holdfast.monitor.judge_family import judge_family
from holdfast.monitor.seasons import Calendar
from holdfast.stats import Sums, counted_periods

ROWS, REFERENCE, COLUMNS = 200, 20, 16


def strengths(
    later: np.ndarray, own: np.ndarray, family: Family = "location", *, wave: float = 0.0
) -> np.ndarray:
    """`[W, K]`, of the means of windows of independent rows, whose mean goes up and down by `wave`."""
    variance = 1 + wave**2 / 2

    def sums(means: np.ndarray) -> Sums:
        weight = np.full(means.shape, float(ROWS))
        return Sums(weight * means, weight * own.mean(axis=0), variance * weight, 0 * weight, weight)

    names = [(f"x{number}", "location") for number in range(own.shape[1])]
    error = np.full(len(names), variance / ROWS / len(own))
    plan = Plan(family, names, error, np.zeros(len(names)), total=COLUMNS)
    place = np.arange(float(len(own) + len(later)))
    calendar = Calendar(
        counted_periods(len(own)),
        place[: len(own)],
        np.full(len(own), float(ROWS)),
        place[len(own) :],
        np.full(len(own), 0.5),
    )
    return judge_family(plan, sums(later), sums(own), budget=Budget(1000.0, 0.05), calendar=calendar).strength


def drawn(random: np.random.Generator, windows: int) -> np.ndarray:
    means: np.ndarray = random.normal(size=(windows, COLUMNS)) / np.sqrt(ROWS)
    return means


def test_a_shift_is_found_sooner_after_calm_windows_and_stays_found() -> None:
    random = np.random.default_rng(41)
    delays: dict[int, list[int]] = {0: [], 130: []}
    for before in (0, 130):
        for _ in range(3):
            later = drawn(random, before + 150)
            # A shift of which a reference of 20 windows of 200 rows is itself three errors wide.
            later[before:] += 0.1
            alarm = strengths(later, drawn(random, REFERENCE))[before:] >= 1
            delays[before] += np.where(alarm.any(axis=0), alarm.argmax(axis=0), 150).tolist()
            if before:
                assert alarm[40:].mean() > 0.9
    assert np.mean(delays[130]) < np.mean(delays[0]) / 2
    assert max(delays[130]) < 60


def test_windows_that_are_calm_so_far_count_for_short_sums_before_long_ones_are_over() -> None:
    random = np.random.default_rng(48)
    own, later = drawn(random, REFERENCE), drawn(random, 26)
    own -= own.mean(axis=0)
    later[:16] -= later[:16].mean(axis=0)
    later[24:] = 0.33
    limit = limits_of("location", COLUMNS, Budget(1000.0, 0.05))[1]
    # Sixteen windows and the reference know the mean alike; the last eight do not count yet.
    expected = 0.33 * np.sqrt(2 * ROWS) / np.sqrt(1 + 2 / (REFERENCE + 16))
    assert strengths(later, own)[-1] * limit == pytest.approx(np.full(COLUMNS, expected))


def test_a_change_that_creeps_is_not_absorbed() -> None:
    random = np.random.default_rng(42)
    # Half a standard deviation in 500 windows, of which two differ by a thousandth.
    later = drawn(random, 500) + np.linspace(0, 0.5, 500)[:, None]
    alarm = strengths(later, drawn(random, REFERENCE)) >= 1
    assert alarm[350:].mean() > 0.99


def test_calm_windows_of_a_season_raise_no_more_than_the_budget() -> None:
    random = np.random.default_rng(43)
    alarms = 0
    for _ in range(4):
        wave = 0.4 * np.sin(2 * np.pi * np.arange(REFERENCE + 300) / 7)[:, None]
        means = drawn(random, REFERENCE + 300) + wave
        alarm = strengths(means[REFERENCE:], means[:REFERENCE], wave=0.4) >= 1
        alarms += int(alarm.any(axis=1).sum())
    # 1200 windows at 0.65 of one in a thousand.
    assert alarms <= 4


def test_how_high_a_season_goes_hides_no_shift_among_many_columns() -> None:
    random = np.random.default_rng(47)
    windows = REFERENCE + 60
    means = drawn(random, windows)
    means[REFERENCE + 40 :] += 0.5
    wave = 2 * np.sin(2 * np.pi * np.arange(windows) / 7)[:, None]
    flat = strengths(means[REFERENCE:], means[:REFERENCE])[44:]
    means += wave
    high = strengths(means[REFERENCE:], means[:REFERENCE], wave=2.0)[44:]
    # Two thirds of the variance of all rows are the season's.
    assert np.median(high / flat) > 0.8
    # Few columns do not tell how much their windows vary, and keep that as a margin.
    few = strengths(means[REFERENCE:, :4], means[:REFERENCE, :4], wave=2.0)[44:]
    assert np.median(few / flat[:, :4]) < 0.65


def test_what_was_said_of_a_window_stays_when_later_windows_come() -> None:
    random = np.random.default_rng(44)
    own, later = drawn(random, REFERENCE), drawn(random, 260)
    later[150:, 3] += 0.2
    whole = strengths(later, own)
    for seen in (1, 9, 31, 33, 100, 161, 199, 259):
        assert np.array_equal(strengths(later[:seen], own), whole[:seen])


def test_residuals_of_a_season_are_judged_with_it() -> None:
    random = np.random.default_rng(45)
    wave = 0.4 * np.sin(2 * np.pi * np.arange(REFERENCE + 60) / 7)[:, None]
    means = drawn(random, REFERENCE + 60) + wave
    means[REFERENCE + 40 :, 2] += 0.8
    alarm = strengths(means[REFERENCE:], means[:REFERENCE], "residuals") >= 1
    assert not alarm[:40].any()
    assert alarm[42:, 2].all()

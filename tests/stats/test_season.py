"""A season that the reference shows is subtracted, one that it does not show is not made up."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.stats import Period, Sums, calendar_periods, fit_season, natural_spread, scan
from holdfast.stats.season import DAY_US, YEAR_US

WEEK = [Period(7.0, 3)]
ROWS = 1000.0


def waved(random: np.random.Generator, windows: int, height: float) -> np.ndarray:
    wave = height * np.sin(2 * np.pi * np.arange(windows) / 7)
    return (wave + random.normal(0, ROWS**-0.5, windows))[:, None]


def test_a_season_is_recovered_within_its_own_standard_error() -> None:
    random, misses = np.random.default_rng(0), []
    coming = np.arange(42.0, 49.0)
    truth = 0.3 * np.sin(2 * np.pi * coming / 7)
    for _ in range(50):
        rate = waved(random, 42, 0.3)
        season = fit_season(rate, np.full_like(rate, 1 / ROWS), np.full(42, ROWS), np.arange(42.0), WEEK)
        assert season is not None
        error = season.error(coming)
        deviation = np.sqrt((error.shapes**2 @ error.variance)[:, 0])
        misses.append((season.expected(coming)[:, 0] - truth) / deviation)
    # The reference's mean is taken out, whose own error of the same size the scan adds by itself.
    assert np.std(misses) == pytest.approx(1.0, abs=0.2)


def test_noise_has_a_season_once_in_a_thousand_tests() -> None:
    random = np.random.default_rng(1)
    rate = random.normal(0, ROWS**-0.5, (42, 4000))
    season = fit_season(rate, np.full_like(rate, 1 / ROWS), np.full(42, ROWS), np.arange(42.0), WEEK)
    assert season is None or (season.fitted > 0).sum() <= 12


def test_a_shift_under_a_season_is_found_in_its_first_window() -> None:
    random = np.random.default_rng(2)
    rate = waved(random, 28 + 14, 0.3)
    rate[35:] += 0.5
    time, one = np.arange(42.0), np.ones((42, 1))
    own, now = rate[:28], rate[28:]
    season = fit_season(own, np.full_like(own, 1 / ROWS), np.full(28, ROWS), time[:28], WEEK)
    assert season is not None

    def sums(rates: np.ndarray, at: np.ndarray) -> Sums:
        ones = one[: len(rates)]
        expected = ROWS * season.expected(at)
        return Sums(ROWS * rates, expected, ROWS * ones, 0 * ones, ROWS * ones)

    spread = natural_spread(sums(own, time[:28]), 1 + season.fitted)
    z = scan(sums(now, time[28:]), np.array([1 / 28 / ROWS]), spread, season=season.error(time[28:]))
    assert np.abs(z[:7]).max() < 4.5
    assert np.abs(z[7]).max() > 6


def test_periods_are_those_that_windows_resolve_and_the_reference_reaches() -> None:
    hours = np.arange(24 * 30) * (DAY_US // 24)
    assert [one.length for one in calendar_periods(hours, hours + DAY_US // 24)] == [DAY_US, 7 * DAY_US]
    days = np.arange(13) * DAY_US
    assert calendar_periods(days, days + DAY_US) == ()
    weeks = np.arange(52) * 7 * DAY_US
    assert calendar_periods(weeks, weeks + 7 * DAY_US) == (Period(float(YEAR_US), 2),)


def test_a_short_reference_has_no_season() -> None:
    rate = np.sin(2 * np.pi * np.arange(10.0) / 7)[:, None]
    assert fit_season(rate, np.full_like(rate, 1e-9), np.ones(10), np.arange(10.0), WEEK) is None


def test_windows_of_seventeen_hours_show_the_day_as_a_slower_wave() -> None:
    hour = DAY_US // 24
    start = np.arange(24) * 17 * hour
    periods = calendar_periods(start, start + 17 * hour)
    assert periods[0] == Period(float(DAY_US), 2)
    # The mean over 17 hours of a wave of 24, by its integral.
    end = start + 17 * hour
    angle = 2 * np.pi / DAY_US
    mean = (np.cos(angle * start) - np.cos(angle * end)) / (angle * 17 * hour)
    rate = mean[:, None] + np.random.default_rng(3).normal(0, 0.02, (24, 1))
    season = fit_season(rate, np.full_like(rate, 0.02**2), np.ones(24), (start + end) / 2, periods[:1])
    assert season is not None
    left = rate - season.expected((start + end) / 2)
    assert (left - left.mean()).std() < 0.03 < rate.std() / 5


@pytest.mark.parametrize("hours", [24, 48])
def test_whole_days_show_no_day(hours: int) -> None:
    hour = DAY_US // 24
    start = np.arange(30) * hours * hour
    assert all(period.length != DAY_US for period in calendar_periods(start, start + hours * hour))


@pytest.mark.parametrize("hours", [3, 6, 12])
def test_an_even_number_of_windows_a_day_shows_what_goes_up_and_down_from_one_to_the_next(hours: int) -> None:
    hour = DAY_US // 24
    start = np.arange(14 * 24 // hours) * hours * hour
    found = calendar_periods(start, start + hours * hour)
    by_day = [one for one in found if one.length <= DAY_US]
    assert sum(one.waves for one in by_day) == 24 // hours - 1  # all that so many windows can show
    turning = np.where(np.arange(len(start)) % 2 == 0, 0.3, -0.3)
    rate = (turning + np.random.default_rng(5).normal(0, 0.03, len(start)))[:, None]
    middle = (start + hours * hour // 2).astype(np.float64)
    season = fit_season(rate, np.full_like(rate, 0.03**2), np.full(len(start), ROWS), middle, by_day)
    assert season is not None
    assert np.abs(season.expected(middle + 14 * DAY_US)[:, 0] - turning).max() < 0.05


def test_large_numbers_that_no_chance_explains_have_no_season_and_no_warning() -> None:
    rate = np.random.default_rng(4).normal(size=(42, 1)) * 1e6
    assert fit_season(rate, np.zeros_like(rate), np.full(42, ROWS), np.arange(42.0), WEEK) is None

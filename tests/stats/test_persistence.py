"""Windows that follow on each other, as an AR(1) process."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from holdfast.stats import Sums, natural_spread
from holdfast.stats.persistence import Persistence, most_by_parts

WINDOWS, SERIES, WARM = 40, 20_000, 60


def drawn(memory: float, windows: int = WINDOWS, series: int = SERIES) -> np.ndarray:
    """`[W, K]`, of variance one."""
    random = np.random.default_rng(7)
    steps = random.normal(size=(windows + WARM, series)) * np.sqrt(1 - memory**2)
    values: np.ndarray = lfilter([1.0], [1.0, -memory], steps, axis=0)[WARM:]
    return values


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_sums_and_what_is_left_around_the_mean_of_all_vary_as_they_do(memory: float) -> None:
    values, law = drawn(memory), Persistence(np.array([memory]), WINDOWS)
    for scale in (1, 4, 8):
        blocks = values.reshape(-1, scale, SERIES).sum(axis=1)
        assert law.variance(scale) == pytest.approx(blocks.var(), rel=0.03)
        apart = blocks - blocks.mean(axis=0)
        assert law.left(scale) == pytest.approx((apart**2).mean() / law.variance(scale), rel=0.03)
        # A block that is new, far from the reference: its difference from the reference's mean.
        both = law.variance(scale) + (scale / WINDOWS) ** 2 * law.variance(WINDOWS)
        assert law.with_mean(scale) == pytest.approx(both / law.variance(scale) / (1 + scale / WINDOWS))


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_few_windows_tell_the_correlation_of_neighbours_within_its_error(memory: float) -> None:
    found = Persistence.of(drawn(memory)).correlation
    assert memory - 0.02 <= np.median(found) <= memory + 0.16


def test_a_variance_is_told_as_well_as_its_degrees_of_freedom_say() -> None:
    memory = 0.7
    square = (drawn(memory) ** 2).mean(axis=0)
    free = Persistence(np.array([memory]), WINDOWS).freedom(1)
    assert square.var() == pytest.approx(2 / (free + 1), rel=0.1)


def test_what_comes_and_goes_is_not_persistent() -> None:
    wave = np.sin(2 * np.pi * np.arange(WINDOWS)[:, None] / 6)
    assert Persistence.of(wave).correlation.max() < 0.2


def sums_of(rows: np.ndarray, length: int) -> Sums:
    """Of the rows `[N, K]` of many columns around their own means."""
    scores = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    observed = scores.reshape(-1, length, rows.shape[1]).sum(axis=1)
    one = np.ones_like(observed)
    return Sums(observed, 0 * one, length * one, 0 * one, length * one)


@pytest.mark.parametrize(("windows", "most"), [(6, 35.9), (10, 8.05)])
def test_few_windows_of_independent_rows_are_not_taken_for_persistent(windows: int, most: float) -> None:
    rows = drawn(0.0, windows * 40, 1000)
    spread = natural_spread(sums_of(rows, 40), alone=True, parts=sums_of(rows, 5))[0]
    believed = spread > 1
    assert believed.mean() < 0.26  # a fifth by the level of the test, and what eighths add
    # A tenth more than what the degrees of freedom of independent windows make of the same draws.
    assert np.quantile(spread[believed], 0.9) < most


def test_parts_that_last_show_that_windows_do_as_much_as_the_windows_own_correlation() -> None:
    rows = drawn(0.97, 20 * 48, 1000)
    windows, parts = sums_of(rows, 48), sums_of(rows, 6)
    alone = Persistence.of(windows.observed, np.ones(1000)).correlation
    held = Persistence.of(windows.observed, most_by_parts(parts.observed, 8)).correlation
    assert np.mean(held == alone) > 0.99


def test_a_level_that_stays_beneath_noise_correlates_windows_by_what_its_parts_tell() -> None:
    random = np.random.default_rng(8)
    level, noise = random.normal(size=20_000), random.normal(size=(16, 20_000))
    parts = level + 2 * noise  # correlated by 1 / (1 + 4)
    first, second = parts.reshape(2, 8, -1).sum(axis=1)
    likely = 8 * 0.2 / (1 + 7 * 0.2)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(likely, abs=0.02)
    long = np.full((40_000, 1), 0.0)
    long[:, 0] = lfilter([1.0], [1.0, -0.2], random.normal(size=40_000))
    assert most_by_parts(long, 8)[0] == pytest.approx(likely, abs=0.04)

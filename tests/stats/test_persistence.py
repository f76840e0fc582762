"""Windows that follow on each other, as an AR(1) process."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from holdfast.stats.persistence import Persistence

WINDOWS, SERIES, WARM = 40, 20_000, 60


def drawn(memory: float) -> np.ndarray:
    """`[W, K]`, of variance one."""
    random = np.random.default_rng(7)
    steps = random.normal(size=(WINDOWS + WARM, SERIES)) * np.sqrt(1 - memory**2)
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

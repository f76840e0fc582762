"""Onsets and shapes on levels whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.stats import change_shape, estimate_onset


@pytest.mark.parametrize("onset", [0, 5, 30, 58])
def test_a_clear_change_is_dated_to_its_window(onset: int) -> None:
    z = np.random.default_rng(onset).normal(size=(60, 3))
    z[onset:] += 6
    found = estimate_onset(z)
    assert found.earliest <= onset <= found.latest
    assert found.estimate == onset


def test_the_interval_of_a_weak_change_holds_the_truth_nearly_always() -> None:
    random = np.random.default_rng(8)
    held = 0
    for _ in range(200):
        z = random.normal(size=(60, 1))
        z[30:] += 1.5
        found = estimate_onset(z)
        held += found.earliest <= 30 <= found.latest
    # 99 % by the chi-square approximation; discreteness and the neighbouring stretch cost a little.
    assert held >= 180


def test_a_stronger_change_has_a_narrower_interval() -> None:
    widths = []
    for size in (1.0, 4.0):
        z = np.zeros((40, 1))
        z[20:] = size
        found = estimate_onset(z)
        widths.append(found.latest - found.earliest)
    assert widths[1] < widths[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_step_is_sudden_and_a_noisy_ramp_is_gradual(seed: int) -> None:
    random = np.random.default_rng(seed)
    noise = random.normal(size=80)
    step, ramp = (
        np.r_[np.zeros(40), np.full(40, 8.0)],
        np.r_[np.zeros(30), np.linspace(0, 8, 40), np.full(10, 8)],
    )
    assert change_shape(step + noise) == "sudden"
    assert change_shape(ramp + noise) == "gradual"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [8.0, 16.0])
@pytest.mark.parametrize("length", [10, 15, 23])
def test_a_ramp_late_in_a_long_record_is_gradual(seed: int, size: float, length: int) -> None:
    time = np.arange(120)
    ramp = size * np.clip((time - 90) / length, 0, 1)
    step = size * (time >= 90)
    noise = np.random.default_rng(seed).normal(size=120)
    assert change_shape(ramp + noise) == "gradual"
    assert change_shape(step + noise) == "sudden"


def test_few_windows_after_the_onset_cannot_tell() -> None:
    assert change_shape(np.r_[np.zeros(30), np.full(3, 9.0)]) == "too early to tell"


def test_one_window_cannot_tell() -> None:
    assert change_shape(np.array([5.0])) == "too early to tell"

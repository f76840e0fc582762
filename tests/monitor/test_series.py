"""One column of numbers that follow on each other raises no more alarms than it may."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from holdfast import diagnose
from holdfast.monitor.features import Feature
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.variation import tail_clumps

WINDOW, REFERENCE, LATER = 100, 16, 60


def remembering(random: np.random.Generator, rows: int, memory: float) -> np.ndarray:
    steps = random.normal(size=rows + 200) * np.sqrt(1 - memory**2)
    values: np.ndarray = lfilter([1.0], [1.0, -memory], steps)[200:]
    return values


def diagnosed(values: np.ndarray) -> np.ndarray:
    """Which windows are in alarm."""
    rows = WINDOW * REFERENCE
    found = diagnose({"x": values[:rows]}, {"x": values[rows:]}, window=f"{WINDOW} rows", explain=False)
    return np.array([window.alarm for window in found.windows])


@pytest.mark.parametrize("skewed", [False, True])
def test_a_series_that_remembers_keeps_the_budget(skewed: bool) -> None:
    random = np.random.default_rng([31, skewed])
    alarms = 0
    for memory in (0.5, 0.8, 0.9) * 7:
        values = remembering(random, WINDOW * (REFERENCE + LATER), memory)
        alarms += int(diagnosed(np.exp(values) if skewed else values).sum())
    # 1260 windows at one in a thousand; windows that pool others raise alarms together.
    assert alarms <= 5


def test_a_series_that_remembers_and_moves_is_still_found() -> None:
    random = np.random.default_rng(32)
    delays = []
    for _ in range(10):
        values = remembering(random, WINDOW * (REFERENCE + LATER), 0.8)
        values[WINDOW * (REFERENCE + 30) :] += 1.5
        alarm = diagnosed(values)[30:]
        delays.append(int(alarm.argmax()) if alarm.any() else LATER)
    assert np.median(delays) <= 2
    assert max(delays) < LATER


def test_the_ends_of_the_reference_tell_whether_extreme_rows_come_together() -> None:
    random = np.random.default_rng(33)
    alone: list[float] = []
    together: list[float] = []
    for _ in range(20):
        calm = random.normal(size=(24, 50))
        spiked = calm.copy()
        for window in random.choice(24, 5, replace=False):
            spiked[window, 10:16] += 8
        for values, kept in ((calm, alone), (spiked, together)):
            feature = Feature.fit("x", values.ravel())
            windows = [
                WindowProfile(0, 1, 50, 0, {"x": feature.bins.count(some)}, None, np.zeros((1, 3)))
                for some in values
            ]
            kept.append(tail_clumps(feature, windows, alone=True)["cell:above the reference's range"])
    assert np.median(alone) == 1
    assert np.min(together) > 2

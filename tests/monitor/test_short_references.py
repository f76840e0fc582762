"""What a reference is too short to show is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from holdfast import diagnose

START = np.datetime64("2025-01-06", "us")  # a Monday
HOUR = np.timedelta64(3_600_000_000, "us")


def notes(hours: np.ndarray, split: int, values: np.ndarray, window: str) -> tuple[str, ...]:
    moments = START + hours * HOUR
    return diagnose(
        {"at": moments[:split], "x": values[:split]},
        {"at": moments[split:], "x": values[split:]},
        time="at",
        window=window,
        min_rows=1,
        explain=False,
    ).notes


@pytest.mark.parametrize(
    ("days", "wanted", "window", "said"),
    [
        (5, range(24), "1d", "on a Saturday or Sunday (UTC)"),
        (4, range(24), "6h", "on a Friday, Saturday or Sunday (UTC)"),
        (14, range(6, 12), "6h", "from 12 to 18 o'clock (UTC)"),
        (14, range(24), "1d", None),
    ],
)
def test_hours_and_weekdays_that_the_reference_lacks_are_named(
    days: int, wanted: range, window: str, said: str | None
) -> None:
    hours = np.arange(24 * 28)
    own = (hours < days * 24) & np.isin(hours % 24, wanted)
    later = (hours >= days * 24) & (hours % 24 < 18)
    hours = np.concatenate([hours[own], hours[later]])
    random = np.random.default_rng(1)
    found = notes(hours, int(own.sum()), random.normal(size=len(hours)), window)
    lacking = [note for note in found if note.startswith("The reference has no rows ")]
    assert len(lacking) == (said is not None)
    assert said is None or said in lacking[0]


@pytest.mark.parametrize(("memory", "slow"), [(0.0, False), (0.9, False), (0.995, True)])
def test_a_column_that_remembers_longer_than_the_reference_can_show_is_named(
    memory: float, slow: bool
) -> None:
    random = np.random.default_rng(2)
    values = lfilter([1.0], [1.0, -memory], random.normal(size=4000))[1000:]
    found = notes(np.arange(3000), 1500, values, "50 rows")
    assert any(note.startswith("'x' changes so slowly") for note in found) is slow


@pytest.mark.parametrize(
    ("slope", "later", "said"), [(0.02, 0.0, "rose"), (-0.02, 0.0, "fell"), (0.02, -2.0, ""), (0.0, 0.5, "")]
)
def test_a_change_that_goes_on_with_a_trend_of_the_reference_is_said_to_be_one_perhaps(
    slope: float, later: float, said: str
) -> None:
    random = np.random.default_rng(3)
    window = np.repeat(np.arange(60), 200)
    values = random.normal(size=len(window)) + slope * window + later * (window >= 20)
    found = diagnose(
        {"x": values[window < 20]}, {"x": values[window >= 20]}, window="200 rows", explain=False
    )
    assert found.alarm
    (note,) = [one for one in found.notes if "within the reference already" in one] or [""]
    assert said in note
    assert bool(note) is bool(said)

"""Spikes of which the reference holds a few are not taken for rows that come alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import lfilter

from holdfast import diagnose
from holdfast.monitor.clusters import Clusters
from holdfast.monitor.features import Feature
from holdfast.monitor.variation import by_scores

WINDOW = 50


def spikes(random: np.random.Generator, rows: int, rate: float, length: int) -> np.ndarray:
    """Noise, with so many rows in a row far above it."""
    values = 0.1 * random.normal(size=rows)
    for start in np.flatnonzero(random.random(rows) < rate):
        values[start : start + length] += random.lognormal(1, 0.5)
    return values


def found(values: np.ndarray) -> Clusters | None:
    feature = Feature.fit("x", values)
    return Clusters.of(feature, feature.index(values))


def test_rows_that_come_alone_are_no_clusters() -> None:
    random = np.random.default_rng(1)
    draws: tuple[Callable[[], np.ndarray], ...] = (
        lambda: random.normal(size=1500),
        lambda: random.exponential(size=1500),
        lambda: random.poisson(3, size=1500).astype(float),
    )
    assert sum(found(draw()) is not None for draw in draws for _ in range(60)) <= 3


def test_what_clusters_add_is_what_a_compound_poisson_process_has() -> None:
    random = np.random.default_rng(2)
    rate, length = 0.0025, 5
    values = spikes(random, 40_000, rate, length)
    clusters, feature = found(values), Feature.fit("x", values)
    assert clusters is not None
    place = feature.tests.index("location")
    score = feature.functionals[feature.index(values), place]
    height = score[values > 0.6]
    # Rows at rate * length, each with its own square; whole clusters at the rate, with that of their sum.
    variance = rate * length * (length - 1) * (height**2).mean()
    third = rate * length * (length**2 - 1) * (height**3).mean()
    assert clusters.variance[place] == pytest.approx(variance, rel=0.25)
    assert clusters.third[place] == pytest.approx(third, rel=0.4)
    # What windows really have, beyond independent rows.
    sums = score[: len(score) // 100 * 100].reshape(-1, 100).sum(axis=1)
    assert sums.var() / 100 == pytest.approx(score.var() + clusters.variance[place], rel=0.15)


def test_spikes_upwards_skew_sums_upwards() -> None:
    random = np.random.default_rng(3)
    values = spikes(random, 2000, 0.004, 6)
    place = Feature.fit("x", values).tests.index("location")
    up, down = found(values), found(-values)
    assert up is not None
    assert down is not None
    assert up.third[place] > 0 > down.third[place]
    assert not up.variance[-4:].any()


@pytest.mark.parametrize("known", [True, False])
def test_spikes_are_no_change_to_a_reference_with_three(known: bool) -> None:
    random = np.random.default_rng(4)
    reference, current = 0.1 * random.normal(size=WINDOW * 30), 0.1 * random.normal(size=WINDOW * 20)
    for start, height in ((100, 2.0), (520, 5.0), (1080, 3.0)):
        reference[start : start + 7] += height * known
    for start in (506, 524, 556):
        current[start : start + 7] += 3.2
    verdict = diagnose({"x": reference}, {"x": current}, window=f"{WINDOW} rows", explain=False)
    assert verdict.alarm is not known
    assert any(window.alarm for window in verdict.windows) is not known


def test_powers_of_scores_that_follow_on_each_other_vary_as_mehler_says() -> None:
    memory = 0.6
    random = np.random.default_rng(5)
    steps = random.normal(size=400_000) * np.sqrt(1 - memory**2)
    windows = lfilter([1.0], [1.0, -memory], steps).reshape(-1, 1000)
    spread = np.full((6, 1), (1 + memory) / (1 - memory))
    feature = Feature.fit("x", windows[:20].ravel())
    outermost = next(test for test in reversed(feature.tests) if " to " in test)
    names = [("x", "scale"), ("x", "skew"), ("x", "tails"), ("x", "cell:missing"), ("y", "scale")]
    least = by_scores({"x": feature}, spread, ["x"], [*names, ("x", outermost)])
    powers = (windows**2 - 1, windows**3 - 3 * windows, windows**4 - 6 * windows**2 + 3)
    for number, (power, of_one) in enumerate(zip(powers, (2, 6, 24), strict=True)):
        own = (power.sum(axis=1) ** 2).mean() / 1000 / of_one
        assert least[0, number] == pytest.approx(own, rel=0.2)
    assert least[0, 3:5].tolist() == [1.0, 1.0]
    # Of an eighth at the end the score explains four tenths of the variance, its powers some of the rest.
    eighth = (windows > 1.1503).sum(axis=1)
    own = eighth.var() / (1000 * 0.125 * 0.875)
    assert 1 + 0.7 * (own - 1) < least[0, 5] < own


def test_a_long_reference_shows_clusters_too() -> None:
    random = np.random.default_rng(6)
    alarms = 0
    for _ in range(6):
        values = spikes(random, WINDOW * 180, 0.002, 15)
        verdict = diagnose(
            {"x": values[: WINDOW * 100]},
            {"x": values[WINDOW * 100 :]},
            window=f"{WINDOW} rows",
            explain=False,
        )
        alarms += sum(window.alarm for window in verdict.windows)
    # 480 windows at one in a thousand; taken for rows that come alone, they raise tens of alarms.
    assert alarms <= 2

"""The arrival curve against a published table, SciPy, and the empirical distribution."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf

from holdfast.stats import StatisticsError, arrival_curve

WEEKS = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
ENDED = [1] * 9 + [0] * 12
PUBLISHED = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
"""Survival of the 6-MP group in Freireich et al. (1963), as in Cox and Oakes (1984)."""


def test_the_published_table_is_met() -> None:
    curve = arrival_curve(WEEKS, ENDED, [1 - one for one in ENDED])
    assert dict(zip(curve.delay, (1 - curve.share).round(3), strict=True)) == PUBLISHED
    assert curve.quantile(0.5) == 23
    assert curve.at(5.9) == 0
    assert curve.at(40) == curve.share[-1]


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60))
def test_curve_and_interval_are_scipys(events: list[tuple[int, bool]]) -> None:
    delays = np.array([delay for delay, _ in events])
    arrived = np.array([came for _, came in events])
    curve = arrival_curve(delays, arrived, ~arrived)
    peer = ecdf(CensoredData.right_censored(delays, ~arrived))
    np.testing.assert_allclose(curve.share, peer.cdf.evaluate(curve.delay), atol=1e-12)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        interval = peer.sf.confidence_interval(0.95, method="log-log")
        inner = (curve.share > 0) & (curve.share < 1 - 1e-9)
        np.testing.assert_allclose(
            1 - curve.low[inner], interval.high.evaluate(curve.delay[inner]), atol=1e-6
        )
        np.testing.assert_allclose(
            1 - curve.high[inner], interval.low.evaluate(curve.delay[inner]), atol=1e-6
        )


@given(st.lists(st.integers(0, 50), min_size=1, max_size=50))
def test_when_all_have_come_it_is_the_empirical_distribution(delays: list[int]) -> None:
    curve = arrival_curve(delays, np.ones(len(delays)), np.zeros(len(delays)))
    for delay, share in zip(curve.delay, curve.share, strict=True):
        assert share == pytest.approx(np.mean(np.array(delays) <= delay))


def test_counts_stand_for_as_many_events() -> None:
    counted = arrival_curve([1, 2, 3], [5, 0, 2], [0, 3, 4])
    single = arrival_curve(
        [1] * 5 + [2] * 3 + [3] * 6,
        [1] * 5 + [0] * 3 + [1, 1, 0, 0, 0, 0],
        [0] * 5 + [1] * 3 + [0, 0, 1, 1, 1, 1],
    )
    np.testing.assert_allclose(counted.share, single.share)
    np.testing.assert_allclose(counted.low, single.low)


def test_nothing_has_come_yet() -> None:
    curve = arrival_curve([5.0], [0], [9])
    assert len(curve.delay) == 0
    assert curve.at(10) == 0
    assert curve.quantile(0.5) is None


@pytest.mark.parametrize(
    ("delay", "arrived", "waiting"),
    [([-1], [1], [0]), ([1], [-1], [0]), ([np.nan], [1], [0]), ([1, 2], [1], [0]), ([1], [np.inf], [0])],
)
def test_bad_input_is_refused(delay: list[float], arrived: list[float], waiting: list[float]) -> None:
    with pytest.raises(StatisticsError):
        arrival_curve(delay, arrived, waiting)

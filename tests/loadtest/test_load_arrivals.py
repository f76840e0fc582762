"""When requests are meant to be sent."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.loadtest import (
    LoadTestError,
    constant_arrivals,
    poisson_arrivals,
    rate_of_log,
    replayed_arrivals,
)


def test_constant_arrivals_are_equally_far_apart() -> None:
    assert constant_arrivals(4, 1).tolist() == [0.0, 0.25, 0.5, 0.75]


def test_the_gaps_of_poisson_arrivals_have_the_mean_and_spread_of_an_exponential() -> None:
    gaps = np.diff(poisson_arrivals(100, 100, np.random.default_rng(0)))
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(0.01, rel=0.05)


def test_rows_of_one_moment_are_replayed_as_one_request() -> None:
    times, rows = replayed_arrivals(np.array([0, 0, 0, 500_000, 2_000_000]))
    assert times.tolist() == [0.0, 0.5, 2.0]
    assert rows.tolist() == [3, 1, 1]


def test_a_replay_keeps_its_bursts_at_another_rate() -> None:
    log = np.array([0, 10_000, 20_000, 1_000_000])
    times, _ = replayed_arrivals(log, rate_per_s=10.0, seconds=100.0)
    assert len(times) == pytest.approx(1000, rel=0.02)
    gaps = np.diff(times)
    assert gaps.max() / gaps.min() == pytest.approx(98, rel=0.01)


def test_a_replay_of_a_given_rate_and_length_takes_the_newest_requests() -> None:
    # An hour of one request per minute, then 100 requests in a second: ten seconds at 10/s are those alone.
    log = np.concatenate([np.arange(60) * 60_000_000, 3_600_000_000 + np.arange(100) * 10_000])
    times, _ = replayed_arrivals(log, rate_per_s=10.0, seconds=10.0)
    assert len(times) == 100
    assert np.diff(times) == pytest.approx(0.1, rel=0.02)


def test_the_rate_of_a_log_is_that_of_its_newest_stretch() -> None:
    log = np.concatenate([np.arange(60) * 60_000_000, 3_600_000_000 + np.arange(100) * 10_000])
    assert rate_of_log(log, 10.0) == pytest.approx(10.0, rel=0.02)
    with pytest.raises(LoadTestError, match="at least two moments"):
        rate_of_log(np.array([5]), 10.0)


def test_a_log_of_one_moment_cannot_be_replayed() -> None:
    with pytest.raises(LoadTestError, match="nothing to replay"):
        replayed_arrivals(np.array([5, 5, 5]))

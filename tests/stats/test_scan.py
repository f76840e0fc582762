"""The scan keeps its budget and finds changes early."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats as scipy_stats
from scipy.signal import lfilter

from holdfast.stats import (
    SCALES,
    Sums,
    doubt_of_variance,
    natural_spread,
    pooled,
    scan,
    signed_z,
    spread_of,
    threshold,
)

ROWS, REFERENCE_ROWS = 1000, 20_000


def normal_sums(
    random: np.random.Generator, windows: int, tests: int, error: np.ndarray, shift: float = 0.0
) -> Sums:
    """Sums of ROWS standard normal rows, whose expectation was estimated with an error."""
    shape = (windows, tests)
    observed = random.normal(ROWS * shift, np.sqrt(ROWS), size=shape)
    rows = np.full(shape, float(ROWS))
    return Sums(observed, rows * error, rows, np.zeros(shape), rows)


def poisson_sums(
    random: np.random.Generator, windows: int, tests: int, rate: float, lift: float = 1.0
) -> Sums:
    """Counts of rare events in ROWS rows; the reference's share was estimated on REFERENCE_ROWS rows."""
    shape = (windows, tests)
    share = random.poisson(rate * REFERENCE_ROWS, tests) / REFERENCE_ROWS
    share = (share * REFERENCE_ROWS + 0.5) / (REFERENCE_ROWS + 0.5)
    rows = np.full(shape, float(ROWS))
    return Sums(
        random.poisson(rate * ROWS * lift, shape).astype(float),
        rows * share,
        rows * share * (1 - share),
        rows * share * (1 - share) * (1 - 2 * share),
        rows,
    )


def false_alarms(z: np.ndarray, tests: int, run_length: float) -> int:
    return int((np.abs(z).max(axis=(1, 2)) >= threshold(tests, run_length)).sum())


def test_the_threshold_is_the_normal_quantile_of_its_share() -> None:
    for tests, run_length, share in ((1, 100.0, 1.0), (40, 1000.0, 0.35), (500, 1e6, 0.2)):
        chance = share / run_length / tests / len(SCALES)
        assert threshold(tests, run_length, share) == pytest.approx(scipy_stats.norm.isf(chance / 2))


def test_false_alarms_stay_within_a_tight_budget() -> None:
    random = np.random.default_rng(11)
    tests, run_length, windows, streams = 10, 20.0, 100, 40
    alarms = 0
    for _ in range(streams):
        error = random.normal(0, 1 / np.sqrt(REFERENCE_ROWS), tests)
        z = scan(normal_sums(random, windows, tests, error), np.full(tests, 1 / REFERENCE_ROWS))
        alarms += false_alarms(z, tests, run_length)
    # Alarms of one stream cluster, as pooled windows overlap and share the error of the reference: three
    # times the variance of independent ones is granted.
    expected = windows * streams / run_length
    assert alarms <= expected + 3 * np.sqrt(3 * expected)
    # And the budget is used, not hoarded.
    assert alarms >= expected / 10


def test_rare_events_keep_the_budget_too() -> None:
    random = np.random.default_rng(12)
    tests, run_length, windows, streams = 10, 20.0, 100, 40
    alarms = 0
    for _ in range(streams):
        sums = poisson_sums(random, windows, tests, rate=0.002)
        error = sums.variance[0] / ROWS / REFERENCE_ROWS
        alarms += false_alarms(scan(sums, error, step=np.ones(tests)), tests, run_length)
    expected = windows * streams / run_length
    assert alarms <= expected + 3 * np.sqrt(3 * expected)


def test_a_shift_of_a_fifth_of_a_standard_deviation_is_found_in_two_windows() -> None:
    random = np.random.default_rng(13)
    tests, delays = 40, []
    for _ in range(20):
        error = random.normal(0, 1 / np.sqrt(REFERENCE_ROWS), tests)
        sums = normal_sums(random, 30, tests, error)
        sums.observed[15:, 7] += 0.2 * ROWS
        z = np.abs(scan(sums, np.full(tests, 1 / REFERENCE_ROWS))).max(axis=(1, 2))
        raised = np.flatnonzero(z[15:] >= threshold(tests, 1000.0))
        delays.append(raised[0] + 1)
    assert np.median(delays) <= 2


def test_a_threefold_rate_of_rare_events_is_found_in_four_windows() -> None:
    random = np.random.default_rng(14)
    delays = []
    for _ in range(20):
        sums = poisson_sums(random, 30, 40, rate=0.004)
        sums.observed[15:, 7] = random.poisson(3 * 4.0, 15)
        error = sums.variance[0] / ROWS / REFERENCE_ROWS
        z = np.abs(scan(sums, error, step=np.ones(40))).max(axis=(1, 2))
        raised = np.flatnonzero(z[15:] >= threshold(40, 1000.0))
        delays.append(raised[0] + 1)
    assert np.median(delays) <= 4


def test_a_finite_reference_weakens_what_pools_many_windows() -> None:
    sums = normal_sums(np.random.default_rng(0), 40, 1, np.zeros(1), shift=0.1)
    exact, poor = scan(sums, np.zeros(1)), scan(sums, np.full(1, 1 / ROWS))
    assert (np.abs(poor[35]) < np.abs(exact[35])).all()
    # Against a reference as large as one window, 32 windows are hardly surer than one.
    assert poor[35, 0, -1] == pytest.approx(sums.observed[4:36].sum() / np.sqrt(32 * ROWS * (1 + 32)))


@given(
    arrays.arrays(
        float, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.floats(-1e6, 1e6, width=32)
    )
)
def test_the_natural_spread_is_at_least_that_of_sampling(observed: np.ndarray) -> None:
    one = np.ones_like(observed)
    spread = natural_spread(Sums(observed, 0 * one, one, 0 * one, one))
    assert spread.shape == (len(SCALES), observed.shape[1])
    assert (spread >= 1).all()


def test_windows_that_vary_only_by_sampling_have_a_natural_spread_near_one() -> None:
    random = np.random.default_rng(5)
    sums = normal_sums(random, 40, 400, np.zeros(400))
    assert natural_spread(sums)[0].mean() < 1.3


def test_a_season_in_the_reference_widens_what_counts_as_natural() -> None:
    random = np.random.default_rng(6)
    sums = normal_sums(random, 40, 1, np.zeros(1))
    season = 0.3 * np.sin(2 * np.pi * np.arange(40) / 7)[:, None]
    waved = Sums(sums.observed + ROWS * season, sums.expected, sums.variance, sums.third, sums.weight)
    # The season alone has a variance of ROWS * 0.3^2 / 2 = 45 in units of sampling.
    assert natural_spread(waved)[0, 0] == pytest.approx(46, rel=0.5)


@given(st.integers(1, 50), st.integers(1, 40))
def test_pooling_is_the_sum_over_the_last_windows(windows: int, scale: int) -> None:
    array = np.arange(1.0, windows + 1)[:, None]
    expected = [array[max(0, last - scale + 1) : last + 1].sum() for last in range(windows)]
    np.testing.assert_allclose(pooled(array, scale).ravel(), expected)


def test_sums_of_different_shapes_are_refused() -> None:
    one = np.ones((2, 2))
    with pytest.raises(ValueError, match="different shapes"):
        Sums(one, one, one, one, np.ones((2, 1)))


def test_doubt_does_not_shrink_when_windows_are_pooled() -> None:
    one = np.ones((32, 1))
    sums = Sums(one * 10, one * 0, one * 100, one * 0, one * 100)
    z = scan(sums, np.array([0.0]), doubt=one * 10)
    # sum 10 s, variance 100 s + (10 s)^2 for s windows.
    for position, scale in enumerate(SCALES):
        assert z[-1, 0, position] == pytest.approx(10 * scale / np.sqrt(100 * scale + 100 * scale**2))


def clustered(random: np.random.Generator, windows: int, rate: float, size: int) -> Sums:
    """Counts of rows that come `size` at a time, in windows of ROWS rows, against a known share."""
    one = np.ones((windows, 4))
    expected = rate * size
    observed = size * random.poisson(rate, size=one.shape).astype(float)
    return Sums(observed, expected * one, expected * one, expected * one, ROWS * one)


@pytest.mark.parametrize(("rate", "size"), [(3.0, 4), (0.5, 10)])
def test_rows_that_come_in_clusters_raise_no_more_alarms_at_any_scale(rate: float, size: int) -> None:
    random = np.random.default_rng(12)
    raised, values = np.zeros(len(SCALES)), 0
    for _ in range(60):
        spread = natural_spread(clustered(random, 40, rate, size))
        z = scan(clustered(random, 300, rate, size), np.zeros(4), spread, np.ones(4))
        raised += (z > 4).sum(axis=(0, 1))
        values += z[:, :, 0].size
    # The spread is estimated from forty windows, and neighbours share what they pool.
    assert (raised <= 5 * scipy_stats.norm.sf(4) * values).all()


def test_what_varies_from_window_to_window_does_so_over_several_as_well() -> None:
    kept = []
    for seed in range(60):
        one = np.ones((24, 3))
        varied = 1.8 * np.random.default_rng(seed).normal(size=one.shape)
        spread = natural_spread(Sums(varied, 0 * one, one, 0 * one, one))
        kept.append((spread >= spread[0] / 2).mean(axis=1))
    assert np.mean(kept, axis=0).min() > 0.95


def test_what_takes_turns_is_not_taken_to_last() -> None:
    one = np.ones((24, 1))
    turns = np.tile([[3.0], [-3.0]], (12, 1))
    spread = natural_spread(Sums(turns, 0 * one, one, 0 * one, one))
    assert spread[0, 0] > 9
    assert spread[1, 0] == pytest.approx(1.0)


def remembering(random: np.random.Generator, rows: int, memory: float) -> np.ndarray:
    """Standard normal rows, each correlated with the one before."""
    steps = random.normal(size=rows + 200) * np.sqrt(1 - memory**2)
    rows_in_turn: np.ndarray = lfilter([1.0], [1.0, -memory], steps)[200:, None]
    return rows_in_turn


def parts_of(rows: np.ndarray, length: int) -> Sums:
    sums = rows.reshape(-1, length, 1).sum(axis=1)
    one = np.ones_like(sums)
    return Sums(sums, 0 * one, length * one, 0 * one, length * one)


@pytest.mark.parametrize("memory", [0.5, 0.8])
def test_ten_windows_show_by_their_parts_that_rows_follow_on_each_other(memory: float) -> None:
    random = np.random.default_rng(21)
    truth = (1 + memory) / (1 - memory)
    with_parts, without = [], []
    for _ in range(200):
        rows = remembering(random, 10 * 200, memory)
        own = parts_of(rows, 200)
        with_parts.append(natural_spread(own, alone=True, parts=parts_of(rows, 25))[0, 0])
        without.append(natural_spread(own, alone=True)[0, 0])
    # Half of the truth lets through three times what it should at four standard deviations.
    assert np.mean(np.array(with_parts) < truth / 2) <= 0.02
    assert np.std(np.log(with_parts)) < np.std(np.log(without)) / 1.4
    assert np.median(with_parts) < 3 * truth


def test_a_course_within_each_window_is_no_variation_between_windows() -> None:
    random = np.random.default_rng(22)
    calm = []
    for _ in range(50):
        rows = (
            random.normal(size=(20 * 80, 1))
            + np.tile(3 * np.sin(np.arange(80) / 80 * 2 * np.pi), 20)[:, None]
        )
        spread = natural_spread(parts_of(rows, 80), parts=parts_of(rows, 10))
        calm.append((spread == 1).all())
    assert np.mean(calm) > 0.7


def test_the_doubt_of_a_variance_is_student_s_t_against_the_normal() -> None:
    assert doubt_of_variance(10.0) == pytest.approx(
        (scipy_stats.t.isf(scipy_stats.norm.sf(4.3), 10) / 4.3) ** 2
    )
    assert doubt_of_variance(10.0) > doubt_of_variance(40.0) > 1


def test_variation_between_windows_counts_as_much_more_as_a_window_is_larger() -> None:
    one = np.ones((1, 1))
    sums = Sums(30 * one, 0 * one, 100 * one, 0 * one, 200 * one)
    spread = np.full((len(SCALES), 1), 3.0)
    z = scan(sums, np.zeros(1), spread, usual_weight=np.array([100.0]))
    # Twice the variance between windows of twice the rows: 100 by sampling and 2 * 200.
    assert z[0, 0, 0] == pytest.approx(30 / np.sqrt(500), rel=1e-3)


def test_a_first_window_is_no_smaller_for_the_windows_that_did_not_come_before_it() -> None:
    one = np.ones((1, 1))
    sums = Sums(30 * one, 0 * one, 100 * one, 0 * one, 100 * one)
    spread = np.full((len(SCALES), 1), 3.0)
    z = scan(sums, np.zeros(1), spread, usual_weight=np.array([100.0]))[0, 0]
    assert z == pytest.approx(np.full(len(SCALES), 30 / np.sqrt(300)), rel=1e-3)


def test_a_count_against_a_short_reference_is_as_skewed_as_scipys_beta_binomial() -> None:
    rows, chance, told = 100, 0.05, 200.0
    law = scipy_stats.betabinom(rows, chance * told, (1 - chance) * told)
    mean, variance, skew = (float(one) for one in law.stats("mvs"))
    sampling = rows * chance * (1 - chance)
    observed = mean + 4 * np.sqrt(variance)
    one = np.ones((1, 1))
    sums = Sums(observed * one, mean * one, sampling * one, sampling * (1 - 2 * chance) * one, rows * one)
    error = np.array([(variance - sampling) / rows**2])
    wanted = signed_z(
        np.array([observed]), np.array([mean]), np.array([variance]), np.array([skew * variance**1.5])
    )
    assert scan(sums, error)[0, 0, 0] == pytest.approx(float(wanted[0]), abs=0.005)


def test_pairs_of_windows_vary_at_most_twice_as_much_as_single_ones_are_known_to() -> None:
    own = np.full((1000, 1, len(SCALES)), np.sqrt(40.0))
    own[:, 0, 0] = np.sqrt(2.0)  # what lasts for ever doubles, whatever a few blocks seem to say
    assert spread_of(own)[1, 0] == pytest.approx(4 * 1000 / 999 * (1 + np.sqrt(2 / 509)))


@pytest.mark.parametrize(("each", "seen"), [(3, True), (5, False)])
def test_parts_are_looked_at_in_blocks_of_up_to_two_thirds_of_a_window(each: int, seen: bool) -> None:
    one = np.ones((60, 1))
    calm = Sums(np.tile([[1.0], [-1.0]], (30, 1)), 0 * one, one, 0 * one, one)
    random = np.random.default_rng(2)
    if seen:  # in pairs, which two parts of three show
        parts = np.repeat(random.normal(size=(90, 1)), 2, axis=0)
    else:  # every third alike, which two parts of five do not show and four would
        parts = np.tile(random.normal(size=(11, 1, 3)), (1, 10, 1)).reshape(-1, 1)[: 60 * each]
    parts /= parts.std()
    many = np.ones_like(parts)
    spread = natural_spread(calm, alone=True, parts=Sums(parts, 0 * many, many, 0 * many, many))
    assert bool(spread[0, 0] > 1) == seen


def test_a_first_window_is_no_calmer_than_windows_alone_where_pairs_even_out() -> None:
    tests, count = 2, 8
    ones = np.ones((count, tests))
    turning = np.where(np.arange(count) % 2 == 0, 40.0, -40.0)[:, None] * ones
    spread = np.full((len(SCALES), tests), 1.1)
    spread[0] = 16.0
    z = scan(Sums(turning, 0 * ones, 100 * ones, 0 * ones, 100 * ones), np.zeros(tests), spread)
    assert np.abs(z).max() <= 1.0 + 1e-9
    weight = 100 * ones
    weight[3] = 0.0  # no rows came, so the fourth evens out nothing
    gap = Sums(np.where(weight > 0, turning, 0.0), 0 * ones, weight, 0 * ones, weight)
    assert np.abs(scan(gap, np.zeros(tests), spread)[3, :, 1]).max() <= 1.0 + 1e-9

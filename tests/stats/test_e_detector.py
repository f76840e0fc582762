"""A stream that keeps to its reference rings no more often than declared; one that leaves it does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import percentileofscore

from holdfast.stats import EDetector, StatisticsError, rank_scores, reference_slack

ENDLESS = 10**12


def test_rank_scores_are_scipys_mean_percentiles() -> None:
    random = np.random.default_rng(0)
    reference, values = random.integers(0, 9, 50).astype(float), random.integers(-2, 12, 30).astype(float)
    assert rank_scores(reference, values) == pytest.approx(
        2 * np.array([percentileofscore(reference, value, kind="mean") for value in values]) / 100 - 1
    )


def test_a_known_reference_rings_at_most_once_a_run_length() -> None:
    random = np.random.default_rng(1)
    detector = EDetector.against(ENDLESS, 3, run_length_rows=500)
    alarms = detector.add(random.uniform(-1, 1, (60_000, 3))).size
    # 120 are allowed in the mean; of so many rare, nearly independent alarms 11 are a standard deviation.
    assert 40 < alarms <= 120


def test_columns_that_move_together_ring_no_more_often() -> None:
    random = np.random.default_rng(2)
    detector = EDetector.against(ENDLESS, 8, run_length_rows=500)
    same = np.repeat(random.uniform(-1, 1, (40_000, 1)), 8, axis=1)
    assert detector.add(same).size <= 80


def test_a_finite_reference_keeps_the_promise_that_a_detector_without_slack_breaks() -> None:
    granted = bare = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        reference, rows = random.normal(size=(400, 4)), random.normal(size=(10_000, 4))
        scores = np.column_stack([rank_scores(reference[:, k], rows[:, k]) for k in range(4)])
        granted += EDetector.against(400, 4, run_length_rows=2000).add(scores).size
        bare += EDetector.against(ENDLESS, 4, run_length_rows=2000).add(scores).size
    assert granted <= 60 < bare


def test_the_slack_holds_for_the_share_of_references_that_it_says() -> None:
    random = np.random.default_rng(3)
    # The mean score of an endless uniform stream against a reference is the mean of 1 - 2 r over its rows.
    worst = np.abs((1 - 2 * random.random((4000, 200))).mean(axis=1))
    assert (worst > reference_slack(200, 1, doubt=0.1)).mean() <= 0.1


def test_a_shift_is_found_soon_and_named() -> None:
    random = np.random.default_rng(4)
    reference, rows = random.normal(size=(20_000, 6)), random.normal(size=(3000, 6))
    rows[1000:, 2] += 0.5
    scores = np.column_stack([rank_scores(reference[:, k], rows[:, k]) for k in range(6)])
    first = int(EDetector.against(20_000, 6, run_length_rows=1e6).add(scores)[0])
    assert 1000 <= first < 1500
    shortly_before = EDetector.against(20_000, 6, run_length_rows=1e6)
    assert shortly_before.add(scores[:first]).size == 0
    assert shortly_before.shares.argmax() == 2


def test_what_lies_within_the_tolerance_stays_quiet_however_long_it_lasts() -> None:
    random = np.random.default_rng(5)
    detector = EDetector.against(ENDLESS, 1, run_length_rows=1000, tolerance=0.06)
    assert detector.add(random.uniform(-0.9, 1, (50_000, 1))).size <= 50


def test_one_wild_value_moves_nothing() -> None:
    random = np.random.default_rng(6)
    reference = random.normal(size=5000)
    quiet = random.normal(size=5000)
    wild = quiet.copy()
    wild[4000] = 1e6
    evidence = []
    for values in (quiet, wild):
        detector = EDetector.against(5000, 1, run_length_rows=1e6)
        detector.add(rank_scores(reference, values)[:, None])
        evidence.append(detector.log_evidence)
    assert evidence[1] == pytest.approx(evidence[0], abs=1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 199))
def test_rows_in_two_batches_give_what_one_gives(seed: int, cut: int) -> None:
    scores = np.random.default_rng(seed).uniform(-0.5, 1, (200, 2))
    whole = EDetector.against(1000, 2, run_length_rows=300)
    parts = EDetector.against(1000, 2, run_length_rows=300)
    alarms = whole.add(scores).tolist()
    first = parts.add(scores[:cut]).tolist()
    second = (parts.add(scores[cut:]) + cut).tolist()
    assert first + second == alarms
    assert parts.log_evidence == pytest.approx(whole.log_evidence)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: reference_slack(0, 1),
        lambda: rank_scores(np.array([np.nan]), np.array([1.0])),
        lambda: EDetector.against(10, 1, run_length_rows=0.5),
        lambda: EDetector.against(10, 1, run_length_rows=10).add(np.zeros((3, 2))),
        lambda: EDetector.against(10, 1, run_length_rows=10).add(np.full((3, 1), 2.0)),
        lambda: EDetector.against(10, 1, run_length_rows=10).add(np.full((3, 1), np.nan)),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(StatisticsError):
        wrong()


def test_a_bet_on_a_short_reference_keeps_a_twentieth_of_what_it_has_at_the_worst() -> None:
    detector = EDetector.against(3, 1, run_length_rows=1000.0)
    assert detector.slack > 1
    detector.add(np.array([[-1.0]]))
    up, down = np.exp(detector.log_sums[0])
    assert up.min() == pytest.approx(0.05)
    assert down == pytest.approx(1 + (1 - detector.slack) * detector.stakes)
    assert detector.add(np.array([[1.0], [-1.0]] * 50)).size == 0
    assert np.isfinite(detector.log_sums).all()

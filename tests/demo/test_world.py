"""The world must be honest: what it says changed has changed, and nothing else."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from holdfast.clock import parse_time_us
from holdfast.demo.world import INPUTS, World, WorldSettings, make_world

SEEDS = (1, 2, 3, 4, 5)
_DAY_US = 86_400 * 1_000_000


def world(seed: int = 1, change: str = "both", **more: float) -> World:
    return make_world(WorldSettings(seed=seed, change=change, **more))  # type: ignore[arg-type]  # text for parametrize


def p_value_of_difference(some: np.ndarray, others: np.ndarray) -> float:
    """KS for numbers with many values; chi-square on the counts of categories and small integers."""
    values = np.unique(np.concatenate([some, others]))
    if len(values) > 50:
        return float(stats.ks_2samp(some.astype(float), others.astype(float)).pvalue)
    counts = np.array([[(side == value).sum() for value in values] for side in (some, others)])
    return float(stats.chi2_contingency(counts).pvalue)


def columns(one: World, first_day: int, end_day: int) -> dict[str, np.ndarray]:
    table = one.inputs(one.rows(first_day, end_day))
    return {name: table[name].to_numpy() for name in INPUTS}


def test_the_same_seed_gives_the_same_world_to_the_last_digit() -> None:
    one, other = world(7), world(7)
    everything = slice(0, len(one.fraud))
    assert one.inputs(everything).equals(other.inputs(everything))
    assert np.array_equal(one.fraud, other.fraud)
    assert np.array_equal(one.label_time_us, other.label_time_us)


def test_another_seed_gives_another_world() -> None:
    assert not np.array_equal(world(1).purchases.amount[:100], world(2).purchases.amount[:100])


@pytest.mark.parametrize("seed", SEEDS)
def test_fraud_is_rare_and_a_good_model_could_find_it(seed: int) -> None:
    one = world(seed)
    before = one.rows(0, one.settings.change_day)
    assert 0.008 < one.fraud[before].mean() < 0.02
    assert roc_auc_score(one.fraud[before], one.probability[before]) > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_weeks_of_a_world_without_change_are_alike_in_every_input_and_in_fraud(seed: int) -> None:
    one = world(seed, "none")
    settings = one.settings
    weeks = [(day, day + 7) for day in range(settings.training_days, settings.days, 7)]
    early = columns(one, 0, settings.training_days)
    tests = len(weeks) * (len(INPUTS) + 1) * len(SEEDS)
    for first, end in weeks:
        late = columns(one, first, end)
        for name in INPUTS:
            assert p_value_of_difference(early[name], late[name]) > 0.01 / tests, (name, first)
        early_fraud = one.fraud[one.rows(0, settings.training_days)]
        assert p_value_of_difference(early_fraud, one.fraud[one.rows(first, end)]) > 0.01 / tests


def test_true_probabilities_are_the_frequencies_of_fraud() -> None:
    one = world(3)
    for days in ((0, one.settings.change_day), (one.settings.change_day, one.settings.days)):
        rows = one.rows(*days)
        expected, got = one.probability[rows], one.fraud[rows]
        error = (got.sum() - expected.sum()) / np.sqrt((expected * (1 - expected)).sum())
        assert abs(error) < 4


@pytest.mark.parametrize("seed", SEEDS)
def test_at_the_same_x_fraud_is_another_after_the_change_for_adopters_online_and_for_nobody_else(
    seed: int,
) -> None:
    one = world(seed)
    rows = one.rows(one.settings.change_day, one.settings.days)
    old, new = (one.chance_of_fraud(rows, new_concept=concept) for concept in (False, True))
    touched = one.adopts[rows] & one.purchases.online[rows]
    assert np.array_equal(old[~touched], new[~touched])
    suspicious = touched & (old > 0.1)
    assert suspicious.sum() > 100
    assert (new[suspicious] < 0.5 * old[suspicious]).mean() > 0.9
    # And it is what happens, not only what is said: frequencies follow the new concept, not the old.
    got, spread = one.fraud[rows][suspicious].sum(), np.sqrt(new[suspicious].sum())
    assert abs(got - new[suspicious].sum()) < 4 * spread
    assert got < old[suspicious].sum() - 10 * spread


@pytest.mark.parametrize("seed", SEEDS)
def test_in_a_cell_of_inputs_alone_fraud_falls_after_the_change(seed: int) -> None:
    one = world(seed)
    bought = one.purchases
    cell = bought.online & bought.new_merchant & (bought.amount_to_usual > 1.5) & (bought.country == 0)
    before = cell & (bought.day < one.settings.change_day)
    after = cell & (bought.day >= one.settings.change_day)
    table = [[(one.fraud & side).sum(), (~one.fraud & side).sum()] for side in (before, after)]
    assert stats.fisher_exact(table).pvalue < 1e-3
    assert one.fraud[after].mean() < 0.6 * one.fraud[before].mean()


@pytest.mark.parametrize("change", ["data", "concept", "both"])
def test_each_change_begins_at_midnight_of_its_day_and_touches_only_what_it_says(change: str) -> None:
    one, still = world(2, change), world(2, "none")
    day = one.settings.change_day
    before = one.rows(0, day)
    assert one.inputs(before).equals(still.inputs(before))
    assert np.array_equal(one.fraud[before], still.fraud[before])
    share_after = one.purchases.online[one.rows(day, day + 1)].mean()
    share_before = one.purchases.online[one.rows(day - 1, day)].mean()
    if change == "concept":
        assert abs(share_after - share_before) < 0.1
    else:
        assert share_after > share_before + 0.2
    rows = one.rows(day, one.settings.days)
    concept_moved = not np.array_equal(one.probability[rows], one.chance_of_fraud(rows, new_concept=False))
    assert concept_moved == (change != "data")


def test_the_truth_names_kinds_time_and_features() -> None:
    one = world(1)
    truth = one.truth
    assert truth.kinds == ("data drift", "concept drift")
    assert truth.since is not None
    first = one.time_us[one.rows(one.settings.change_day, one.settings.days)][0]
    assert 0 <= first - parse_time_us(truth.since) < _DAY_US / 24
    assert set(truth.features) < set(INPUTS)
    assert world(1, "none").truth.kinds == ()


def test_features_named_as_moved_did_move_and_the_others_did_not() -> None:
    one = world(4)
    day = one.settings.change_day
    before, after = columns(one, day - 14, day), columns(one, day, day + 14)
    moved = {name for name in INPUTS if p_value_of_difference(before[name], after[name]) < 1e-4}
    assert moved == set(one.truth.features)


def test_labels_come_days_late_and_some_never() -> None:
    one = world(1)
    known = one.label_time_us >= 0
    delay_days = (one.label_time_us[known] - one.time_us[known]) / _DAY_US
    assert 0.02 < 1 - known.mean() < 0.04
    assert delay_days.min() > 0
    assert 1.5 < np.median(delay_days) < 2.1
    assert np.quantile(delay_days, 0.999) < 14


def test_the_days_of_a_week_and_the_hours_of_a_day_have_their_season_in_reference_and_traffic_alike() -> None:
    one = world(1, "none")
    settings = one.settings
    for first, end in (
        (settings.training_days, settings.first_live_day),
        (settings.first_live_day, settings.days),
    ):
        day = one.purchases.day[one.rows(first, end)]
        saturdays, sundays = (day % 7 == 5).sum(), (day % 7 == 6).sum()
        assert saturdays > 1.2 * sundays
        hour = one.purchases.hour[one.rows(first, end)]
        assert (hour == 17).sum() > 5 * (hour == 3).sum()


def test_two_hundred_thousand_transactions_take_less_than_two_seconds() -> None:
    started = time.process_time()
    one = world(1, per_day=1650.0)
    assert len(one.fraud) > 200_000
    assert time.process_time() - started < 2.0

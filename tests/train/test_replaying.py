"""The policy on history: it sees no future, and a world that turned costs more where nobody retrains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shop import DAY_US, START_US, TOML, Shop, open_shop
from sklearn.metrics import roc_auc_score

from holdfast.clock import iso_utc
from holdfast.prediction_log import PredictionLog
from holdfast.registry.candidate import answer_all
from holdfast.stats.boosting import MAPPING_TREES
from holdfast.train import Replay, TrainError, replay
from holdfast.train.standing_in import LARGEST_FIT, newest

KEYS = 'triggers = ["alarm"]\ncool_down = "5d"\ncost = 20.0\nrefit = true\n'


def alarm_at(shop: Shop, day: int, days: int, by: str = "log_e_data") -> None:
    """A diagnosis as the monitor stores it, its alarm raised on that day by the inputs or by the labels."""
    windows = [
        {"start": iso_utc(START_US + one * DAY_US), "end": iso_utc(START_US + (one + 1) * DAY_US),
         "alarm": one >= day, "log_e_data": 0.0, "log_e_concept": 0.0, by: 2.0 * (one >= day)}
        for one in range(days)
    ]  # fmt: skip
    at = iso_utc(START_US + (day - 1) * DAY_US)
    since = {"earliest": at, "estimate": at, "latest": at}
    shop.registry.attach_evidence(
        "1", "diagnosis", {"verdict": "concept drift", "alarm": True, "since": since, "windows": windows}
    )


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a training comes does not depend on how many trees stand in for the trainer."""
    monkeypatch.setattr("holdfast.train.standing_in.MAPPING_TREES", {**MAPPING_TREES, "max_iter": 8})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = open_shop(tmp_path / "shop", TOML + KEYS)
    yield shop
    shop.close()


def by_name(found: Replay) -> dict[str, Any]:
    return {one.policy: one for one in found.policies}


def test_retraining_on_the_alarm_beats_never_and_costs_less_than_always(shop: Shop) -> None:
    shop.days(0, 6, score=True)
    shop.days(6, 12, turned=True, score=True)
    alarm_at(shop, day=7, days=18)
    found = replay(shop.deployment, shop.registry)
    assert (found.windows, found.rows, found.labelled, found.version) == (18, 3600, 3600, "1")
    assert found.alarms == (iso_utc(START_US + 8 * DAY_US),)
    assert found.change == iso_utc(START_US + 6 * DAY_US)
    said = by_name(found)
    assert said["never"].trainings == ()
    assert said["never"].days_late is None
    assert len(said["always"].trainings) == 18
    assert said["always"].training_cost == 360.0
    ours = said["checklist"]
    # The alarm stands from the 8th day; labels of the window that raised it are mature two days later.
    assert ours.trainings[0] == iso_utc(START_US + 10 * DAY_US)
    assert "an alarm stands" in ours.reasons[0]
    assert 1 <= len(ours.trainings) <= 4
    assert ours.days_late is not None
    assert 2 <= ours.days_late <= 8
    assert ours.quality > said["never"].quality + 0.05
    assert ours.mean_loss < said["never"].mean_loss
    table = PredictionLog(shop.deployment).joined().read_all()
    area = roc_auc_score(table.column("y").to_numpy() == "1", table.column("score").to_numpy())
    assert said["never"].quality == pytest.approx(area, abs=0.005)  # cut to 512 cells


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize(("keys", "days"), [("", [10, 15]), ("follow_up_rows = 0\n", [10])])
def test_what_an_alarm_taught_is_followed_up_once_its_rows_have_doubled(
    shop: Shop, keys: str, days: list[int]
) -> None:
    shop.reopen(TOML + KEYS + keys)
    shop.days(0, 6, score=True)
    shop.days(6, 12, turned=True, score=True)
    alarm_at(shop, day=7, days=18)
    ours = by_name(replay(shop.deployment, shop.registry))["checklist"]
    assert ours.trainings == tuple(iso_utc(START_US + day * DAY_US) for day in days)
    # Of the window that raised the alarm 200 rows; after the cool-down five more days of them.
    assert ours.reasons[1:] == (
        *("1200 labelled rows since the change; the newest training had 200 of them" for _ in days[1:]),
    )


def test_no_policy_learns_from_labels_that_were_not_mature(shop: Shop) -> None:
    shop.days(0, 5, score=True)
    shop.days(5, 2, turned=True, score=True)
    found = by_name(replay(shop.deployment, shop.registry))
    # The turned days are younger than the label delay until the end: nobody can be right about them.
    assert found["always"].quality < found["never"].quality + 0.05
    assert found["always"].days_late is None


@pytest.mark.usefixtures("few_trees")
def test_an_alarm_that_labels_raise_is_heard_when_they_are_mature(shop: Shop) -> None:
    shop.days(0, 6, score=True)
    shop.days(6, 12, turned=True, score=True)
    alarm_at(shop, day=7, days=18, by="log_e_concept")
    found = replay(shop.deployment, shop.registry)
    assert found.alarms == (iso_utc(START_US + 10 * DAY_US),)
    assert by_name(found)["checklist"].trainings[0] == iso_utc(START_US + 10 * DAY_US)


@pytest.mark.usefixtures("few_trees")
def test_the_trigger_quality_waits_for_mature_labels(shop: Shop) -> None:
    shop.reopen(TOML + 'triggers = ["quality"]\nleast_quality = 0.8\n')
    shop.days(0, 6, score=True)
    shop.days(6, 8, turned=True, score=True)
    trainings = by_name(replay(shop.deployment, shop.registry))["checklist"].trainings
    # The first turned day ends at 7, and its labels count from 9 on.
    assert iso_utc(START_US + 9 * DAY_US) <= trainings[0] <= iso_utc(START_US + 11 * DAY_US)


@pytest.mark.usefixtures("few_trees")
def test_a_label_that_comes_after_its_row_has_counted_teaches_only_from_then_on(shop: Shop) -> None:
    shop.days(0, 3, score=True)
    shop.days(3, 11, turned=True, score=True, label_after_us=6 * DAY_US)
    alarm_at(shop, day=4, days=14)
    assert by_name(replay(shop.deployment, shop.registry))["always"].days_late == pytest.approx(7.0)


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize(
    ("keys", "late_days"), [("refit = true", 3.0), ("", 10.0), ('split = "random"', 3.0)]
)
def test_rows_that_would_be_the_test_teach_no_policy(shop: Shop, keys: str, late_days: float) -> None:
    shop.reopen(f"{TOML}{keys}\n")
    shop.days(0, 4, score=True)
    shop.days(4, 12, turned=True, score=True)
    alarm_at(shop, day=5, days=16)
    # label_delay, and where the newest rows judge, five days of test and a gap of label_delay before it.
    found = by_name(replay(shop.deployment, shop.registry))["always"]
    assert found.days_late == pytest.approx(late_days, abs=0.01)


@pytest.mark.usefixtures("few_trees")
def test_rows_that_the_first_version_answers_with_no_number_are_left_out_and_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_the_first(*asked: Any) -> Any:
        answer = answer_all(*asked)
        assert answer.probabilities is not None
        answer.probabilities[0] = np.nan
        return answer

    monkeypatch.setattr("holdfast.train.replayed_rows.answer_all", without_the_first)
    shop.days(0, 3)
    found = replay(shop.deployment, shop.registry)
    assert (found.rows, found.labelled) == (600, 597)
    assert any(note.startswith("3 labelled rows are left out") for note in found.notes)
    assert all(np.isfinite(one.mean_loss) for one in found.policies)


def test_memory_holds_the_newest_rows_only() -> None:
    history = np.empty((0, 2)), np.empty(0)
    for day in range(30):
        history = newest(history, np.full((1000, 2), day), np.full(1000, day))
    assert len(history[0]) == len(history[1]) == LARGEST_FIT
    assert history[1].min() == 10


@pytest.mark.usefixtures("few_trees")
def test_without_a_diagnosis_it_says_so_and_without_a_label_it_is_an_error(shop: Shop) -> None:
    with pytest.raises(TrainError, match="no prediction yet"):
        replay(shop.deployment, shop.registry)
    shop.days(0, 3, score=True)
    assert any("run holdfast monitor" in note for note in replay(shop.deployment, shop.registry).notes)

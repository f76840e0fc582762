"""The policy: which trigger holds, and what keeps it from training."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.spec import Duration
from holdfast.spec.checklist import Training
from holdfast.train import State, decide

DAY_US = 86_400_000_000
SETTINGS = Training(
    triggers=("alarm", "schedule", "quality", "labels"),
    schedule=Duration(30 * DAY_US),
    least_quality=0.8,
    new_labels=100,
    cool_down=Duration(7 * DAY_US),
    budget=2,
)
NOW = 1000 * DAY_US
QUIET = State(now_us=NOW, trained_us=(NOW - 20 * DAY_US,), quality=0.9)


@pytest.mark.parametrize(
    ("change", "trigger"),
    [
        ({}, None),
        ({"alarm": True}, "alarm"),
        ({"trained_us": (NOW - 30 * DAY_US,)}, "schedule"),
        ({"trained_us": ()}, "schedule"),
        ({"quality": 0.79}, "quality"),
        ({"quality": 0.81, "higher_is_better": False}, "quality"),
        ({"new_labels": 100}, "labels"),
        ({"alarm": True, "new_labels": 100}, "alarm"),
        ({"alarm": True, "learnable_rows": 500}, "alarm"),
        ({"alarm": True, "learnable_rows": 499}, None),
        ({"alarm": True, "learnable_rows": 0, "new_labels": 100}, "labels"),
        ({"alarm": True, "fault": True}, None),
        ({"taught_rows": 600, "learnable_rows": 1200}, "alarm"),
        ({"taught_rows": 600, "learnable_rows": 1199}, None),
        ({"taught_rows": 0, "learnable_rows": 500}, "alarm"),
        ({"taught_rows": 0, "learnable_rows": 499}, None),
        ({"taught_rows": 99_999, "learnable_rows": 10**6}, "alarm"),
        ({"taught_rows": 100_000, "learnable_rows": 10**6}, None),
        ({"taught_rows": None, "learnable_rows": 10**6}, None),
    ],
)
def test_a_trigger_that_holds_trains_and_says_why(change: dict[str, object], trigger: str | None) -> None:
    state = State(**{**{name: getattr(QUIET, name) for name in QUIET.__slots__}, **change})
    plan = decide(state, SETTINGS)
    assert (plan.train, plan.trigger) == (trigger is not None, trigger)
    assert plan.reason


def test_a_training_cools_down_and_the_budget_holds() -> None:
    soon = State(now_us=NOW, trained_us=(NOW - 6 * DAY_US,), alarm=True)
    assert "cool-down" in decide(soon, SETTINGS).reason
    assert not decide(soon, SETTINGS).train
    spent = State(now_us=NOW, trained_us=(NOW - 29 * DAY_US, NOW - 8 * DAY_US), alarm=True)
    assert "budget of 2" in decide(spent, SETTINGS).reason
    later = State(now_us=NOW, trained_us=(NOW - 31 * DAY_US, NOW - 8 * DAY_US), alarm=True)
    assert decide(later, SETTINGS).train


def test_an_alarm_waits_until_something_of_the_change_can_be_learnt_and_says_so() -> None:
    young = State(now_us=NOW, trained_us=(NOW - 20 * DAY_US,), alarm=True, learnable_rows=499)
    assert "499 have a label" in decide(young, SETTINGS, ("alarm",)).reason
    broken = State(now_us=NOW, trained_us=(NOW - 20 * DAY_US,), alarm=True, fault=True)
    assert "mend the pipe" in decide(broken, SETTINGS, ("alarm",)).reason


def test_a_training_that_follows_up_learns_the_same_change_under_the_same_bounds() -> None:
    doubled = State(
        now_us=NOW, trained_us=(NOW - 8 * DAY_US,), change_us=5, learnable_rows=1300, taught_rows=600
    )
    plan = decide(doubled, SETTINGS)
    assert (plan.trigger, plan.change_us) == ("alarm", 5)
    assert plan.reason == "1300 labelled rows since the change; the newest training had 600 of them"
    soon = State(
        now_us=NOW, trained_us=(NOW - 6 * DAY_US,), change_us=5, learnable_rows=1300, taught_rows=600
    )
    assert "cool-down" in decide(soon, SETTINGS).reason
    assert not decide(doubled, SETTINGS, ("schedule",)).train
    assert not decide(doubled, msgspec.structs.replace(SETTINGS, follow_up_rows=0)).train


def test_a_change_is_followed_up_as_often_as_its_rows_double_and_no_longer() -> None:
    settings = msgspec.structs.replace(
        SETTINGS, triggers=("alarm",), budget=1000, cool_down=Duration(0), follow_up_rows=8000
    )
    taught, learnt = 500, []
    for rows in range(500, 100_000, 100):
        state = State(now_us=NOW, change_us=5, learnable_rows=rows, taught_rows=taught)
        if decide(state, settings).train:
            taught = rows
            learnt.append(rows)
    assert learnt == [1000, 2000, 4000, 8000]


def test_without_triggers_nothing_is_ever_due() -> None:
    state = State(now_us=NOW, alarm=True, new_labels=10**9)
    assert not decide(state, Training()).train
    assert decide(state, Training(), ("alarm",)).trigger == "alarm"


@given(
    days=st.lists(st.booleans(), min_size=1, max_size=120),
    budget=st.integers(0, 5),
    cool_down=st.integers(0, 20),
)
def test_trainings_never_exceed_the_budget_nor_come_within_the_cool_down(
    days: list[bool], budget: int, cool_down: int
) -> None:
    settings = msgspec.structs.replace(
        SETTINGS, triggers=("alarm",), budget=budget, cool_down=Duration(cool_down * DAY_US)
    )
    trained: list[int] = []
    for day, alarm in enumerate(days):
        if decide(State(now_us=day * DAY_US, trained_us=tuple(trained), alarm=alarm), settings).train:
            trained.append(day * DAY_US)
    for place, at in enumerate(trained):
        assert sum(at - one < 30 * DAY_US for one in trained[: place + 1]) <= budget
        if place:
            assert at - trained[place - 1] >= cool_down * DAY_US

from __future__ import annotations

import random

import pytest

from holdfast.infer.cost import RunCost


def test_fixed_and_per_row_parts_are_told_apart() -> None:
    cost, chance = RunCost(), random.Random(1)
    for _ in range(200):
        rows = chance.choice([1, 2, 8, 64])
        cost.observe(rows, 0.001 + 0.0001 * rows)
    assert cost.fixed_s == pytest.approx(0.001, rel=0.05)
    assert cost.per_row_s == pytest.approx(0.0001, rel=0.05)
    assert cost.rows_within(0.011) == pytest.approx(100, abs=3)


def test_runs_of_one_size_never_give_negative_or_absurd_estimates() -> None:
    cost = RunCost()
    for _ in range(100):
        cost.observe(4, 0.002)
    assert cost.seconds(4) == pytest.approx(0.002)
    assert 0 <= cost.seconds(1) <= 0.002
    assert cost.seconds(400) <= 0.2


def test_what_makes_runs_of_one_size_slower_is_not_taken_for_a_fixed_part() -> None:
    cost, chance = RunCost(), random.Random(1)
    for _ in range(50):
        rows = chance.choice([1, 2, 8, 64])
        cost.observe(rows, 0.001 + 0.0001 * rows)
    for slower in (1.0,) * 400 + (2.0,) * 400:
        rows = chance.choice([63, 64, 65])
        cost.observe(rows, (0.001 + 0.0001 * rows) * slower * chance.choice([0.8, 1.0, 1.2]))
    assert cost.seconds(64) == pytest.approx(0.0148, rel=0.1), "twice the time"
    assert cost.fixed_s / cost.per_row_s == pytest.approx(10, rel=0.2), "and the same parts"


def test_one_disturbed_run_changes_little_and_a_lasting_change_is_learned() -> None:
    cost = RunCost()
    for i in range(50):
        cost.observe(1 + i % 3, 0.0001)
    cost.observe(1, 5.0)
    assert cost.seconds(1) < 0.0005
    for i in range(500):
        cost.observe(1 + i % 3, 0.01)
    assert cost.seconds(1) == pytest.approx(0.01, rel=0.2)


def test_before_the_first_run_nothing_is_expected() -> None:
    assert RunCost().seconds(1000) == 0.0
    assert RunCost().rows_within(0.001) > 1000

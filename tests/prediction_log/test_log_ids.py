"""Prediction ids are UUIDs of version 7 in rising order."""

from __future__ import annotations

import os
import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import new_prediction_ids
from holdfast.prediction_log.ids import PredictionIds

NOW_US = 1_780_000_000_123_456


def test_the_version_the_variant_and_the_time_are_where_rfc_9562_puts_them() -> None:
    for text in PredictionIds().new(1000, ManualClock(NOW_US)):
        one = uuid.UUID(text)
        assert str(one) == text
        assert one.version == 7
        assert one.variant == uuid.RFC_4122
        assert one.int >> 80 == NOW_US // 1000


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-5000, 5000)), max_size=30))
def test_ids_rise_even_when_the_clock_goes_back(steps: list[tuple[int, int]]) -> None:
    clock, ids = ManualClock(NOW_US), PredictionIds()
    made: list[str] = []
    for n, step_us in steps:
        made += ids.new(n, clock)
        clock.advance_s(step_us / 1e6)
    assert made == sorted(set(made))


def test_a_used_up_millisecond_runs_into_the_next_one() -> None:
    ids = PredictionIds()
    first = ids.new(1, ManualClock(NOW_US))
    ids._counter = 2**26 - 2
    made = first + ids.new(5, ManualClock(NOW_US))
    assert made == sorted(set(made))
    assert uuid.UUID(made[-1]).int >> 80 == NOW_US // 1000 + 1


def test_two_generators_do_not_meet() -> None:
    clock = ManualClock(NOW_US)
    assert not set(PredictionIds().new(10_000, clock)) & set(PredictionIds().new(10_000, clock))


def test_threads_share_one_rising_sequence() -> None:
    made: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: made.append(new_prediction_ids(5000, SystemClock())))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(part == sorted(part) for part in made)
    assert len({one for part in made for one in part}) == 20_000


def test_none_is_none() -> None:
    assert new_prediction_ids(0, SystemClock()) == []


@pytest.mark.parametrize("n", [1, 10_000])
def test_an_id_costs_microseconds_at_most(n: int) -> None:
    clock = SystemClock()
    best_s = 1.0
    for _ in range(5):
        started_s = time.perf_counter()
        new_prediction_ids(n, clock)
        best_s = min(best_s, time.perf_counter() - started_s)
    assert best_s / n < 40e-6 / n + 5e-6  # measured: 0.6 microseconds each in batches


def test_a_copy_of_the_process_makes_ids_of_its_own() -> None:
    clock = ManualClock(NOW_US)
    ids = PredictionIds()
    ids.new(1, clock)  # its random digits are fetched for many
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, ids.new(1, clock)[0].encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 64).decode()
    os.close(reading)
    os.close(writing)
    ours = ids.new(1, clock)[0]
    assert ours[-12:] != theirs[-12:]

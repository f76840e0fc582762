"""Days as requests, and labels in their time."""

from __future__ import annotations

import json

from holdfast.clock import parse_time_us
from holdfast.demo.replay import LabelQueue, records
from holdfast.demo.world import INPUTS, WorldSettings, make_world

WORLD = make_world(WorldSettings(training_days=7, reference_days=7, live_days=7, per_day=200.0, people=300))
_DAY_US = 86_400 * 1_000_000


def test_a_record_holds_the_inputs_as_they_are_and_the_time_of_the_transaction() -> None:
    rows = WORLD.rows(14, 15)
    found = [json.loads(one) for one in records(WORLD, rows)]
    assert len(found) == rows.stop - rows.start
    table = WORLD.inputs(rows).to_pylist()
    assert [{name: one[name] for name in INPUTS} for one in found] == table
    assert [parse_time_us(one["time"]) for one in found] == WORLD.time_us[rows].tolist()


def test_labels_come_when_their_time_has_come_and_each_only_once() -> None:
    queue = LabelQueue()
    rows = WORLD.rows(14, 21)
    ids = [f"id-{i}" for i in range(rows.stop - rows.start)]
    queue.add(WORLD, rows, ids)
    taken: list[str] = []
    for day in range(14, 60):
        midnight_us = WORLD.start_us + (day + 1) * _DAY_US
        due = queue.take(midnight_us)
        times = [parse_time_us(label.observed_at) for label in due]
        assert times == sorted(times)
        assert all(midnight_us - _DAY_US <= time_us < midnight_us for time_us in times)
        taken += [label.prediction_id for label in due]
    assert len(queue) == 0
    known = WORLD.label_time_us[rows] >= 0
    assert sorted(taken) == sorted(one for one, is_known in zip(ids, known, strict=True) if is_known)


def test_a_label_says_what_happened() -> None:
    queue = LabelQueue()
    rows = WORLD.rows(14, 21)
    queue.add(WORLD, rows, [str(i) for i in range(rows.stop - rows.start)])
    fraud = WORLD.fraud[rows]
    for label in queue.take(2**62):
        assert label.label == fraud[int(label.prediction_id)]


def test_a_transaction_without_an_answer_has_no_label_to_send() -> None:
    queue = LabelQueue()
    rows = WORLD.rows(14, 15)
    queue.add(WORLD, rows, [None] * (rows.stop - rows.start))
    assert len(queue) == 0

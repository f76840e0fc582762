"""Days of a world as requests: records to ask about, and labels that become due."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import msgspec

from holdfast.clock import iso_utc
from holdfast.demo.traffic import LabelToSend
from holdfast.demo.world import TIME, World


def records(world: World, rows: slice) -> list[bytes]:
    """One JSON record per transaction: the model's inputs and the transaction's own time."""
    encode = msgspec.json.Encoder().encode
    table = world.inputs(rows).to_pylist()
    times = world.time_us[rows].tolist()
    return [encode({**row, TIME: iso_utc(time_us)}) for row, time_us in zip(table, times, strict=True)]


class LabelQueue:
    """Labels of answered predictions that wait for the time at which they become known."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str, int]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, world: World, rows: slice, prediction_ids: Sequence[str | None]) -> None:
        """Take in a stretch of transactions; those without an answer or never labelled are left out."""
        known = world.label_time_us[rows].tolist()
        fraud = world.fraud[rows].tolist()
        for prediction_id, known_us, is_fraud in zip(prediction_ids, known, fraud, strict=True):
            if prediction_id is not None and known_us >= 0:
                heapq.heappush(self._waiting, (known_us, prediction_id, int(is_fraud)))

    def take(self, until_us: int) -> list[LabelToSend]:
        """The labels that became known before that time, in the order in which they did."""
        due = []
        while self._waiting and self._waiting[0][0] < until_us:
            known_us, prediction_id, is_fraud = heapq.heappop(self._waiting)
            due.append(LabelToSend(prediction_id, is_fraud, iso_utc(known_us)))
        return due

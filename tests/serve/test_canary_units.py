"""Which worker counts a unit of a rollout."""

from __future__ import annotations

from typing import Any

from live_service import linear_model

from holdfast.infer import Block, RecordCodec
from holdfast.serve.canary import Canary
from holdfast.serve.control import Challenger
from holdfast.spec import parse_checklist
from holdfast.telemetry import ServiceCounts

CODEC = RecordCodec(linear_model().signature, parse_checklist('[model]\nname = "demo"\n', source="test"))
ROUTE = Challenger("2", "", 7, canary=True, share=0.5, key=b"k" * 16)


def test_workers_count_a_unit_once_together_and_assign_it_alike() -> None:
    counts = [ServiceCounts(), ServiceCounts()]
    endpoint: Any = None
    workers = [
        Canary(endpoint, ROUTE, "", place=(number, 2), counts=counts[number], chance=lambda: 0.0)
        for number in range(2)
    ]
    taken = 0
    for unit in range(200):
        records, _ = CODEC.decode(b'{"a":1,"b":2,"prediction_id":"unit-%d"}' % unit)
        block: Block | None = None
        arms = {worker.takes(CODEC, records, block) for worker in (*workers, *workers)}
        assert len(arms) == 1
        taken += arms.pop()
    counts[0].add(counts[1], alive=True)
    assert counts[0].units == {"7 0.5 challenger": taken, "7 0.5 champion": 200 - taken}

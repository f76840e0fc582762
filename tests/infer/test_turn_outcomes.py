"""What becomes of one job of a turn: each has its own rows' answers, whoever has gone or waits no longer."""

from __future__ import annotations

import asyncio

import pytest
from arithmetic import Arithmetic
from test_turns import Waiting, batcher_of, in_loop, open_lane, submit

from holdfast.infer import OverloadedError


def test_a_caller_who_leaves_during_the_run_shifts_nobody_elses_answers() -> None:
    async def test() -> None:
        batcher = batcher_of()
        lane = open_lane(batcher, Arithmetic(2.0, pause_s=0.02))
        first = Waiting(lane, [(1, 0), (2, 0)])
        batcher.submit(lane, first)
        second = submit(batcher, lane, [(3, 0)])
        await asyncio.sleep(0.005)
        first.cancelled = True
        assert await second == [6.0]
        batcher.close()

    in_loop(test)


def test_who_waits_no_longer_is_refused_though_the_deadline_is_far() -> None:
    async def test() -> None:
        batcher = batcher_of(deadline_s=1000.0)
        lane = open_lane(batcher, Arithmetic())
        late = Waiting(lane, [(1, 0)])
        late.patience_s = 0.001
        batcher.submit(lane, late)
        late.arrived_s -= 1.0
        with pytest.raises(OverloadedError):
            await late.future
        batcher.close()

    in_loop(test)

"""What becomes of one job of a turn: each has its own rows' answers, whoever has gone or waits no longer."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest
from arithmetic import Arithmetic
from callers import Waiting, batcher_of, closed, in_loop, open_lane, submit

from holdfast.errors import HoldfastError
from holdfast.infer import ModelFailedError, OverloadedError


class Deaf(Waiting):
    """A job whose caller cannot be told."""

    def failed(self, error: HoldfastError) -> None:
        raise ConnectionError("gone")


class Leaving(Arithmetic):
    """A model that calls `sys.exit`, as a script may."""

    leaves = False

    def run(self, feeds: Any) -> dict[str, Any]:
        if self.leaves:
            raise SystemExit(3)
        return super().run(feeds)


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


def test_a_retired_lane_of_which_nobody_waits_any_more_closes_too() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Arithmetic()
        lane = open_lane(batcher, runtime)
        gone = Waiting(lane, [(1, 0)])
        batcher.submit(lane, gone)
        gone.cancelled = True
        batcher.retire(lane)
        await asyncio.sleep(0.01)
        assert closed(runtime)
        batcher.close()

    in_loop(test)


@pytest.mark.parametrize("pause_s", [0.0, 0.005])
def test_a_model_that_ends_its_program_fails_its_own_rows_and_the_next_are_answered(pause_s: float) -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Leaving(pause_s=pause_s)
        lane = open_lane(batcher, runtime)
        runtime.leaves = True
        with pytest.raises(ModelFailedError):
            await submit(batcher, lane, [(1, 0)])
        runtime.leaves = False
        assert await submit(batcher, lane, [(2, 0)]) == [2.0]
        batcher.close()

    in_loop(test)


def test_a_refusal_given_again_and_again_does_not_pile_up_what_it_refused() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(deadline_s=0.05), Arithmetic(pause_s=0.02)
        lane = open_lane(batcher, runtime)
        now_s = asyncio.get_running_loop().time()
        lane.cost.observe(1, 10.0)  # of which one is under way and another waits
        submit(batcher, lane, [(1, 0)]).add_done_callback(lambda future: future.exception())
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as first:
            submit(batcher, lane, [(1, 0)])
        for _ in range(50):
            with pytest.raises(OverloadedError) as again:
                batcher.check(lane, now_s)
            assert again.value is first.value
        assert len(list(traceback.walk_tb(again.value.__traceback__))) < 10
        await batcher.drained()
        batcher.close()

    in_loop(test)


def test_a_request_larger_than_the_queue_hears_that_and_not_of_a_deadline() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(deadline_s=1000.0), Arithmetic()
        lane = open_lane(batcher, runtime)
        job = Waiting(lane, [(1, 0)])
        job.rows = 200_001
        with pytest.raises(OverloadedError, match="at most 200000 rows, 0 wait, and this request has 200001"):
            batcher.submit(lane, job)
        batcher.close()

    in_loop(test)


def test_a_refusal_that_cannot_be_delivered_keeps_nobody_else_from_an_answer() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Arithmetic()
        lane = open_lane(batcher, runtime)
        late = Deaf(lane, [(1, 0)])
        late.patience_s = 0.001
        batcher.submit(lane, late)
        late.arrived_s -= 1.0
        assert await submit(batcher, lane, [(2, 0)]) == [2.0]
        batcher.close()

    in_loop(test)

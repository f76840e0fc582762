"""What is let in at the limit, to the row: late answers saved up, the way back of the target, probes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from arithmetic import DEMO, Arithmetic, model_of
from callers import Counted, Settled, closed, in_loop, job_of, let_in, open_lane

from holdfast.clock import SystemClock
from holdfast.infer import DataPlane, Lane, OverloadedError, TurnBatcher
from holdfast.telemetry import ServiceCounts

Test = Callable[[TurnBatcher, Lane], Awaitable[None]]
pytestmark = pytest.mark.interpreted


def at_a_tenth_of_a_second_a_row(test: Test, *, deadline_s: float = 500.0, target_s: float = 10.0) -> None:
    """Run a test with a lane whose rows are believed to take so long, and that learns nothing else.

    Their runs take no time, so that what a busy machine does to them decides nothing.
    """

    async def run() -> None:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), deadline_s, target_s)
        lane = Lane(model_of(Arithmetic()), DEMO)
        lane.model.cost = lane.cost = Settled()
        lane.model.cost.per_row_s = 0.1
        batcher.open_lane(lane)
        await test(batcher, lane)
        await batcher.drained()
        batcher.close()

    in_loop(run)


async def answer(batcher: TurnBatcher, lane: Lane, requests: int, *, late_s: float = 0.0) -> None:
    """Requests one after another, each answered so much later than it came."""
    for _ in range(requests):
        job = job_of(lane)
        job.arrived_s -= late_s
        batcher.submit(lane, job)
        await batcher.drained()
        await asyncio.sleep(0)  # for the books


def test_however_long_all_was_in_time_a_hundred_may_be_late_at_once() -> None:
    async def test(batcher: TurnBatcher, lane: Lane) -> None:
        lane.model.cost.per_row_s = 0.0
        for _ in range(150):
            for _ in range(100):
                batcher.submit(lane, job_of(lane))
            await batcher.drained()
        lane.model.cost.per_row_s = 0.1
        assert await let_in(batcher, lane) == 180

    at_a_tenth_of_a_second_a_row(test)


@pytest.mark.parametrize(("in_time", "rows"), [(0, 72), (40, 74), (200, 80)])
def test_one_late_batch_takes_a_tenth_of_the_target_and_each_in_time_gives_a_thousandth_back(
    in_time: int, rows: int
) -> None:
    async def test(batcher: TurnBatcher, lane: Lane) -> None:
        await answer(batcher, lane, 1, late_s=20.0)
        await answer(batcher, lane, in_time)
        late = int(1 + (1 + in_time + rows) / 100)  # of so many in time
        assert rows + late - 1 <= await let_in(batcher, lane) <= rows + late

    at_a_tenth_of_a_second_a_row(test)


def test_an_estimate_that_refuses_everything_is_tried_once_a_second_and_not_more_often() -> None:
    async def test(batcher: TurnBatcher, lane: Lane) -> None:
        lane.model.cost.fixed_s = 100.0
        asked = {}
        for later_s in (0.0, 0.001, 0.9, 1.1, 1.2, 2.0, 2.2):
            job = job_of(lane)
            job.arrived_s += later_s
            try:
                batcher.submit(lane, job)
                asked[later_s] = "run"
            except OverloadedError as error:
                asked[later_s] = error.reason
            await batcher.drained()
        assert [at for at, outcome in asked.items() if outcome == "run"] == [0.0, 1.1, 2.2]
        assert set(asked.values()) == {"run", "deadline"}

    at_a_tenth_of_a_second_a_row(test, deadline_s=50.0)


def test_what_only_its_caller_cannot_wait_for_is_no_probe() -> None:
    async def test(batcher: TurnBatcher, lane: Lane) -> None:
        lane.model.cost.fixed_s = 20.0
        job = job_of(lane)
        job.patience_s = 10.0
        with pytest.raises(OverloadedError, match="deadline"):
            batcher.submit(lane, job)

    at_a_tenth_of_a_second_a_row(test, deadline_s=50.0)


def test_a_refused_row_stands_for_bodies_of_any_size_unless_its_caller_was_in_a_hurry() -> None:
    async def test(batcher: TurnBatcher, lane: Lane) -> None:
        while batcher.queued_rows < 81:
            batcher.submit(lane, job_of(lane))
        hurried = job_of(lane)
        hurried.patience_s = 1.0
        with pytest.raises(OverloadedError):
            batcher.submit(lane, hurried)
        now_s = asyncio.get_running_loop().time()
        batcher.check(lane, now_s, 1)  # that refusal speaks of nobody else
        row = job_of(lane)
        row.size_bytes = 500
        with pytest.raises(OverloadedError):
            batcher.submit(lane, row)
        with pytest.raises(OverloadedError):
            batcher.check(lane, now_s, 1)

    at_a_tenth_of_a_second_a_row(test)


def test_a_refusal_of_many_rows_of_unknown_size_stands_for_nobody_else() -> None:
    async def test(batcher: TurnBatcher, lane: Lane) -> None:
        while batcher.queued_rows < 60:
            batcher.submit(lane, job_of(lane))
        many = job_of(lane)
        many.rows = 300
        with pytest.raises(OverloadedError):
            batcher.submit(lane, many)
        batcher.check(lane, asyncio.get_running_loop().time(), 10_000)

    at_a_tenth_of_a_second_a_row(test, deadline_s=20.0)


def test_a_lane_closes_after_its_last_answer_only_when_it_is_retired() -> None:
    async def test() -> None:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 5.0)
        runtime = Arithmetic()
        lane = open_lane(batcher, runtime)
        before = Counted.answers
        batcher.submit(lane, job_of(lane))
        await batcher.drained()
        await asyncio.sleep(0.01)
        assert (Counted.answers - before, closed(runtime)) == (1, False)
        batcher.submit(lane, job_of(lane))
        batcher.retire(lane)
        assert not closed(runtime), "it still has a question"
        await batcher.drained()
        await asyncio.sleep(0.01)
        assert (Counted.answers - before, closed(runtime)) == (2, True)
        batcher.close()

    in_loop(test)


@pytest.mark.parametrize(
    ("whole", "run", "rows", "seconds"),
    [((0.001, 0.0), (0.0, 0.0001), 5, 0.001), ((0.001, 0.0), (0.0, 0.0001), 50, 0.005)],
)
def test_a_batch_is_expected_to_take_the_longer_of_all_of_it_and_its_run(
    whole: tuple[float, float], run: tuple[float, float], rows: int, seconds: float
) -> None:
    async def test() -> None:
        lane = Lane(model_of(Arithmetic()), DEMO)
        lane.cost.fixed_s, lane.cost.per_row_s = whole
        lane.model.cost.fixed_s, lane.model.cost.per_row_s = run
        assert lane.seconds(rows) == pytest.approx(seconds)

    in_loop(test)


@pytest.mark.parametrize(
    ("whole_s", "run_s", "rows"), [(0.0, 0.0, 10), (0.0006, 0.0, 20), (0.0006, 0.0003, 19)], ids=str
)
def test_what_a_batch_costs_beside_its_run_lets_more_rows_share_it(
    whole_s: float, run_s: float, rows: int
) -> None:
    async def test() -> None:
        lane = Lane(model_of(Arithmetic()), DEMO)
        lane.cost.fixed_s, lane.model.cost.fixed_s, lane.model.cost.per_row_s = whole_s, run_s, 0.001
        assert lane.rows_of_a_run(0, 1.0) == rows

    in_loop(test)


def test_a_run_may_last_three_times_its_fixed_part_whatever_the_target() -> None:
    async def test() -> None:
        lane = Lane(model_of(Arithmetic()), DEMO)
        lane.model.cost.fixed_s, lane.model.cost.per_row_s = 0.01025, 0.001
        assert lane.rows_of_a_run(100, 0.001) == 20

    in_loop(test)

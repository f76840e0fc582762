"""How much one run may hold, and what is let in when more comes than can be answered in time."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

import numpy as np
import pytest
from arithmetic import DEMO, Arithmetic, model_of
from callers import Counted, Settled, job_of, let_in

from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.infer import DataPlane, Lane, OverloadedError, TurnBatcher
from holdfast.infer.budget import (
    MOST_ROWS,
    measure,
    rows_in_caches,
    rows_in_memory,
    rows_that_pay,
    rows_worth_a_run,
)
from holdfast.infer.cost import RunCost
from holdfast.telemetry import ServiceCounts


class Refused(Counted):
    """Says why."""

    __slots__ = ()
    reasons: ClassVar[list[str]] = []

    def failed(self, error: HoldfastError) -> None:
        assert isinstance(error, OverloadedError)
        Refused.reasons.append(error.reason)


def test_the_curve_is_the_fastest_run_of_each_size_and_ends_when_runs_get_long() -> None:
    asked: list[int] = []

    def run(rows: int) -> float:
        asked.append(rows)
        return 0.001 + 0.0001 * rows + (0.5 if len(asked) in {1, 5} else 0.0)

    measured = measure(run)
    assert [rows for rows, _ in measured.curve] == [2**k for k in range(10)]
    assert [seconds for _, seconds in measured.curve] == pytest.approx(
        [0.001 + 0.0001 * 2**k for k in range(10)]
    )
    assert max(asked) == 512, "a run of 52 ms is the last"


def test_measuring_ends_before_it_takes_more_memory_than_it_may() -> None:
    held, most = [0], [0]

    def run(rows: int) -> float:
        held[0] = max(held[0], rows * 10**7)  # 10 MB a row, which the arena keeps
        most[0] = max(most[0], rows)
        return 1e-6

    measured = measure(run, 200e6, lambda: held[0])
    assert most[0] == 16, "32 rows would be 320 MB"
    assert measured.bytes_per_row == pytest.approx(10**7, rel=0.1)


def test_memory_left_decides_the_rows_of_a_run() -> None:
    assert rows_in_memory(1e6, 64e6) == 64
    assert rows_in_memory(1e9, 64e6) == 1
    assert rows_in_memory(0.0, 64e6) == MOST_ROWS


def test_more_rows_than_fit_one_run_are_run_in_pieces_with_the_same_answers() -> None:
    runtime = Arithmetic(2.0)
    model = model_of(runtime)
    values = {"a": np.arange(100.0), "b": np.zeros(100)}
    whole = model.predict(values, 100)
    runtime.batches.clear()
    model.most_rows = 30
    pieces = model.predict(values, 100)
    assert runtime.batches == [30, 30, 30, 10]
    assert np.array_equal(np.asarray(whole.prediction), np.asarray(pieces.prediction))
    assert np.array_equal(whole.outputs["y"], pieces.outputs["y"])


def test_twice_the_rows_that_caches_hold_are_run_in_pieces_of_at_least_so_many() -> None:
    runtime = Arithmetic(2.0)
    model = model_of(runtime)
    model.piece_rows = 30
    values = {"a": np.arange(100.0), "b": np.zeros(100)}
    alone = model.predict({name: column[:59] for name, column in values.items()}, 59)
    assert runtime.batches == [59]
    runtime.batches.clear()
    pieces = model.predict(values, 100)
    assert runtime.batches == [33, 33, 34]
    assert np.array_equal(np.asarray(alone.prediction), np.asarray(pieces.prediction)[:59])


@pytest.mark.parametrize(
    ("curve", "rows"),
    [
        ([(32, 0.0021), (64, 0.0037), (128, 0.0077), (256, 0.0161)], 64),
        ([(16, 0.0019), (32, 0.0037), (64, 0.0074)], 32),  # 16 are as fast, yet too soon done
        (
            [(1, 0.020), (2, 0.022), (4, 0.025), (8, 0.031), (16, 0.055)],
            MOST_ROWS,
        ),  # still gaining at the end
        ([(32, 0.0021), (64, 0.0037)], MOST_ROWS),  # nobody has seen whether more would gain
        ([(1024, 0.0004), (2048, 0.0008), (4096, 0.0016)], MOST_ROWS),
    ],
)
def test_runs_are_cut_where_twice_the_rows_were_seen_to_gain_nothing(
    curve: list[tuple[int, float]], rows: int
) -> None:
    assert rows_in_caches(curve) == rows


def test_a_warm_up_within_little_memory_still_leaves_a_row() -> None:
    model = model_of(Arithmetic())
    model.warm_up(1.0)
    assert model.most_rows >= 1


@pytest.mark.parametrize(("target_s", "expected"), [(0.1, 80), (0.5, 400)])
def test_of_what_is_accepted_one_in_a_hundred_is_expected_late(target_s: float, expected: int) -> None:
    async def test() -> None:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 5.0, target_s)
        lane = Lane(model_of(Arithmetic()), DEMO)
        lane.model.cost.per_row_s = 0.001  # a millisecond a row, so four fifths of the target in rows
        batcher.open_lane(lane)
        accepted, reasons = 0, set()
        for _ in range(2000):
            try:
                batcher.submit(lane, job_of(lane))
                accepted += 1
            except OverloadedError as error:
                reasons.add(error.reason)
        assert expected <= accepted <= expected * 1.02 + 1
        assert reasons == {"latency"}
        await asyncio.sleep(0)
        batcher.close()

    asyncio.run(test())


def test_a_model_slower_than_the_target_still_answers_one_caller_after_another() -> None:
    async def test() -> None:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 5.0, 0.001)
        lane = Lane(model_of(Arithmetic()), DEMO)
        batcher.open_lane(lane)
        before = Counted.answers
        for _ in range(20):
            lane.model.cost.fixed_s = 0.050
            batcher.submit(lane, job_of(lane))
            await batcher.drained()
        assert Counted.answers == before + 20
        batcher.close()

    asyncio.run(test())


@pytest.mark.interpreted
def test_a_batch_is_no_longer_than_the_latency_target_allows_nor_than_memory_does() -> None:
    async def test(most_rows: int, target_s: float) -> list[int]:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 5.0, target_s)
        runtime = Arithmetic()
        lane = Lane(model_of(runtime), DEMO)
        lane.model.cost = Settled()
        lane.model.cost.per_row_s = 0.0001
        lane.model.most_rows = most_rows
        batcher.open_lane(lane)
        for _ in range(60):
            batcher.submit(lane, job_of(lane))
        await batcher.drained()
        batcher.close()
        return runtime.batches

    assert max(asyncio.run(test(MOST_ROWS, 0.010))) == 40, "four tenths of the target"
    assert max(asyncio.run(test(7, 0.010))) == 7
    assert max(asyncio.run(test(MOST_ROWS, 1.0))) == 60


def first_run(waiting: int, cost: RunCost, work: RunCost, paying_rows: int = 1) -> int:
    """Rows of the first run where so many wait and runs are believed to cost this."""

    async def test() -> list[int]:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 5.0, 1.0)
        runtime = Arithmetic()
        lane = Lane(model_of(runtime), DEMO)
        lane.model.cost, lane.model.work, lane.model.paying_rows = cost, work, paying_rows
        batcher.open_lane(lane)
        for _ in range(waiting):
            batcher.submit(lane, job_of(lane))
        await batcher.drained()
        batcher.close()
        return runtime.batches

    return asyncio.run(test())[0]


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("waiting", "fixed_s", "paying_rows", "largest"),
    [
        pytest.param(16, 0.0, 1, 10, id="each row costs the same: ten milliseconds"),
        pytest.param(40, 0.0, 1, 20, id="of many half"),
        pytest.param(60, 0.0, 1, 25, id="of very many 25 milliseconds"),
        pytest.param(30, 0.0006, 1, 19, id="a small fixed part is a small part of the run"),
        pytest.param(60, 0.02, 1, 60, id="a large fixed part is shared by all that wait"),
        pytest.param(60, 0.0, 32, 32, id="the warm-up saw that fewer waste what a run costs"),
    ],
)
def test_a_run_that_is_long_enough_leaves_the_rest_for_the_next_one(
    waiting: int, fixed_s: float, paying_rows: int, largest: int
) -> None:
    cost = Settled()
    cost.per_row_s, cost.fixed_s = 0.001, fixed_s
    assert first_run(waiting, cost, RunCost(), paying_rows) == largest


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("waiting", "work_s", "largest"),
    [
        pytest.param(24, 0.0005, 20, id="ten milliseconds of the core"),
        pytest.param(100, 0.00001, 50, id="of many half"),
        pytest.param(58, 0.00001, 30, id="never more than three times as long by the clock"),
        pytest.param(24, 0.002, 12, id="nor less than without"),
        pytest.param(24, 0.0, 12, id="not known of another device"),
    ],
)
def test_where_others_use_the_core_too_a_run_is_as_long_in_its_own_time(
    waiting: int, work_s: float, largest: int
) -> None:
    cost, work = Settled(), Settled()
    cost.per_row_s, work.per_row_s = 0.001, work_s
    assert first_run(waiting, cost, work) == largest


def test_what_a_run_takes_of_the_core_is_learned_from_long_runs() -> None:
    class Waiting(Arithmetic):
        def run(self, feeds: Any) -> Any:
            time.sleep(0.02)  # somebody else has the core
            return super().run(feeds)

    model = model_of(Waiting())
    columns = {"a": np.ones(4), "b": np.ones(4)}
    for _ in range(3):
        model.predict(columns, 4)
    assert model.cost.seconds(4) > 0.02
    assert 0.0 < model.work.seconds(4) < 0.01
    model.runs_here = False
    model.work = RunCost()
    model.predict(columns, 4)
    assert model.work.seconds(4) == 0.0


@pytest.mark.parametrize(
    ("curve", "rows"),
    [
        pytest.param([(1, 0.001), (8, 0.004), (64, 0.02), (128, 0.039), (256, 0.078)], 64, id="gains end"),
        pytest.param([(1, 0.01), (2, 0.011), (4, 0.013)], 4, id="gains go on"),
        pytest.param([(1, 0.05), (2, 0.1)], 1, id="none"),
    ],
)
def test_the_fewest_rows_that_pay_are_those_near_the_best_rate(
    curve: list[tuple[int, float]], rows: int
) -> None:
    assert rows_that_pay(curve) == rows


@pytest.mark.parametrize(("in_time", "answered"), [(50, 1), (2000, 20)])
def test_after_a_moment_without_a_core_no_more_are_late_than_one_in_a_hundred(
    in_time: int, answered: int
) -> None:
    async def test() -> None:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 5.0, 0.1)
        lane = Lane(model_of(Arithmetic()), DEMO)
        batcher.open_lane(lane)
        for _ in range(in_time):  # who is answered in time lets others be late
            batcher.submit(lane, job_of(lane))
            await batcher.drained()
        before, refused = Counted.answers, Refused.reasons
        refused.clear()
        for _ in range(20):
            batcher.submit(lane, job_of(lane, Refused))
        time.sleep(0.15)  # noqa: ASYNC251 - the whole process stands still
        await batcher.drained()
        assert Counted.answers - before == answered
        assert refused == ["latency"] * (20 - answered)
        batcher.submit(lane, job_of(lane))
        await batcher.drained()
        assert Counted.answers - before == answered + 1
        batcher.close()

    asyncio.run(test())


def test_while_the_queue_stands_refusals_cost_nothing_and_end_when_it_moves() -> None:
    async def test() -> None:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 5.0, 0.1)
        lanes = [Lane(model_of(Arithmetic()), DEMO) for _ in range(2)]
        for lane in lanes:
            lane.model.cost.per_row_s = 0.001
            batcher.open_lane(lane)
        while batcher.queued_rows < 81:  # four fifths of the target, and one late
            batcher.submit(lanes[0], job_of(lanes[0]))
        with pytest.raises(OverloadedError) as refused:
            batcher.submit(lanes[0], job_of(lanes[0]))
        now_s = asyncio.get_running_loop().time()
        with pytest.raises(OverloadedError) as again:
            batcher.check(lanes[0], now_s)
        assert again.value is refused.value
        batcher.check(lanes[1], now_s)  # another model's callers are judged by themselves
        batcher.check(lanes[0], now_s + 1.0)  # by then the run under way would be over
        await batcher.drained()
        batcher.check(lanes[0], now_s)
        batcher.submit(lanes[0], job_of(lanes[0]))
        await batcher.drained()
        batcher.close()

    asyncio.run(test())


@pytest.mark.interpreted
def test_answers_later_than_predicted_let_fewer_in_until_they_are_in_time_again() -> None:
    async def test() -> None:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 5.0, 0.1)
        lane = Lane(model_of(Arithmetic()), DEMO)
        lane.model.cost = lane.cost = Settled()
        lane.model.cost.per_row_s = 0.001
        batcher.open_lane(lane)
        first = await let_in(batcher, lane)
        for _ in range(30):  # answers that came long after their requests
            job = job_of(lane)
            job.arrived_s -= 0.2
            batcher.submit(lane, job)
            await batcher.drained()
        late = await let_in(batcher, lane)
        for _ in range(1500):
            batcher.submit(lane, job_of(lane))
            await batcher.drained()
        again = await let_in(batcher, lane)
        assert first >= 80
        assert 20 <= late <= 25, "a fifth of the target"
        assert again >= 80
        batcher.close()

    asyncio.run(test())


@pytest.mark.interpreted
def test_a_queue_takes_a_burst_in_and_stands_no_longer_than_half_the_target() -> None:
    async def filled(batcher: TurnBatcher, lane: Lane, later_s: float) -> int:
        """Rows that wait when a request is refused that came so much later."""
        refused = False
        while not refused:
            job = job_of(lane)
            job.arrived_s += later_s
            try:
                batcher.submit(lane, job)
            except OverloadedError:
                refused = True
        return batcher.queued_rows

    async def test() -> None:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 5.0, 0.1)
        lane = Lane(model_of(Arithmetic()), DEMO)
        lane.model.cost = lane.cost = Settled()
        lane.model.cost.per_row_s = 0.001
        batcher.open_lane(lane)
        for _ in range(40):
            batcher.submit(lane, job_of(lane))
        assert await filled(batcher, lane, 0.3) in {50, 51}, (
            "a queue that has stood for three times the target"
        )
        assert await filled(batcher, lane, 0.1) in {80, 81}, "a burst"
        await batcher.drained()
        assert await filled(batcher, lane, 0.4) in {80, 81}, "the next burst, after it was empty"
        await batcher.drained()
        batcher.close()

    asyncio.run(test())


def test_a_refusal_of_many_rows_stands_for_bodies_as_large_and_for_no_smaller_one() -> None:
    async def test() -> None:
        batcher = TurnBatcher(DataPlane(None, None, SystemClock()), ServiceCounts(), 0.1, 0.1)
        lane = Lane(model_of(Arithmetic()), DEMO)
        lane.model.cost.per_row_s = 0.001
        batcher.open_lane(lane)
        while batcher.queued_rows < 80:
            batcher.submit(lane, job_of(lane))
        large = job_of(lane)
        large.rows, large.size_bytes = 32, 4000
        with pytest.raises(OverloadedError) as refused:
            batcher.submit(lane, large)
        now_s = asyncio.get_running_loop().time()
        with pytest.raises(OverloadedError) as again:
            batcher.check(lane, now_s, 4000)
        assert again.value is refused.value
        batcher.check(lane, now_s, 3999)
        batcher.check(lane, now_s)  # of unknown size
        batcher.submit(lane, job_of(lane))  # one more row there is room for
        await batcher.drained()
        batcher.close()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("curve", "rows"),
    [
        pytest.param([(1, 0.001), (8, 0.004), (64, 0.02), (128, 0.039), (256, 0.078)], 64, id="gains end"),
        pytest.param([(1, 0.001), (64, 0.01), (128, 0.015), (256, 0.022)], MOST_ROWS, id="gains go on"),
        pytest.param([(1, 0.00001), (64, 0.0001), (4096, 0.004)], MOST_ROWS, id="every run is short"),
        pytest.param([(1, 0.001), (8, 0.002), (16, 0.009), (32, 0.01)], MOST_ROWS, id="disturbed"),
        pytest.param([(1, 0.05), (2, 0.1)], MOST_ROWS, id="one slow run"),
    ],
)
def test_requests_share_a_run_while_that_gains_anything(curve: list[tuple[int, float]], rows: int) -> None:
    assert rows_worth_a_run(curve) == rows

"""The batcher: which rows share a run, what becomes of a bad one, and what is refused."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from arithmetic import Arithmetic
from callers import Waiting, batcher_of, closed, in_loop, open_lane, submit

from holdfast.clock import SystemClock
from holdfast.infer import (
    CHALLENGER_ARM,
    PINNED_ARM,
    AnsweredBatch,
    DataPlane,
    Job,
    ModelFailedError,
    NotReadyError,
    OverloadedError,
    TurnBatcher,
)
from holdfast.prediction_log import PredictionLog, SpoolWriter
from holdfast.privacy import Redactor
from holdfast.spec.checklist import Privacy
from holdfast.telemetry import ServiceCounts


def test_all_jobs_of_one_turn_are_one_run_and_answers_keep_their_order() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Arithmetic(2.0)
        lane = open_lane(batcher, runtime)
        futures = [submit(batcher, lane, [(i, 0), (i + 0.5, 0)]) for i in range(40)]
        assert await asyncio.gather(*futures) == [[2.0 * i, 2.0 * i + 1] for i in range(40)]
        assert runtime.batches == [80]
        batcher.close()

    in_loop(test)


def test_two_versions_and_many_callers_never_see_each_others_answers() -> None:
    async def test() -> None:
        batcher = batcher_of()
        light, heavy = Arithmetic(2.0), Arithmetic(-3.0, pause_s=0.004)
        lanes = [open_lane(batcher, light, "1"), open_lane(batcher, heavy, "2")]
        chance = random.Random(7)

        async def caller(number: int) -> None:
            for turn in range(12):
                which = chance.randrange(2)
                values = [number * 1000.0 + turn * 10 + k for k in range(chance.randrange(1, 5))]
                found = await submit(batcher, lanes[which], [(value, 0) for value in values])
                assert found == [(2.0, -3.0)[which] * value for value in values]

        await asyncio.gather(*(caller(number) for number in range(30)))
        assert max(light.batches) > 4, "nothing was batched"
        assert heavy.threads != {"MainThread"}, "a run of 4 ms blocked the loop"
        batcher.close()

    in_loop(test)


def test_two_deployments_in_one_loop_never_see_each_others_answers_nor_wait_for_each_others_runs() -> None:
    async def test() -> None:
        # The same shape and the same number of version, so that nothing but the deployment tells them apart.
        runtimes = Arithmetic(2.0), Arithmetic(-3.0)
        batchers = [batcher_of(), batcher_of()]
        lanes = [open_lane(*pair) for pair in zip(batchers, runtimes, strict=True)]
        chance = random.Random(11)

        async def caller(number: int) -> None:
            for turn in range(12):
                which = chance.randrange(2)
                values = [number * 1000.0 + turn * 10 + k for k in range(chance.randrange(1, 5))]
                found = await submit(batchers[which], lanes[which], [(value, 0) for value in values])
                assert found == [(2.0, -3.0)[which] * value for value in values]

        await asyncio.gather(*(caller(number) for number in range(30)))
        assert min(max(one.batches) for one in runtimes) > 4, "nothing was batched"
        slow = Arithmetic(7.0, pause_s=0.3)
        heavy = submit(batchers[1], open_lane(batchers[1], slow, "2"), [(1, 0)])
        await asyncio.sleep(0.01)
        assert slow.batches == [1]
        assert await submit(batchers[0], lanes[0], [(4, 0)]) == [8.0]
        assert not heavy.done()
        assert await heavy == [7.0]
        for batcher in batchers:
            batcher.close()

    in_loop(test)


def test_while_a_heavy_run_is_under_way_the_next_batch_gathers_and_the_loop_stays_free() -> None:
    class Held(Arithmetic):
        """Takes long, and ends when it may."""

        may_end = threading.Event()

        def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
            found = super().run(feeds)
            self.may_end.wait(5)
            return found

    async def test() -> None:
        batcher, runtime = batcher_of(), Held(1.0, pause_s=0.05)
        runtime.may_end.set()
        lane = open_lane(batcher, runtime)
        runtime.may_end.clear()
        first = submit(batcher, lane, [(1, 0)])
        await asyncio.sleep(0.01)
        later = [submit(batcher, lane, [(i, 0)]) for i in range(20)]
        for _ in range(6):
            await asyncio.sleep(0.001)
        assert not first.done()
        runtime.may_end.set()
        await asyncio.gather(first, *later)
        assert runtime.batches == [1, 20]
        batcher.close()

    in_loop(test)


def test_the_next_long_run_begins_before_the_answers_of_the_last_are_written() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Arithmetic(1.0, pause_s=0.02)
        lane = open_lane(batcher, runtime)
        order: list[str] = []

        class Seen(Waiting):
            def answered(self, batch: AnsweredBatch, start: int) -> None:
                time.sleep(0.005)  # the next run's thread is at work by then, if it was started
                order.append(f"answered after {len(runtime.batches)} runs")
                super().answered(batch, start)

        first = Seen(lane, [(1.0, 0)])
        batcher.submit(lane, first)
        await asyncio.sleep(0.005)
        second = Seen(lane, [(2.0, 0)])
        batcher.submit(lane, second)
        assert await asyncio.gather(*(one.future for one in (first, second))) == [[1.0], [2.0]]
        assert order == ["answered after 2 runs", "answered after 2 runs"]
        await batcher.drained()
        batcher.close()

    in_loop(test)


class Books:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[Job]]] = []

    def answering(self, jobs: list[Job], batch: AnsweredBatch) -> None:
        assert batch.rows == sum(job.rows for job in jobs)
        self.heard.append(("before", list(jobs)))

    def answered(
        self, jobs: list[Job], batch: AnsweredBatch, arrived_s: list[float], answered_s: float
    ) -> None:
        assert batch.rows == sum(job.rows for job in jobs)
        assert arrived_s == [job.arrived_s for job in jobs]
        assert answered_s >= max(arrived_s)
        self.heard.append(("after", [job for job in jobs if not job.cancelled]))


@pytest.mark.parametrize("count", [1, 5])
def test_an_observer_hears_of_a_batch_before_it_is_answered_and_then_of_all_that_were(count: int) -> None:
    class Broken(Waiting):
        def answered(self, batch: AnsweredBatch, start: int) -> None:
            raise ValueError("the answer cannot be encoded")

    async def test() -> None:
        books = Books()
        plane = DataPlane(None, None, SystemClock())
        batcher = TurnBatcher(plane, ServiceCounts(), 5.0, observer=books)
        lane = open_lane(batcher, Arithmetic(2.0))
        jobs: list[Job] = [Waiting(lane, [(i, 0)]) for i in range(count)]
        for job in jobs:
            batcher.submit(lane, job)
        await asyncio.gather(*(job.future for job in jobs if isinstance(job, Waiting)))
        await asyncio.sleep(0)
        assert books.heard == [("before", jobs), ("after", jobs)]
        books.heard.clear()
        broken, fine = Broken(lane, [(1, 0)]), Waiting(lane, [(2, 0)])
        for job in (broken, fine):
            batcher.submit(lane, job)
        assert await fine.future == [4.0]
        with pytest.raises(ModelFailedError, match="could not be written"):
            await broken.future
        assert books.heard == [("before", [broken, fine]), ("after", [fine])]
        batcher.close()

    in_loop(test)


def test_a_batch_that_is_full_is_run_at_once_after_the_one_before_though_the_loop_is_busy() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Arithmetic(1.0, pause_s=0.02)
        lane = open_lane(batcher, runtime)
        lane.model.most_rows = 4
        first = submit(batcher, lane, [(0, 0)])
        await asyncio.sleep(0.005)
        rest = [submit(batcher, lane, [(i, 0)]) for i in range(1, 7)]
        time.sleep(0.1)  # noqa: ASYNC251 - the loop is busy
        assert runtime.batches == [1, 4], "what is not full waits for the loop"
        assert await asyncio.gather(first, *rest) == [[float(i)] for i in range(7)]
        assert runtime.batches == [1, 4, 2]
        await batcher.drained()
        batcher.close()

    in_loop(test)


def test_a_version_that_always_has_jobs_does_not_keep_another_waiting() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Arithmetic(1.0, pause_s=0.004)
        busy = open_lane(batcher, runtime)
        other = open_lane(batcher, Arithmetic(2.0, pause_s=0.004), "2")
        left = [40]

        class Again(Waiting):
            def answered(self, batch: AnsweredBatch, start: int) -> None:
                super().answered(batch, start)
                left[0] -= 1
                if left[0] > 0:
                    batcher.submit(busy, Again(busy, [(1.0, 0)]))

        busy.model.most_rows = 1
        for _ in range(3):
            batcher.submit(busy, Again(busy, [(1.0, 0)]))
        await asyncio.sleep(0)
        assert await submit(batcher, other, [(1.0, 0)]) == [2.0]
        assert left[0] > 30
        await batcher.drained()
        batcher.close()

    in_loop(test)


def test_a_row_on_which_the_model_fails_harms_no_other() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Arithmetic(1.0)
        lane = open_lane(batcher, runtime)
        futures = [submit(batcher, lane, [(i, -1 if i == 13 else 0)]) for i in range(32)]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert [i for i, one in enumerate(outcomes) if isinstance(one, ModelFailedError)] == [13]
        assert [one for one in outcomes if isinstance(one, list)] == [
            [float(i)] for i in range(32) if i != 13
        ]
        assert await submit(batcher, lane, [(5, 0)]) == [5.0]
        batcher.close()

    in_loop(test)


def test_a_run_with_the_wrong_number_of_rows_is_an_error_not_a_mix_up() -> None:
    class Short(Arithmetic):
        def run(self, feeds: Any) -> dict[str, Any]:
            return {"y": super().run(feeds)["y"][:-1] if len(feeds["x"]) == 3 else super().run(feeds)["y"]}

    async def test() -> None:
        batcher = batcher_of()
        lane = open_lane(batcher, Short())
        with pytest.raises(ModelFailedError, match="one row per input row"):
            await submit(batcher, lane, [(1, 0), (2, 0), (3, 0)])
        batcher.close()

    in_loop(test)


def test_what_cannot_meet_its_deadline_is_refused_at_once_and_what_is_accepted_meets_it() -> None:
    async def test() -> None:
        deadline_s = 0.4
        batcher, runtime = batcher_of(deadline_s=deadline_s), Arithmetic(1.0)
        original = runtime.run

        def slow(feeds: Any) -> dict[str, Any]:
            runtime.pause_s = 0.004 * len(feeds["x"])
            return original(feeds)

        runtime.run = slow  # type: ignore[method-assign]  # 4 ms a row, whatever the batch
        lane = open_lane(batcher, runtime)
        lane.model.cost.fixed_s, lane.model.cost.per_row_s = 0.0, 0.004  # whatever disturbed the warm-up
        accepted: list[asyncio.Future[list[float]]] = []
        refused = 0
        for i in range(400):  # 1600 ms of work at once
            try:
                accepted.append(submit(batcher, lane, [(i, 0)]))
            except OverloadedError as error:
                assert error.retry_after_s < 10  # noqa: PT017 - most of these calls must not raise
                refused += 1
        assert 10 <= len(accepted) <= 400 * deadline_s / 1.6
        outcomes = await asyncio.gather(*accepted, return_exceptions=True)
        answered = [one for one in outcomes if isinstance(one, list)]
        assert len(answered) >= len(accepted) / 2
        assert len(answered) + sum(isinstance(one, OverloadedError) for one in outcomes) == len(accepted)
        assert refused == 400 - len(accepted)
        batcher.close()

    in_loop(test)


def test_an_estimate_gone_wrong_does_not_refuse_for_ever() -> None:
    async def test() -> None:
        batcher = batcher_of(deadline_s=0.2)
        lane = open_lane(batcher, Arithmetic())
        lane.model.cost.fixed_s = 100.0
        answered = 0
        for _ in range(30):
            try:
                answered += len(await submit(batcher, lane, [(1, 0)]))
            except OverloadedError:
                await asyncio.sleep(0.05)
        assert answered > 5
        batcher.close()

    in_loop(test)


def test_a_retired_lane_answers_what_it_holds_and_then_closes() -> None:
    async def test() -> None:
        batcher, old, new = batcher_of(), Arithmetic(1.0, pause_s=0.02), Arithmetic(10.0)
        lane = open_lane(batcher, old, "1")
        running = submit(batcher, lane, [(1, 0)])
        await asyncio.sleep(0.005)
        queued = submit(batcher, lane, [(2, 0)])
        fresh = open_lane(batcher, new, "2")
        batcher.retire(lane)
        assert not closed(old)
        later = submit(batcher, fresh, [(3, 0)])
        assert list(await asyncio.gather(running, queued, later)) == [[1.0], [2.0], [30.0]]
        await asyncio.sleep(0.01)
        assert closed(old)
        assert not closed(new)
        batcher.close()

    in_loop(test)


def test_a_cancelled_job_is_not_run() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Arithmetic()
        lane = open_lane(batcher, runtime)
        gone = Waiting(lane, [(1, 0)])
        batcher.submit(lane, gone)
        gone.cancelled = True
        assert await submit(batcher, lane, [(2, 0)]) == [2.0]
        assert runtime.batches == [1]
        assert not gone.future.done()
        batcher.close()

    in_loop(test)


def test_after_close_everything_is_refused() -> None:
    async def test() -> None:
        batcher, runtime = batcher_of(), Arithmetic()
        lane = open_lane(batcher, runtime)
        batcher.close()
        assert runtime.closed
        with pytest.raises(NotReadyError):
            submit(batcher, lane, [(1, 0)])

    in_loop(test)


def test_rows_are_in_the_spool_before_their_answers_are_delivered(tmp_path: Path) -> None:
    clock = SystemClock()
    writer = SpoolWriter(tmp_path, deployment="demo", replica="r", clock=clock)
    plane = DataPlane(writer, Redactor(Privacy(), None), clock)
    stored: list[int] = []

    class Looks(Waiting):
        __slots__ = ()

        def answered(self, batch: AnsweredBatch, start: int) -> None:
            stored.append(writer.stored)
            assert PredictionLog(tmp_path).ledger().spooled == 3
            super().answered(batch, start)

    async def test() -> None:
        batcher = batcher_of(plane=plane)
        lane = open_lane(batcher, Arithmetic())
        job = Looks(lane, [(1, 0), (2, 0), (3, 0)])
        batcher.submit(lane, job)
        await job.future
        batcher.close()

    in_loop(test)
    plane.close()
    assert stored == [3]


@pytest.mark.interpreted
def test_a_row_that_waits_while_its_arm_ends_is_logged_under_the_arm_it_was_asked_under() -> None:
    arms: list[tuple[str, int]] = []

    class Heard(DataPlane):
        def answer(self, *given: Any, **named: Any) -> AnsweredBatch:
            batch = super().answer(*given, **named)
            arms.append((named["arm"], len(batch.predictions)))
            return batch

    async def test() -> None:
        batcher = batcher_of(plane=Heard(None, None, SystemClock()))
        lane = open_lane(batcher, Arithmetic())
        lane.arm = CHALLENGER_ARM
        asked = [submit(batcher, lane, [(1, 0)]), submit(batcher, lane, [(2, 0)])]
        lane.arm = PINNED_ARM
        asked.append(submit(batcher, lane, [(3, 0)]))
        await asyncio.gather(*asked)
        batcher.close()

    in_loop(test)
    assert arms == [("challenger", 2), ("pinned", 1)]


def test_a_row_is_copied_to_the_challenger_of_the_moment_it_was_asked_at() -> None:
    class Noted:
        def __init__(self) -> None:
            self.rows = 0

        def offer(self, batch: AnsweredBatch) -> None:
            self.rows += batch.rows

    early, late = Noted(), Noted()

    async def test() -> None:
        batcher = batcher_of()
        lane = open_lane(batcher, Arithmetic())
        asked = [submit(batcher, lane, [(1, 0)])]
        lane.copier = early
        asked += [submit(batcher, lane, [(2, 0)]), submit(batcher, lane, [(3, 0)])]
        lane.copier = late
        asked.append(submit(batcher, lane, [(4, 0)]))
        lane.copier = None
        assert await asyncio.gather(*asked) == [[1], [2], [3], [4]]
        batcher.close()

    in_loop(test)
    assert (early.rows, late.rows) == (2, 1)

"""Jobs whose outcome can be awaited, and a batcher and lanes to give them to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from arithmetic import DEMO, Arithmetic, model_of

from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.infer import AnsweredBatch, DataPlane, Job, Lane, OverloadedError, TurnBatcher
from holdfast.infer.cost import RunCost
from holdfast.telemetry import ServiceCounts


class Waiting(Job):
    """A job whose outcome can be awaited."""

    __slots__ = ("future",)

    def __init__(self, lane: Lane, rows: list[tuple[float, float]]) -> None:
        body = b"[" + b",".join(b'{"a":%r,"b":%r}' % row for row in rows) + b"]"
        records, _ = lane.codec.decode(body)
        super().__init__(len(records), records, None, (), asyncio.get_running_loop().time())
        self.future: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()

    def answered(self, batch: AnsweredBatch, start: int) -> None:
        self.future.set_result(batch.predictions[start : start + self.rows])

    def failed(self, error: HoldfastError) -> None:
        self.future.set_exception(error)


class Counted(Job):
    """Counts how it ended."""

    __slots__ = ()
    answers = 0

    def answered(self, batch: AnsweredBatch, start: int) -> None:
        Counted.answers += 1

    def failed(self, error: HoldfastError) -> None:
        raise error


class Settled(RunCost):
    """Learns nothing more."""

    __slots__ = ()

    def observe(self, rows: int, seconds: float) -> None:
        """Runs of the test are not what it speaks of."""


def job_of(lane: Lane, kind: type[Job] = Counted) -> Job:
    records, _ = lane.codec.decode(b'{"a": 1, "b": 0}')
    return kind(1, records, None, (), asyncio.get_running_loop().time())


async def let_in(batcher: TurnBatcher, lane: Lane) -> int:
    """Rows that are taken until one is refused; all are answered then."""
    count = 0
    try:
        while True:
            batcher.submit(lane, job_of(lane))
            count += 1
    except OverloadedError:
        await batcher.drained()
        return count


def in_loop(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def batcher_of(*, deadline_s: float = 5.0, plane: DataPlane | None = None) -> TurnBatcher:
    return TurnBatcher(plane or DataPlane(None, None, SystemClock()), ServiceCounts(), deadline_s)


def open_lane(batcher: TurnBatcher, runtime: Arithmetic, version: str = "1") -> Lane:
    model = model_of(runtime, version)
    model.warm_up()
    runtime.batches.clear()
    lane = Lane(model, DEMO)
    batcher.open_lane(lane)
    return lane


def submit(batcher: TurnBatcher, lane: Lane, rows: list[tuple[float, float]]) -> asyncio.Future[list[float]]:
    job = Waiting(lane, rows)
    batcher.submit(lane, job)
    return job.future


def closed(runtime: Arithmetic) -> bool:
    return runtime.closed

"""Turn batching: all requests that arrived in one turn of the event loop are one array and one run.

No timer holds a request that could run. A small run is done in the loop; one that would block the loop is
done in a thread, and what arrives meanwhile is the next batch. One run at a time: the worker has one core.
When enough waits for a run of its own, it is handed to the thread while the one before is still at work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from holdfast.errors import HoldfastError
from holdfast.infer import refusals
from holdfast.infer.errors import ModelFailedError, NotReadyError, OverloadedError
from holdfast.infer.job import Job, Observer, Outcome, alike, assemble, tell
from holdfast.infer.lane import MAX_QUEUED_ROWS, Lane
from holdfast.infer.plane import PINNED_ARM, AnsweredBatch, DataPlane
from holdfast.telemetry import ServiceCounts

INLINE_RUN_S: Final = 0.002
"""Longest expected run in the loop: what a health check or a new connection may have to wait."""
TURN_S: Final = 0.010
"""Longest time of runs in the loop before sockets are served again."""
_TARGET_SHARE: Final = 0.8
"""Of the latency target, for what is predicted: the rest is for what is not."""
_LEAST_SHARE: Final = 0.2
"""To which that share falls while answers come later than was predicted: other work has the cores."""
_STANDING_SHARE: Final = 0.5
"""Of the latency target, for what is predicted while a queue stands: it is there to take bursts in, and one
that never empties answers no more, only later, with nothing left for a core that is away for a moment."""
_CALM_SHARE: Final = 0.25
"""Of the latency target, below which nobody calls the queue one."""
_BURST: Final = 2.0
"""Times the latency target that a queue may take to empty before it is one that stands."""
_LATER: Final = 0.9
_EARLIER: Final = 1.001
"""Its change after a batch that came too late, or in time: it stays where one in a hundred comes too late,
which is what a 99th percentile allows."""
_BATCH_SHARE: Final = 0.4
"""Of the latency target, for one run: a request waits for the run under way, and then has its own."""
_MOST_UNDER_WAY: Final = 2
"""Batches that the thread has: one that runs, and the next."""
_AHEAD_PART: Final = 0.1
"""Of a run, for what does not depend on its rows: a batch that is not full is handed over before its time
only if those that come until then would save no more by sharing it."""
_LATE_FRACTION: Final = 0.01
"""A 99th percentile leaves one in a hundred."""
_MOST_LATE: Final = 100.0
"""Late requests saved up: a burst after a calm of 10 000 requests."""
_MOSTLY_WAITED: Final = 0.5
"""Of the latency target: whoever waited less is late for the length of the run itself."""
_PROBE_S: Final = 1.0

logger = logging.getLogger("holdfast.infer")

_Ended = tuple[list[Job], Outcome]
"""Jobs that ran together, and what became of them."""


class TurnBatcher:
    """Gathers jobs, runs them lane by lane, hands the answers back in order.

    Belongs to one event loop; every method is called in it.

    Args:
        plane: runs and records.
        counts: of this worker.
        deadline_s: a job expected to be answered later than this after its arrival is refused.
        target_s: 99th percentile of the time to an answer that is promised. Batches are kept small enough
            for it, and of 100 jobs accepted at most one is expected later. None: the deadline.
        observer: is told of what was answered.
    """

    def __init__(
        self,
        plane: DataPlane,
        counts: ServiceCounts,
        deadline_s: float,
        target_s: float | None = None,
        *,
        observer: Observer | None = None,
    ) -> None:
        self._plane = plane
        self._counts = counts
        self._observer = observer
        self._deadline_s = deadline_s
        target_s = deadline_s if target_s is None else target_s
        self._promised_s = target_s
        self._target_s = target_s * _TARGET_SHARE
        self._standing_target_s = target_s * _STANDING_SHARE
        self._calm_wait_s = target_s * _CALM_SHARE
        self._least_target_s = min(target_s * _LEAST_SHARE, deadline_s)
        self._burst_s = target_s * _BURST
        self._calm_at_s = time.monotonic()
        """When the queue was last short."""
        self._batch_s = target_s * _BATCH_SHARE
        self._late_left = _MOST_LATE * _LATE_FRACTION
        self._loop = asyncio.get_running_loop()
        self._lanes: list[Lane] = []
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="holdfast-run")
        self._scheduled = False
        self._under_way: deque[tuple[Lane, int, float]] = deque()
        """Batches that the thread has: lane, rows and expected seconds. It runs the first of at most two."""
        self._running_until_s = 0.0
        """When the thread is expected to have run all of them."""
        self._last_probe_s = 0.0
        self.crowded: OverloadedError | None = None
        """The last refusal, if it may hold for the next request: see `check`."""
        self._crowded_lane: Lane | None = None
        self._crowded_until_s = 0.0
        self._crowded_bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._unsettled: tuple[Lane, list[_Ended], float, float, float] | None = None
        """The last batch, where it was answered and not yet counted."""
        self.queued_rows = 0

    def open_lane(self, lane: Lane) -> None:
        """Accept jobs for a model version from now on."""
        self._lanes.append(lane)

    def retire(self, lane: Lane) -> None:
        """Answer what is queued for the lane, then close its model."""
        lane.retired = True
        self._close_if_done(lane)

    def check(self, lane: Lane, arrived_s: float, size_bytes: int = 0) -> None:
        """Refuse before anything is decoded what would be refused after: the queue has not moved since.

        Callers that come again at once must cost next to nothing, or refusing them takes the time of those
        that were let in. A body at least as large as that of a refused request is taken to hold as many rows.

        Raises:
            OverloadedError: as the last one was.
        """
        if (
            self.crowded is not None
            and lane is self._crowded_lane
            and arrived_s < self._crowded_until_s
            and size_bytes >= self._crowded_bytes
        ):
            raise self.crowded.with_traceback(None)  # else it would hold every request that it refused

    def _crowd(self, lane: Lane, job: Job, error: OverloadedError, over_s: float) -> None:
        """Remember a refusal that holds for requests as large until the queue moves or the time is over."""
        if job.patience_s is None and (job.rows == 1 or job.size_bytes):
            self.crowded, self._crowded_lane = error, lane
            self._crowded_until_s = job.arrived_s + over_s
            self._crowded_bytes = 0 if job.rows == 1 else job.size_bytes

    def submit(self, lane: Lane, job: Job) -> None:
        """Queue a job; it runs with everything else that arrives in this turn of the loop.

        Raises:
            OverloadedError: it would be answered too late, or the queue is full.
            NotReadyError: the service is closing.
        """
        if self._closed:
            raise NotReadyError("the service is closing")
        queued = self.queued_rows
        if (
            0 < queued == lane.rows
            and queued + job.rows <= lane.calm_rows
            and not self._under_way
            and job.patience_s is None
        ):  # the usual case, behind the first of a turn: nobody waits long enough to look further
            self._calm_at_s = job.arrived_s
            if self._late_left < _MOST_LATE:
                self._late_left += _LATE_FRACTION
        else:
            self._admit(lane, job)
        job.arm = lane.arm if job.assigned else PINNED_ARM
        job.copier = lane.copier
        lane.pending.append(job)
        lane.rows += job.rows
        self.queued_rows = queued + job.rows
        if not self._under_way:
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._turn)
        elif len(self._under_way) < _MOST_UNDER_WAY:
            self._look_ahead(job.arrived_s)

    def _admit(self, lane: Lane, job: Job) -> None:
        """Forecast when the job will be answered, and refuse what would be too late."""
        queued = self.queued_rows
        if not lane.rows:
            self._measure_calm(lane)
        if queued == lane.rows:  # one lane has it all
            expected_s = lane.seconds(queued + job.rows)
        else:
            expected_s = lane.seconds(job.rows)
            expected_s += sum(one.seconds(one.rows) for one in self._lanes if one.rows)
        if self._under_way:
            expected_s += max(self._running_until_s - job.arrived_s, 0.0)
        target_s = self._target_s
        if expected_s <= self._calm_wait_s or (queued == 0 and len(self._under_way) < _MOST_UNDER_WAY):
            self._calm_at_s = job.arrived_s
        elif job.arrived_s - self._calm_at_s > self._burst_s and target_s > self._standing_target_s:
            target_s = self._standing_target_s
        deadline_s = self._deadline_s
        if job.patience_s is not None and job.patience_s < deadline_s:
            deadline_s = job.patience_s
        if expected_s > deadline_s or queued + job.rows > MAX_QUEUED_ROWS:
            idle = queued == 0 and not self._under_way
            self._refuse_unless_probe(lane, job, expected_s, deadline_s, idle=idle)
        elif expected_s <= target_s:
            if self._late_left < _MOST_LATE:
                self._late_left += _LATE_FRACTION
        elif expected_s > 2 * lane.seconds(job.rows):  # the queue makes it late, not the job itself
            if self._late_left < 1.0:
                self._refuse_late(lane, job, expected_s, target_s)
            self._late_left -= 1.0

    def _measure_calm(self, lane: Lane) -> None:
        lane.calm_rows = min(lane.rows_within(min(self._calm_wait_s, self._least_target_s)), MAX_QUEUED_ROWS)

    def _refuse_late(self, lane: Lane, job: Job, expected_s: float, target_s: float) -> None:
        error = refusals.beyond_target(expected_s, target_s, self._promised_s)
        self._crowd(lane, job, error, expected_s - target_s)
        raise error

    def _refuse_unless_probe(
        self, lane: Lane, job: Job, expected_s: float, deadline_s: float, *, idle: bool
    ) -> None:
        if expected_s <= deadline_s:
            raise refusals.beyond_queue(job.rows, self.queued_rows, MAX_QUEUED_ROWS, expected_s)
        # An estimate that refuses everything would never be corrected: one a second runs when idle.
        probes = idle and expected_s > self._deadline_s
        if probes and job.arrived_s - self._last_probe_s > _PROBE_S:
            self._last_probe_s = job.arrived_s
            return
        error = refusals.beyond_deadline(expected_s, deadline_s, idle=idle)
        if not idle:
            self._crowd(lane, job, error, expected_s - deadline_s)
        raise error

    def _turn(self) -> None:
        self._scheduled = False
        now_s = time.monotonic()
        until_s = now_s + TURN_S
        for lane in self._in_order():
            while lane.pending and not self._under_way:
                jobs, rows = self._take(lane, now_s)
                if not jobs:
                    self._close_if_done(lane)
                    continue
                if self._plane.syncs or lane.model.cost.seconds(rows) > INLINE_RUN_S:
                    self._start_in_thread(lane, jobs, rows)
                    self._look_ahead(now_s)
                    return
                run_began_s = now_s
                outcomes = self._attempt(lane, jobs)
                if len(jobs) == 1 and not self.queued_rows:  # whoever is alone need not wait for the books
                    self._loop.call_soon(self._settle_last)  # first in line, before who is told now
                    self._unsettled = (lane, outcomes, run_began_s, *self._hand_over(outcomes))
                    return
                answered_s, now_s = self._hand_over(outcomes)
                self._settle(lane, outcomes, run_began_s, answered_s, now_s)
                if now_s > until_s:
                    self._reschedule()
                    return

    def _reschedule(self) -> None:
        if self.queued_rows and not self._scheduled and not self._under_way:
            # Let the loop read sockets between two long turns.
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _in_order(self) -> list[Lane]:
        """Lanes with jobs, of which that comes first whose first job has waited longest."""
        waiting = [lane for lane in self._lanes if lane.pending]
        if len(waiting) > 1:
            waiting.sort(key=lambda lane: lane.pending[0].arrived_s)
        return waiting

    def _present_rows(self) -> int:
        """Of all that is queued or under way."""
        return self.queued_rows + sum(rows for _, rows, _ in self._under_way)

    def _take(self, lane: Lane, now_s: float) -> tuple[list[Job], int]:
        """The next batch: jobs in order of arrival, of one shape, arm and copier, as many as fit."""
        self.crowded = None
        pending = lane.pending
        if len(pending) == 1 and not pending[0].cancelled and pending[0].patience_s is None:
            job = pending[0]
            if now_s - job.arrived_s <= self._deadline_s:  # the usual case of a service that is not busy
                pending.popleft()
                lane.rows -= job.rows
                self.queued_rows -= job.rows
                return [job], job.rows
        limit = lane.rows_of_a_run(self._present_rows(), self._batch_s)
        if lane.rows <= limit and not self._under_way:  # nearly always all that waits is taken
            rows = lane.rows
            jobs = lane.take_all(now_s - min(_MOSTLY_WAITED * self._promised_s, self._deadline_s))
            if jobs:
                self.queued_rows -= rows
                return jobs, rows
        ahead_s = max(self._running_until_s - now_s, 0.0) if self._under_way else 0.0
        # What a job may have waited to be answered as was promised.
        in_time_s = self._promised_s - ahead_s - lane.seconds(min(limit, lane.rows))
        jobs, rows = [], 0
        while pending:
            job = pending[0]
            if jobs and (rows + job.rows > limit or not alike(job, jobs[0])):
                break
            pending.popleft()
            lane.rows -= job.rows
            self.queued_rows -= job.rows
            if job.cancelled:
                continue
            waited_s = now_s - job.arrived_s
            if waited_s > self._deadline_s or (job.patience_s is not None and waited_s > job.patience_s):
                self._tell(job, refusals.expired())
                continue
            if waited_s > in_time_s and waited_s > _MOSTLY_WAITED * self._promised_s:
                if self._late_left < 1.0:
                    self._tell(job, refusals.waited_too_long(waited_s, self._promised_s))
                    continue
                self._late_left -= 1.0
            jobs.append(job)
            rows += job.rows
        return jobs, rows

    def _tell(self, job: Job, error: HoldfastError) -> None:
        """Whatever happens on the way to one caller, the others of the turn are served."""
        try:
            job.failed(error)
        except Exception:
            logger.exception("a refusal could not be delivered")

    def _start_in_thread(self, lane: Lane, jobs: list[Job], rows: int) -> None:
        """Hand a batch to the thread, which runs it at once or as soon as it has ended the one before."""
        expected_s = lane.seconds(rows)
        begins_s = time.monotonic()
        if self._under_way:
            begins_s = max(begins_s, self._running_until_s)
        self._running_until_s = begins_s + expected_s
        self._under_way.append((lane, rows, expected_s))
        lane.most = lane.rows_of_a_run(self._present_rows(), self._batch_s)
        self._idle.clear()

        def work() -> None:
            began_s = time.monotonic()
            outcomes = self._attempt(lane, jobs)
            with contextlib.suppress(RuntimeError):  # the loop was closed by force
                self._loop.call_soon_threadsafe(self._end_in_thread, lane, outcomes, began_s)

        self._runner.submit(work)

    def _end_in_thread(self, lane: Lane, outcomes: list[_Ended], began_s: float) -> None:
        self._under_way.popleft()
        if self._under_way:  # has begun
            self._running_until_s = time.monotonic() + self._under_way[0][2]
        self._follow()
        self._settle(lane, outcomes, began_s, *self._hand_over(outcomes))
        if not self._under_way:
            self._idle.set()
            self._reschedule()

    def _follow(self) -> None:
        """Start the next long run before the answers of the last are written: it need not wait for them."""
        now_s = time.monotonic()
        while not self._under_way and (waiting := self._in_order()):
            lane = waiting[0]
            if not self._plane.syncs and lane.model.cost.seconds(lane.rows) <= INLINE_RUN_S:
                return
            jobs, rows = self._take(lane, now_s)
            if jobs:
                self._start_in_thread(lane, jobs, rows)
            else:
                self._close_if_done(lane)
        if self._under_way:
            self._look_ahead(now_s)

    def _look_ahead(self, now_s: float) -> None:
        """Hand the thread a second batch if that is worth a run already, so that it need not ask for one.

        It is if it is full, or not small beside the one at work.
        """
        lane, running, _ = self._under_way[0]
        if len(self._under_way) == _MOST_UNDER_WAY or lane.rows != self.queued_rows or lane.retired:
            return
        cost = lane.model.cost
        if lane.rows < lane.most and (
            2 * lane.rows < running or cost.fixed_s > _AHEAD_PART * cost.seconds(lane.rows)
        ):
            return
        if not self._plane.syncs and cost.seconds(lane.rows) <= INLINE_RUN_S:
            return
        jobs, rows = self._take(lane, now_s)
        if jobs:
            self._start_in_thread(lane, jobs, rows)

    def _attempt(self, lane: Lane, jobs: list[Job]) -> list[_Ended]:
        """Run and record; where that fails, halve until only the jobs that fail by themselves remain."""
        try:
            arrivals = [(job.arrived_s, job.rows) for job in jobs]
            batch = self._plane.answer(lane.model, assemble(lane.codec, jobs), arrivals, arm=jobs[0].arm)
            if self._plane.syncs:
                self._plane.sync()
            return [(jobs, batch)]
        except ModelFailedError as error:
            failure: HoldfastError = error
        except HoldfastError as error:
            return [(jobs, error)]
        except Exception as error:
            # A fault of ours in one batch must not end the worker with everybody else's requests.
            logger.exception("a batch failed")
            failure = ModelFailedError("the batch failed", received=type(error).__name__)
        if len(jobs) == 1:
            if failure.__cause__ is not None:
                logger.error("the model failed on a request alone", exc_info=failure.__cause__)
            return [(jobs, failure)]
        middle = len(jobs) // 2
        return self._attempt(lane, jobs[:middle]) + self._attempt(lane, jobs[middle:])

    def _hand_over(self, outcomes: list[_Ended]) -> tuple[float, float]:
        """Tell the jobs; when that began and when it ended, in monotonic seconds."""
        began_s = time.monotonic()
        for jobs, outcome in outcomes:
            if self._observer is not None and isinstance(outcome, AnsweredBatch):
                self._observer.answering(jobs, outcome)
            tell(jobs, outcome)
        return began_s, time.monotonic()

    def _settle_last(self) -> None:
        unsettled, self._unsettled = self._unsettled, None
        if unsettled is not None:
            self._settle(*unsettled)

    def _settle(
        self, lane: Lane, outcomes: list[_Ended], began_s: float, answered_s: float, ended_s: float
    ) -> None:
        """What follows from a batch for counts, copies and estimates.

        Args:
            lane: of the batch.
            outcomes: of it.
            began_s: when its run began, in monotonic seconds like the others.
            answered_s: when its first answer was ready to be encoded.
            ended_s: when its last one was on its way.
        """
        counts = self._counts
        rows = 0
        encode_s = (ended_s - answered_s) / len(outcomes)
        for jobs, outcome in outcomes:
            if isinstance(outcome, AnsweredBatch):
                rows += outcome.rows
                of_version = counts.batch(
                    lane.version, outcome.rows, outcome.run_s, outcome.record_s, encode_s
                )
                if jobs[0].copier is not None:
                    jobs[0].copier.offer(outcome)
                arrived_s = [job.arrived_s for job in jobs]
                of_version.queue_s.observe_since(arrived_s, began_s)
                if self._observer is not None:
                    self._observer.answered(jobs, outcome, arrived_s, ended_s)
            else:
                rows += sum(job.rows for job in jobs)
                counts.failure(lane.version)
        lane.cost.observe(rows, ended_s - began_s)
        self._measure_calm(lane)
        if ended_s - outcomes[0][0][0].arrived_s > self._promised_s * _TARGET_SHARE:
            self._target_s = max(self._target_s * _LATER, self._promised_s * _LEAST_SHARE)
        elif self._target_s < self._promised_s * _TARGET_SHARE:
            self._target_s = min(self._target_s * _EARLIER, self._promised_s * _TARGET_SHARE)
        self._close_if_done(lane)

    def _close_if_done(self, lane: Lane) -> None:
        at_work = any(one is lane for one, _, _ in self._under_way)
        if lane.retired and not lane.pending and not at_work and lane in self._lanes:
            self._lanes.remove(lane)
            lane.model.close()

    async def drained(self) -> None:
        """Return when nothing is queued and nothing runs."""
        while self.queued_rows or self._under_way:
            await self._idle.wait()
            await asyncio.sleep(0)

    def close(self) -> None:
        """Refuse further jobs and close all models. Call after `drained`, or lose what is queued."""
        self._closed = True
        self._runner.shutdown(wait=True)
        for lane in self._lanes:
            lane.model.close()
        self._lanes.clear()

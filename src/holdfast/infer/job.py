"""What waits for a run: one request's rows, and how those of several become one batch."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from mypy_extensions import mypyc_attr

from holdfast.errors import HoldfastError
from holdfast.infer.block import Block, join
from holdfast.infer.errors import ModelFailedError
from holdfast.infer.plane import AnsweredBatch
from holdfast.infer.records import RecordCodec

logger = logging.getLogger("holdfast.infer")


@mypyc_attr(allow_interpreted_subclasses=True)
class Job:
    """One request for one model version: rows in, and someone to tell.

    Args:
        rows: at least 1.
        records: decoded records; None where `block` is given.
        block: validated columns.
        shape: only jobs of equal shape share an array.
        arrived_s: monotonic time of the request's last byte.
    """

    __slots__ = (
        "arm", "arrived_s", "assigned", "block", "cancelled", "copier", "patience_s", "records", "rows",
        "shape", "size_bytes",
    )  # fmt: skip

    arm: str
    """The lane's when it was queued: a route that changes while it waits changes nothing about that."""
    copier: Copier | None
    """The lane's when it was queued, for the same reason."""

    def __init__(
        self,
        rows: int,
        records: list[Any] | None,
        block: Block | None,
        shape: tuple[tuple[int, ...], ...],
        arrived_s: float,
    ) -> None:
        self.rows = rows
        self.records = records
        self.block = block
        self.shape = shape
        self.arrived_s = arrived_s
        self.cancelled = False
        """Nobody waits for the answer any more."""
        self.assigned = True
        """False: beside the arms of a rollout, since its caller named the version."""
        self.patience_s: float | None = None
        """The caller's own deadline, seconds from arrival; None: the service's."""
        self.size_bytes = 0
        """Of the body; 0: not known."""

    def answered(self, batch: AnsweredBatch, start: int) -> None:
        """Called in the loop: the rows from `start` of the batch are this job's; they are in the log."""
        raise NotImplementedError

    def failed(self, error: HoldfastError) -> None:
        """Called in the loop instead of `answered`."""
        raise NotImplementedError


class Copier(Protocol):
    """Sends copies of answered rows to a challenger."""

    def offer(self, batch: AnsweredBatch) -> None:
        """Take the batch's rows, or count them as dropped; never waits, never raises."""


class Observer(Protocol):
    """Is told of answered requests, once for each batch. Called in the loop; never waits, never raises."""

    def answering(self, jobs: list[Job], batch: AnsweredBatch) -> None:
        """The jobs of a batch are about to be answered."""

    def answered(
        self, jobs: list[Job], batch: AnsweredBatch, arrived_s: list[float], answered_s: float
    ) -> None:
        """They were answered, except those that are cancelled.

        Args:
            jobs: in order.
            batch: of them.
            arrived_s: of each job.
            answered_s: when the last answer was on its way, by the same clock.
        """


Outcome = AnsweredBatch | HoldfastError
"""What becomes of jobs that ran together."""


def tell(jobs: Sequence[Job], outcome: Outcome) -> None:
    """Tell each what became of it; whatever happens on the way to one, the others are told."""
    batch, failure = (outcome, None) if isinstance(outcome, AnsweredBatch) else (None, outcome)
    start = 0
    for job in jobs:
        at = start
        start += job.rows  # whatever becomes of this one
        try:
            if failure is not None:
                job.failed(failure)
            elif batch is not None and not job.cancelled:
                job.answered(batch, at)
        except Exception as error:
            logger.exception("an answer could not be delivered")
            with contextlib.suppress(Exception):
                job.failed(ModelFailedError("the answer could not be written", received=type(error).__name__))
            job.cancelled = True


def alike(one: Job, other: Job) -> bool:
    """Whether they may share a batch."""
    return one.shape == other.shape and one.arm == other.arm and one.copier is other.copier


def assemble(codec: RecordCodec, jobs: Sequence[Job]) -> Block:
    """The rows of all jobs as one block; records that stand side by side are converted together."""
    if len(jobs) == 1:  # what a service does that is not busy
        alone = jobs[0]
        if alone.block is not None:
            return alone.block
        return codec.block(alone.records or [])
    blocks: list[Block] = []
    records: list[Any] = []
    for job in jobs:
        if job.records is not None:
            records += job.records
            continue
        if records:
            blocks.append(codec.block(records))
            records = []
        if job.block is not None:
            blocks.append(job.block)
    if records:
        blocks.append(codec.block(records))
    return join(blocks)

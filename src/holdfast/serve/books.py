"""What is counted and noted of answered requests, once for each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from holdfast.infer import AnsweredBatch, Job

if TYPE_CHECKING:
    from holdfast.serve.jobs import HttpJob
    from holdfast.serve.watch import Watch


class Books:
    """Counts requests under their routes, and tells access log and traces of them. See `Observer`."""

    def __init__(self) -> None:
        self.watch: Watch | None = None
        """Access log and traces, where asked for."""

    def answering(self, jobs: list[Job], batch: AnsweredBatch) -> None:
        """See `Observer.answering`."""
        if self.watch is not None:
            self.watch.answering(cast("list[HttpJob]", jobs), batch.rows)

    def answered(
        self, jobs: list[Job], batch: AnsweredBatch, arrived_s: list[float], answered_s: float
    ) -> None:
        """See `Observer.answered`."""
        told = cast("list[HttpJob]", jobs)
        counts = told[0].counts
        single = batch.rows == len(jobs)
        alike = [job for job in told if job.counts is counts and not job.cancelled]
        if len(alike) == len(told):  # as nearly always
            self._note(told, arrived_s, answered_s, single=single)
            return
        groups: dict[int, tuple[list[HttpJob], list[float]]] = {}
        for job, one_s in zip(told, arrived_s, strict=True):
            if not job.cancelled:
                of_route, arrived = groups.setdefault(id(job.counts), ([], []))
                of_route.append(job)
                arrived.append(one_s)
        for of_route, arrived in groups.values():
            self._note(of_route, arrived, answered_s, single=single)

    def _note(self, jobs: list[HttpJob], arrived_s: list[float], answered_s: float, *, single: bool) -> None:
        """Of one route and version; `single`: each has one row."""
        counts = jobs[0].counts
        counts.observe_since(200, arrived_s, answered_s)
        if self.watch is not None:
            self.watch.answered(counts, jobs, arrived_s, answered_s, single=single)

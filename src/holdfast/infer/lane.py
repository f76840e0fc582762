"""The queue of one model version, and how many of its rows share a run."""

from __future__ import annotations

from collections import deque
from typing import Final

from holdfast.infer.cost import RunCost
from holdfast.infer.job import Copier, Job
from holdfast.infer.model import LoadedModel
from holdfast.infer.plane import CHAMPION_ARM
from holdfast.infer.records import RecordCodec
from holdfast.spec.checklist import Checklist

_FIXED_PARTS: Final = 3.0
"""A run may always last so many times its fixed part, or batching would gain nothing."""
ENOUGH_S: Final = 0.010
"""A run that lasts longer gains nothing more from sharing, if its fixed part is small beside it."""
HALF_S: Final = 0.025
"""A run may last so long where half of all rows fill it, whatever is believed of its fixed part: caches gain
from long runs, and a warm-up on a busy machine does not see it."""
_SMALL_PART: Final = 0.03
"""Of a run that lasts long enough, for what does not depend on its rows."""
_STRETCHED: Final = 3.0
"""Times as long by the clock may last what takes a core no longer than these: where others use the core too,
short runs do not end earlier, they only cost more."""
MAX_QUEUED_ROWS: Final = 200_000
"""Bound of the queue whatever the estimates say."""


class Lane:
    """The queue of one loaded model version."""

    __slots__ = ("arm", "calm_rows", "codec", "copier", "cost", "model", "most", "pending", "retired", "rows")

    def __init__(self, model: LoadedModel, checklist: Checklist) -> None:
        self.model = model
        self.arm = CHAMPION_ARM
        self.copier: Copier | None = None
        """Set while a challenger answers copies of this version's rows."""
        self.codec = RecordCodec(model.signature, checklist)
        self.pending: deque[Job] = deque()
        self.rows = 0
        self.retired = False
        self.calm_rows = 0
        """Rows that may wait, if nothing else does, before anybody asks how long they will."""
        self.most = MAX_QUEUED_ROWS
        """Rows of one run, as of the last that a thread was given."""
        self.cost = RunCost()
        """Of whole batches: columns, run, log and answers; the model's own is of its run alone."""

    def seconds(self, rows: int) -> float:
        """How long a batch of so many rows is expected to take, from its start to its answers."""
        whole, run = self.cost, self.model.cost
        return max(whole.fixed_s + whole.per_row_s * rows, run.fixed_s + run.per_row_s * rows)

    def rows_within(self, seconds: float) -> int:
        """Most rows of a batch that is expected to take no longer; 0: not even one."""
        least = min(self.cost.rows_within(seconds), self.model.cost.rows_within(seconds))
        return least if self.seconds(least) <= seconds else 0

    @property
    def version(self) -> str:
        """As in the registry."""
        return self.model.version

    def take_all(self, earliest_s: float) -> list[Job]:
        """All that waits, if that is one batch as it stands; none, if somebody has to look at each.

        Args:
            earliest_s: who came before may have waited too long.
        """
        first = self.pending[0]  # has waited longest
        if first.arrived_s < earliest_s:
            return []
        arm, copier, shape = first.arm, first.copier, first.shape
        for job in self.pending:
            if (
                job.cancelled
                or job.patience_s is not None
                or job.arm != arm
                or job.copier is not copier
                or job.shape != shape
            ):
                return []
        jobs = list(self.pending)
        self.pending.clear()
        self.rows = 0
        return jobs

    def rows_of_a_run(self, present: int, longest_s: float) -> int:
        """Most rows of jobs that share the next run.

        Whoever takes all that waits has nothing to run while its answers are written and the next questions
        are read: what is long enough leaves the rest for then, or half.

        Args:
            present: rows that wait or are under way.
            longest_s: of a run, as far as its fixed part allows.
        """
        model = self.model
        cost = model.cost
        enough_s = max(ENOUGH_S, max(cost.fixed_s, self.cost.fixed_s) / _SMALL_PART)
        half = min(present // 2, self._rows_of_work(HALF_S))
        enough = max(self._rows_of_work(enough_s), model.paying_rows, half)
        longest_s = max(longest_s, _FIXED_PARTS * cost.fixed_s)
        return min(cost.rows_within(longest_s), enough, model.most_rows, model.worthwhile_rows)

    def _rows_of_work(self, seconds: float) -> int:
        """Most rows whose run takes a core so long, by the clock up to three times that."""
        cost, work = self.model.cost, self.model.work
        rows = cost.rows_within(seconds)
        if work.per_row_s <= 0.0:  # no long run yet, or on another device
            return rows
        return max(rows, min(work.rows_within(seconds), cost.rows_within(_STRETCHED * seconds)))

"""One policy on its way through a replay: what it answered, what it could know by when, what it cost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.spec.checklist import Monitoring
from holdfast.train.standing_in import StandIn, log_loss

Numbers = NDArray[np.float64]

SCORE_CELLS: Final = 512
RECENT_WINDOWS: Final = 7
"""That the trigger `quality` looks at: a week of days, since one day alone is noise."""
_SURE: Final = 3.0
"""Standard errors by which a retrained model's loss must rise to count as an alarm."""


@dataclass(slots=True)
class Tally:
    """Labelled answers, counted: memory that does not grow with the rows."""

    classes: bool
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, SCORE_CELLS), dtype=np.int64))
    loss: float = 0.0
    """Sum of wrong answers, or of absolute errors."""
    surprise: float = 0.0
    """Sum of log losses, or of absolute errors."""
    rows: int = 0

    def add(self, score: Numbers, truth: Numbers, threshold: float) -> None:
        """Answers and what was true."""
        self.rows += len(truth)
        if not self.classes:
            off = float(np.abs(score - truth).sum())
            self.loss += off
            self.surprise += off
            return
        self.loss += float(((score >= threshold) != (truth > 0)).sum())
        self.surprise += float(log_loss(score, truth).sum())
        cells = np.clip((score * SCORE_CELLS).astype(int), 0, SCORE_CELLS - 1)
        np.add.at(self.counts, ((truth > 0).astype(int), cells), 1)

    def merge(self, other: Tally) -> None:
        """As if its rows had been added here."""
        self.counts = self.counts + other.counts
        self.loss += other.loss
        self.surprise += other.surprise
        self.rows += other.rows

    def quality(self) -> float | None:
        """Area under the curve, or mean absolute error; None without rows, or without both classes."""
        if not self.classes:
            return self.loss / self.rows if self.rows else None
        negative, positive = self.counts
        if not negative.sum() or not positive.sum():
            return None
        below = np.cumsum(negative) - negative
        return float(positive @ (below + negative / 2)) / float(negative.sum() * positive.sum())


@dataclass(frozen=True, slots=True)
class _Unripe:
    """A window whose labels may not be looked at yet."""

    begun_us: int
    ripe_us: int
    model: StandIn | None
    said: Tally


@dataclass(slots=True)
class Player:
    """One policy. What it decides on is what was known then; what it is judged by is what is known now."""

    name: str
    classes: bool
    threshold: float
    costs: Monitoring
    model: StandIn | None = None
    trained: list[tuple[int, str]] = field(default_factory=list)
    learnt_until_us: list[int] = field(default_factory=list)
    labels: int = 0
    """That have become known since the last training."""
    cost: float = 0.0
    whole: Tally = field(init=False)
    """Of all labelled rows, for the end."""
    mature: deque[Tally] = field(default_factory=lambda: deque(maxlen=RECENT_WINDOWS))
    """Of the present model's answers in the newest windows whose labels are mature."""
    unripe: deque[_Unripe] = field(default_factory=deque)
    worse_since_us: int | None = None
    """Beginning of the first window in which the retrained model is surely worse than when it was made."""
    change_us: int | None = None
    """Beginning of the change that an alarm told of, when it started a training."""
    taught_rows: int | None = None
    """Rows since then that the newest training has learnt from."""

    def __post_init__(self) -> None:
        self.whole = Tally(self.classes)

    def answer(
        self,
        base: Numbers,
        inputs: Numbers,
        truth: Numbers,
        in_time: NDArray[np.bool_],
        *,
        begun_us: int,
        ripe_us: int,
    ) -> None:
        """Judge the present model on one window's labelled rows.

        Args:
            base: `[N]` scores of the first model.
            inputs: `[N, D]`.
            truth: `[N]`.
            in_time: `[N]`, whether the label was known by the time the row counts.
            begun_us: time of the first of these rows.
            ripe_us: when all of them count.
        """
        if not len(truth):
            return
        score = base if self.model is None else self.model.score(inputs)
        self.whole.add(score, truth, self.threshold)
        if self.classes:
            wrong = (said := score >= self.threshold) != (truth > 0)
            self.cost += self.costs.cost_false_positive * float((said & wrong).sum())
            self.cost += self.costs.cost_false_negative * float((~said & wrong).sum())
        tally = Tally(self.classes)
        tally.add(score[in_time], truth[in_time], self.threshold)
        self.unripe.append(_Unripe(begun_us, ripe_us, self.model, tally))

    def ripen(self, now_us: int) -> None:
        """Look at the labels that are mature by now."""
        while self.unripe and self.unripe[0].ripe_us <= now_us:
            window = self.unripe.popleft()
            if window.model is self.model and window.said.rows:
                self.mature.append(window.said)
                if not self.alarmed:
                    self.worse_since_us = None
                elif self.worse_since_us is None:
                    self.worse_since_us = window.begun_us

    def train(self, model: StandIn, now_us: int, reason: str, learnt_us: int) -> None:
        """Answer with this model from now on."""
        self.model = model
        self.trained.append((now_us, reason))
        self.learnt_until_us.append(learnt_us)
        self.labels = 0
        self.mature.clear()
        self.worse_since_us = None

    def quality(self) -> float | None:
        """Of the present model over the newest windows whose labels are mature."""
        found = Tally(self.classes)
        for one in self.mature:
            found.merge(one)
        return found.quality()

    @property
    def alarmed(self) -> bool:
        """Whether the retrained model is surely worse than when it was made, by labels known now."""
        model = self.model
        if model is None or not self.mature:
            return False
        newest = self.mature[-1]
        rows = newest.rows
        error = model.spread * np.sqrt(1 / rows + 1 / max(model.held, 1))
        return bool(newest.surprise / rows - model.expected > _SURE * error)

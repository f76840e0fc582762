"""The loss of a row in metric points: a wrong answer, a distance, or what a chance missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.rows import Rows, Task
from holdfast.stats import calibrate
from holdfast.stats.calibration import score_edges

Numbers = NDArray[np.float64]
_SKILL: Final = 0.1
"""Of the errors that always answering the commoner class makes, what answers must save to tell anything."""


OF_CHANCES: Final = (
    "The answers err hardly less often than always the commoner class would, so what is lost, and saved, is "
    "the log loss of what the scores meant on the reference. With costs of errors gains are in money."
)


@dataclass(frozen=True, slots=True)
class Chances:
    """What scores meant on the reference."""

    edges: Numbers = field(repr=False)
    level: Numbers = field(repr=False)
    """`[cells]`, the chance of a positive."""
    least: float
    """No chance is nearer to 0 or 1: half a row of the reference."""

    @classmethod
    def of(cls, reference: Rows) -> Chances:
        """From labelled rows of two classes, at least one."""
        truth, score = reference.truth_and_score
        edges = score_edges(score)
        at = np.searchsorted(edges, score, side="right")
        rows, positives = (np.bincount(at, weights, len(edges) + 1) for weights in (None, truth))
        return cls(edges, calibrate(positives, rows, replicates=1).level, 0.5 / (len(truth) + 1))

    def meant(self, score: Numbers) -> Numbers:
        """`[N]`, the chance of a positive at each score."""
        level: Numbers = self.level[np.searchsorted(self.edges, score, side="right")]
        return level

    def log_loss(self, truth: Numbers, chance: Numbers) -> Numbers:
        """`[N]`, of chances of any source."""
        bounded = np.clip(chance, self.least, 1 - self.least)
        found: Numbers = -np.log(np.where(truth > 0, bounded, 1 - bounded))
        return found


@dataclass(frozen=True, slots=True)
class RowLoss:
    """What is lost in a row.

    Where one class is rare, a model may be worth much by its scores and never answer that class: its errors
    are then as many as there are such rows, whatever it knows, and stay so when it knows nothing any more.
    There the loss is the log loss of the chances that its scores meant on the reference.
    """

    task: Task
    answered_from: float
    chances: Chances | None
    """None where answers are judged, right or wrong or by their distance."""

    @classmethod
    def of(cls, task: Task, answered_from: float, reference: Rows) -> RowLoss:
        """What tells how good the answers are.

        Args:
            task: of the model.
            answered_from: of two classes, the score from which the positive one is answered.
            reference: labelled rows of it.
        """
        if task == "binary" and len(reference) and not _answers_tell(answered_from, reference):
            return cls.of_chances(task, answered_from, reference)
        return cls(task, answered_from, None)

    @classmethod
    def of_chances(cls, task: Task, answered_from: float, reference: Rows) -> RowLoss:
        """Of two classes, by what scores meant: no change of P(y|x) that matters leaves it as it is."""
        return cls(task, answered_from, Chances.of(reference))

    @property
    def name(self) -> str:
        """In words."""
        return loss_name(self.task) if self.chances is None else "log loss"

    def of_rows(self, rows: Rows) -> Numbers:
        """`[N]`, of the model as it is, for labelled rows."""
        truth, score = rows.truth_and_score
        if self.chances is not None:
            return self.chances.log_loss(truth, self.chances.meant(score))
        return losses(self.task, truth, score, answered_from=self.answered_from)


def loss_name(task: Task) -> str:
    """What `losses` are."""
    return "absolute error" if task == "regression" else "error rate"


def losses(task: Task, truth: Numbers, score: Numbers, *, answered_from: float) -> Numbers:
    """`[N]`: 1 for a wrong answer and 0 for a right one, or the absolute error.

    Args:
        task: with more than two classes the truth is whether the answer was right.
        truth: `[N]`.
        score: `[N]`.
        answered_from: of two classes, the score from which the positive one is answered.
    """
    if task == "regression":
        error: Numbers = np.abs(truth - score)
        return error
    if task == "multiclass":
        wrong: Numbers = 1.0 - truth
        return wrong
    differs: Numbers = ((score >= answered_from) != (truth > 0)).astype(np.float64)
    return differs


def _answers_tell(answered_from: float, reference: Rows) -> bool:
    """Whether the answers are better than always the commoner class."""
    truth, score = reference.truth_and_score
    wrong = float(losses("binary", truth, score, answered_from=answered_from).mean())
    share = float((truth > 0).mean())
    return wrong <= (1 - _SKILL) * min(share, 1 - share)

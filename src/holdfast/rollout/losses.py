"""What a wrong answer is: losses in [0, 1] of answers beside labels, as texts or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Signature
from holdfast.prediction_log import label_text
from holdfast.registry import DecidingLoss, Rollout, deciding_loss_of
from holdfast.spec import Deployment

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Losses:
    """The deciding loss of one deployment, on what its log holds.

    Two classes: a false positive and a false negative cost what [monitoring] states, in units of the dearer
    one, or 1 each; or the Brier score of the score, and of 0 or 1 where an answer has none. More classes: 1
    for a wrong one. Regression: the absolute error in units of the scale, at most 1.
    """

    task: str
    positive: str
    truthy: bool
    """The classes are 0 and 1, so labels may say true and false."""
    false_positive: float
    false_negative: float
    scale: float
    negative: str = ""
    by_score: bool = False
    """The Brier score: the log computes it, since scores are many."""

    @classmethod
    def of(cls, signature: Signature, decides: DecidingLoss) -> Losses:
        """For a model with this signature."""
        known = [label_text(name) or "" for name in signature.classes]
        positive = label_text(signature.positive_class) or ""
        return cls(
            task=signature.task,
            positive=positive,
            truthy="1" in known,
            false_positive=decides.false_positive,
            false_negative=decides.false_negative,
            scale=decides.scale if decides.name == "absolute_error" else 1.0,
            negative=next((one for one in known if one != positive), ""),
            by_score=decides.name == "brier_score",
        )

    def texts_of(self, name: str) -> tuple[str, ...]:
        """Every text under which a class stands in the log."""
        words = {"1": "true", "0": "false"}
        return (name, words[name]) if self.truthy and name in words else (name,)

    def loss(self, answers: Sequence[Any], labels: Sequence[Any]) -> Floats:
        """NaN where there is no label, or none that can be read; 1 for an answer that is no number."""
        if self.task == "regression":
            true = numbers(labels)
            distance = np.minimum(np.abs(numbers(answers) - true) / self.scale, 1.0)
            return np.where(np.isnan(distance) & np.isfinite(true), 1.0, distance)
        said, true = self._texts(answers), self._texts(labels)
        wrong: Floats = (said != true).astype(np.float64)
        if self.task == "binary":
            wrong *= np.where(said == self.positive, self.false_positive, self.false_negative)
        wrong[np.array([one is None for one in labels], dtype=bool)] = np.nan
        return wrong

    def flips(self, ours: Sequence[Any], theirs: Sequence[Any]) -> Floats:
        """1 where two answers differ; regression: their distance in units of loss_scale, at most 1."""
        if self.task == "regression":
            return np.minimum(np.abs(self._apart(ours, theirs)), 1.0)
        differ: Floats = (self._texts(ours) != self._texts(theirs)).astype(np.float64)
        return differ

    def volume(self, ours: Sequence[Any], theirs: Sequence[Any]) -> Floats:
        """Difference of positives; regression: of the answers in units of loss_scale, in [-1, 1]."""
        if self.task == "regression":
            return np.clip(self._apart(ours, theirs), -1.0, 1.0)
        if self.task != "binary":
            return np.zeros(len(ours))
        return self._positives(ours) - self._positives(theirs)

    @property
    def volume_of(self) -> str:
        """What `volume` is of, in words."""
        return "mean answer" if self.task == "regression" else "share of positives"

    def _apart(self, ours: Sequence[Any], theirs: Sequence[Any]) -> Floats:
        """In units of the scale; 1 where one is a number and the other none, as the log's queries have it."""
        first, second = numbers(ours), numbers(theirs)
        with np.errstate(invalid="ignore"):
            apart: Floats = (first - second) / self.scale
        alike = np.isnan(first) == np.isnan(second)
        return np.where(np.isnan(apart), np.where(alike, 0.0, 1.0), apart)

    def _positives(self, answers: Sequence[Any]) -> Floats:
        positive: Floats = (self._texts(answers) == self.positive).astype(np.float64)
        return positive

    def _texts(self, values: Sequence[Any]) -> NDArray[Any]:
        texts = [None if one is None else label_text(one) for one in values]
        if self.truthy:
            words = {"true": "1", "false": "0"}
            texts = [None if one is None else words.get(one, one) for one in texts]
        return np.array(texts, dtype=object)


def losses_of(deployment: Deployment, signature: Signature, rollout: Rollout) -> Losses:
    """What decides in a rollout.

    Raises:
        RegistryError: numbers have no scale.
    """
    versions = (rollout.champion if rollout.kind == "update" else None, rollout.challenger)
    decides = deciding_loss_of(deployment, signature, *(one for one in versions if one))
    return Losses.of(signature, decides)


def numbers(values: Sequence[Any]) -> Floats:
    """As floats; NaN for what is none."""

    def number(value: Any) -> float:
        try:
            return float("nan") if value is None else float(value)
        except (TypeError, ValueError):
            return float("nan")

    return np.array([number(value) for value in values])

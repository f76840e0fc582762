"""Small boosted trees that stand in for the trainer in a replay, and what they are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.boosting import MAPPING_TREES, least_leaf
from holdfast.stats.domain import fitted
from holdfast.train.tabular import telling_rows

Numbers = NDArray[np.float64]

LARGEST_FIT: Final = 20_000
LEAST_FIT: Final = 400
"""Mature labelled rows below which nothing is retrained."""
_HELD: Final = 0.2
"""Newest share of what is learnt from that says what loss is to be expected."""


@dataclass(slots=True)
class StandIn:
    """One that was fitted in the replay, and the loss to be expected of it."""

    trees: Any
    classes: bool
    expected: float
    spread: float
    held: int

    def score(self, inputs: Numbers) -> Numbers:
        """`[N]`, chances of the positive class or numbers, for `[N, D]` inputs."""
        said: Numbers = self.trees.predict_proba(inputs)[:, 1] if self.classes else self.trees.predict(inputs)
        return said


def log_loss(score: Numbers, truth: Numbers) -> Numbers:
    """`[N]`, minus the log of the chance that was given to what came true."""
    loss: Numbers = -np.log(np.clip(np.where(truth > 0, score, 1 - score), 1e-15, 1))
    return loss


def newest(history: tuple[Numbers, Numbers], inputs: Numbers, truth: Numbers) -> tuple[Numbers, Numbers]:
    """With the new rows, and no more than the newest `LARGEST_FIT`."""
    return (
        np.concatenate([history[0], inputs])[-LARGEST_FIT:],
        np.concatenate([history[1], truth])[-LARGEST_FIT:],
    )


def fit(history: tuple[Numbers, Numbers], *, classes: bool, seed: int, judged: bool) -> StandIn | None:
    """Trees on all of it; where it is to be judged, the loss of such trees on the newest fifth, held out."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    inputs, truth = history
    if len(truth) < LEAST_FIT or (classes and min(truth.sum(), (1 - truth).sum()) < 10):
        return None
    cut = int(len(truth) * (1 - _HELD))
    maker = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor

    def grown(rows: int) -> Any:
        told = telling_rows(truth[:rows].astype(np.int64) if classes else truth[:rows])
        trees = maker(**MAPPING_TREES, min_samples_leaf=least_leaf(told), random_state=seed)
        return fitted(trees, inputs[:rows], truth[:rows])

    if not judged:
        return StandIn(grown(len(truth)), classes, 0.0, 0.0, 0)
    if classes and min(truth[:cut].sum(), (1 - truth[:cut]).sum()) < 1:
        return None
    held = StandIn(grown(cut), classes, 0.0, 0.0, len(truth) - cut)
    score = held.score(inputs[cut:])
    loss = log_loss(score, truth[cut:]) if classes else np.abs(score - truth[cut:])
    return StandIn(grown(len(truth)), classes, float(loss.mean()), float(loss.std()), len(loss))

"""What would have helped? Options after a change, tried on the past by forward chaining.

The labelled rows since the change are cut into blocks in order of time. Before each block but the first,
every option learns from what came before it, and is judged on the block: no option sees the future. See
docs/methods/options.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.boosting import MAPPING_TREES, least_leaf
from holdfast.stats.calibration import calibrate, score_edges
from holdfast.stats.domain import fitted
from holdfast.stats.errors import StatisticsError
from holdfast.stats.quality import Estimate, mean_estimate

Numbers = NDArray[np.float64]
Loss = Callable[[Numbers, Numbers], Numbers]
"""From truth and answer, both `[N]`; the answer is a number, of two classes 1 and 0, or a chance."""
BacktestTask = Literal["binary", "multiclass", "regression"]
Action = Literal["leave", "recalibrate", "move the threshold", "retrain", "roll back"]

BLOCKS: Final = 4
"""The first is only learnt from: three judgements, each on a quarter of the rows since the change."""
LEAST_ROWS: Final = 400
"""Since the change: a hundred rows to learn from at first."""
LARGEST_FIT: Final = 20_000
_CALIBRATION_CELLS: Final = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """Labelled rows in order of time."""

    inputs: Numbers = field(repr=False)
    """`[N, D]`, the model's own answer best among them."""
    score: Numbers = field(repr=False)
    """`[N]`, the chance of the positive class, or the predicted number."""
    truth: Numbers = field(repr=False)

    def __len__(self) -> int:
        return len(self.truth)

    def part(self, chosen: Any) -> Sample:
        """Some of the rows."""
        return Sample(self.inputs[chosen], self.score[chosen], self.truth[chosen])

    def after(self, other: Sample) -> Sample:
        """The other rows, then these."""
        return Sample(
            np.concatenate([other.inputs, self.inputs]),
            np.concatenate([other.score, self.score]),
            np.concatenate([other.truth, self.truth]),
        )


@dataclass(frozen=True, slots=True)
class Backtest:
    """One option, and what it would have saved of the loss of each row."""

    action: Action
    detail: str
    gain: Estimate
    """Loss of the model as it is minus loss with the option, for one row; 95 % interval of paired rows."""


def backtest(
    reference: Sample,
    before: Sample,
    since: Sample,
    *,
    task: BacktestTask,
    loss: Loss,
    answered_above: float = 0.5,
    threshold: float = 0.5,
    chance: Callable[[Numbers], Numbers] | None = None,
    versions: Mapping[str, Numbers] | None = None,
    blocks: int = BLOCKS,
    seed: int = 0,
) -> tuple[Backtest, ...]:
    """Try every option on the rows since a change, the best first.

    Retrained models are boosted trees that stand in for the real trainer; the model's score is one of their
    inputs, so that they need not be better than it to improve on it. About 15 fits of at most `LARGEST_FIT`
    rows: 5 s and core for 20 columns.

    Args:
        reference: of the model.
        before: labelled rows of production before the change; may be empty.
        since: labelled rows since the change.
        task: of two classes the truth is 0 or 1 and the score a chance; of several, truth and score are
            numbers of classes, and models are retrained but nothing is recalibrated.
        loss: what is to be saved.
        answered_above: the score above which the model, and other versions, answer with 1 today.
        threshold: the chance above which a recalibrated or retrained model would answer with 1.
        chance: of two classes, what the scores of the model, and of other versions, mean. Given, the loss is
            of chances and not of answers: both thresholds do not count, and none is moved.
        versions: scores that other versions give the rows since the change, by name.
        blocks: at least 2.
        seed: of the rows drawn where they are too many.

    Raises:
        StatisticsError: fewer than `LEAST_ROWS` rows since the change.

    Example:
        The effect has turned, so that the answers are wrong in 84 of 100 rows instead of 16.

        >>> import numpy as np
        >>> def wrong(truth, answer): return abs(truth - answer)
        >>> def drawn(seed, effect):
        ...     random = np.random.default_rng(seed)
        ...     x = random.choice([-1.0, 1.0], 1000)
        ...     chance = 1 / (1 + np.exp(-1.66 * effect * x))
        ...     score = 1 / (1 + np.exp(-1.66 * x))
        ...     return Sample(np.c_[x, score], score, (random.random(1000) < chance).astype(float))
        >>> found = backtest(drawn(1, 1), drawn(2, 1), drawn(3, -1), task="binary", loss=wrong)
        >>> found[0].action, bool(found[0].gain.low < 0.68 < found[0].gain.high)
        ('retrain', True)
    """
    if len(since) < LEAST_ROWS:
        raise StatisticsError(
            "too few labelled rows since the change to try options on",
            expected=f"at least {LEAST_ROWS}",
            received=str(len(since)),
        )
    random = np.random.default_rng([seed, 41])
    bounds = np.linspace(0, len(since), blocks + 1).astype(int)
    saved: dict[tuple[Action, str], list[Numbers]] = {}

    def note(action: Action, detail: str, gain: Numbers) -> None:
        saved.setdefault((action, detail), []).append(gain)

    def answer(score: Numbers) -> Numbers:
        return (score > threshold).astype(np.float64) if task == "binary" and chance is None else score

    def answer_today(score: Numbers) -> Numbers:
        if chance is not None:
            return chance(score)
        return (score > answered_above).astype(np.float64) if task == "binary" else score

    for start, end in pairwise(bounds[1:]):
        known, block = since.part(slice(0, start)), since.part(slice(start, end))
        as_is = loss(block.truth, answer_today(block.score))
        history = known.after(before.after(reference))
        if task == "binary":
            note("recalibrate", "", as_is - loss(block.truth, answer(_recalibrated(known, block.score))))
            if chance is None:
                cut = _best_threshold(known, loss)
                note("move the threshold", "", as_is - loss(block.truth, (block.score > cut).astype(float)))
        elif task == "regression":
            slope, level = _line(known)
            note("recalibrate", "", as_is - loss(block.truth, level + slope * block.score))
        age = np.arange(len(history))[::-1]
        chosen: dict[str, Sample] = {
            "on all labelled rows": _drawn(history, np.ones(len(history)), random),
            "on the rows since the change": _drawn(known, np.ones(len(known)), random),
            "on all rows, newer ones weighing more": _drawn(history, 0.5 ** (age / len(known)), random),
        }
        for detail, rows in chosen.items():
            note(
                "retrain",
                detail,
                as_is - loss(block.truth, answer(_retrained(rows, block.inputs, task, seed))),
            )
        for name, scores in (versions or {}).items():
            note(
                "roll back",
                f"to version {name}",
                as_is - loss(block.truth, answer_today(scores[start:end])),
            )
    found = [
        Backtest(action, detail, mean_estimate(np.concatenate(gains)))
        for (action, detail), gains in saved.items()
    ]
    nothing = Backtest("leave", "", Estimate(0.0, 0.0, 0.0, int(len(since) - bounds[1])))
    return tuple(sorted([*found, nothing], key=lambda one: -one.gain.value))


def rows_to_decide(gain: Estimate) -> int | None:
    """Further rows after which a gain of this size would be told from 0; None where none is to be expected.

    The half-width of an interval shrinks with the root of the rows.

    Example:
        >>> rows_to_decide(Estimate(0.01, -0.01, 0.03, 100))
        300
    """
    half = gain.high - gain.value
    if gain.value <= 0 or not np.isfinite(half):
        return None
    return max(0, int(np.ceil(gain.rows * (half / gain.value) ** 2)) - gain.rows)


def _recalibrated(known: Sample, score: Numbers) -> Numbers:
    edges = score_edges(known.score, _CALIBRATION_CELLS)
    at = np.searchsorted(edges, known.score, side="right")
    rows = np.bincount(at, minlength=len(edges) + 1)
    positives = np.bincount(at, weights=known.truth, minlength=len(edges) + 1)
    level: Numbers = calibrate(positives, rows, replicates=1).level[
        np.searchsorted(edges, score, side="right")
    ]
    return level


def _best_threshold(known: Sample, loss: Loss) -> float:
    cuts = np.unique(np.r_[-np.inf, np.quantile(known.score, np.linspace(0, 1, 101))])
    means = [float(loss(known.truth, (known.score > cut).astype(float)).mean()) for cut in cuts]
    return float(cuts[int(np.argmin(means))])


def _line(known: Sample) -> tuple[float, float]:
    centred = known.score - known.score.mean()
    square = float(centred @ centred)
    slope = float(centred @ known.truth) / square if square > 0 else 1.0
    return slope, float(known.truth.mean() - slope * known.score.mean())


def _drawn(rows: Sample, weight: Numbers, random: np.random.Generator) -> Sample:
    """Rows as they are, or drawn by weight: models take weighted rows far more slowly."""
    even = float(weight.min()) == float(weight.max())
    size = min(len(rows), LARGEST_FIT)
    if even and size == len(rows):
        return rows
    return rows.part(random.choice(len(rows), size=size, replace=not even, p=weight / weight.sum()))


def _retrained(rows: Sample, inputs: Numbers, task: BacktestTask, seed: int) -> Numbers:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    if task != "regression" and rows.truth.min() == rows.truth.max():
        return np.full(len(inputs), rows.truth[0])
    if task == "multiclass":
        # Each round grows a tree for each class.
        most = 2 * LARGEST_FIT // max(2, len(np.unique(rows.truth)))
        rows = rows.part(slice(None, None, -(-len(rows) // most)))
    maker = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    model = maker(**MAPPING_TREES, min_samples_leaf=least_leaf(len(rows)), random_state=seed)
    fitted(model, rows.inputs, rows.truth)
    said: Numbers = model.predict_proba(inputs)[:, 1] if task == "binary" else model.predict(inputs)
    return said

"""What boosted trees should learn from, how many and how sure: tried on rows that were still to come.

The newest three fifths of the rows are cut into four blocks in order of time. Each is answered by trees that
know only the rows before it, with the gap that a label's delay leaves. So one odd week does not decide, and
what is chosen is right for rows as far away as those to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

Numbers = NDArray[np.float64]
Grow = Callable[[Numbers, Any, Numbers, tuple[Numbers, Any, Numbers]], Any]
"""Trees from inputs, labels and weights, stopped early on the last three."""

BLOCKS: Final = 4
FIRST: Final = 0.4
"""Share of the rows that only teach."""
HALF_LIVES: Final = (0.35, 0.12)
"""Ages at which a row weighs half, as shares of the span of time, beside no such age."""
LARGEST_FORWARD: Final = 20_000
"""Rows that are tried; of more an even part."""
LEAST_EVENTS: Final = 30
"""Rows of the rarer class in the blocks below which a slope would be noise."""
_FEWER_OF_FOUR: Final = 3
_STEPS: Final = 250
_NEWER: Final = 2.0
"""Blocks back at which a block counts half."""
_SLOPES: Final = (0.05, 1.0)
"""Scores that are too shy are mended by more trees."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What did best on the blocks."""

    half_life: float | None
    """As a share of the span of time; None: old rows teach as much as new ones."""
    trees: int
    slope: float
    """Of raw scores around their baseline, which keeps the order of the scores and their middle."""
    loss: float
    """Over the blocks, newer ones counting more."""
    blocks: tuple[float, ...]
    """Loss of each block, oldest first."""


@dataclass(frozen=True, slots=True)
class _Block:
    """What growing trees say of a block, after a number of rounds each."""

    raw: Numbers
    """`[rounds, N, K]`."""
    baseline: Numbers
    """`[K]`."""
    truth: Any
    """Codes of classes, or numbers."""
    weights: Numbers


@dataclass(frozen=True, slots=True)
class Rows:
    """What there is to learn from, in order of time."""

    inputs: Numbers
    """`[N, D]`."""
    labels: Any
    """`[N]`; of numbers as floats."""
    weights: Numbers
    """`[N]`; where they differ already, no half-life is tried."""
    times_us: NDArray[np.int64]
    """`[N]`."""
    gap_us: int
    """Between the rows that teach and those that are answered."""

    def each(self, step: int) -> Rows:
        """An even part."""
        some = slice(None, None, step)
        return Rows(
            self.inputs[some], self.labels[some], self.weights[some], self.times_us[some], self.gap_us
        )

    def binned(self) -> Rows:
        """Inputs in as many steps as trees see; found once, since trees would for each of their fits."""
        inputs = self.inputs.copy()
        for column in inputs.T:
            known = np.isfinite(column)
            if len(np.unique(column[known])) > _STEPS:
                edges = np.unique(np.quantile(column[known], np.arange(1, _STEPS) / _STEPS))
                column[known] = np.searchsorted(edges, column[known], side="right")
        return Rows(inputs, self.labels, self.weights, self.times_us, self.gap_us)


def try_forward(rows: Rows, grow: Grow) -> Choice | None:
    """The half-life, the number of trees and the slope that did best; None: there is too little to try.

    A half-life is taken only where it helped in three of four blocks, the newest among them.

    Args:
        rows: at most `LARGEST_FORWARD` of them are tried.
        grow: grows trees.
    """
    rows = rows.each(-(-len(rows.labels) // LARGEST_FORWARD) or 1).binned()
    plain = _best(None, rows, grow)
    if plain is None or np.ptp(rows.weights) > 0:
        return plain
    found = plain
    for half_life in HALF_LIVES:
        other = _best(half_life, rows, grow)
        if other is None or len(other.blocks) < len(plain.blocks):
            continue
        less = np.array(other.blocks) < np.array(plain.blocks)
        if less[-1] and less.sum() >= min(_FEWER_OF_FOUR, len(less)) and other.loss < found.loss:
            found = other
    return found


def age_weights(times_us: NDArray[np.int64], half_life: float | None) -> Numbers:
    """`[N]`, 1 on average; a row weighs half at a share of the span of time before the newest one."""
    if half_life is None:
        return np.ones(len(times_us))
    newest = times_us.max()
    span = max(int(newest - times_us.min()), 1)
    weights: Numbers = 0.5 ** ((newest - times_us) / (half_life * span))
    weights /= weights.mean()
    return weights


def _best(half_life: float | None, rows: Rows, grow: Grow) -> Choice | None:
    blocks = list(_blocks(half_life, rows, grow))
    if not blocks:
        return None
    newness = 0.5 ** (np.arange(len(blocks))[::-1] / _NEWER)
    rounds = sorted({int(one) for one in _rounds(max(len(one.raw) for one in blocks))})
    surest = _may_scale(blocks)
    found: Choice | None = None
    for count in rounds:
        said = [(one, one.raw[min(count, len(one.raw)) - 1]) for one in blocks]

        def loss(slope: float, said: Any = said) -> tuple[float, Numbers]:
            each = np.array([_loss(one, one.baseline + slope * (raw - one.baseline)) for one, raw in said])
            return float(np.average(each, weights=newness)), each

        slope = 1.0
        if surest:
            low, high = np.log(_SLOPES)
            slope = float(
                np.exp(
                    minimize_scalar(
                        lambda log: loss(np.exp(log))[0], bounds=(low, high), options={"xatol": 1e-3}
                    ).x
                )
            )
        mean, each = loss(slope)
        if found is None or mean < found.loss:
            found = Choice(half_life, count, slope, mean, tuple(each.tolist()))
    return found


def _blocks(half_life: float | None, rows: Rows, grow: Grow) -> Iterator[_Block]:
    inputs, labels, weights, times_us = rows.inputs, rows.labels, rows.weights, rows.times_us
    edges = np.linspace(int(len(inputs) * FIRST), len(inputs), BLOCKS + 1).astype(int)
    for first, end in pairwise(edges.tolist()):
        known = int(np.searchsorted(times_us, times_us[min(first, len(times_us) - 1)] - rows.gap_us))
        taught, here = slice(0, known), slice(first, end)
        classes = np.unique(labels[taught])
        if known < 2 or len(classes) < 2 or first == end:
            continue
        regression = np.issubdtype(labels.dtype, np.floating)
        # A class that only the block has cannot have been learnt, and its loss is endless.
        usable = np.ones(end - first, dtype=bool) if regression else np.isin(labels[here], classes)
        held, truth, counted = inputs[here][usable], labels[here][usable], weights[here][usable]
        if len(truth) < 2 or counted.sum() <= 0:
            continue
        aged = weights[taught] * age_weights(times_us[taught], half_life)
        trees = grow(inputs[taught], labels[taught], aged, (held, truth, counted))
        raw = np.stack(list(trees._staged_raw_predict(held)))  # noqa: SLF001 - no public access to raw scores
        codes = truth.astype(np.float64) if regression else np.searchsorted(trees.classes_, truth)
        baseline = np.asarray(trees._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001 - as above
        yield _Block(raw, baseline, codes, counted)


def _rounds(most: int) -> NDArray[np.float64]:
    found: Numbers = np.r_[np.geomspace(min(5, most), most, 20).round(), most]
    return found


def _may_scale(blocks: list[_Block]) -> bool:
    """Whether there are enough rows of every class."""
    if np.issubdtype(blocks[0].truth.dtype, np.floating):
        return True
    counts = np.bincount(np.concatenate([one.truth for one in blocks]))
    return len(counts) > 1 and int(counts.min()) >= LEAST_EVENTS


def _loss(block: _Block, raw: Numbers) -> float:
    """Log loss of classes, squared error of numbers."""
    if np.issubdtype(block.truth.dtype, np.floating):
        each = (raw[:, 0] - block.truth) ** 2
    elif raw.shape[1] == 1:
        each = np.logaddexp(0, raw[:, 0]) - block.truth * raw[:, 0]
    else:
        each = logsumexp(raw, axis=1) - raw[np.arange(len(raw)), block.truth]
    return float(np.average(each, weights=block.weights))

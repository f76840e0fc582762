"""From rows to bounds: what the label-free clock and the label gate conclude from answers and labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.rollout.values import Comparison, Shares, Terms
from holdfast.stats import betting_bounds

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows that both versions answered, as N groups of equal rows. All arrays have N values."""

    counts: NDArray[np.int64]
    """Rows in each group."""
    flips: Floats
    """1 where the answers differ; regression: their distance in units of loss_scale, at most 1."""
    volume: Floats
    """Challenger's minus champion's positive answer, or number in units of loss_scale, in [-1, 1]."""
    mature: NDArray[np.bool_]
    """Old enough to count, with or without a label."""
    loss: Floats
    """Difference of losses in [-1, 1]; NaN without a label in time."""
    score: tuple[Floats, NDArray[np.int64]] | None = None
    """Differences of scores in [-1, 1] and how many rows have each; None where there are none."""
    slices: dict[str, NDArray[Any]] = field(default_factory=dict)
    """By field: text of its value."""
    volume_of: str = "share of positives"
    """What the mean of `volume` is, in words."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Mature rows that callers got from one version, in groups."""

    loss: Floats
    """In [0, 1]; NaN without a label in time."""
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Judged:
    """The comparisons of one look."""

    flips: Comparison
    volume: Comparison
    volume_of: str
    score: Comparison | None
    quality: Comparison
    slices: tuple[Comparison, ...]
    arms: Comparison | None
    coverage: Comparison | None
    admitted: int
    labelled: int


def judge(terms: Terms, pairs: Pairs, arms: tuple[Arm, Arm] | None, slices: list[tuple[str, str]]) -> Judged:
    """Bounds for everything that was seen.

    Args:
        terms: of the rollout.
        pairs: rows that both answered.
        arms: rows that champion and challenger answered to callers since the challenger has a share; None in
            shadow.
        slices: (field, value) pairs to watch, fixed at the start so that alpha can be split.
    """
    shares = Shares.of(terms.alpha, len(slices))
    mature = pairs.mature
    loss, counts = pairs.loss[mature], pairs.counts[mature]
    found = []
    for name, value in slices:
        here = np.zeros(len(loss), dtype=bool)
        if name in pairs.slices:
            here = pairs.slices[name][mature] == value
        found.append(compare(f"{name} = {value}", loss[here], counts[here], shares.guardrail))
    between = coverage = None
    if arms is not None and arms[1].counts.sum():
        theirs, ours = arms
        between = _difference("arms", _labelled(ours), _labelled(theirs), shares.guardrail)
        coverage = _difference("coverage", _covered(ours), _covered(theirs), terms.alpha)
    return Judged(
        flips=compare("flips", pairs.flips, pairs.counts, terms.alpha, low=0.0),
        volume=compare("volume", pairs.volume, pairs.counts, terms.alpha),
        volume_of=pairs.volume_of,
        score=None if pairs.score is None else compare("score", *pairs.score, terms.alpha),
        quality=compare("loss", loss, counts, shares.quality),
        slices=tuple(found),
        arms=between,
        coverage=coverage,
        admitted=int(counts.sum()),
        labelled=int(counts[np.isfinite(loss)].sum()),
    )


def compare(
    name: str, differences: Floats, counts: NDArray[np.int64], error: float, *, low: float = -1.0
) -> Comparison:
    """Bounds of a mean difference, each side wrong with at most this chance; NaNs are left out."""
    known = np.isfinite(differences)
    bounds = betting_bounds(
        differences[known], min(2 * error, 0.999), low=low, high=1.0, counts=counts[known]
    )
    return Comparison(
        name=name,
        n=bounds.n,
        mean=bounds.mean if bounds.n else None,
        lower=bounds.lower,
        upper=bounds.upper,
    )


def _labelled(arm: Arm) -> Arm:
    known = np.isfinite(arm.loss)
    return Arm(arm.loss[known], arm.counts[known])


def _covered(arm: Arm) -> Arm:
    return Arm(np.isfinite(arm.loss).astype(np.float64), arm.counts)


def _difference(name: str, ours: Arm, theirs: Arm, error: float) -> Comparison:
    """Of two arms' means; each arm has half of the chance."""
    a = betting_bounds(ours.loss, error, counts=ours.counts)
    b = betting_bounds(theirs.loss, error, counts=theirs.counts)
    return Comparison(
        name=name,
        n=a.n + b.n,
        mean=a.mean - b.mean if a.n and b.n else None,
        lower=a.lower - b.upper,
        upper=a.upper - b.lower,
    )

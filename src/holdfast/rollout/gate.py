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
    """N rows that both versions answered, in order of time. All arrays have N values."""

    flips: Floats
    """1 where the answers differ; regression: their distance in units of loss_scale, at most 1."""
    volume: Floats
    """Challenger's minus champion's positive answer, in [-1, 1]."""
    score: Floats | None
    """Difference of scores in [-1, 1]; None where there are none."""
    mature: NDArray[np.bool_]
    """Old enough to count, with or without a label."""
    loss: Floats
    """Difference of losses in [-1, 1]; NaN without a label in time."""
    slices: dict[str, NDArray[Any]] = field(default_factory=dict)
    """By field: text of its value."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Mature rows that callers got from one version: losses in [0, 1], NaN without a label in time."""

    loss: Floats


@dataclass(frozen=True, slots=True)
class Judged:
    """The comparisons of one look."""

    flips: Comparison
    volume: Comparison
    score: Comparison | None
    quality: Comparison
    slices: tuple[Comparison, ...]
    arms: Comparison | None
    coverage: Comparison | None
    admitted: int
    labelled: int


def judge(
    terms: Terms, pairs: Pairs, champion: Arm | None, challenger: Arm | None, slices: list[tuple[str, str]]
) -> Judged:
    """Bounds for everything that was seen.

    Args:
        terms: of the rollout.
        pairs: rows that both answered.
        champion: rows that the champion answered to callers while the challenger had a share; None in shadow.
        challenger: rows that the challenger answered to callers.
        slices: (field, value) pairs to watch, fixed at the start so that alpha can be split.
    """
    shares = Shares.of(terms.alpha, len(slices))
    admitted = pairs.mature
    loss = pairs.loss[admitted]
    known = np.isfinite(loss)
    found = []
    for name, value in slices:
        here = loss[pairs.slices[name][admitted] == value] if name in pairs.slices else loss[:0]
        found.append(compare(f"{name} = {value}", here, shares.guardrail))
    arms = coverage = None
    if champion is not None and challenger is not None and len(challenger.loss):
        arms = compare_arms("arms", challenger.loss, champion.loss, shares.guardrail)
        coverage = _difference(
            "coverage",
            np.isfinite(challenger.loss).astype(float),
            np.isfinite(champion.loss).astype(float),
            terms.alpha,
        )
    return Judged(
        flips=compare("flips", pairs.flips, terms.alpha, low=0.0),
        volume=compare("volume", pairs.volume, terms.alpha),
        score=None if pairs.score is None else compare("score", pairs.score, terms.alpha),
        quality=compare("loss", loss, shares.quality),
        slices=tuple(found),
        arms=arms,
        coverage=coverage,
        admitted=int(admitted.sum()),
        labelled=int(known.sum()),
    )


def compare(name: str, differences: Floats, error: float, *, low: float = -1.0) -> Comparison:
    """Bounds of a mean difference, each side wrong with at most this chance; NaNs are left out."""
    known = differences[np.isfinite(differences)]
    bounds = betting_bounds(known, min(2 * error, 0.999), low=low, high=1.0)
    return Comparison(
        name=name,
        n=bounds.n,
        mean=bounds.mean if bounds.n else None,
        lower=bounds.lower,
        upper=bounds.upper,
    )


def compare_arms(name: str, ours: Floats, theirs: Floats, error: float) -> Comparison:
    """Bounds of the difference of two arms' mean losses; NaNs are left out."""
    return _difference(name, ours[np.isfinite(ours)], theirs[np.isfinite(theirs)], error)


def _difference(name: str, ours: Floats, theirs: Floats, error: float) -> Comparison:
    """Each arm has half of the chance."""
    a, b = betting_bounds(ours, error), betting_bounds(theirs, error)
    return Comparison(
        name=name,
        n=a.n + b.n,
        mean=a.mean - b.mean if a.n and b.n else None,
        lower=a.lower - b.upper,
        upper=a.upper - b.lower,
    )

"""Without labels: would other shares of the classes alone explain the scores that are seen?"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.explained import ClassShares
from holdfast.monitor.rows import Rows
from holdfast.stats import Estimate, StatisticsError, explain_by_shares

_CELLS: Final = 10
"""Of the score, each with a tenth of the reference: eight degrees of freedom for the check."""
_LEAST: Final = 200
"""Rows on each side, and 20 in each class."""
_LEAST_OF_CLASS: Final = 20
_REPLICATES: Final = 200
_EXPLAINS: Final = 0.01
"""Chance below which label shift is refuted: as in the check with labels."""


def class_shares(reference: Rows, since: Rows) -> ClassShares | None:
    """The share of positives since the onset if P(score | class) is as it was, and whether it can be.

    None for other tasks, too few rows, or a class that the reference hardly has.

    Args:
        reference: rows with score and truth, 0 or 1.
        since: rows since the onset, with a score.
    """
    if reference.truth is None or reference.score is None or since.score is None:
        return None
    known = np.isfinite(reference.truth) & np.isfinite(reference.score)
    truth, score = reference.truth[known] > 0, reference.score[known]
    now = since.score[np.isfinite(since.score)]
    enough = min(len(score), len(now)) >= _LEAST
    if not enough or min(int(truth.sum()), int((~truth).sum())) < _LEAST_OF_CLASS:
        return None
    edges = np.unique(np.quantile(score, np.linspace(0, 1, _CELLS + 1)[1:-1]))

    def counted(values: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)

    table, current = np.stack([counted(score[~truth]), counted(score[truth])]), counted(now)
    try:
        found = explain_by_shares(table, current)
        if found.freedom < 1:
            return None
        low, high = _interval(table, current)
    except StatisticsError:
        return None
    return ClassShares(
        before=round(float(truth.mean()), 4),
        after=Estimate(round(float(found.shares[1]), 4), round(low, 4), round(high, 4), len(now)),
        chance=float(found.chance),
        explains=bool(found.chance >= _EXPLAINS),
    )


def _interval(table: NDArray[np.int64], current: NDArray[np.int64]) -> tuple[float, float]:
    """Both the window and the reference drawn again; the percentiles hold 95 %."""
    random = np.random.default_rng(29)
    drawn = []
    for _ in range(_REPLICATES):
        again = np.stack([random.multinomial(int(row.sum()), row / row.sum()) for row in table])
        now = random.multinomial(int(current.sum()), current / current.sum())
        drawn.append(float(explain_by_shares(again, now).shares[1]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)

"""Whether a gradual change moves all rows little by little, or mixes rows of before and of after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

Manner = Literal["incremental", "mixed"]
_ENOUGH: Final = 16.0
"""Units of log likelihood that must be to be expected: some three standard deviations from none."""
_CELLS: Final = 32
"""Cells of equal share to which finer ones are joined: with more, each holds too few rows of a window."""
_LEVELS: Final = 2048
"""Quantiles that move: more than any profile has cells."""
_STAGES: Final = 33
"""Shares of the way that are tried, from none to all."""
_LEAST_SHARE: Final = 1e-4
"""Of a cell, so that a row where neither law has any does not decide by itself."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What the windows on the way say, and what they could say."""

    log_odds: float
    """Log likelihood of rows that move together, less that of rows of before and after side by side."""
    if_together: float
    """What `log_odds` is to be expected to be if rows move together: at least 0."""
    if_mixed: float
    """The same if old and new rows are mixed: at most 0."""

    @property
    def manner(self) -> Manner | None:
        """Which of the two, where the windows can tell them apart and do; None where they cannot."""
        if self.if_together >= _ENOUGH and self.log_odds >= self.if_together / 2:
            return "incremental"
        if self.if_mixed <= -_ENOUGH and self.log_odds <= self.if_mixed / 2:
            return "mixed"
        return None


def compare_passages(
    edges: NDArray[Any], before: NDArray[Any], after: NDArray[Any], between: NDArray[Any]
) -> Passage:
    """How the rows of a gradual change came from one law to the other: together, or one by one.

    With quantile functions Q0 before and Q1 after, a window that is the share w of the way holds rows of
    (1 - w) Q0 + w Q1 where all move together (displacement interpolation, McCann 1997: incremental drift),
    and of (1 - w) F0 + w F1, in distribution functions, where ever more of them are new (gradual drift in the
    narrower sense; Gama et al. 2014). Of each window the best w of either is taken. A shift below about half
    a standard deviation looks nearly the same either way; what is to be expected then is near 0 for both.

    Args:
        edges: `[B + 1]` bounds of the cells, rising and finite.
        before: `[B]` rows in each cell before the change.
        after: `[B]` the same after it.
        between: `[W, B]` the same of each window on the way.

    Raises:
        StatisticsError: edges that do not rise, other numbers of cells, or no row before or after.

    Example:
        >>> import numpy as np
        >>> edges = np.arange(11.0)
        >>> old, new = np.eye(10)[1] * 500, np.eye(10)[7] * 500
        >>> compare_passages(edges, old, new, np.eye(10)[[4]] * 500).manner
        'incremental'
        >>> compare_passages(edges, old, new, (old + new)[None] / 2).manner
        'mixed'
    """
    bounds = np.asarray(edges, dtype=np.float64)
    first, last = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    windows = np.asarray(between, dtype=np.float64)
    if bounds.ndim != 1 or not np.isfinite(bounds).all() or bool((np.diff(bounds) <= 0).any()):
        raise StatisticsError("edges of no cells", expected="finite numbers that rise", received=f"{bounds}")
    cells = (len(bounds) - 1,)
    if first.shape != cells or last.shape != cells or windows.shape[1:] != cells or windows.ndim != 2:
        raise StatisticsError(
            "counts of other cells",
            expected=f"{cells[0]} of each",
            received=f"{first.shape}, {last.shape}, {windows.shape}",
        )
    if min(first.sum(), last.sum()) <= 0:
        raise StatisticsError("counts of no row")
    kept = _joined(first / first.sum() + last / last.sum())
    joined = [np.add.reduceat(one, kept, axis=-1) for one in (first, last, windows)]
    coarse = np.append(bounds[kept], bounds[-1])
    old, new = joined[0] / joined[0].sum(), joined[1] / joined[1].sum()
    way = np.linspace(0, 1, _STAGES)[:, None]
    mixed = _laws((1 - way) * old + way * new)
    levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
    # By the fine cells: a coarse one would spread rows over places that none of them has.
    starts, ends = (_quantiles(bounds, one / one.sum(), levels) for one in (first, last))
    together = _laws(
        np.stack(
            [
                np.diff(np.interp(coarse, (1 - share) * starts + share * ends, levels, left=0, right=1))
                for share in way[:, 0]
            ]
        )
    )
    counts = joined[2]
    fits = [counts @ np.log(laws).T for laws in (together, mixed)]
    best = [fit.argmax(axis=1) for fit in fits]
    rows = counts.sum(axis=1)
    return Passage(
        log_odds=float((fits[0].max(axis=1) - fits[1].max(axis=1)).sum()),
        if_together=float(rows @ _apart(together[best[0]], mixed)),
        if_mixed=-float(rows @ _apart(mixed[best[1]], together)),
    )


def _joined(share: NDArray[np.float64]) -> NDArray[np.intp]:
    """The first of the fine cells of each coarse one; of about equal shares."""
    number = np.minimum((np.cumsum(share) - share / 2) / share.sum() * _CELLS, _CELLS - 1).astype(int)
    return np.unique(number, return_index=True)[1]


def _quantiles(
    edges: NDArray[np.float64], share: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    passed = np.concatenate([[0.0], np.cumsum(share)])
    return np.interp(levels, passed, edges)


def _laws(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.maximum(shares, _LEAST_SHARE)
    found: NDArray[np.float64] = kept / kept.sum(axis=1, keepdims=True)
    return found


def _apart(true: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each law the Kullback-Leibler divergence from the nearest of the others."""
    entropy = (true * np.log(true)).sum(axis=1)
    found: NDArray[np.float64] = entropy - (true @ np.log(others).T).max(axis=1)
    return found

"""What calm windows vary by where the reference itself shows little of it: its ends, and what lasts long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.features import Feature
from holdfast.monitor.profiling import WindowProfile
from holdfast.stats import SCALES, NumericBins, doubt_of_variance

LEAST_REFERENCE_WINDOWS: Final = 5
"""With fewer, the reference says nothing about variation between windows."""
_PERSISTENCE: Final = 0.25
"""Growth of the variance with the scale that a short reference cannot rule out: by 19 % for each doubling."""
BELOW: Final = "cell:below the reference's range"
ABOVE: Final = "cell:above the reference's range"
_TAIL_SHARE: Final = 0.02
_TAIL_ROWS: Final = 20.0
"""Rows at either end of the reference's range that show whether such rows come in clusters."""
_LEAST_TOLD: Final = 4.0
_DEGREES: Final = {"scale": 2, "skew": 3, "tails": 4}
"""Hermite polynomials that are summed."""
_CHANCE_ALONE: Final = 0.2
_CHANCE_OF_MANY: Final = 0.01
"""Levels of the chi-square test that they must pass, for few columns and for many."""


def tail_clumps(feature: Feature, windows: Sequence[WindowProfile], *, alone: bool) -> Mapping[str, float]:
    """How many rows come together beyond either end of the reference's range, as far as its ends tell.

    The reference has no row out there. Its outermost rows come in clusters as those beyond them would.

    Args:
        feature: of a numeric column; others have no ends.
        windows: of the reference, at least two.
        alone: the columns are few, so that each is believed sooner.
    """
    from scipy.special import chdtri

    if not isinstance(feature.bins, NumericBins):
        return {}
    inner = slice(1, len(feature.bins.edges) + 1)
    total = feature.counts[inner].astype(np.float64)
    wanted = max(_TAIL_ROWS, _TAIL_SHARE * float(total.sum()))
    counts = np.stack([window.counts[feature.name][inner] for window in windows]).astype(np.float64)
    free = len(windows) - 1
    least = float(chdtri(free, _CHANCE_ALONE if alone else _CHANCE_OF_MANY)) / free
    found = {}
    for side, order in ((BELOW, slice(None)), (ABOVE, slice(None, None, -1))):
        outer = int(np.searchsorted(np.cumsum(total[order]), wanted)) + 1
        share = float(total[order][:outer].sum()) / max(float(total.sum()), 1.0)
        expected = np.maximum(counts.sum(axis=1) * share, 1e-9)
        apart = counts[:, order][:, :outer].sum(axis=1) - expected
        variance = float(expected.sum()) * max(1 - share, 0.5)
        square = float((apart**2).sum()) / variance * len(windows) / free
        found[side] = square * _doubt(apart, free) if square > least else 1.0
    return found


def _doubt(apart: NDArray[np.float64], free: int) -> float:
    """By how much the variance of such counts must be raised: a few clusters tell it, not all windows.

    As many degrees of freedom as the counts' own kurtosis leaves (the variance of a variance is
    `(kurtosis - 1) / W`), and at least four.
    """
    kurtosis = len(apart) * float((apart**4).sum()) / max(float((apart**2).sum()) ** 2, 1e-300)
    told = 2 * len(apart) / max(kurtosis - 1, 1e-9)
    return doubt_of_variance(max(min(told, free), _LEAST_TOLD))


def unseen(windows: int) -> NDArray[np.float64]:
    """`[S]`, variance granted to scales of which the reference holds fewer than five blocks.

    Customers come back, batches last: what persists shows only over many windows, and a short reference has
    not seen it.

    Args:
        windows: of the reference.
    """
    seen = max((scale for scale in SCALES if windows >= LEAST_REFERENCE_WINDOWS * scale), default=1)
    return np.array([max(1.0, scale / seen) ** _PERSISTENCE for scale in SCALES])


def by_scores(
    features: Mapping[str, Feature],
    spread: NDArray[np.float64],
    columns: Sequence[str],
    names: Sequence[tuple[str, str]],
) -> NDArray[np.float64]:
    """`[S, K]`, the natural spread of other tests that that of the sums of normal scores leads to expect.

    Where rows are correlated by `r`, `r²`, `r³`, ... from one to the next, sums vary `(1 + r) / (1 - r)`
    times as much as those of independent ones, and their Hermite polynomials of the second, third and fourth
    degree are correlated by that power of it (Mehler 1866). What is in a cell follows the score as far as it
    is correlated with it. Their own variation between windows is told less well: powers are skewed, and
    cells are many.

    Args:
        features: of the columns.
        spread: `[S, columns]`, of the scores' sums.
        columns: what they are called.
        names: columns and tests; 1 for tests of anything else.
    """
    place = {column: number for number, column in enumerate(columns)}
    least = np.ones((len(spread), len(names)))
    explained = {column: _explained(features[column]) for column in columns}
    for number, (column, test) in enumerate(names):
        if column not in place:
            continue
        own = spread[:, place[column]]
        if test in _DEGREES:
            power = ((own - 1) / (own + 1)) ** _DEGREES[test]
            least[:, number] = (1 + power) / (1 - power)
        else:
            least[:, number] = 1 + explained[column][test] * (own - 1)
    return least


def _explained(feature: Feature) -> dict[str, float]:
    """The share of each functional's variance that the normal score explains, by the name of the test."""
    share = feature.counts / max(feature.rows, 1)
    apart = feature.functionals - share @ feature.functionals
    score = apart[:, feature.tests.index("location")]
    together = (share * score) @ apart
    variance = share @ apart**2
    found = together**2 / np.maximum(variance * float(share @ score**2), 1e-300)
    return dict(zip(feature.tests, found.tolist(), strict=True))

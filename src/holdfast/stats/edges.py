"""Where the bins of a numeric column begin: at quantiles, at each of few values, and above frequent ones."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.ruler import on_marks

_FREQUENT: Final = 1 / 32
"""Share of the rows from which on a value has a bin of its own, apart from the gap above it."""
_LEAST_FREQUENT: Final = 8
"""Rows that it has at least."""
_GAP: Final = 1.5
"""Steps between values beyond which there is a gap."""
_SIDES: Final[tuple[Literal["left"], Literal["right"]]] = ("left", "right")


def edges_of(ordered: NDArray[np.float64], least: float, inner_bins: int) -> tuple[float, ...]:
    """Left edges of bins of nearly as many of the rising values each, the first at the least of all.

    Args:
        ordered: finite values, rising.
        least: of all values, where those are some of them.
        inner_bins: at most so many, and one more for each gap.

    Example:
        Most rows are 0, the others 50 and more: a 20 is none of either.

        >>> import numpy as np
        >>> edges_of(np.r_[np.zeros(30), 50.0, 51.0, 52.0, 53.0], 0.0, 256)
        (0.0, 1.0, 50.0, 51.0, 52.0, 53.0)
    """
    apart = ordered[1:] != ordered[:-1]
    if np.count_nonzero(apart) < inner_bins:
        edges = _with_gaps(ordered, ordered[np.r_[True, apart]], apart)
    else:
        starts = (np.arange(inner_bins) * ordered.size) // inner_bins
        edges = _with_gaps(ordered, np.unique(ordered[starts]), apart)
        edges = on_marks(ordered, edges, ordered.size / inner_bins)
    if edges[0] > least:
        edges = np.concatenate([[least], edges[1:]])
    return tuple(edges.tolist())


def _with_gaps(
    ordered: NDArray[np.float64], edges: NDArray[np.float64], apart: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The edges, and one more above each frequent value that the next one is far from.

    What lies nearer to it than values usually lie to each other counts as it.

    Args:
        ordered: rising values.
        edges: rising.
        apart: `[N - 1]`, whether neighbours differ.
    """
    if len(edges) < 3:
        return edges
    begin, end = (np.searchsorted(ordered, edges, side=side) for side in _SIDES)
    least = max(_FREQUENT * ordered.size, _LEAST_FREQUENT)
    frequent = (end - begin >= least) & (end < ordered.size)
    if not frequent.any():
        return edges
    with np.errstate(over="ignore"):
        steps = np.diff(ordered[np.r_[True, apart]])
        # The lower of two medians, so that of whole numbers it is whole.
        usual = np.partition(steps, (len(steps) - 1) // 2)[(len(steps) - 1) // 2]
        value, following = edges[frequent], ordered[end[frequent]]
        above = (value + usual)[following - value > _GAP * usual]
    return np.unique(np.concatenate([edges, above]))

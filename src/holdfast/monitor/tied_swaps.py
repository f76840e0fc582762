"""Columns that changed places though one value holds most of their rows, as nought does: by their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.rows import Rows

_OFF: Final = 0.02
"""Kolmogorov's distance by which a column may differ from the other's, besides chance."""
_SUPREMUM: Final = 1.63
"""Kolmogorov's distance, times the root of the rows, that chance passes once in a hundred."""
_WORSE: Final = 2.0
"""Times as far that each must be from what it was."""
_TIED: Final = 0.5
"""Share of the rows with one value from which quartiles say nothing."""
_LEAST_ROWS: Final = 200
_MOST_COLUMNS: Final = 200
_PAIR: Final = 2


def find_tied_swaps(
    reference: Rows, windows: Callable[[], Sequence[Rows]], names: Sequence[str]
) -> Mapping[str, str]:
    """The other column, for each that holds its values; columns without ties are told by their quartiles.

    Args:
        reference: rows of it.
        windows: gives rows of some in which the columns show a change most.
        names: of the columns in alarm, the first of which are looked at.
    """
    old = {name: _finite([reference], name) for name in names[:_MOST_COLUMNS]}
    old = {name: values for name, values in old.items() if len(values) >= _LEAST_ROWS}
    usual = {name: _commonest(values) for name, values in old.items()}
    tied = {name for name, share in usual.items() if share >= _TIED}
    if not tied or len(old) < _PAIR:
        return {}
    rows = windows()
    new = {name: _finite(rows, name) for name in old}
    moved = [name for name, values in new.items() if len(values) >= _LEAST_ROWS and _left(values, old[name])]
    now = {name: _commonest(new[name]) for name in moved}
    found: dict[str, str] = {}
    for first, second in combinations(moved, 2):
        if first in found or second in found or not {first, second} & tied:
            continue
        both = ((first, second), (second, first))
        # Cheap, as of a thousand columns there are many pairs.
        if any(abs(now[one] - usual[other]) > _allowed(new[one], old[other]) for one, other in both):
            continue
        if all(distance(new[one], old[other]) <= _allowed(new[one], old[other]) for one, other in both):
            found |= dict(both)
    return found


def _left(now: NDArray[np.float64], own: NDArray[np.float64]) -> bool:
    return distance(now, own) >= _WORSE * _allowed(now, own)


def _allowed(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return _OFF + _SUPREMUM * float(np.sqrt(1 / len(first) + 1 / len(second)))


def _commonest(values: NDArray[np.float64]) -> float:
    """Share of the commonest value."""
    return float(np.unique(values, return_counts=True)[1].max() / len(values))


def _finite(parts: Sequence[Rows], name: str) -> NDArray[np.float64]:
    values = [part.columns.get(name) for part in parts]
    held = [one for one in values if isinstance(one, np.ndarray)]
    every = np.concatenate(held).astype(np.float64) if held else np.empty(0)
    return every[np.isfinite(every)]


def distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Kolmogorov's distance of two samples."""
    first, second = np.sort(first), np.sort(second)
    at = np.concatenate([first, second])
    shares = [np.searchsorted(each, at, side="right") / len(each) for each in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())

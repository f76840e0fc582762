"""Windows whose rows were delivered twice, and windows that are another one again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel

BURST: Final = 0.05
"""Share of rows that are there twice, beyond what the reference shows."""
_LEAST_ROWS: Final = 20
_LEAST_CELLS: Final = 30
"""Filled cells of all columns together below which two windows may have the same counts by chance."""
_UNSEEN: Final = 3
"""Twins that the reference may have had as well: with 95 % confidence no more where it had none."""
_LEAST_WINDOWS: Final = 5
"""Before so many nobody knows whether rows come again in this stream as a matter of course."""
_CROWDED: Final = 1.5
"""A column is crowded if two rows share a cell that many times as often as in the reference."""
_CHANCE: Final = 1e-6
"""Of so many twins in one window: far below any budget of false alarms, as it is spent beside it."""
_UNDECIDED: Final = 0.2
"""Where a fifth of the rows may have a twin by chance, a second delivery cannot be told."""


@dataclass(frozen=True, slots=True)
class _Chance:
    """How many rows have a twin without any second delivery."""

    rate: float
    """Share of the rows of a usual window."""
    size: float
    """Rows of a usual window."""
    alike: Mapping[str, float]
    """By column, how likely two rows of the reference share a cell."""
    unfitted: float
    """How many times likelier other rows share cells than those that the cells were fitted on."""

    @classmethod
    def of(cls, reference: ReferenceModel, counted: Callable[[WindowProfile], int]) -> _Chance:
        own = [window for window in reference.windows if window.rows]
        rows = sum(window.rows for window in own)
        alike = {name: _pairs(counts) for name, counts in reference.whole.counts.items()}
        if not rows:
            return cls(1.0, 1.0, alike, 1.0)
        apart = [
            float(((counts / max(counts.sum(), 1)) ** 2).sum()) / alike[name]
            for name, counts in reference.whole.counts.items()
        ]
        greatest = max(counted(window) / window.rows for window in own)
        # None among few rows does not mean never: what is usual may be that much more often than seen.
        possible = (sum(map(counted, own)) + _UNSEEN) / rows
        size = float(np.median([window.rows for window in own]))
        return cls(max(greatest, possible), size, alike, max(1.0, *apart))

    def explains(self, share: float, window: WindowProfile, twins: int) -> bool:
        """Whether so many twins are no sign of a second delivery, or cannot be one."""
        by_chance = self.rate * max(1.0, window.rows / self.size)
        if by_chance >= _UNDECIDED or share <= by_chance + BURST:
            return True
        by_chance *= _crowding(window, self.alike, twins)
        if by_chance >= _UNDECIDED or share <= by_chance + BURST:
            return True
        return _may_be_chance(share * window.rows, by_chance * window.rows, self.unfitted)


def _may_be_chance(twins: float, expected: float, unfitted: float) -> bool:
    """Few rows have few twins, and five in a hundred of them more are soon there by chance (Poisson).

    With few columns of few rows the reference itself has fewer twins than others have: its values made the
    cells.
    """
    from scipy.special import pdtrc

    return bool(pdtrc(twins - 1, expected * unfitted) >= _CHANCE)


def repeated_windows(reference: ReferenceModel, windows: Sequence[WindowProfile]) -> Mapping[int, str]:
    """What is wrong, in words, by the number of the window.

    A row has a twin if another row of its window, or one of a few windows before, lies in the same cell of
    every column. With few columns of few values many have one, so a window is compared with the reference's
    own, in proportion to its rows; and rows that come in most windows again are how this stream is.

    Args:
        reference: fitted.
        windows: in order of time.
    """
    within = _Chance.of(reference, lambda window: window.repeated)
    across = _Chance.of(reference, lambda window: window.returned)
    large = [number for number, window in enumerate(windows) if window.rows >= _LEAST_ROWS]
    shares = [windows[number].returned / windows[number].rows for number in large]
    habit = float(np.median(shares)) if len(large) >= _LEAST_WINDOWS else 1.0
    found: dict[int, str] = {}
    seen: dict[tuple[int, bytes], int] = {}
    for number in large:
        window = windows[number]
        if not within.explains(window.repeated / window.rows, window, window.repeated):
            share, usual = window.repeated / window.rows, within.rate
            found[number] = (
                f"{share:.0%} of the rows are there twice (reference {usual:.1%}): delivered twice?"
            )
            continue
        first = next(iter(window.counts.values()))
        key = (window.rows, first.astype(np.int64).tobytes())
        if key in seen and _same(window, windows[seen[key]]):
            found[number] = "the rows of an earlier window came again"
        elif window.returned / window.rows > habit + BURST and not across.explains(
            window.returned / window.rows, window, 0
        ):
            share = window.returned / window.rows
            found[number] = f"{share:.0%} of the rows came in a window before already: delivered twice?"
        seen.setdefault(key, number)
    return found


def emptied(window: WindowProfile) -> WindowProfile:
    """The window without its rows, so that it counts for nothing among the others."""
    return replace(
        window,
        rows=0,
        labelled=0,
        counts={name: np.zeros_like(counts) for name, counts in window.counts.items()},
        concept=None if window.concept is None else np.zeros_like(window.concept),
        quality=np.zeros_like(window.quality),
        products=None if window.products is None else np.zeros_like(window.products),
        repeated=0,
        returned=0,
    )


def _same(window: WindowProfile, earlier: WindowProfile) -> bool:
    cells = sum(int((counts > 0).sum()) for counts in window.counts.values())
    return cells >= _LEAST_CELLS and all(
        np.array_equal(counts, earlier.counts[name]) for name, counts in window.counts.items()
    )


def _pairs(counts: NDArray[np.int64]) -> float:
    """Share of pairs of rows that lie in one cell."""
    number = counts.astype(np.float64)
    rows = float(number.sum())
    return max(float((number * (number - 1)).sum()), 1.0) / max(rows * (rows - 1), 1.0)


def _crowding(window: WindowProfile, alike: Mapping[str, float], twins: int) -> float:
    """How many times likelier than in the reference two rows lie in one cell of every column; at least 1.

    Rows delivered twice crowd every column a little by themselves: what they explain does not count.
    """
    by_twins = 2 * twins / max(window.rows * (window.rows - 1), 1)
    crowding = 1.0
    for name, counts in window.counts.items():
        ratio = _pairs(counts) / alike[name]
        if ratio > _CROWDED * (1 + by_twins / alike[name]):
            crowding *= ratio
    return crowding

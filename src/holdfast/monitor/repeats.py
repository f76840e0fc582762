"""Windows whose rows were delivered twice, and windows that are another one again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
_UNDECIDED: Final = 0.2
"""Where a fifth of the rows may have a twin by chance, a second delivery cannot be told."""


def repeated_windows(reference: ReferenceModel, windows: Sequence[WindowProfile]) -> Mapping[int, str]:
    """What is wrong, in words, by the number of the window.

    A row has a twin if another row of its window lies in the same cell of every column. With few columns of
    few values many have one, so a window is compared with the reference's own, in proportion to its rows.

    Args:
        reference: fitted.
        windows: in order of time.
    """
    own = [window for window in reference.windows if window.rows]
    usual = max((window.repeated / window.rows for window in own), default=1.0)
    size = float(np.median([window.rows for window in own])) if own else 1.0
    found: dict[int, str] = {}
    seen: dict[tuple[int, bytes], int] = {}
    alike = {name: _pairs(counts) for name, counts in reference.whole.counts.items()}
    for number, window in enumerate(windows):
        if window.rows < _LEAST_ROWS:
            continue
        by_chance = usual * max(1.0, window.rows / size)
        if by_chance >= _UNDECIDED:
            continue
        share = window.repeated / window.rows
        if share > by_chance + BURST:
            by_chance *= _crowding(window, alike)
            if by_chance < _UNDECIDED and share > by_chance + BURST:
                found[number] = (
                    f"{share:.0%} of the rows are there twice (reference {usual:.1%}): delivered twice?"
                )
                continue
        first = next(iter(window.counts.values()))
        key = (window.rows, first.astype(np.int64).tobytes())
        if key in seen and _same(window, windows[seen[key]]):
            found[number] = "the rows of an earlier window came again"
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
    )


def _same(window: WindowProfile, earlier: WindowProfile) -> bool:
    cells = sum(int((counts > 0).sum()) for counts in window.counts.values())
    return cells >= _LEAST_CELLS and all(
        np.array_equal(counts, earlier.counts[name]) for name, counts in window.counts.items()
    )


def _pairs(counts: NDArray[np.int64], twins: int = 0) -> float:
    """Share of pairs of rows that lie in one cell, those of rows that came twice left out."""
    number = counts.astype(np.float64)
    rows = float(number.sum())
    return max(float((number * (number - 1)).sum()) - 2 * twins, 1.0) / max(rows * (rows - 1), 1.0)


def _crowding(window: WindowProfile, alike: Mapping[str, float]) -> float:
    """How many times likelier than in the reference two rows lie in one cell of every column; at least 1."""
    ratio = [_pairs(counts, window.repeated) / alike[name] for name, counts in window.counts.items()]
    return max(1.0, float(np.prod(ratio)))

"""Rows of one category that come together: a customer's, a batch's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_MOST_ROWS: Final = 1 << 18
"""Rows of a reference in which they are looked for."""
_GAP_OF_ALL: Final = 64
"""Rows of a category are of one clump if they lie within this part of all rows, ..."""
_GAP_OF_ITS_OWN: Final = 8
"""... and within this part of the mean distance of its rows: few clumps then meet by chance."""
RARE_PART: Final = 32
"""Categories of up to this part of all rows tell how many come together."""
_CHANCE: Final = 0.001
"""Level at which there must be more neighbours than among rows of any order."""


@dataclass(frozen=True, slots=True)
class Clumps:
    """Rows of K categories, those that came together as one clump."""

    category: NDArray[np.intp] = field(repr=False)
    """Of each clump."""
    sizes: NDArray[np.int64] = field(repr=False)
    """Rows of each."""
    rare: NDArray[np.bool_] = field(repr=False)
    """Which are of rare categories: these show best how many rows come together."""

    @classmethod
    def of(cls, codes: NDArray[Any], counts: NDArray[np.int64]) -> Clumps | None:
        """From rows in order; None where each comes by itself, as far as can be told, or where they are many.

        Rows that are independent of each other have as many near neighbours of their own category as chance
        makes (Poisson).

        Args:
            codes: `[N]`, the category of each row, from 0; below it: none.
            counts: `[K]`, rows of each.

        Example:
            >>> import numpy as np
            >>> codes = np.repeat(np.random.default_rng(0).integers(0, 1000, 2000), 3)
            >>> found = Clumps.of(codes, np.bincount(codes))
            >>> 1900 < len(found.sizes) <= 2000, round(found.together())
            (True, 3)
            >>> alone = np.random.default_rng(0).permutation(codes)
            >>> Clumps.of(alone, np.bincount(alone)) is None
            True
        """
        from scipy.special import pdtrc

        total = len(codes)
        rare = (counts > 1) & (counts <= total / RARE_PART)
        if not 0 < total <= _MOST_ROWS or not rare.any():
            return None
        order = np.argsort(codes, kind="stable")
        order = order[np.searchsorted(codes[order], 0) :]
        own, apart = codes[order], np.diff(order)
        mean = total / np.maximum(counts, 1)
        gap = np.maximum(np.floor(np.minimum(total / _GAP_OF_ALL, mean / _GAP_OF_ITS_OWN)), 1.0)
        near = (own[1:] == own[:-1]) & (apart <= gap[own[1:]])
        by_chance = (counts - 1) * -np.expm1(counts * np.log1p(-gap / max(total, 2)))
        found = int(near[rare[own[1:]]].sum())
        if not found or float(pdtrc(found - 1, by_chance[rare].sum())) >= _CHANCE:
            return None
        first = np.flatnonzero(np.concatenate([[True], ~near]))
        category = own[first].astype(np.intp)
        return cls(category, np.diff(first, append=len(own)), rare[category])

    def together(self, power: int = 1) -> float:
        """Rows of the clump that a row is in, to that power and on average.

        So many times as much do counts vary, and with a power of two so much more is their third cumulant.

        Example:
            >>> import numpy as np
            >>> clumps = Clumps(np.array([0, 0]), np.array([1, 3]), np.array([True, True]))
            >>> clumps.together(), clumps.together(2)
            (2.5, 7.0)
        """
        some = self.sizes[self.rare].astype(np.float64)
        return float((some ** (power + 1)).sum() / some.sum())

"""What blocks of windows, of several lengths, say of how much windows vary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

_TURNS: Final = 0.002
"""Level at which a variance over several windows must be smaller than that over fewer to be believed so."""
_JUDGED_AT: Final = 4.3
"""Standard deviations at which alarms are raised, about: there the normal tail and Student's differ."""
_LENT: Final = 10.0
"""Degrees of freedom that shorter blocks lend to longer ones."""


@dataclass(frozen=True, slots=True)
class KnownVariance:
    """What blocks of some length and of all shorter ones say of a variance, `[K]` each."""

    square: NDArray[np.float64]
    """1 where it may be chance."""
    freedom: NDArray[np.float64]

    @classmethod
    def nothing(cls, tests: int) -> KnownVariance:
        """Before any block was looked at."""
        return cls(np.ones(tests), np.zeros(tests))

    def with_blocks(
        self,
        square: NDArray[np.float64],
        blocks: float,
        chance: float,
        told: NDArray[np.float64] | None = None,
        directions: NDArray[np.float64] | float = 1.0,
    ) -> KnownVariance:
        """With those of the next length.

        Rows that come together do so in a long block as in a short one, so what short ones show is the least
        that is expected of long ones, and some of what is known of them. Only what takes turns, as a season
        does, is less over several. `told`: degrees of freedom that they add, where they follow on each other.
        `directions`: degrees of freedom that each block has by chance, where several cells are looked at.

        Example:
            >>> square = np.array([1.7, 2.0])  # 19 degrees of freedom pass 1.90 once in a hundred times
            >>> KnownVariance.nothing(2).with_blocks(square, 20, 0.01).square.tolist()
            [1.0, 2.0]
            >>> KnownVariance.nothing(2).with_blocks(square, 20, 0.01, directions=4.0).square.tolist()
            [1.7, 2.0]
        """
        from scipy.special import chdtri

        free = blocks - 1
        by_chance = free * directions
        turns = square < self.square * chdtri(by_chance, 1 - _TURNS) / by_chance
        fresh = turns | (self.square <= 1)
        alone = np.where(square > chdtri(by_chance, chance) / by_chance, square, 1.0)
        lent = np.minimum(self.freedom, _LENT)
        both = np.maximum(self.square, (lent * self.square + free * square) / (lent + free))
        # What lasts for ever doubles.
        both = np.minimum(both, 2 * self.square)
        own = np.full_like(square, free) if told is None else told
        return KnownVariance(np.where(fresh, alone, both), np.where(fresh, own, lent + own))

    def at_least(self, square: float, freedom: float) -> KnownVariance:
        """With what all tests have in common, where that is more."""
        more = square > self.square
        return KnownVariance(np.where(more, square, self.square), np.where(more, freedom, self.freedom))

    def raised(self, *, alone: bool) -> NDArray[np.float64]:
        """Raised by their uncertainty, among many columns by a standard error at least.

        Example:
            >>> some = KnownVariance(np.array([1.0, 2.0]), np.array([20.0, 20.0]))
            >>> some.raised(alone=True).round(1).tolist()
            [1.0, 3.4]
        """
        believed = np.flatnonzero(self.square > 1)
        raised = np.ones_like(self.square)
        each, place = np.unique(np.maximum(self.freedom[believed], 1.0), return_inverse=True)
        doubt = np.array([doubt_of_variance(one) for one in each])
        if not alone:
            doubt = np.maximum(doubt, 1 + np.sqrt(2 / each))
        raised[believed] = self.square[believed] * doubt[place]
        return raised


@dataclass(frozen=True, slots=True)
class CellsOfColumns:
    """Which of K tests count rows in cells of one column: these are told together what windows vary by.

    Where mixes differ between windows by a random effect on the logarithm of each share, a share `p` varies
    beyond sampling in proportion to `p (1 - p)`.
    """

    column: NDArray[np.intp] = field(repr=False)
    """`[K]`, from 0."""
    share: NDArray[np.float64] = field(repr=False)
    """`[K]`, of the rows."""

    @property
    def _variance(self) -> NDArray[np.float64]:
        return np.maximum(self.share * (1 - self.share), 1e-12)

    def pooled(self, square: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[columns]`, mean square of all cells of each, from that of each cell.

        Example:
            >>> two = CellsOfColumns(np.zeros(2, dtype=np.intp), np.array([0.5, 0.5]))
            >>> two.pooled(np.array([1.0, 2.0])).tolist()
            [1.5]
        """
        weight = self._variance
        found: NDArray[np.float64] = np.bincount(self.column, weight * square) / np.bincount(
            self.column, weight
        )
        return found

    @property
    def freedom(self) -> NDArray[np.float64]:
        """`[columns]`, degrees of freedom of that for one window of independent rows (Satterthwaite 1946).

        Example:
            >>> CellsOfColumns(np.zeros(4, dtype=np.intp), np.full(4, 0.25)).freedom.tolist()
            [3.0]
        """
        variance, square = self._variance, self.share**2
        squares = np.bincount(self.column, square)
        together = np.bincount(self.column, variance**2 - square**2) + squares**2
        found: NDArray[np.float64] = np.bincount(self.column, variance) ** 2 / together
        return found

    def of_each(self, spread: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[K]`, of each cell from that of all of its column.

        Example:
            >>> cells = CellsOfColumns(np.zeros(4, dtype=np.intp), np.full(4, 0.25))
            >>> cells.of_each(np.array([2.0])).tolist()
            [2.0, 2.0, 2.0, 2.0]
        """
        variance = self._variance
        mean = np.bincount(self.column, variance**2) / np.bincount(self.column, variance)
        found: NDArray[np.float64] = 1 + (spread - 1)[self.column] * variance / mean[self.column]
        return found


def doubt_of_variance(freedom: float) -> float:
    """By how much a variance that is known with so many degrees of freedom must be raised.

    So that a normal tail holds where alarms are raised: Student's t against the normal distribution.

    Example:
        >>> round(doubt_of_variance(20), 2), round(doubt_of_variance(1e6), 2)
        (1.7, 1.0)
    """
    from scipy.special import ndtr, stdtrit

    return float((stdtrit(freedom, ndtr(-_JUDGED_AT)) / _JUDGED_AT) ** 2)

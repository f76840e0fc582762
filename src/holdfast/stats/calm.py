"""What windows that raised no alarm add to the reference: they tell its mean and its seasons better.

A short reference knows its own mean badly, and a scan that compares long sums with it must grant that
error. Windows of production that stayed calm are of the same law, as far as anyone can tell. See
docs/methods/scan.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.scan import SCALES, LevelError

_LAG: Final = SCALES[-1]
"""Windows after which no sum holds a window any more, so that all alarms it could raise are known."""
SHORT_LAG: Final = 8
"""Windows after which those that are calm so far count for sums of no more windows; none of these holds
them."""
_GROWTH: Final = 16
"""What is known is brought up to date whenever a sixteenth more windows have passed, ..."""
_MUCH: Final = 256
"""... or beyond so many windows an eighth: what that tells is little then, and each time costs."""
_DISAGREE: Final = 2.576
"""Standard deviations, passed by chance once in a hundred, by which calm windows may differ from the
reference. Beyond it they may have crept away, each too little for an alarm: the reference alone is right."""
_TOLD: Final = 3.0
"""Times as much as the reference that must be known before waves that hardly show are drawn towards none.
After 60 windows no wave, however high, makes sums of two pass a threshold 1.15 times as often by chance."""

Matrix = NDArray[np.float64]


def stretches(windows: int) -> Iterator[slice]:
    """Windows that are judged with the same knowledge of calm times before them.

    Example:
        >>> [(some.start, some.stop) for some in stretches(154)][16:]
        [(128, 136), (136, 144), (144, 153), (153, 154)]
    """
    start = 0
    while start < windows:
        stop = min(start + max(SHORT_LAG, start // (_GROWTH if start < _MUCH else _GROWTH // 2)), windows)
        yield slice(start, stop)
        start = stop


def settled(alarm: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of windows whose every alarm is known, all but the last 31: whether none was raised, `[W - 31, K]`.

    Args:
        alarm: `[W, K]`.

    Example:
        >>> import numpy as np
        >>> alarm = np.zeros((40, 1), dtype=bool)
        >>> alarm[35] = True
        >>> settled(alarm).ravel().tolist()
        [True, True, True, True, False, False, False, False, False]
    """
    nothing = np.zeros((1, alarm.shape[1]), dtype=np.intp)
    raised = np.cumsum(np.concatenate([nothing, alarm]), axis=0)
    calm: NDArray[np.bool_] = raised[_LAG:] == raised[:-_LAG]
    return calm


def calm_so_far(alarm: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of windows whose alarms are not all known: whether none was raised yet, `[W - 8, K]`.

    Args:
        alarm: `[W, K]`, of those windows and all after them.

    Example:
        >>> import numpy as np
        >>> alarm = np.zeros((12, 1), dtype=bool)
        >>> alarm[1] = True
        >>> calm_so_far(alarm).ravel().tolist()
        [False, False, True, True]
    """
    raised = np.logical_or.accumulate(alarm[::-1], axis=0)[::-1]
    calm: NDArray[np.bool_] = ~raised[: max(len(alarm) - SHORT_LAG, 0)]
    return calm


@dataclass(slots=True)
class CalmWindows:
    """Sums over calm windows of K tests, and the expectations that they and the reference lead to.

    With `f` the shapes of a season and a 1 before them, the excess of a window of weight `w` is `w f d` on
    average, where `d` is by how much the reference's mean and coefficients are wrong. `d` has the variance
    `prior`; calm windows tell it by least squares.
    """

    prior: Matrix = field(repr=False)
    """`[K, F]`, variance of mean and coefficients for a unit weight, as the reference tells them; 0: none."""
    unit: NDArray[np.float64] = field(repr=False)
    """`[K]`, variance of a unit weight."""
    coefficients: Matrix | None = field(default=None, repr=False)
    """`[K, F]`, of the season as the reference tells it, 0 for the mean; then a sine and a cosine of each
    harmonic. None: there is no season."""
    weight: NDArray[np.float64] = field(init=False, repr=False)
    excess: Matrix = field(init=False, repr=False)
    told: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tests, shapes = self.prior.shape
        self.weight = np.zeros(tests)
        self.excess = np.zeros((tests, shapes))
        self.told = np.zeros((tests, shapes, shapes))

    def copy(self) -> CalmWindows:
        """The same sums, to add to."""
        other = CalmWindows(self.prior, self.unit, self.coefficients)
        other.weight, other.excess, other.told = self.weight.copy(), self.excess.copy(), self.told.copy()
        return other

    def add(self, apart: Matrix, weight: Matrix, shapes: Matrix, calm: NDArray[np.bool_]) -> None:
        """Windows that raised no alarm.

        Args:
            apart: `[N, K]`, observed minus what the reference leads to expect.
            weight: `[N, K]`.
            shapes: `[N, F]`, the first of them 1.
            calm: `[N, K]`, which windows count for which test.
        """
        mass = np.where(calm, weight, 0.0)
        self.weight += mass.sum(axis=0)
        self.excess += np.where(calm, apart, 0.0).T @ shapes
        for one in range(shapes.shape[1]):
            self.told[:, one] += mass.T @ (shapes[:, one : one + 1] * shapes)

    def known(self, spread: NDArray[np.float64]) -> tuple[Matrix, Matrix]:
        """By how much the reference is wrong, `[K, F]`, and the covariance that is left, `[K, F, F]`.

        Args:
            spread: `[K]`, how much more than by sampling calm windows vary.

        Example:
            A reference of 100 rows, 300 calm ones: three quarters of the difference, a quarter of the error.

            >>> import numpy as np
            >>> calm = CalmWindows(np.array([[1 / 100]]), np.array([1.0]))
            >>> one = np.ones((3, 1))
            >>> calm.add(10 * one, 100 * one, one, np.ones((3, 1), dtype=bool))
            >>> wrong, covariance = calm.known(np.ones(1))
            >>> wrong.round(9).tolist(), covariance.round(9).tolist()
            ([[0.075]], [[[0.0025]]])
        """
        shapes = self.prior.shape[1]
        usable = (self.prior > 0) & (self.unit > 0)[:, None]
        both = usable[:, :, None] & usable[:, None, :]
        unit = np.maximum(self.unit, 1e-300)
        diagonal = np.eye(shapes)[None] / np.where(usable, self.prior, 1.0)[:, :, None]
        inverse = np.linalg.inv(diagonal + np.where(both, self.told, 0.0) / unit[:, None, None])
        covariance = np.where(both, inverse, 0.0).astype(np.float64, copy=False)
        wrong = np.einsum("kij,kj->ki", covariance, self.excess) / unit[:, None]
        wrong, covariance = self._drawn_in(wrong, covariance)
        # Their mean excess against the error that it may have.
        weight = np.where(self.weight > 0, self.weight, 1.0)
        share = self.told[:, 0] / weight[:, None]
        error = unit / weight + (share**2 * np.where(usable, self.prior, 0.0)).sum(axis=1)
        agree = (self.weight > 0) & (
            (self.excess[:, 0] / weight) ** 2 <= _DISAGREE**2 * error * np.maximum(spread, 1.0)
        )
        before = np.eye(shapes)[None] * np.where(usable, self.prior, 0.0)[:, :, None]
        return np.where(agree[:, None], wrong, 0.0), np.where(agree[:, None, None], covariance, before)

    def _drawn_in(self, wrong: Matrix, covariance: Matrix) -> tuple[Matrix, Matrix]:
        """The same, with the waves that hardly show drawn towards none, harmonic by harmonic.

        Few harmonics of a week are there, and each is fitted. As a wave's height is told now, it is normal
        around 0 with its own mean square as variance, and with that of its error at least.
        """
        if self.coefficients is None:
            return wrong, covariance
        tests, shapes = wrong.shape
        height = wrong + self.coefficients
        error = np.diagonal(covariance, axis1=1, axis2=2)
        enough = _TOLD * error[:, 0] <= self.prior[:, 0]
        weight = np.zeros((tests, shapes))
        for first in range(1, shapes, 2):
            wave = slice(first, first + 2)
            some = enough & (error[:, wave] > 0).all(axis=1)
            own = np.maximum((height[some, wave] ** 2).mean(axis=1), error[some, wave].mean(axis=1))
            weight[some, wave] = (1 / own)[:, None]
        drawn = np.linalg.inv(np.eye(shapes)[None] + covariance * weight[:, None, :]) @ covariance
        return wrong - np.einsum("kij,kj->ki", drawn, weight * height), drawn


def level_error(shapes: Matrix, covariance: Matrix) -> tuple[NDArray[np.float64], LevelError | None]:
    """The same as `scan` takes it: `[K]`, variance of a mean alone, and what seasons are fitted for others.

    Example:
        >>> import numpy as np
        >>> level_error(np.ones((5, 1)), np.array([[[0.25]]]))
        (array([0.25]), None)
    """
    seasonal = np.flatnonzero((np.diagonal(covariance, axis1=1, axis2=2)[:, 1:] > 0).any(axis=1))
    alone = covariance[:, 0, 0].copy()
    if not seasonal.size:
        return alone, None
    alone[seasonal] = 0.0
    return alone, LevelError(shapes, seasonal, covariance[seasonal])

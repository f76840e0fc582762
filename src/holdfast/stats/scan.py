"""A calibrated scan over many small tests, windows and time scales, within one budget of false alarms.

Every test is a sum over rows: of a normal score, of a membership in a cell, of a residual. A window
contributes the observed sum and its first three cumulants under the reference. The scan pools the last 1, 2,
4, ... windows, adds the uncertainty of the finite reference and the natural variation between the reference's
own windows, and gives one standard normal value for each window, test and scale. See docs/methods/scan.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.blocks import CellsOfColumns, KnownVariance
from holdfast.stats.persistence import Persistence, most_by_parts
from holdfast.stats.season import SeasonalError
from holdfast.stats.tails import signed_z

SCALES: Final = (1, 2, 4, 8, 16, 32)
"""Windows pooled. A shift of 0.1 standard deviations in windows of 1000 rows shows at 2 to 4."""
_LEAST_BLOCKS: Final = 5
"""Blocks of reference windows needed before their variance is believed."""
_MANY: Final = 8
"""Tests from which on what they have in common can be told from what one of them has."""
_CHANCE_OF_MANY: Final = 0.01
_CHANCE_OF_FEW: Final = 0.05
"""Levels of the chi-square test that a single test's own variance must pass; few tests have no median."""
_CHANCE_ALONE: Final = 0.2
"""Of few columns, where a short reference shows little and no others tell what is common."""
_CHANCE_OF_PARTS: Final = 0.02
"""Parts of windows are many: what they show is hardly chance, and they are looked at in several lengths."""
_CHANCE_OF_PARTS_OF_MANY: Final = 0.001
"""Where columns are many, the median shows what they have in common."""
_MEDIAN_ERRORS: Final = 2.5
"""Standard errors of the median (1.25 of those of a mean, twice) beyond which it is no chance."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sums:
    """What W windows contribute to K tests; each array is `[W, K]`.

    `weight` is what a unit error of the test's expectation costs the window: its rows, or its rows in a cell.
    """

    observed: Matrix
    expected: Matrix
    variance: Matrix
    third: Matrix
    weight: Matrix

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.expected, self.variance, self.third, self.weight)}
        if shapes != {self.observed.shape}:
            raise ValueError(f"sums of different shapes: {sorted(shapes | {self.observed.shape})}")


@dataclass(frozen=True, slots=True)
class LevelError:
    """What is not known of mean and season of some tests in W windows."""

    shapes: Matrix = field(repr=False)
    """`[W, F]`, the first of them 1."""
    tests: NDArray[np.intp] = field(repr=False)
    """`[T]`, which of the K tests."""
    covariance: NDArray[np.float64] = field(repr=False)
    """`[T, F, F]`, of the coefficients of the shapes, for a unit weight."""

    def added(self, weight: Matrix, scale: int) -> Matrix:
        """`[W, T]`, variance that it adds to sums over the last so many windows.

        Args:
            weight: `[W, K]`, of the windows.
            scale: windows added up.
        """
        own = weight[:, self.tests]
        parts = [pooled(own * shape[:, None], scale) for shape in self.shapes.T]
        total = np.zeros_like(own)
        for one, first in enumerate(parts):
            total += first**2 * self.covariance[:, one, one]
            for other in range(one):
                total += 2 * first * parts[other] * self.covariance[:, one, other]
        return np.maximum(total, 0.0)


def pooled(array: Matrix, scale: int) -> Matrix:
    """Sums over the last `scale` rows, fewer at the start.

    Example:
        >>> import numpy as np
        >>> pooled(np.array([[1.0], [2.0], [4.0]]), 2).ravel().tolist()
        [1.0, 3.0, 6.0]
    """
    return _last(np.cumsum(array, axis=0), scale)


def _last(running: Matrix, scale: int) -> Matrix:
    """Of running totals."""
    result = running.copy()
    result[scale:] -= running[:-scale]
    return result


def scan(
    sums: Sums,
    reference_error: NDArray[np.float64],
    spread: Matrix | None = None,
    step: NDArray[np.float64] | None = None,
    *,
    usual_weight: NDArray[np.float64] | None = None,
    season: SeasonalError | None = None,
    doubt: Matrix | None = None,
    level: LevelError | None = None,
) -> NDArray[np.float64]:
    """Standard normal values for each window, test and scale.

    Args:
        sums: of W windows in order of time.
        reference_error: `[K]`, variance of the test's expectation for a unit weight: variance of one row over
            the reference's rows.
        spread: `[S, K]` from `natural_spread`; None: windows vary only by sampling.
        step: `[K]`, 1 for tests that count rows and 0 for others; counts get the continuity correction.
        usual_weight: `[K]`, mean weight of the windows that `spread` was found on. Variation between windows
            counts for more in a larger window, where sampling counts for less. None: windows are as large.
        season: the uncertainty of the season that was added to the expectations.
        doubt: `[W, K]`, by how much the expectation itself may be wrong, as a standard deviation; alike in
            all windows, so that pooling does not make it small. None: not at all.
        level: the uncertainty of mean and season together, of tests whose `reference_error` is 0.

    Returns:
        `[W, K, S]`. A window that pools fewer windows than the scale asks for stands for what there is.

    Example:
        >>> import numpy as np
        >>> one = np.ones((1, 1))
        >>> z = scan(Sums(one * 30, one * 0, one * 100, one * 0, one * 100), np.array([0.0]))
        >>> z[0, 0, 0].round(6).item()
        3.0
    """
    values = np.empty((*sums.observed.shape, len(SCALES)))
    scanned = scan_by_scale(
        sums,
        reference_error,
        spread,
        step,
        usual_weight=usual_weight,
        season=season,
        doubt=doubt,
        level=level,
    )
    for position, (z, _) in enumerate(scanned):
        values[:, :, position] = z
    return values


def scan_by_scale(
    sums: Sums,
    reference_error: NDArray[np.float64],
    spread: Matrix | None = None,
    step: NDArray[np.float64] | None = None,
    *,
    usual_weight: NDArray[np.float64] | None = None,
    season: SeasonalError | None = None,
    doubt: Matrix | None = None,
    level: LevelError | None = None,
    some: slice = slice(None),
    lead: int = 0,
    clustered: NDArray[np.float64] | None = None,
) -> Iterator[tuple[NDArray[np.float64], Sums]]:
    """`scan`, one scale after the other: the values `[W, K]` and the pooled sums, for a year of windows.

    `some` of the scales only. The first `lead` windows are part of the sums, and get none of their own.

    Example:
        >>> import numpy as np
        >>> one = np.ones((4, 1))
        >>> found = scan_by_scale(Sums(one * 30, one * 0, one * 100, one * 0, one * 100), np.array([0.0]))
        >>> [round(float(z[-1, 0]), 3) for z, _ in found][:3]
        [3.0, 4.243, 6.0]
    """
    running = [
        np.cumsum(array, axis=0)
        for array in (sums.observed, sums.expected, sums.variance, sums.third, sums.weight)
    ]
    filled = np.any(sums.weight > 0, axis=1)
    for position in range(len(SCALES))[some]:
        scale = SCALES[position]
        observed, expected, sampling, third, weight = (_last(total, scale)[lead:] for total in running)
        whole = Sums(observed, expected, sampling, third, weight)
        total = sampling + weight**2 * reference_error
        if season is not None:
            for shape, uncertainty in zip(season.shapes.T, season.variance, strict=True):
                total = total + pooled(sums.weight * shape[:, None], scale)[lead:] ** 2 * uncertainty
        if level is not None:
            total[:, level.tests] += level.added(sums.weight, scale)[lead:]
        if doubt is not None:
            total = total + pooled(doubt, scale)[lead:] ** 2
        inflation = np.divide(total, sampling, out=np.ones_like(total), where=sampling > 0)
        # A beta-binomial's third cumulant: sampling and an uncertain expectation skew the same way.
        third = third * inflation * (2 * inflation - 1)
        if step is not None:
            observed = observed - np.clip(observed - expected, -step / 2, step / 2)
        if spread is not None:
            wide = spread_of_pools(spread, position, filled)
            wide = wide[lead:] if len(wide) > 1 else wide
            if usual_weight is not None:
                windows = np.minimum(np.arange(lead, lead + len(weight)) + 1, scale)[:, None]
                relative = weight / windows / np.maximum(usual_weight, 1e-9)
                wide = 1 + (wide - 1) * relative
            # Rows that come in clusters of m vary m times as much and are m * m times as skewed.
            alone = third
            total, third = total * wide, third * wide**2
            if clustered is not None:
                added = alone + weight * clustered
                third = np.where(np.abs(added) > np.abs(third), added, third)
        z = signed_z(observed, expected, total, third)
        yield z, whole


def spread_of_pools(spread: Matrix, position: int, filled: NDArray[np.bool_]) -> Matrix:
    """`[W or 1, K]`, the spread of sums that may hold fewer windows than the scale asks for.

    As at the start, and where windows were empty. Where each window makes up for the one before, pairs vary
    less than single windows, and a window that is alone in its pair has nothing that makes up for it.

    Args:
        spread: `[S, K]`.
        position: of the scale.
        filled: `[W]`, which windows hold anything.

    Example:
        Windows that alternate vary as 1, pairs of them not at all.

        >>> import numpy as np
        >>> spread = np.array([[1.0], [0.0]])
        >>> spread_of_pools(spread, 1, np.array([True, True, False, True])).ravel().tolist()
        [1.0, 0.0, 1.0, 1.0]
    """
    widest: Matrix = spread[None, : position + 1].max(axis=1)
    if (widest[0] == spread[position]).all():
        return widest
    held = pooled(filled.astype(np.float64)[:, None], SCALES[position])
    return np.where(held < SCALES[position], widest, spread[position])


def natural_spread(
    sums: Sums,
    fitted: NDArray[np.float64] | float = 1.0,
    *,
    alone: bool = False,
    parts: Sums | None = None,
    parted: int | None = None,
    cells: CellsOfColumns | None = None,
) -> Matrix:
    """How much more than by sampling the reference's own windows vary, `[S, K]`, at least 1.

    For each scale the mean square of the reference's own standard normal values over all its blocks. It
    counts only where it is beyond what chance gives, and is then raised by its own uncertainty: a short
    reference would otherwise make one test in six blind by chance. With eight tests or more what they have
    in common is found from their median, and then holds for all. Scales with fewer than five blocks take the
    value of the largest scale that has them, times its growth, since what persists from window to window
    grows with the scale.

    Args:
        sums: of the reference's own windows, in order of time.
        fitted: parameters, the mean included, that the expectations took from those windows; `[K]` or one.
        alone: the tests are of one column or few: what they have in common says no more, and each is believed
            sooner.
        parts: of the windows' own parts, such as eighths, in order of time. Rows that follow on each other
            within a part do so in the whole window, and there are more of them to tell it by.
        parted: how many of the windows the parts are of; None: all.
        cells: where the tests count rows in cells of columns; each has part in what those of its column show
            together.

    Example:
        >>> import numpy as np
        >>> one = np.ones((8, 1))
        >>> calm = Sums(np.tile([[1.0], [-1.0]], (4, 1)), 0 * one, one, 0 * one, one)
        >>> natural_spread(calm).ravel().tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    windows, tests = sums.observed.shape
    own = scan(sums, np.zeros(tests))
    within: Sequence[tuple[float, NDArray[np.float64]]] = ()
    most = None
    if parts is not None:
        of = parted or windows
        parts = _off_course(parts, of)
        within = _within(parts, of)
        most = most_by_parts(_standard(parts), len(parts.observed) // of)
    spread = spread_of(own, fitted, alone=alone, within=within, most=most, cells=cells)
    raised = np.ones(tests)
    lasting = _persistence(_standard(sums), most, alone=alone)
    for position, scale in enumerate(SCALES):
        if windows / scale >= _LEAST_BLOCKS:
            # Whether it is beyond chance is told by normal values, how much by squares: those of the skewed
            # are drawn in.
            square = _mean_square(sums, scale) / _left(lasting, scale, fitted)
            raised = np.where(spread[position] > 1, np.maximum(square / spread[position], 1.0), 1.0)
        spread[position] *= raised
    return spread


def _standard(sums: Sums) -> Matrix:
    deviation = np.sqrt(np.maximum(sums.variance, 1e-300))
    result: Matrix = (sums.observed - sums.expected) / deviation
    return result


def _persistence(values: Matrix, most: NDArray[np.float64] | None, *, alone: bool) -> Persistence:
    """Of the reference's own windows; many columns without parts have it in common."""
    believed = alone or most is not None
    return Persistence.of(values, most) if believed else Persistence.nothing(*values.shape)


def _left(lasting: Persistence, scale: int, fitted: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """`[K]`, share of the variance of blocks that is left around what was fitted on them, the mean included.

    A season that was fitted takes from single windows what it took of their degrees of freedom.
    """
    left = lasting.left(scale)
    if scale > 1:
        return left
    windows = lasting.windows
    result: NDArray[np.float64] = left * np.maximum(windows - np.asarray(fitted, dtype=float), 1.0)
    return result / (windows - 1)


def _mean_square(sums: Sums, scale: int) -> NDArray[np.float64]:
    """`[K]`, over all blocks of so many windows, of how far they are from what is expected."""
    apart = pooled(sums.observed - sums.expected, scale)[scale - 1 :]
    variance = np.maximum(pooled(sums.variance, scale)[scale - 1 :], 1e-300)
    result: NDArray[np.float64] = (apart**2 / variance).mean(axis=0)
    return result


def _off_course(parts: Sums, windows: int) -> Sums:
    """Without the course that all windows have, such as a day's: it is no variation between windows."""
    count = len(parts.observed)
    each = count // windows
    if each * windows != count or windows < 2:
        return parts
    course = (parts.observed - parts.expected).reshape(windows, each, -1)
    apart = ((course - course.mean(axis=0)) * np.sqrt(windows / (windows - 1))).reshape(count, -1)
    return replace(parts, observed=parts.expected + apart)


def _within(parts: Sums, windows: int) -> list[tuple[float, NDArray[np.float64]]]:
    """Blocks of parts, shorter than a window: how many there are and their mean squares `[K]`."""
    count = len(parts.observed)
    found = []
    size = 1
    while count / size >= 1.5 * windows:
        blocks = count / size
        found.append((blocks, _mean_square(parts, size) * blocks / (blocks - 1)))
        size *= 2
    return found


def spread_of(
    own: NDArray[np.float64],
    fitted: NDArray[np.float64] | float = 1.0,
    *,
    alone: bool = False,
    within: Sequence[tuple[float, NDArray[np.float64]]] = (),
    most: NDArray[np.float64] | None = None,
    cells: CellsOfColumns | None = None,
) -> Matrix:
    """`natural_spread` from the standard normal values `[W, K, S]` of the reference's own windows.

    Args:
        own: those values.
        fitted: as for `natural_spread`; alone alike.
        alone: as there.
        within: for blocks shorter than a window, shortest first, how many there are and `[K]` mean squares.
        most: `[K]`, correlation of neighbouring windows that their parts allow; None: not known.
        cells: as there.

    Example:
        >>> import numpy as np
        >>> spread_of(np.ones((20, 1, 6))).ravel().tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    from scipy.special import chdtri

    windows, tests = own.shape[:2]
    chance = _CHANCE_ALONE if alone else _CHANCE_OF_MANY if tests >= _MANY else _CHANCE_OF_FEW
    spread = np.ones((len(SCALES), tests))
    growth = np.ones(tests)
    known = KnownVariance.nothing(tests)
    lasting = _persistence(own[:, :, 0], most, alone=alone)
    together = None if cells is None else KnownVariance.nothing(len(cells.freedom))
    for blocks, square in within:
        if cells is not None and together is not None:
            together = together.with_blocks(
                cells.pooled(square), blocks, _CHANCE_OF_PARTS_OF_MANY, directions=cells.freedom
            )
        known = known.with_blocks(square, blocks, _CHANCE_OF_PARTS if alone else _CHANCE_OF_PARTS_OF_MANY)
    for position, scale in enumerate(SCALES):
        blocks = windows / scale
        if blocks < _LEAST_BLOCKS:
            if position:
                spread[position] = spread[position - 1] * growth
            continue
        z = own[scale - 1 :, :, position]
        square = np.mean(z**2, axis=0) / _left(lasting, scale, fitted)
        noise = np.sqrt(2.0 / (blocks - 1))
        before, known = known, known.with_blocks(square, blocks, chance, lasting.freedom(scale))
        spread[position] = known.raised(alone=alone)
        spread[position] *= np.where(spread[position] > 1, lasting.with_mean(scale), 1.0)
        if cells is not None and together is not None:
            told = cells.pooled(lasting.freedom(scale))
            together = together.with_blocks(
                cells.pooled(square), blocks, _CHANCE_OF_MANY, told, cells.freedom
            )
            spread[position] = np.maximum(spread[position], cells.of_each(together.raised(alone=alone)))
        if tests >= _MANY and not alone:
            # What all have in common shows in their median long before any of them shows it alone.
            middle = float(np.median(square)) * (blocks - 1) / float(chdtri(blocks - 1, 0.5))
            if middle > 1 + noise / np.sqrt(tests) * _MEDIAN_ERRORS:
                spread[position] = np.maximum(spread[position], middle)
                known = known.at_least(middle, blocks * tests)
        if position:
            growth = np.clip(known.square / before.square, 1.0, 2.0)
    return spread


def threshold(tests: int, average_run_length_windows: float, share: float = 1.0) -> float:
    """The value of |z| that a whole family of tests passes by chance once in the average run length.

    Bonferroni over tests, scales and both directions: it holds under any dependence.

    Args:
        tests: in the family.
        average_run_length_windows: mean number of quiet windows between false alarms.
        share: of the budget that this family may spend.

    Example:
        >>> round(threshold(1, 1000.0, share=len(SCALES)), 4)
        3.2905
    """
    from scipy.special import ndtri

    chance = share / (average_run_length_windows * max(tests, 1) * len(SCALES))
    return float(-ndtri(chance / 2))

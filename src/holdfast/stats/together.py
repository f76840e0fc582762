"""Whether many cells of a column have changed together, though each by itself hardly shows it.

A debiased chi-square of pooled counts against a finite reference. See docs/methods/together.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.scan import SCALES, pooled
from holdfast.stats.tails import signed_z

Matrix = NDArray[np.float64]
_LEAST_BLOCKS: Final = 5
"""Blocks of the reference's windows that tell how much calm ones vary."""
_SURE_ERRORS: Final = 2.0
"""Standard errors beyond which calm windows vary by more than sampling."""
_FLATTENED: Final = 4
"""A cell of a fourth of the mean share counts half as much as its rarity would make it."""
_AT_A_TIME: Final = 256
"""Windows added up while their counts stay in the second cache."""
_LEAST_ROWS: Final = 20.0
"""The same of a cell of so many rows of the reference: of fewer the share is hardly known."""


@dataclass(frozen=True, slots=True)
class CellShares:
    """What a reference says of the shares of K cells, within each of G groups of them."""

    rows: NDArray[np.float64] = field(repr=False)
    """`[K]`, of the reference."""
    noise: NDArray[np.float64] = field(repr=False)
    """`[K]`, variance of `rows`."""
    weight: NDArray[np.float64] = field(repr=False)
    """`[K]`, of a squared change of the share."""
    group: NDArray[np.intp] = field(repr=False)
    """`[K]`, from 0."""

    @classmethod
    def of(
        cls,
        rows: NDArray[np.float64],
        noise: NDArray[np.float64] | None = None,
        group: NDArray[np.intp] | None = None,
    ) -> CellShares:
        """Weights from the rows: the inverse of a share, less for rare cells. One group, if none are given.

        Example:
            >>> CellShares.of(np.array([50.0, 50.0])).weight.round(3).tolist()
            [1.429, 1.429]
        """
        total = max(float(rows.sum()), 1.0)
        least = max(1 / (_FLATTENED * len(rows)), _LEAST_ROWS / total)
        return cls(
            rows,
            rows if noise is None else noise,
            1 / (rows / total + least),
            np.zeros(len(rows), dtype=np.intp) if group is None else group,
        )

    def by_group(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[G]` sums of `[K]` values."""
        return np.asarray(np.bincount(self.group, values), dtype=np.float64)

    @property
    def members(self) -> NDArray[np.float64]:
        """`[K, G]`, 1 for the group of each cell."""
        found: NDArray[np.float64] = np.eye(int(self.group.max()) + 1)[self.group]
        return found

    @property
    def totals(self) -> NDArray[np.float64]:
        """`[G]`, rows of the reference."""
        return np.maximum(self.by_group(self.rows), 1.0)

    @property
    def within(self) -> NDArray[np.float64]:
        """`[K]`, the share of each cell of its group."""
        found: NDArray[np.float64] = self.rows / self.totals[self.group]
        return found

    @property
    def own(self) -> NDArray[np.float64]:
        """`[G]`, what a row takes from a departure since the number of rows is given."""
        return self.by_group(self.weight * self.within**2)

    def cumulants(self, rows: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        """Of the departure of windows of so many rows `[W, G]` of the reference's law, `[W]` each.

        Returns:
            Its mean before the bias is taken off, which is that of the chi-square; variance; third cumulant.
        """
        unsure = float(self.noise.sum()) / max(float(self.rows.sum()), 1.0)
        share, ratio = self.within, 1 + rows / self.totals * unsure
        weighted, scaled = self.weight * share, rows * ratio
        square = self.by_group(weighted**2)
        two = square - 2 * self.by_group(weighted**2 * share) + self.own**2
        # What the given number of rows takes from the variance it takes from the skew alike.
        taken = np.divide(two, square, out=np.zeros_like(two), where=square > 0)
        third = 8 * scaled**3 @ (self.by_group(weighted**3) * taken)
        # Of few rows most that a cell has beyond its mean is pairs of them.
        third += 4 * (scaled * (2 * ratio - 1)) ** 2 @ (self.by_group(self.weight**3 * share**2) * taken)
        return scaled @ self.by_group(weighted), 2 * scaled**2 @ two, third


def departures(counts: NDArray[Any], shares: CellShares) -> list[tuple[NDArray[np.float64], Matrix]]:
    """How far pooled counts are from the reference's shares, for each of the scales.

    With `O` rows of the last windows, `n` in all, `R` those of the reference, `m` in all, `t = n / m`, and
    shares `q = R / m`, all within the group of the cell:

        sum over cells of  weight * ((O - t R)**2 - O - t**2 * noise)  +  n (1 + t) sum of weight * q**2

    Its mean is 0 without a change, whatever the rows, and n² sum(weight * (change of the share)²) with one.

    Args:
        counts: `[W, K]` of windows in order of time.
        shares: of the reference.

    Returns:
        For each scale the departure `[W]` and the rows `[W, G]` of the pooled windows, fewer at the start.

    Example:
        >>> shares = CellShares.of(np.array([1e12, 1e12]))
        >>> departure, rows = departures(np.array([[80.0, 20.0], [50.0, 50.0]]), shares)[0]
        >>> (departure * (0.5 + 0.125)).round(6).tolist()  # 2 * 30² - 100 + 50, and 0 - 100 + 50
        [1750.0, -50.0]
    """
    totals, members = shares.totals, shares.members
    crossed = shares.weight * shares.rows
    fixed = shares.by_group(crossed * shares.rows - shares.weight * shares.noise)
    factors = np.concatenate([members, crossed[:, None] * members, shares.weight[:, None]], axis=1)
    linear, squares = _summed(counts, factors, shares.weight)
    groups, found = len(totals), []
    for scale, square in zip(SCALES, squares, strict=True):
        added = pooled(linear, scale)
        rows, cross, single = added[:, :groups], added[:, groups:-1], added[:, -1]
        ratio = rows / totals
        expected = (ratio**2) @ fixed - 2 * (ratio * cross).sum(axis=1)
        found.append((square + expected - single + (rows * (1 + ratio)) @ shares.own, rows))
    return found


def _summed(
    counts: NDArray[Any], factors: Matrix, weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[W, F]` sums over the cells by the factors `[K, F]`; `[S, W]` those of squared pooled counts."""
    root = np.sqrt(weight)
    linear, squares = np.empty((len(counts), factors.shape[1])), np.empty((len(SCALES), len(counts)))
    for start in range(0, len(counts), _AT_A_TIME):
        part, lead = slice(start, start + _AT_A_TIME), max(start - SCALES[-1] + 1, 0)
        some = counts[lead : start + _AT_A_TIME].astype(np.float64)
        linear[part] = some[start - lead :] @ factors
        some *= root
        for position, scale in enumerate(SCALES):
            if position:
                half = scale // 2
                some[half:] += some[:-half].copy()
            new = some[start - lead :]
            squares[position, part] = np.einsum("wk,wk->w", new, new)
    return linear, squares


def _parts(counts: Matrix, shares: CellShares, rows: Matrix, noise: Matrix) -> tuple[Matrix, Matrix]:
    """`[W, K]`, the part of each cell in the departure, and `[W, G]` rows, so many times as they vary.

    Args:
        counts: `[W, K]` of pooled windows.
        shares: of the reference.
        rows: `[W or 1, K]` of the reference that they are held against.
        noise: variance of those.
    """
    own = counts @ shares.members
    ratio = own / np.maximum(rows @ shares.members, 1.0)
    each = ratio[:, shares.group]
    parts = shares.weight * ((counts - each * rows) ** 2 - counts - each**2 * noise)
    return parts, own * (1 + ratio)


def without_largest(counts: Matrix, shares: CellShares, left_out: int) -> NDArray[np.float64]:
    """The departure `[W]` of pooled counts `[W, K]`, without the cells that have most part in it.

    What few cells show is a change of those, not of many together.

    Example:
        >>> shares = CellShares.of(np.array([1e12, 1e12, 1e12]))
        >>> every = np.array([[40.0, 30.0, 20.0]])
        >>> part = without_largest(every, shares, 1) / shares.weight[0]
        >>> part.round(6).tolist()  # 100 - 40 and 0 - 30, without 100 - 20, and a third of 90
        [60.0]
    """
    parts, scaled = _parts(counts, shares, shares.rows[None], shares.noise[None])
    kept = np.sort(parts, axis=1)[:, : parts.shape[1] - left_out]
    found: NDArray[np.float64] = kept.sum(axis=1) + scaled @ shares.own
    return found


@dataclass(frozen=True, slots=True)
class Excess:
    """How much more than by sampling the cells of calm windows vary, as shares of it; by scale or window."""

    shown: NDArray[np.float64]
    """By the reference's own windows."""
    granted: NDArray[np.float64]
    """What they cannot rule out, of all cells alike."""
    directions: float = 1.0
    """In how many directions what they show goes: one if all cells move together, as by a season."""

    @classmethod
    def none(cls) -> Excess:
        """Windows vary by sampling alone, at any scale."""
        return cls(np.zeros(len(SCALES)), np.zeros(len(SCALES)))

    def of_windows(self, position: int, relative: NDArray[np.float64]) -> Excess:
        """That of windows at one scale, so many times: what differs between windows is more in large ones.

        Args:
            position: of the scale.
            relative: `[W]`.
        """
        return replace(self, shown=self.shown[position] * relative, granted=self.granted[position] * relative)


def natural_excess(own: NDArray[np.float64], shares: CellShares) -> Excess:
    """What the reference's own windows vary by.

    Each block of them is held against all others. What that shows is raised by its standard error; scales of
    which the reference holds fewer than five blocks have that of the largest scale that has them, and grow as
    it grew.

    Args:
        own: `[B, K]`, counts of the reference's windows in order of time, at least five.
        shares: of all of them.

    Example:
        >>> random = np.random.default_rng(0)
        >>> calm = random.multinomial(1000, np.ones(50) / 50, size=40).astype(float)
        >>> natural_excess(calm, CellShares.of(calm.sum(axis=0))).shown.tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    found = Excess.none()
    means: list[float] = []
    known = 0
    total = np.cumsum(own, axis=0)
    # Rows `n (1 + t)` vary as departures of `n` rows do.
    sampled = replace(shares, noise=np.zeros(len(shares.rows)))
    for position, scale in enumerate(SCALES):
        blocks = len(own) / scale
        if blocks < _LEAST_BLOCKS:
            break
        counts = total[scale - 1 :].copy()
        counts[1:] -= total[:-scale]
        others = shares.rows - counts
        # Of a group the others may hold next to nothing: they are no measure of it.
        foreign = (counts @ shares.members > others @ shares.members)[:, shares.group]
        parts, scaled = _parts(np.where(foreign, 0.0, counts), shares, others, others)
        departure = parts.sum(axis=1) + scaled @ shares.own
        usual, variance, _ = (float(each[0]) for each in sampled.cumulants(scaled.mean(axis=0)[None]))
        error = float(np.sqrt(variance / blocks)) / max(usual, 1e-300)
        mean = float(departure.mean()) / max(usual, 1e-300)
        means.append(mean if mean > _SURE_ERRORS * error else 0.0)
        found.shown[position] = means[-1] * (1 + np.sqrt(2 / (blocks - 1)))
        found.granted[position] = max(mean - means[-1], 0.0) + error
        known = position
    if means[0] > 0:
        found = replace(found, directions=_directions(own, shares, means[0]))
    growth = 1.0
    if len(means) > 1 and means[-2] > 0 and means[-1] > 0:
        growth = float(np.clip(means[-1] / means[-2], 1.0, 2.0))
    for position in range(known + 1, len(SCALES)):
        found.shown[position] = found.shown[position - 1] * growth
        found.granted[position] = found.granted[position - 1]
    return found


def _directions(own: NDArray[np.float64], shares: CellShares, excess: float) -> float:
    """In how many directions windows vary beyond sampling.

    For two windows that vary independently the square of the weighted product of their departures has the
    mean of the squared covariance's trace, however many the directions; there are many pairs of windows.

    Args:
        own: `[B, K]`, counts of windows.
        shares: of all of them.
        excess: of single windows, as in `Excess`.
    """
    by_group, rows = own @ shares.members, own.sum(axis=1)
    apart = (own - by_group[:, shares.group] * shares.within) * np.sqrt(shares.weight)
    pairs = ((apart @ apart.T) / (rows[:, None] * rows) * float(rows.mean()) ** 2)[
        np.triu_indices(len(own), 1)
    ] ** 2 * (len(own) / (len(own) - 1)) ** 2
    sampled = replace(shares, noise=np.zeros(len(shares.rows)))
    usual, variance, _ = (float(each[0]) for each in sampled.cumulants(by_group.mean(axis=0)[None]))
    along = excess * usual
    doubt = _SURE_ERRORS * float(pairs.std()) / np.sqrt(len(pairs))
    beyond = float(pairs.mean()) + doubt - variance / 2 - along * variance / usual
    return float(np.clip(along**2 / max(beyond, 1e-300), 1.0, usual**2 / (variance / 2)))


def departure_z(
    departure: NDArray[np.float64],
    rows: Matrix,
    shares: CellShares,
    excess: Excess,
) -> NDArray[np.float64]:
    """`[W]`, standard normal values of departures.

    What calm windows show beyond sampling has the tail of a chi-square of as many degrees of freedom as there
    are directions.

    Args:
        departure: `[W]`.
        rows: `[W, G]`, of the pooled windows.
        shares: of the reference.
        excess: of the windows.

    Example:
        >>> shares = CellShares.of(np.ones(100) * 1e9)
        >>> rows, none = np.array([[1e6]]), Excess(np.zeros(1), np.zeros(1))
        >>> _, variance, _ = shares.cumulants(rows)
        >>> z = departure_z(3.0902 * np.sqrt(variance), rows, shares, none)
        >>> z.round(2).tolist()  # as chi-square of 99 has beyond 99 + 3.0902 sqrt(198)
        [2.77]
    """
    usual, variance, third = shares.cumulants(rows)
    wide = 1 + excess.granted
    variance, third = variance * wide**2, third * wide**3
    along, directions = excess.shown * usual, excess.directions
    each = np.divide(variance, 2 * usual * wide, out=np.zeros_like(usual), where=usual > 0)
    return signed_z(
        departure,
        along + excess.granted * usual,
        variance + 4 * along * each + 2 * along**2 / directions,
        third + 8 * along * (3 * each**2 + 3 * along * each / directions + (along / directions) ** 2),
    )

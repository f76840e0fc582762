"""Whether a column came in another unit: all of its values times one known factor, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.stats import NumericBins

UNITS: Final[tuple[tuple[float, str], ...]] = (
    (1e6, "a factor of a million"),
    (3600.0, "a factor of 3600 (hours, seconds)"),
    (1000.0, "a factor of 1000 (kilo)"),
    (100.0, "a factor of 100 (cents, per cent)"),
    (88.4, "a factor of 88.4 (creatinine in mg/dl, µmol/l)"),
    (60.0, "a factor of 60 (minutes, seconds)"),
    (25.4, "a factor of 25.4 (inches, millimetres)"),
    (18.02, "a factor of 18.02 (glucose in mg/dl, mmol/l)"),
    (12.0, "a factor of 12 (months, years)"),
    (10.764, "a factor of 10.764 (square feet, square metres)"),
    (10.0, "a factor of 10 (a decimal place; millimetres, centimetres)"),
    (2.54, "a factor of 2.54 (inches, centimetres)"),
)
DEGREES: Final[tuple[tuple[float, float, str, str], ...]] = (
    (1.8, 32.0, "Fahrenheit", "Celsius"),
    (1 / 1.8, -32.0 / 1.8, "Celsius", "Fahrenheit"),
    (1.0, 273.15, "kelvin", "Celsius"),
    (1.0, -273.15, "Celsius", "kelvin"),
)
"""Factor and offset of the degrees that came, and what came in the place of what."""
_BY_A_FIFTH: Final = (1 / 1.2, 1.2)
_OTHER: Final = 0.1
"""Of the ranks, by which a quartile of degrees must have left its place."""
_RANKS: Final = 0.01
"""Of the reference, by which a quartile may miss its own place after the conversion, besides chance."""
_DEVIATIONS: Final = 3.0
"""Standard deviations of a rank that count as chance."""
_SUPREMUM: Final = 1.8
"""Kolmogorov's distance, times the root of the rows, that chance passes three times in a thousand."""
_TIED: Final = 0.1
"""Share of the rows in one cell from which it says nothing of a unit: 0 stays 0 in any."""
_TELLING: Final = 2
"""Quartiles that must lie in cells with fewer rows than that."""
_LEAST_VALUES: Final = 10
_BESIDE: Final = (0.75, 1.3)
"""Powers of a factor that must not fit as well: otherwise the rows do not tell which factor it was."""
_NEAR: Final = np.geomspace(0.75, 1 / 0.75, 15)
_CLEARLY: Final = 7.9
"""What a free factor gains by chance once in 200; none so near may gain more. Growth by fifty is none
of sixty, though the quartiles of few rows lie within chance of both."""
_ROUGHLY: Final = (1 / 1.2, 1.2)
"""Times a factor: where these are not clearly worse, as in windows of few rows, it is about so much. Only
of a column about zero, of which nothing but the spread tells."""
_VAGUE: Final = 0.12
"""Where chance allows a rank to miss by more, several factors would fit."""
_SMALL: Final = 10.0
"""Factors below come about by themselves where a column swings about zero."""
_REMEMBERS: Final = 1.5
"""Variance between the reference's windows, against that of independent rows, from which it does."""
_ONE_SIGN: Final = 0.05
"""Share of rows of the rarer sign below which a column has one sign."""
_LEAST_WINDOWS: Final = 5
_MIDDLE: Final = 1.5
"""The median of a few windows' ranks is as good as a rank of two thirds of their rows."""
_SHARES: Final = np.array([0.25, 0.5, 0.75])
_TOGETHER: Final = np.minimum.outer(_SHARES, _SHARES) - np.outer(_SHARES, _SHARES)
"""Covariance of the ranks of quartiles, for one row."""


@dataclass(frozen=True, slots=True)
class _Ranks:
    """The quartiles of now beside the reference's ranks: what a factor between them would explain."""

    bins: NumericBins
    within: NDArray[np.float64] = field(repr=False)
    """Rows of the reference in each of the bins and below and above them."""
    quartiles: NDArray[np.float64]
    clusters: float
    """How many rows come together."""
    noise: float
    """Variance of a rank, but for the ranks' own `p (1 - p)`."""

    @classmethod
    def of(
        cls,
        reference: ReferenceModel,
        name: str,
        bins: NumericBins,
        quartiles: NDArray[np.float64],
        rows: int,
    ) -> _Ranks:
        within = reference.features[name].counts[: len(bins.edges) + 2].astype(np.float64)
        clusters = _clusters(reference, name, _passed(within))
        noise = clusters * (_MIDDLE / rows + 1 / max(float(within.sum()), 1.0))
        return cls(bins, within, quartiles, clusters, noise)

    @property
    def passed(self) -> NDArray[np.float64]:
        """The reference's share of rows up to the end of each cell."""
        return _passed(self.within)

    def rank(self, values: NDArray[np.float64] | float, *, left: float | None = None) -> NDArray[np.float64]:
        """The reference's share of rows below values."""
        bounds = [*self.bins.edges, self.bins.maximum]
        return np.asarray(np.interp(values, bounds, self.passed[:-1], left=left))

    @property
    def swings(self) -> bool:
        """Whether the column has values of both signs."""
        negative = float(self.rank(0.0))
        return min(negative, 1 - negative) >= _ONE_SIGN

    def middle_stays(self, factor: float) -> bool:
        """Whether the median is where it was: another unit moves it as it stretches the spread.

        Where it stays, more spread is the same; and a wider spread makes its own middle uncertain.
        """
        apart = abs(float(self.rank(self.quartiles[1])) - _SHARES[1])
        return bool(apart <= _RANKS + _DEVIATIONS * max(factor, 1.0) * np.sqrt(self.noise) / 2)

    def _between(self, factor: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and greatest rank of each quartile in the old unit."""
        cell = self.bins.index(self.quartiles / factor)
        high = self.passed[cell]
        return high - self.within[cell] / max(float(self.within.sum()), 1.0), high

    def missed(self, factor: float) -> NDArray[np.float64]:
        """How far each quartile is from its rank."""
        low, high = self._between(factor)
        found: NDArray[np.float64] = np.maximum(np.maximum(low - _SHARES, _SHARES - high), 0.0)
        return found

    def fit(self, factor: float) -> bool:
        """Whether no quartile misses its rank by more than chance allows, and enough of them tell."""
        low, high = self._between(factor)
        allowed = _RANKS + _DEVIATIONS * np.sqrt(_SHARES * (1 - _SHARES) * self.noise)
        return bool((high - low < _TIED).sum() >= _TELLING and (self.missed(factor) <= allowed).all())

    def off(self, factor: float) -> float:
        """Of the quartiles' ranks beyond rounding, in units of chance: about chi-square."""
        low, high = self._between(factor)
        rank = np.maximum(low - _RANKS - _SHARES, 0.0) - np.maximum(_SHARES - high - _RANKS, 0.0)
        return float(rank @ np.linalg.solve(_TOGETHER * self.noise, rank))

    def all_map(self, factor: float, now: NDArray[np.float64], offset: float = 0.0) -> bool:
        """Whether every rank of the reference does, not the quartiles' alone; zero stays where it is.

        Args:
            factor: between then and now.
            now: share of rows up to the end of each cell.
            offset: that came to the factor.
        """
        if self.within.max() >= _TIED * max(float(self.within.sum()), 1.0):
            return True
        edges = np.array(self.bins.edges)
        off = float(np.abs(now[: len(edges)] - self.rank((edges - offset) / factor, left=0.0)).max())
        return off <= 2 * _RANKS + _SUPREMUM * float(np.sqrt(self.noise))


def unit_of(
    reference: ReferenceModel,
    name: str,
    windows: Sequence[WindowProfile],
    quartiles: NDArray[np.float64],
) -> str | None:
    """The other unit in words; None if it is none.

    Compared by rank, so that it counts how many rows there are and not how a column's zero lies.

    Args:
        reference: fitted.
        name: of a numeric column.
        windows: in which the change shows most.
        quartiles: medians of theirs.
    """
    rows = sum(window.rows for window in windows)
    bins = reference.features[name].bins
    if not isinstance(bins, NumericBins) or len(bins.edges) < _LEAST_VALUES or not rows:
        return None
    if not np.isfinite(quartiles).all():
        return None  # between bins wider than the greatest double
    ranks = _Ranks.of(reference, name, bins, quartiles, rows)
    now = np.median([_passed(window.counts[name][: len(bins.edges) + 2]) for window in windows], axis=0)
    found: list[tuple[float, str]] = []
    about, larger = False, True
    for factor, words in UNITS:
        if factor < _SMALL and ranks.swings and ranks.clusters >= _REMEMBERS:
            continue
        for wanted in (factor, 1 / factor):
            if factor < _SMALL and ranks.swings and ranks.middle_stays(wanted):
                continue
            if not ranks.fit(wanted) or any(ranks.fit(wanted**power) for power in _BESIDE):
                continue
            off = ranks.off(wanted)
            if off > _CLEARLY + min(ranks.off(wanted * near) for near in _NEAR):
                continue
            if not ranks.all_map(wanted, now):
                continue
            rough = ranks.swings and any(ranks.off(wanted * near) <= off + _CLEARLY for near in _ROUGHLY)
            about, larger = about or rough, wanted > 1
            found.append((float(ranks.missed(wanted).max()), words))
    if not found:
        return _degrees(ranks, now)
    size = f"{'about ' if about else ''}{_either(found)}"
    return f"{'larger' if larger else 'smaller'} by {size}: another unit?"


def _degrees(ranks: _Ranks, now: NDArray[np.float64]) -> str | None:
    """Degrees of another scale, in words: where no growth, nor an offset a fifth off, would do as well."""
    if float(ranks.missed(1.0).max()) < _OTHER:
        return None
    usual = np.interp(_SHARES, ranks.passed[:-1], [*ranks.bins.edges, ranks.bins.maximum])
    growths = [new / old for new, old in zip(ranks.quartiles, usual, strict=True) if new * old > 0]
    grown = min((ranks.off(float(growth)) for growth in growths), default=np.inf)
    for slope, offset, came, instead in DEGREES:
        moved = [replace(ranks, quartiles=ranks.quartiles - offset * by) for by in (1.0, *_BY_A_FIFTH)]
        if [one.fit(slope) for one in moved] != [True, False, False]:
            continue
        clear = moved[0].off(slope) <= _CLEARLY + min(moved[0].off(slope * near) for near in _NEAR)
        sure = grown > moved[0].off(slope) + _CLEARLY
        if clear and sure and ranks.all_map(slope, now, offset):
            return f"in {came} where it was in {instead}: another unit?"
    return None


def unit_of_some(
    reference: ReferenceModel, name: str, windows: Sequence[WindowProfile], least: float
) -> str | None:
    """The other unit of a part of the rows, as when one of several senders changes; None if it is none.

    What lies beyond the reference's range must have its quartiles after the conversion, and the other rows
    must be spread as they were. Factors below ten leave rows within the range, so they are not told.

    Args:
        reference: fitted.
        name: of a numeric column.
        windows: in which the change shows most.
        least: share of rows beyond the range from which it is looked for.
    """
    feature, bins = reference.features[name], reference.features[name].bins
    shown = [window for window in windows if name in window.beyond]
    if not isinstance(bins, NumericBins) or len(bins.edges) < _LEAST_VALUES or not shown:
        return None
    cells = len(bins.edges) + 2
    before = feature.counts[:cells].astype(np.float64)
    now = np.sum([window.counts[name][:cells] for window in shown], axis=0).astype(np.float64)
    within, outside = now[1:-1], float(now[0] + now[-1])
    if outside < least * now.sum() or within.sum() < least * now.sum():
        return None
    passed = np.cumsum(before[1:-1]) / max(float(before[1:-1].sum()), 1.0)
    rest = float(np.abs(np.cumsum(within) / within.sum() - passed).max())
    clusters = _clusters(reference, name, _passed(before))
    noise = clusters * (_MIDDLE / outside + 1 / max(float(before.sum()), 1.0))
    if rest > 2 * _RANKS + _SUPREMUM * np.sqrt(clusters * (1 / within.sum() + 1 / before.sum())):
        return None
    allowed = _RANKS + _DEVIATIONS * np.sqrt(_SHARES * (1 - _SHARES) * noise)
    if allowed.max() > _VAGUE:
        return None
    quartiles = np.median([window.beyond[name] for window in shown], axis=0)
    found: list[tuple[float, str]] = []
    larger = True
    for factor, words in UNITS:
        for wanted in (factor, 1 / factor):
            missed = np.abs(np.interp(quartiles / wanted, [*bins.edges[1:], bins.maximum], passed) - _SHARES)
            if factor >= _SMALL and bool((missed <= allowed).all()):
                larger = wanted > 1
                found.append((float(missed.max()), words))
    if not found:
        return None
    share = f"in {outside / now.sum():.0%} of rows"
    return f"{'larger' if larger else 'smaller'} by {_either(found)} {share}: another unit?"


def _either(found: Sequence[tuple[float, str]]) -> str:
    """Of a column that spreads over orders of magnitude 10 and 12 may both fit: the nearest comes first."""
    return " or ".join(words for _, words in sorted(found))


def _passed(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of rows up to the end of each cell."""
    return np.cumsum(counts, dtype=np.float64) / max(float(counts.sum()), 1.0)


def _clusters(reference: ReferenceModel, name: str, passed: NDArray[np.float64]) -> float:
    """How many rows come together: variance of the quartiles' ranks between the reference's own windows."""
    if len(reference.windows) < _LEAST_WINDOWS:
        return 1.0
    cells = np.searchsorted(passed, _SHARES)
    counts = np.stack([window.counts[name][: len(passed)] for window in reference.windows]).astype(np.float64)
    rows = counts.sum(axis=1, keepdims=True)
    below = np.cumsum(counts, axis=1)[:, cells]
    share = passed[cells]
    apart = (below - rows * share) ** 2 / np.maximum(rows * share * (1 - share), 1.0)
    return max(1.0, float(apart.mean()) * len(counts) / (len(counts) - 1))

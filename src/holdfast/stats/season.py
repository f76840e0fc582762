"""Seasons that the reference shows: hours of the day, days of the week, months of the year.

The expectation of each test moves with the window's time as a sum of sines and cosines of known periods,
fitted on the reference's own windows. A period counts for a test only where it explains far more than chance
would, and the uncertainty of what was fitted is handed on. See docs/methods/season.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

LEAST_LEFT: Final = 6
"""Reference windows that must be left over when a period's shapes are fitted."""
CHANCE: Final = 1e-3
"""A period is believed for a test if its shapes explain what chance does once in so many."""
_REACH: Final = 2.0
"""A period must pass so many times within the reference; a year almost once."""
_REACH_YEAR: Final = 0.9
_MOST_FOLDED: Final = 2
_FOLDED_CYCLES: Final = 1.5
"""Cycles within the reference by which folded waves must differ from each other, and from none."""
_MOST_TURNS: Final = 4
"""Cycles of two windows in a day that has a harmonic as fast as them."""
_LEAST_LEFT_OF_WAVE: Final = 0.1
"""Share of a wave's height that the mean over a window must leave."""
DAY_US: Final = 86_400 * 1_000_000
YEAR_US: Final = int(365.2425 * DAY_US)

Matrix = NDArray[np.float64]


class Period(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """A cycle, and how many harmonics of it are fitted."""

    length: float
    harmonics: int
    crest: float | None = None
    """Of a cycle of two windows: when it is highest. They show no other phase of it, so it is one wave."""

    @property
    def waves(self) -> int:
        """Sines and cosines that are fitted."""
        return 2 * self.harmonics if self.crest is None else 1


@dataclass(frozen=True, slots=True)
class SeasonalError:
    """What is not known of the season in W windows."""

    shapes: Matrix = field(repr=False)
    """`[W, J]`, orthogonal on the reference."""
    variance: Matrix = field(repr=False)
    """`[J, K]`, variance of each shape's coefficient for a unit weight; 0 where a test has no season."""


@dataclass(frozen=True, slots=True)
class Season:
    """What was fitted for K tests."""

    periods: tuple[Period, ...]
    centre: NDArray[np.float64] = field(repr=False)
    whiten: Matrix = field(repr=False)
    """`[J, J]`, from sines and cosines to shapes that are orthogonal on the reference."""
    coefficients: Matrix = field(repr=False)
    """`[J, K]`, for a unit weight; 0 where the period is not believed."""
    variance: Matrix = field(repr=False)

    def shapes(self, time: NDArray[np.float64]) -> Matrix:
        """`[W, J]` at those times."""
        result: Matrix = (_waves(time, self.periods) - self.centre) @ self.whiten
        return result

    def expected(self, time: NDArray[np.float64]) -> Matrix:
        """`[W, K]`, what a unit weight is to be expected to add at those times."""
        result: Matrix = self.shapes(time) @ self.coefficients
        return result

    def error(self, time: NDArray[np.float64]) -> SeasonalError:
        """What is not known of it at those times."""
        return SeasonalError(self.shapes(time), self.variance)

    @property
    def explained(self) -> NDArray[np.float64]:
        """`[K]`, variance of one row that comes from the season, for a unit weight of the reference."""
        own: NDArray[np.float64] = np.maximum(self.coefficients**2 - self.variance, 0.0).sum(axis=0)
        return own

    @property
    def fitted(self) -> NDArray[np.float64]:
        """`[K]`, coefficients that each test took from the reference's windows."""
        counts: NDArray[np.float64] = (self.coefficients != 0).sum(axis=0).astype(np.float64)
        return counts


def calendar_periods(start_us: NDArray[np.int64], end_us: NDArray[np.int64]) -> tuple[Period, ...]:
    """Day, week and year, as far as windows of that length resolve them and the reference reaches.

    Of an even number of windows a day the fastest wave goes up in one and down in the next; it comes last.

    Example:
        >>> import numpy as np
        >>> days = np.arange(28) * DAY_US
        >>> calendar_periods(days, days + DAY_US)
        (Period(length=604800000000.0, harmonics=3),)
    """
    if len(start_us) == 0:
        return ()
    window, span = float(np.median(end_us - start_us)), float(end_us[-1] - start_us[0])
    found = []
    for length, most, reach in ((DAY_US, 4, _REACH), (7 * DAY_US, 3, _REACH), (YEAR_US, 2, _REACH_YEAR)):
        harmonics = min(most, int((length - 1) / (2 * window)))
        if harmonics == 0 and length == DAY_US:
            harmonics = _folded_harmonics(window / length, len(start_us))
        if harmonics >= 1 and span >= reach * length:
            found.append(Period(float(length), harmonics))
    turn = 2 * window
    if DAY_US % turn == 0 and _MOST_TURNS * turn >= DAY_US and span >= _REACH * DAY_US:
        whole = int(np.argmax(end_us - start_us == window))
        found.append(Period(turn, 1, float(start_us[whole] + end_us[whole]) / 2))
    return tuple(found)


def _folded_harmonics(windows_last: float, windows: int) -> int:
    """Harmonics of a day that windows of more than half a day show as slower waves.

    Windows of 17 hours begin at another hour each; their means go up and down with it, in a rhythm of their
    own. Whole days show nothing.

    Args:
        windows_last: length of a window, in periods.
        windows: how many there are.
    """
    apart = _FOLDED_CYCLES / windows
    seen = [0.0, 0.5]
    for harmonic in range(1, _MOST_FOLDED + 1):
        turns = harmonic * windows_last
        folded = abs(turns - round(turns))
        if abs(np.sinc(turns)) < _LEAST_LEFT_OF_WAVE or min(abs(folded - each) for each in seen) < apart:
            return harmonic - 1
        seen.append(folded)
    return _MOST_FOLDED


def counted_periods(windows: int) -> tuple[Period, ...]:
    """A week of days, where windows have no times and the reference has windows enough.

    Example:
        >>> counted_periods(20)
        (Period(length=7.0, harmonics=3),)
    """
    return (Period(7.0, 3),) if windows >= _REACH * 7 else ()


def fit_season(
    rate: Matrix,
    variance: Matrix,
    weight: NDArray[np.float64],
    time: NDArray[np.float64],
    periods: Sequence[Period],
) -> Season | None:
    """The season of each test, from the reference's own W windows; None where there is none.

    Args:
        rate: `[W, K]`, observed minus expected for a unit weight.
        variance: `[W, K]`, of the rate by sampling alone.
        weight: `[W]`, of the windows, such as their rows.
        time: `[W]`, of their middles, in the unit of the periods.
        periods: the first are kept where windows are few.

    Example:
        >>> import numpy as np
        >>> day = np.arange(28.0)
        >>> wave = np.sin(2 * np.pi * day / 7)[:, None]
        >>> found = fit_season(wave, 0.01 + 0 * wave, 1 + 0 * day, day, [Period(7.0, 1)])
        >>> round(float(found.expected(np.array([28.0 + 1.75]))[0, 0]), 6)
        1.0
    """
    from scipy.special import fdtrc

    kept: list[Period] = []
    for period in periods:
        if len(time) - sum(one.waves for one in (*kept, period)) - 1 >= LEAST_LEFT:
            kept.append(period)
    if not kept:
        return None
    waves = _waves(time, kept)
    share = weight / weight.sum()
    centre = share @ waves
    # Orthogonal in the weights' inner product: each period's share of what is explained stands by itself.
    root = np.sqrt(share)[:, None]
    triangle = np.linalg.qr((waves - centre) * root)[1]
    if np.abs(np.diag(triangle)).min() < 1e-6:
        return None
    whiten = np.linalg.inv(triangle)
    shapes = (waves - centre) @ whiten
    centred = rate - share @ rate
    coefficients = (shapes * share[:, None]).T @ centred
    certain = np.maximum((shapes * share[:, None]).T ** 2 @ variance, 1e-300)
    rest = centred - shapes @ coefficients
    left = len(time) - 1 - shapes.shape[1]
    # What no chance explains is endless noise, of which no wave stands out.
    with np.errstate(over="ignore"):
        noise = np.maximum((rest**2 / np.maximum(variance, 1e-300)).sum(axis=0) / left, 1.0)
    believed = np.zeros_like(coefficients, dtype=bool)
    first = 0
    for period in kept:
        some = slice(first, first + period.waves)
        with np.errstate(over="ignore", invalid="ignore"):
            explained = (coefficients[some] ** 2 / certain[some]).sum(axis=0) / period.waves
            believed[some] = fdtrc(period.waves, left, explained / noise) < CHANCE
        first += period.waves
    if not believed.any():
        return None
    return Season(
        tuple(kept),
        centre,
        whiten,
        np.where(believed, coefficients, 0.0),
        np.where(believed, certain * noise, 0.0),
    )


def _waves(time: NDArray[np.float64], periods: Sequence[Period]) -> Matrix:
    columns = []
    for period in periods:
        if period.crest is not None:
            columns.append(np.cos(2 * np.pi * (time - period.crest) / period.length))
            continue
        for harmonic in range(1, period.harmonics + 1):
            angle = 2 * np.pi * harmonic * (time / period.length)
            columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1)

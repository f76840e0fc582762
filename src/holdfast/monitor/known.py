"""What is known of calm times: mean, season and natural variation, by the reference and by calm windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.family import DATA_FAMILIES, LEAST_COLUMNS, Plan
from holdfast.monitor.parts import Parts
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.sums import of_windows, with_windows
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS, unseen
from holdfast.stats import (
    SCALES,
    SHORT_LAG,
    CalmWindows,
    CellsOfColumns,
    LevelError,
    Season,
    SeasonalError,
    Sums,
    calm_so_far,
    fit_season,
    level_error,
    natural_spread,
    scan_by_scale,
    settled,
    stretches,
)

LEAST_LEFT: Final = 0.05
"""Share of that variance that a season leaves at least."""
LONGEST: Final = SCALES[-1]
_ENOUGH: Final = LEAST_REFERENCE_WINDOWS * SCALES[-1]
"""Windows that show at every scale how much calm ones vary."""
Told = tuple[NDArray[np.float64], NDArray[np.float64]]
"""By how much the reference is wrong, `[K, F]`, and the covariance that is left."""


@dataclass(slots=True)
class Known:
    """What is known of calm times when a stretch of windows is judged."""

    plan: Plan
    sums: Sums
    """With the reference's season in their expectations."""
    own: Sums | None = None
    """The same of the reference's own windows."""
    within: tuple[Sums, ...] = ()
    """The same of their parts: with a season that moves within a window, and with one that does not."""
    season: Season | None = None
    shapes: NDArray[np.float64] = field(default_factory=lambda: np.ones((0, 1)))
    """`[W, F]`, of the season in the windows, a 1 before them."""
    own_shapes: NDArray[np.float64] = field(default_factory=lambda: np.ones((0, 1)))
    fitted: NDArray[np.float64] = field(default_factory=lambda: np.ones(0))
    spread: NDArray[np.float64] | None = None
    usual: NDArray[np.float64] | None = None
    calm: CalmWindows | None = None
    joined: int = 0
    """Windows of which it is known whether they were calm."""
    again_at: int = 1
    """Windows joined at which natural variation is measured once more."""
    always: NDArray[np.bool_] = field(default_factory=lambda: np.ones(0, dtype=bool))
    """`[K]`, tests of which all those were."""
    told: Told | None = None
    """What calm windows say that no sum holds any more."""
    told_soon: Told | None = None
    """And those that no short sum holds."""
    left: NDArray[np.float64] | float = 1.0
    """`[K]`, share of the variance of one row that the season does not explain."""
    error: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(
        cls,
        plan: Plan,
        sums: Sums,
        own: Sums | None,
        calendar: Calendar,
        parts: tuple[Parts, Sums] | None,
    ) -> Known:
        """By the reference alone."""
        known = cls(plan, sums, own, error=plan.error)
        if own is None:
            return known
        tests = len(plan.names)
        known.usual = own.weight.mean(axis=0)
        known.fitted, known.always = np.ones(tests), np.ones(tests, dtype=bool)
        known.within = () if parts is None else (parts[1],)
        weight = np.maximum(own.weight, 1e-9)
        rate = np.where(own.weight > 0, (own.observed - own.expected) / weight, 0.0)

        def fitted(variance: NDArray[np.float64]) -> Season | None:
            return fit_season(rate, variance / weight**2, calendar.own_rows, calendar.own, calendar.periods)

        season = fitted(own.variance)
        if season is not None and plan.family == "location" and not known.alone:
            # Squares vary most where the wave is high. One series hardly tells how much its windows vary, and
            # keeps the width of its season as a margin.
            left = _left_by(season, own)
            known.left, known.error = left, plan.error * left
            own, sums = _narrowed(own, left), _narrowed(sums, left)
            parts = None if parts is None else (parts[0], _narrowed(parts[1], left))
            season = fitted(own.variance) or season
        if season is not None:
            known.season = season
            known.own = _shifted(own, season.expected(calendar.own), plan.counting)
            known.sums = _shifted(sums, season.expected(calendar.current), plan.counting)
            if parts is not None:
                places = (parts[0].place, np.full(len(parts[0].place), 0.5))
                known.within = tuple(
                    _shifted(
                        parts[1], season.expected(calendar.within(parts[0].window, place)), plan.counting
                    )
                    for place in places
                )
            known.fitted = known.fitted + season.fitted
        known.spread = known._natural(known.own, len(own.weight))
        known._begin(calendar)
        return known

    @property
    def alone(self) -> bool:
        """Whether the columns are too few to tell what they have in common."""
        # Cells of one column say the same thing twice.
        columns = {feature for feature, _ in self.plan.names}
        return self.plan.family in DATA_FAMILIES and len(columns) < LEAST_COLUMNS

    def _begin(self, calendar: Calendar) -> None:
        """Lay out the season in all windows; what calm ones say is for the inputs' tests."""
        own = self.own
        if own is None:
            return
        first, before = np.ones((len(self.sums.weight), 1)), np.ones((len(own.weight), 1))
        prior = self.error[:, None]
        if self.season is not None:
            first = np.concatenate([first, self.season.shapes(calendar.current)], axis=1)
            before = np.concatenate([before, self.season.shapes(calendar.own)], axis=1)
            prior = np.concatenate([prior, self.season.variance.T], axis=1)
        self.shapes, self.own_shapes = first, before
        unit = own.variance.sum(axis=0) / np.maximum(own.weight.sum(axis=0), 1e-9)
        coefficients = None
        if self.season is not None:
            coefficients = np.concatenate([np.zeros((len(prior), 1)), self.season.coefficients.T], axis=1)
        self.calm = CalmWindows(prior, unit, coefficients)

    def _natural(self, own: Sums | None, windows: int) -> NDArray[np.float64]:
        """How much calm windows vary, `[S, K]`."""
        plan = self.plan
        if own is None or self.own is None:
            return np.ones((len(SCALES), len(plan.names)))
        cells = _cells(plan, own) if plan.family == "cells" else None
        spread = np.min(
            [
                natural_spread(
                    own,
                    self.fitted,
                    alone=self.alone,
                    parts=each,
                    parted=len(self.own.weight),
                    cells=cells,
                )
                for each in self.within or (None,)
            ],
            axis=0,
        )
        for number, clump in plan.clumps.items():
            spread[:, number] = np.maximum(clump, 1.0)
        if plan.least is not None:
            spread = np.maximum(spread, plan.least)
        if plan.clusters is not None:
            unit = self.own.variance.sum(axis=0) / np.maximum(self.own.weight.sum(axis=0), 1e-9)
            spread = np.maximum(spread, 1 + plan.clusters[0] / np.maximum(unit, 1e-300))
        spread = spread * unseen(windows)[:, None] if plan.family in DATA_FAMILIES else spread
        return np.asarray(spread, dtype=np.float64)

    def stretches(self) -> Iterator[slice]:
        """Windows judged with the same knowledge."""
        windows = len(self.sums.weight)
        return iter([slice(0, windows)]) if self.calm is None else stretches(windows)

    def spread_at(self, position: int) -> NDArray[np.float64] | None:
        """`[K]`."""
        return None if self.spread is None else self.spread[position]

    def look_back(self, alarm: NDArray[np.bool_]) -> None:
        """Learn from windows that are over and raised no alarm.

        Args:
            alarm: `[N, K]`, of the windows judged so far.
        """
        own, spread = self.own, self.spread
        if self.calm is None or own is None or spread is None or len(alarm) <= SHORT_LAG:
            return
        quiet = settled(alarm[self.joined :]) if len(alarm) - self.joined >= LONGEST else alarm[:0]
        if len(quiet):
            self._join(quiet, self.calm)
            self.told = self.calm.known(spread[-1])
        self.told_soon = self.told
        if not self.alone:
            calm = self.calm.copy()
            self._add(calm_so_far(alarm[self.joined :]), calm)
            self.told_soon = calm.known(spread[-1])
        if self.told is not None and self.joined >= self.again_at:
            self.again_at = self.joined + 2 * SHORT_LAG
            self._narrow(own, spread, self.told[0])

    def _add(self, quiet: NDArray[np.bool_], calm: CalmWindows) -> None:
        some = slice(self.joined, self.joined + len(quiet))
        new = of_windows(self.sums, some)
        calm.add(new.observed - new.expected, new.weight, self.shapes[some], quiet)

    def _join(self, quiet: NDArray[np.bool_], calm: CalmWindows) -> None:
        self._add(quiet, calm)
        self.joined += len(quiet)
        self.always &= quiet.all(axis=0)

    def _narrow(self, own: Sums, spread: NDArray[np.float64], wrong: NDArray[np.float64]) -> None:
        """Measure natural variation on all windows, as long as all were calm and they are few."""
        windows = len(own.weight) + self.joined
        if len(own.weight) < _ENOUGH and windows < 2 * _ENOUGH:
            both = with_windows([own, of_windows(self.sums, slice(0, self.joined))])
            shapes = np.concatenate([self.own_shapes, self.shapes[: self.joined]])
            both = _shifted(both, shapes @ wrong.T, self.plan.counting)
            used = self.always & (wrong != 0).any(axis=1)
            # What creeps away varies too: calm windows take from the reference's spread and add nothing.
            self.spread = np.where(used, np.minimum(self._natural(both, windows), spread), spread)
            if self.usual is not None:
                self.usual = np.where(used, both.weight.mean(axis=0), self.usual)

    def scanned(
        self, some: slice, doubt: NDArray[np.float64] | None, *, lead: int
    ) -> Iterator[tuple[NDArray[np.float64], Sums]]:
        """As `scan_by_scale`, for some of the windows, of which the first are only part of the sums."""
        if self.told_soon is None:
            yield from self._scanned(some, doubt, None, slice(None), lead)
            return
        short = SCALES.index(SHORT_LAG) + 1
        yield from self._scanned(some, doubt, self.told_soon, slice(short), lead)
        yield from self._scanned(some, doubt, self.told, slice(short, None), lead)

    def _scanned(
        self, some: slice, doubt: NDArray[np.float64] | None, told: Told | None, scales: slice, lead: int
    ) -> Iterator[tuple[NDArray[np.float64], Sums]]:
        sums, error = of_windows(self.sums, some), self.error
        season: SeasonalError | None = None
        level: LevelError | None = None
        if told is not None:
            shapes = self.shapes[some]
            sums = _shifted(sums, shapes @ told[0].T, self.plan.counting)
            error, level = level_error(shapes, told[1])
        elif self.season is not None:
            season = SeasonalError(self.shapes[some, 1:], self.season.variance)
        return scan_by_scale(
            sums,
            error,
            self.spread,
            self.plan.step,
            usual_weight=self.usual,
            season=season,
            doubt=doubt,
            level=level,
            some=scales,
            lead=lead,
            clustered=None if self.plan.clusters is None else self.plan.clusters[1],
        )


def _cells(plan: Plan, own: Sums) -> CellsOfColumns:
    share = own.expected.sum(axis=0) / np.maximum(own.weight.sum(axis=0), 1e-9)
    number = {name: place for place, name in enumerate(dict.fromkeys(column for column, _ in plan.names))}
    return CellsOfColumns(np.array([number[column] for column, _ in plan.names]), np.clip(share, 0.0, 1.0))


def _left_by(season: Season, own: Sums) -> NDArray[np.float64]:
    """`[K]`, the share of the variance of one row that a season leaves: it tells hours apart, not rows."""
    unit = own.variance.sum(axis=0) / np.maximum(own.weight.sum(axis=0), 1e-9)
    left: NDArray[np.float64] = np.clip(1 - season.explained / np.maximum(unit, 1e-300), LEAST_LEFT, 1.0)
    return left


def _narrowed(sums: Sums, left: NDArray[np.float64]) -> Sums:
    """With so much of their variance, and as skewed."""
    return replace(sums, variance=sums.variance * left, third=sums.third * left**1.5)


def _shifted(sums: Sums, season: NDArray[np.float64], counting: NDArray[np.float64]) -> Sums:
    """Expectations with the season in; counts vary as they are expected to be many."""
    expected = sums.expected + sums.weight * season
    if not counting.any():
        return replace(sums, expected=expected)
    ratio = np.clip(expected / np.maximum(sums.expected, 1e-12), 0.1, 10.0)
    factor = np.where(counting > 0, ratio, 1.0)
    return Sums(sums.observed, expected, sums.variance * factor, sums.third * factor, sums.weight)

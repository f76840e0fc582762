"""One family of tests on all windows: what is expected, what calm windows vary by, and what is beyond it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.parts import Parts
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS, unseen
from holdfast.stats import (
    SCALES,
    CalmWindows,
    LevelError,
    Season,
    SeasonalError,
    Sums,
    fit_season,
    level_error,
    natural_spread,
    scan_by_scale,
    settled,
    stretches,
    threshold,
)

Family = Literal["location", "scale", "shape", "cells", "pairs", "overall", "residuals", "slopes"]
SHARES: Final[dict[Family, float]] = {
    "location": 0.58,
    "scale": 0.04,
    "shape": 0.02,
    "cells": 0.05,
    "pairs": 0.04,
    "overall": 0.11,
    "residuals": 0.06,
    "slopes": 0.1,
}
"""How the budget of false alarms is split. Few, broad tests get more: common changes are found early."""
DATA_FAMILIES: Final[tuple[Family, ...]] = ("location", "scale", "shape", "cells", "pairs")
SCALE_SHARES: Final = (0.16, 0.56, 0.18, 0.05, 0.025, 0.025)
"""How a test's share is split over the scales. The least shift that can be found at all early is found in two
windows, so there the threshold is lowest; a larger one passes any threshold in one."""
EVEN_SHARES: Final = (1 / len(SCALES),) * len(SCALES)
"""For residuals: labels come late anyway, and rare ones need long scales."""
LEAST_SHARE: Final = 0.002
"""A cell whose share moved by less than two rows in a thousand is immaterial, however rare it was."""
CELL_TOLERANCES: Final = 2.0
"""Tolerances by which a cell's share must move: with the default, one that held an eighth by 3.3 points."""
SHAPE_TOLERANCES: Final = 2.0
"""The same for skew and tails: with the default, an excess kurtosis of half."""
LEAST_SHAPE_ROWS: Final = 15.0
"""Rows, less those that follow on others, below which three cumulants do not tell a fourth power's tail."""
LEAST_COLUMNS: Final = 8
"""Columns from which on what they have in common shows; so many are judged at a time at least."""
_LONGEST: Final = SCALES[-1]
_ENOUGH: Final = LEAST_REFERENCE_WINDOWS * SCALES[-1]
"""Windows that show at every scale how much calm ones vary."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What tests are held to."""

    run_length: float
    """Mean number of quiet windows between false alarms of everything."""
    tolerance_sd: float
    """Smaller shifts are immaterial."""
    factor: float = 1.0
    """On the families' shares, above 1 where other families have nothing to spend theirs on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one family of tests is judged."""

    family: Family
    names: list[tuple[str, str]]
    error: NDArray[np.float64] = field(repr=False)
    step: NDArray[np.float64] = field(repr=False)
    clumps: Mapping[int, float] = field(default_factory=dict)
    """How many rows come together, by the number of a test that the reference shows nothing of."""
    total: int = 0
    """Tests of the whole family, where these are some of them."""

    @property
    def counting(self) -> NDArray[np.float64]:
        """`[K]`, 1 for tests of P(x) that count rows."""
        return self.step if self.family == "cells" else np.zeros(len(self.names))


@dataclass(frozen=True, slots=True)
class Tests:
    """A family of tests on W windows."""

    family: Family
    names: tuple[tuple[str, str], ...]
    """Feature and test of each."""
    single: NDArray[np.float64] = field(repr=False)
    """`[W, K]` standard normal values of each window alone."""
    strength: NDArray[np.float64] = field(repr=False)
    """`[W, K]`, largest |z| over the scales, relative to the threshold; only material changes count."""
    shift: NDArray[np.float64] = field(repr=False)
    """`[W, K]`, observed minus expected for one row, in standard deviations of one row."""
    quiet: NDArray[np.float64] | None = field(default=None, repr=False)
    """`[W]`, largest strength of tests that never raised an alarm and are not kept."""

    @property
    def strongest(self) -> NDArray[np.float64]:
        """`[W]`, largest strength of each window."""
        most: NDArray[np.float64] = self.strength.max(axis=1, initial=0.0)
        return most if self.quiet is None else np.maximum(most, self.quiet)

    @property
    def loud(self) -> Tests:
        """Without the tests that were always quiet, of which only their strength is kept."""
        some = self.in_alarm
        return Tests(
            self.family,
            tuple(self.names[test] for test in some),
            self.single[:, some],
            self.strength[:, some],
            self.shift[:, some],
            self.strongest,
        )

    @property
    def alarm(self) -> NDArray[np.bool_]:
        """`[W]`."""
        raised: NDArray[np.bool_] = np.any(self.strength >= 1, axis=1)
        return raised

    @property
    def in_alarm(self) -> NDArray[np.intp]:
        """Tests that ever raised an alarm, strongest first."""
        best = self.strength.max(axis=0, initial=0.0)
        order = np.argsort(-best, kind="stable")
        found: NDArray[np.intp] = order[best[order] >= 1]
        return found


def judge_family(
    plan: Plan,
    sums: Sums,
    own: Sums | None,
    *,
    budget: Budget,
    calendar: Calendar,
    doubt: NDArray[np.float64] | None = None,
    parts: tuple[Parts, Sums] | None = None,
) -> Tests:
    """Every test on every window.

    Args:
        plan: of the family.
        sums: what the windows contribute.
        own: the same of the reference's own windows; None where there are too few to tell natural variation.
        budget: of everything together.
        calendar: when the windows were.
        doubt: as for `scan`.
        parts: of the reference's windows, and what they contribute.
    """
    known = _Known.of(plan, sums, own, calendar, parts)
    sums = known.sums
    limits = limits_of(plan.family, plan.total or len(plan.names), budget)
    strength, single = np.zeros(sums.observed.shape), np.zeros(sums.observed.shape)
    for some in known.stretches():
        known.look_back(strength[: some.start] >= 1)
        lead = max(some.start - _LONGEST + 1, 0)
        kept = slice(some.start - lead, None)
        for position, (values, pool) in enumerate(
            known.scanned(slice(lead, some.stop), None if doubt is None else doubt[lead : some.stop])
        ):
            material = _material(plan.family, pool, budget, known.spread_at(position))
            beyond = np.where(material, np.abs(values) / limits[position], 0.0)
            strength[some] = np.maximum(strength[some], beyond[kept])
            if position == 0:
                single[some] = values[kept]
    weight = np.maximum(sums.weight, 1e-9)
    deviation = np.sqrt(np.maximum(sums.variance / weight, 1e-12))
    return Tests(
        plan.family,
        tuple(plan.names),
        single,
        strength,
        (sums.observed - sums.expected) / weight / deviation,
    )


def _material(
    family: Family, pool: Sums, budget: Budget, spread: NDArray[np.float64] | None
) -> NDArray[np.bool_]:
    """Whether pooled sums are off by more than is tolerated."""
    weight = np.maximum(pool.weight, 1e-9)
    change = np.abs(pool.observed - pool.expected) / weight
    deviation = np.sqrt(np.maximum(pool.variance / weight, 1e-300))
    material = change >= budget.tolerance_sd * deviation
    if family == "shape":
        material &= change >= SHAPE_TOLERANCES * budget.tolerance_sd * deviation
        if spread is not None:
            material &= weight >= LEAST_SHAPE_ROWS * spread
    if family == "cells":
        material &= change >= np.maximum(CELL_TOLERANCES * budget.tolerance_sd * deviation, LEAST_SHARE)
    return material


@dataclass(slots=True)
class _Known:
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
    always: NDArray[np.bool_] = field(default_factory=lambda: np.ones(0, dtype=bool))
    """`[K]`, tests of which all those were."""
    wrong: NDArray[np.float64] | None = None
    """`[K, F]`, what calm windows say the reference is wrong by."""
    error: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    covariance: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        plan: Plan,
        sums: Sums,
        own: Sums | None,
        calendar: Calendar,
        parts: tuple[Parts, Sums] | None,
    ) -> _Known:
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
        season = fit_season(rate, own.variance / weight**2, calendar.own_rows, calendar.own, calendar.periods)
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

    def _begin(self, calendar: Calendar) -> None:
        """Lay out the season in all windows; what calm ones say is for the inputs' tests."""
        own = self.own
        if own is None:
            return
        first, before = np.ones((len(self.sums.weight), 1)), np.ones((len(own.weight), 1))
        prior = self.plan.error[:, None]
        if self.season is not None:
            first = np.concatenate([first, self.season.shapes(calendar.current)], axis=1)
            before = np.concatenate([before, self.season.shapes(calendar.own)], axis=1)
            prior = np.concatenate([prior, self.season.variance.T], axis=1)
        self.shapes, self.own_shapes = first, before
        if self.plan.family not in DATA_FAMILIES:
            return
        unit = own.variance.sum(axis=0) / np.maximum(own.weight.sum(axis=0), 1e-9)
        self.calm = CalmWindows(prior, unit)

    def _natural(self, own: Sums | None, windows: int) -> NDArray[np.float64]:
        """How much calm windows vary, `[S, K]`."""
        plan = self.plan
        if own is None or self.own is None:
            return np.ones((len(SCALES), len(plan.names)))
        # Cells of one column say the same thing twice.
        columns = {feature for feature, _ in plan.names}
        alone = plan.family in DATA_FAMILIES and len(columns) < LEAST_COLUMNS
        spread = np.min(
            [
                natural_spread(own, self.fitted, alone=alone, parts=each, parted=len(self.own.weight))
                for each in self.within or (None,)
            ],
            axis=0,
        )
        for number, clump in plan.clumps.items():
            spread[:, number] = np.maximum(clump, 1.0)
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
        if self.calm is None or own is None or spread is None or len(alarm) < _LONGEST:
            return
        quiet = settled(alarm[self.joined :])
        some = slice(self.joined, self.joined + len(quiet))
        new = _cut(self.sums, some)
        self.calm.add(new.observed - new.expected, new.weight, self.shapes[some], quiet)
        self.joined = some.stop
        self.always &= quiet.all(axis=0)
        self.wrong, self.covariance = self.calm.known(spread[-1])
        windows = len(own.weight) + self.joined
        if len(own.weight) < _ENOUGH and windows < 2 * _ENOUGH:
            both = _joined_in_time(own, _cut(self.sums, slice(0, self.joined)))
            shapes = np.concatenate([self.own_shapes, self.shapes[: self.joined]])
            both = _shifted(both, shapes @ self.wrong.T, self.plan.counting)
            used = self.always & (self.wrong != 0).any(axis=1)
            # What creeps away varies too: calm windows take from the reference's spread and add nothing.
            self.spread = np.where(used, np.minimum(self._natural(both, windows), spread), spread)
            if self.usual is not None:
                self.usual = np.where(used, both.weight.mean(axis=0), self.usual)

    def scanned(
        self, some: slice, doubt: NDArray[np.float64] | None
    ) -> Iterator[tuple[NDArray[np.float64], Sums]]:
        """As `scan_by_scale`, for some of the windows."""
        sums, error = _cut(self.sums, some), self.error
        season: SeasonalError | None = None
        level: LevelError | None = None
        if self.wrong is not None and self.covariance is not None:
            shapes = self.shapes[some]
            sums = _shifted(sums, shapes @ self.wrong.T, self.plan.counting)
            error, level = level_error(shapes, self.covariance)
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
        )


def _cut(sums: Sums, some: slice) -> Sums:
    return Sums(
        sums.observed[some], sums.expected[some], sums.variance[some], sums.third[some], sums.weight[some]
    )


def _joined_in_time(first: Sums, then: Sums) -> Sums:
    return Sums(
        np.concatenate([first.observed, then.observed]),
        np.concatenate([first.expected, then.expected]),
        np.concatenate([first.variance, then.variance]),
        np.concatenate([first.third, then.third]),
        np.concatenate([first.weight, then.weight]),
    )


def limits_of(family: Family, tests: int, budget: Budget) -> NDArray[np.float64]:
    """`[S]`, the value of |z| that raises an alarm at each scale."""
    share = SHARES[family] * budget.factor * len(SCALES)
    parts = SCALE_SHARES if family in DATA_FAMILIES else EVEN_SHARES
    return np.array([threshold(tests, budget.run_length, share * part) for part in parts])


def _shifted(sums: Sums, season: NDArray[np.float64], counting: NDArray[np.float64]) -> Sums:
    """Expectations with the season in; counts vary as they are expected to be many."""
    expected = sums.expected + sums.weight * season
    if not counting.any():
        return replace(sums, expected=expected)
    ratio = np.clip(expected / np.maximum(sums.expected, 1e-12), 0.1, 10.0)
    factor = np.where(counting > 0, ratio, 1.0)
    return Sums(sums.observed, expected, sums.variance * factor, sums.third * factor, sums.weight)

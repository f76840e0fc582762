"""From profiles to evidence: every test, window and scale against one budget of false alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.concept import LEAST_CELL_ROWS, ConceptModel
from holdfast.monitor.parts import Parts
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS, tail_clumps, unseen
from holdfast.stats import (
    SCALES,
    PairMoments,
    Sums,
    fit_season,
    natural_spread,
    pairs_by_scale,
    scan_by_scale,
    scan_pairs,
    spread_of,
    threshold,
)

Family = Literal["location", "scale", "shape", "cells", "pairs", "overall", "residuals", "slopes"]
SHARES: Final[dict[Family, float]] = {
    "location": 0.5,
    "scale": 0.04,
    "shape": 0.02,
    "cells": 0.06,
    "pairs": 0.05,
    "overall": 0.13,
    "residuals": 0.08,
    "slopes": 0.12,
}
"""How the budget of false alarms is split. Few, broad tests get more: common changes are found early."""
DATA_FAMILIES: Final[tuple[Family, ...]] = ("location", "scale", "shape", "cells", "pairs")
_MOMENTS: Final[dict[str, Family]] = {
    "location": "location",
    "scale": "scale",
    "skew": "shape",
    "tails": "shape",
}
SCALE_SHARES: Final = (0.2, 0.5, 0.18, 0.06, 0.03, 0.03)
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
LEAST_CORRELATION: Final = 0.1
"""A correlation that moved by less is immaterial: it explains one hundredth of the variance at most."""
_GROUPS_AT_A_TIME: Final = 2
"""Each holds matrices of its own: more would cost memory, and two keep a small machine busy."""
LARGEST_MATRIX: Final = 1 << 20
"""Windows times tests that are judged at a time, about: ten matrices of 8 MB."""
_LEAST_GROUP: Final = 8
"""Columns judged at a time at least, so that what they have in common shows."""
PAIR_MARK: Final = " ~ "


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
class _Plan:
    """How one family of tests is judged."""

    family: Family
    names: list[tuple[str, str]]
    error: NDArray[np.float64] = field(repr=False)
    step: NDArray[np.float64] = field(repr=False)
    clumps: Mapping[int, float] = field(default_factory=dict)
    """How many rows come together, by the number of a test that the reference shows nothing of."""
    total: int = 0
    """Tests of the whole family, where these are some of them."""


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


def data_tests(
    reference: ReferenceModel, windows: Sequence[WindowProfile], budget: Budget, calendar: Calendar
) -> list[Tests]:
    """Tests of P(x): families of moments, of cells and of pairs.

    Args:
        reference: fitted.
        windows: in order of time, at least one.
        budget: of everything together.
        calendar: when the windows were.
    """
    total = {
        family: sum(_family_of(test) == family for one in reference.features.values() for test in one.tests)
        for family in DATA_FAMILIES
    }
    found: dict[Family, list[Tests]] = {}
    groups = list(_groups(reference, len(windows)))

    def judged(some: Sequence[str]) -> list[Tests]:
        tests = _of_columns(reference, windows, some, total, budget=budget, calendar=calendar)
        return [one if len(groups) == 1 else one.loud for one in tests]

    # Long columns of numbers: two groups at a time keep two cores busy, in memory for two.
    with ThreadPoolExecutor(_GROUPS_AT_A_TIME) as threads:
        for tests in threads.map(judged, groups):
            for one in tests:
                found.setdefault(one.family, []).append(one)
    result = [_together(parts) for parts in found.values()]
    pairs = _pairs(reference, windows, budget)
    return result if pairs is None else [*result, pairs]


def _family_of(test: str) -> Family:
    if test.startswith("cell:"):
        return "cells"
    return _MOMENTS[test]


def _groups(reference: ReferenceModel, windows: int) -> Iterator[list[str]]:
    """Columns that are judged at a time: a year of hours and 200 columns would not fit otherwise."""
    some: list[str] = []
    tests = 0
    for name, feature in reference.features.items():
        some.append(name)
        tests += len(feature.tests)
        if tests * windows >= LARGEST_MATRIX and len(some) >= _LEAST_GROUP:
            yield some
            some, tests = [], 0
    if some:
        yield some


def _together(parts: Sequence[Tests]) -> Tests:
    """One family of several groups of columns."""
    if len(parts) == 1:
        return parts[0]
    return Tests(
        parts[0].family,
        tuple(name for part in parts for name in part.names),
        np.concatenate([part.single for part in parts], axis=1),
        np.concatenate([part.strength for part in parts], axis=1),
        np.concatenate([part.shift for part in parts], axis=1),
        np.max([part.strongest for part in parts], axis=0),
    )


def _of_columns(
    reference: ReferenceModel,
    windows: Sequence[WindowProfile],
    some: Sequence[str],
    total: Mapping[Family, int],
    *,
    budget: Budget,
    calendar: Calendar,
) -> Iterator[Tests]:
    names: list[tuple[str, str]] = []
    parts: list[Sums] = []
    own: list[Sums] = []
    within: list[Sums] = []
    error: list[NDArray[np.float64]] = []
    for name in some:
        feature = reference.features[name]
        names += [(name, test) for test in feature.tests]
        parts.append(feature.sums(np.stack([window.counts[name] for window in windows])))
        if len(reference.windows) >= LEAST_REFERENCE_WINDOWS:
            own.append(feature.sums(np.stack([window.counts[name] for window in reference.windows])))
            if reference.parts is not None:
                within.append(reference.parts.sums[name])
        error.append(feature.moments()[1] / feature.rows)
    clumped = {}
    if own:
        alone = len(some) < _LEAST_GROUP
        clumped = {
            name: tail_clumps(reference.features[name], reference.windows, alone=alone) for name in some
        }
    all_error = np.concatenate(error)
    sums, own_sums = _joined(parts), _joined(own) if own else None
    finer = _joined(within) if within else None
    for family in DATA_FAMILIES:
        chosen = np.array([_family_of(test) == family for _, test in names])
        if chosen.any():
            picked = [name for name, keep in zip(names, chosen, strict=True) if keep]
            step = np.full(len(picked), float(family == "cells"))
            clumps = {
                number: clumped[feature][test]
                for number, (feature, test) in enumerate(picked)
                if test in clumped.get(feature, {})
            }
            yield _family(
                _Plan(family, picked, all_error[chosen], step, clumps, total[family]),
                _choose(sums, chosen),
                None if own_sums is None else _choose(own_sums, chosen),
                budget=budget,
                calendar=calendar,
                parts=_choose_parts(reference.parts, finer, chosen),
            )


def concept_tests(
    reference: ReferenceModel, windows: Sequence[WindowProfile], budget: Budget, calendar: Calendar
) -> list[Tests]:
    """Tests of P(y|x) on windows whose labels count."""
    model = reference.concept
    if model is None or not windows:
        return []
    current, before = _concepts(windows), None
    if len(reference.windows) >= LEAST_REFERENCE_WINDOWS:
        before = _concepts(reference.windows)
    broad = np.array([feature in {"", "score"} for feature, _ in model.tests])
    usable = model.rows >= LEAST_CELL_ROWS
    result = []
    families: tuple[tuple[Family, NDArray[np.bool_]], ...] = (
        ("overall", broad & usable),
        ("residuals", ~broad & usable),
    )
    for family, chosen in families:
        if chosen.any():
            picked = [name for name, keep in zip(model.tests, chosen, strict=True) if keep]
            step = np.full(int(chosen.sum()), 0.0 if model.task == "regression" else 1.0)
            views = [
                _family(
                    _Plan(family, picked, model.reference_error(view)[chosen], step),
                    _choose(model.sums(current, view), chosen),
                    None if before is None else _choose(model.sums(before, view), chosen),
                    budget=budget,
                    calendar=calendar,
                    doubt=model.doubt(current, view)[:, chosen],
                )
                for view in range(len(model.views))
            ]
            result.append(_agreed(views))
    if model.slopes:
        result.append(
            _agreed(
                [
                    _slopes(model, current, before, view, budget=budget, calendar=calendar)
                    for view in range(len(model.views))
                ]
            )
        )
    return result


def _slopes(
    model: ConceptModel,
    current: NDArray[np.float64],
    before: NDArray[np.float64] | None,
    view: int,
    *,
    budget: Budget,
    calendar: Calendar,
) -> Tests:
    sums, error = model.slope_sums(current, view)
    own = None if before is None else model.slope_sums(before, view)[0]
    plan = _Plan("slopes", list(model.slopes), error, np.zeros(len(model.slopes)))
    # The cells' errors have one cause, so they add up as the residuals do.
    doubt = model.doubt(current, view) @ model.directions
    return _family(plan, sums, own, budget=budget, calendar=calendar, doubt=doubt)


def _agreed(views: Sequence[Tests]) -> Tests:
    """An alarm must be one under every view: a changed mapping shows against any right expectation of it."""
    strength = np.min([view.strength for view in views], axis=0)
    last = views[-1]
    return Tests(last.family, last.names, last.single, strength, last.shift)


def _family(
    plan: _Plan,
    sums: Sums,
    own: Sums | None,
    *,
    budget: Budget,
    calendar: Calendar,
    doubt: NDArray[np.float64] | None = None,
    parts: tuple[Parts, Sums] | None = None,
) -> Tests:
    spread = usual = season_error = None
    if own is not None:
        usual = own.weight.mean(axis=0)
        weight = np.maximum(own.weight, 1e-9)
        rate = np.where(own.weight > 0, (own.observed - own.expected) / weight, 0.0)
        season = fit_season(rate, own.variance / weight**2, calendar.own_rows, calendar.own, calendar.periods)
        fitted = np.ones(len(plan.names))
        within = None if parts is None else parts[1]
        if season is not None:
            counting = plan.step if plan.family == "cells" else np.zeros(len(plan.names))
            own = _shifted(own, season.expected(calendar.own), counting)
            sums = _shifted(sums, season.expected(calendar.current), counting)
            if parts is not None:
                moment = calendar.within(parts[0].window, parts[0].place)
                within = _shifted(parts[1], season.expected(moment), counting)
            season_error = season.error(calendar.current)
            fitted = fitted + season.fitted
        # Cells of one column say the same thing twice.
        alone = plan.family in DATA_FAMILIES and len({feature for feature, _ in plan.names}) < _LEAST_GROUP
        spread = natural_spread(own, fitted, alone=alone, parts=within)
        for number, clump in plan.clumps.items():
            spread[:, number] = np.maximum(clump, 1.0)
        if plan.family in DATA_FAMILIES:
            spread = spread * unseen(len(own.weight))[:, None]
    limits = _limits(plan.family, plan.total or len(plan.names), budget)
    strength = np.zeros(sums.observed.shape)
    single = strength
    scanned = scan_by_scale(
        sums,
        plan.error,
        spread,
        plan.step,
        usual_weight=usual,
        season=season_error,
        doubt=doubt,
    )
    for position, (values, pool) in enumerate(scanned):
        weight = np.maximum(pool.weight, 1e-9)
        change = np.abs(pool.observed - pool.expected) / weight
        deviation = np.sqrt(np.maximum(pool.variance / weight, 1e-300))
        material = change >= budget.tolerance_sd * deviation
        if plan.family == "shape":
            material &= change >= SHAPE_TOLERANCES * budget.tolerance_sd * deviation
            if spread is not None:
                material &= weight >= LEAST_SHAPE_ROWS * spread[position]
        if plan.family == "cells":
            material &= change >= np.maximum(CELL_TOLERANCES * budget.tolerance_sd * deviation, LEAST_SHARE)
        strength = np.maximum(strength, np.where(material, np.abs(values) / limits[position], 0.0))
        if position == 0:
            single = values
    weight = np.maximum(sums.weight, 1e-9)
    deviation = np.sqrt(np.maximum(sums.variance / weight, 1e-12))
    return Tests(
        plan.family,
        tuple(plan.names),
        single,
        strength,
        (sums.observed - sums.expected) / weight / deviation,
    )


def _limits(family: Family, tests: int, budget: Budget) -> NDArray[np.float64]:
    """`[S]`, the value of |z| that raises an alarm at each scale."""
    share = SHARES[family] * budget.factor * len(SCALES)
    parts = SCALE_SHARES if family in DATA_FAMILIES else EVEN_SHARES
    return np.array([threshold(tests, budget.run_length, share * part) for part in parts])


def _shifted(sums: Sums, season: NDArray[np.float64], counting: NDArray[np.float64]) -> Sums:
    """Expectations with the season in; counts vary as they are expected to be many."""
    expected = sums.expected + sums.weight * season
    ratio = np.clip(expected / np.maximum(sums.expected, 1e-12), 0.1, 10.0)
    factor = np.where(counting > 0, ratio, 1.0)
    return Sums(sums.observed, expected, sums.variance * factor, sums.third * factor, sums.weight)


def _pairs(reference: ReferenceModel, windows: Sequence[WindowProfile], budget: Budget) -> Tests | None:
    """Tests of the dependence between numeric columns."""
    variance, whole = reference.pair_variance, _moments(reference, [reference.whole])
    current = _moments(reference, windows)
    if variance is None or whole is None or current is None:
        return None
    first, second = np.triu_indices(len(reference.paired), 1)
    own = _moments(reference, reference.windows)
    spread = np.ones((len(SCALES), len(first)))
    if own is not None and len(reference.windows) >= LEAST_REFERENCE_WINDOWS:
        spread = spread_of(scan_pairs(own, _endless(whole), variance, (first, second))[0])
    limits = _limits("pairs", len(first), budget)
    strength = np.zeros((len(windows), len(first)))
    single = shift = strength
    for position, (values, change) in enumerate(pairs_by_scale(current, whole, variance, (first, second))):
        z = values / np.sqrt(spread[position])
        material = np.abs(change) >= LEAST_CORRELATION
        strength = np.maximum(strength, np.where(material, np.abs(z) / limits[position], 0.0))
        if position == 0:
            single, shift = z, change
    names = tuple(
        (f"{reference.paired[one]}{PAIR_MARK}{reference.paired[other]}", "dependence")
        for one, other in zip(first, second, strict=True)
    )
    return Tests("pairs", names, single, strength, shift)


def _moments(reference: ReferenceModel, windows: Sequence[WindowProfile]) -> PairMoments | None:
    products = [window.products for window in windows if window.products is not None]
    if not products or len(products) < len(windows):
        return None
    total = np.stack(
        [
            np.stack([window.counts[name] for window in windows]) @ reference.features[name].functionals[:, 0]
            for name in reference.paired
        ],
        axis=1,
    )
    return PairMoments(np.array([float(window.rows) for window in windows]), total, np.stack(products))


def _endless(moments: PairMoments) -> PairMoments:
    """The same reference, as if it had no error: its own windows are part of it."""
    many = 1e9
    return PairMoments(moments.rows * many, moments.total * many, moments.products * many)


def _concepts(windows: Sequence[WindowProfile]) -> NDArray[np.float64]:
    return np.stack([window.concept for window in windows if window.concept is not None])


def _choose_parts(
    parts: Parts | None, sums: Sums | None, chosen: NDArray[np.bool_]
) -> tuple[Parts, Sums] | None:
    return None if parts is None or sums is None else (parts, _choose(sums, chosen))


def _joined(parts: Sequence[Sums]) -> Sums:
    return Sums(
        np.concatenate([part.observed for part in parts], axis=1),
        np.concatenate([part.expected for part in parts], axis=1),
        np.concatenate([part.variance for part in parts], axis=1),
        np.concatenate([part.third for part in parts], axis=1),
        np.concatenate([part.weight for part in parts], axis=1),
    )


def _choose(sums: Sums, chosen: NDArray[np.bool_]) -> Sums:
    return Sums(
        sums.observed[:, chosen],
        sums.expected[:, chosen],
        sums.variance[:, chosen],
        sums.third[:, chosen],
        sums.weight[:, chosen],
    )

"""From profiles to evidence: every test, window and scale against one budget of false alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.concept import ConceptModel
from holdfast.monitor.family import (
    DATA_FAMILIES,
    LEAST_COLUMNS,
    Budget,
    Family,
    Plan,
    Tests,
    limits_of,
)
from holdfast.monitor.judge_family import judge, judge_family
from holdfast.monitor.known import Known
from holdfast.monitor.parts import Parts
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.score_cells import LEAST_CELL_ROWS
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.together import has_many_cells, judge_together
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS, by_scores, tail_clumps
from holdfast.stats import (
    SCALES,
    PairMoments,
    Sums,
    pairs_by_scale,
    scan_pairs,
    spread_of,
    spread_of_pools,
)

_MOMENTS: Final[dict[str, Family]] = {
    "location": "location",
    "scale": "scale",
    "skew": "shape",
    "tails": "shape",
}
LEAST_CORRELATION: Final = 0.1
"""A correlation that moved by less is immaterial: it explains one hundredth of the variance at most."""
_GROUPS_AT_A_TIME: Final = 2
"""Each holds matrices of its own: more would cost memory, and two keep a small machine busy."""
LARGEST_MATRIX: Final = 1 << 20
"""Windows times tests that are judged at a time, about: ten matrices of 8 MB."""
PAIR_MARK: Final = " ~ "


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
    from threadpoolctl import threadpool_limits

    total = {
        family: sum(_family_of(test) == family for one in reference.judged.values() for test in one.tests)
        for family in DATA_FAMILIES
    }
    total["together"] = sum(map(has_many_cells, reference.judged.values()))
    found: dict[Family, list[Tests]] = {}
    groups = list(_groups(reference, len(windows)))

    def judged(some: Sequence[str]) -> list[Tests]:
        tests = _of_columns(reference, windows, some, total, budget=budget, calendar=calendar)
        return [one if len(groups) == 1 else one.loud for one in tests]

    # Long columns of numbers: two groups at a time keep two cores busy, in memory for two. Their products are
    # small: threads of the algebra's own that wait for busy cores cost more than all of it.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(_GROUPS_AT_A_TIME) as threads:
        for tests in threads.map(judged, groups):
            for one in tests:
                found.setdefault(one.family, []).append(one)
    result = [_merged(parts) for parts in found.values()]
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
    for name, feature in reference.judged.items():
        some.append(name)
        tests += len(feature.tests)
        if tests * windows >= LARGEST_MATRIX and len(some) >= LEAST_COLUMNS:
            yield some
            some, tests = [], 0
    if some:
        yield some


def _merged(parts: Sequence[Tests]) -> Tests:
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
        None
        if parts[0].worth is None
        else np.concatenate([part.worth for part in parts if part.worth is not None]),
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
    many: list[Tests] = []
    for name in some:
        feature = reference.features[name]
        names += [(name, test) for test in feature.tests]
        moments = feature.moments()
        held = np.stack([window.counts[name] for window in windows])
        before = np.stack([window.counts[name] for window in reference.windows])
        parts.append(feature.sums(held, moments))
        if has_many_cells(feature):
            many.append(judge_together(feature, held, before, total["together"], budget))
        if len(reference.windows) >= LEAST_REFERENCE_WINDOWS:
            own.append(feature.of_reference.sums(before))
            if reference.parts is not None and reference.parts.sums:
                within.append(reference.parts.sums[name])
        error.append(feature.error(moments))
    clumped = {}
    if own:
        alone = len(some) < LEAST_COLUMNS
        clumped = {
            name: tail_clumps(reference.features[name], reference.windows, alone=alone) for name in some
        }
    all_error = np.concatenate(error)
    together = _clusters(reference, some)
    sums, own_sums = _joined(parts), _joined(own) if own else None
    finer = _joined(within) if within else None
    scores: tuple[list[str], NDArray[np.float64]] | None = None
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
            plan = Plan(
                family,
                picked,
                all_error[chosen],
                step,
                clumps,
                total[family],
                None if together is None else together[:, chosen],
                None if scores is None else by_scores(reference.features, scores[1], scores[0], picked),
            )
            known = Known.of(
                plan,
                _choose(sums, chosen),
                None if own_sums is None else _choose(own_sums, chosen),
                calendar,
                _choose_parts(reference.parts, finer, chosen),
            )
            if family == "location" and known.spread is not None:
                scores = [feature for feature, _ in picked], known.spread
            yield judge(known, budget)
    if many:
        yield _merged(many)


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
                judge_family(
                    Plan(family, picked, model.reference_error(view)[chosen], step, binary=model.binary),
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
    plan = Plan("slopes", list(model.slopes), error, model.steps, binary=model.binary)
    # The cells' errors have one cause, so they add up as the residuals do.
    doubt = model.doubt(current, view) @ model.directions
    return judge_family(plan, sums, own, budget=budget, calendar=calendar, doubt=doubt)


def _agreed(views: Sequence[Tests]) -> Tests:
    """An alarm must be one under every view: a changed mapping shows against any right expectation of it."""
    strength = np.min([view.strength for view in views], axis=0)
    last = views[-1]
    return Tests(last.family, last.names, last.single, strength, last.shift)


def _pairs(reference: ReferenceModel, windows: Sequence[WindowProfile], budget: Budget) -> Tests | None:
    """Tests of the dependence between numeric columns."""
    variance, own = reference.pair_variance, _moments(reference, reference.windows)
    current = _moments(reference, windows)
    if variance is None or own is None or current is None:
        return None
    whole = PairMoments(*(each.sum(axis=0, keepdims=True) for each in (own.rows, own.total, own.products)))
    first, second = np.triu_indices(len(reference.paired), 1)
    spread = np.ones((len(SCALES), len(first)))
    if len(reference.windows) >= LEAST_REFERENCE_WINDOWS:
        spread = spread_of(scan_pairs(own, _endless(whole), variance, (first, second))[0])
    limits = limits_of("pairs", len(first), budget)
    strength = np.zeros((len(windows), len(first)))
    single = shift = strength
    for position, (values, change) in enumerate(pairs_by_scale(current, whole, variance, (first, second))):
        z = values / np.sqrt(spread_of_pools(spread, position, current.rows > 0))
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
    """Around each window's own means: what these vary by from window to window is no dependence of rows."""
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
    rows = np.array([float(window.rows) for window in windows])
    within = np.stack(products)
    # A year of hours has no room for a second array of all pairs.
    for number, by_column in enumerate(total / np.sqrt(np.maximum(rows, 1.0))[:, None]):
        within[number] -= np.outer(by_column, by_column)
    # A row of each window has told its mean.
    return PairMoments(np.maximum(rows - 1, 0.0), np.zeros_like(total), within)


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


def _clusters(reference: ReferenceModel, some: Sequence[str]) -> NDArray[np.float64] | None:
    """`[2, K]`, what clusters of extreme rows add to variance and third cumulant of one row."""
    held = {} if reference.parts is None else reference.parts.clusters
    if not held.keys() & set(some):
        return None
    added = [
        np.stack([held[name].variance, held[name].third])
        if name in held
        else np.zeros((2, len(reference.features[name].tests)))
        for name in some
    ]
    return np.concatenate(added, axis=1)


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

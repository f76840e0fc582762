"""Tests of P(x): of each column's moments and cells, and of pairs, within their share of the budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.family import DATA_FAMILIES, LEAST_COLUMNS, Budget, Family, Plan, Tests
from holdfast.monitor.judge_family import judge_known
from holdfast.monitor.known import Known
from holdfast.monitor.pair_evidence import pair_tests
from holdfast.monitor.parts import Parts
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.sums import of_tests, with_tests
from holdfast.monitor.together import has_many_cells, judge_together
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS, by_scores, tail_clumps
from holdfast.stats import Sums

_MOMENTS: Final[dict[str, Family]] = {
    "location": "location",
    "scale": "scale",
    "skew": "shape",
    "tails": "shape",
}
_GROUPS_AT_A_TIME: Final = 2
"""Each holds matrices of its own: more would cost memory, and two keep a small machine busy."""
LARGEST_MATRIX: Final = 1 << 20
"""Windows times tests that are judged at a time, about: ten matrices of 8 MB."""
_Scores = tuple[list[str], NDArray[np.float64]]
"""Columns that have normal scores, and `[S, columns]`, the natural spread of the scores' sums."""


def data_tests(
    reference: ReferenceModel, windows: Sequence[WindowProfile], budget: Budget, calendar: Calendar
) -> list[Tests]:
    """Families of moments, of cells and of pairs.

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
    pairs = pair_tests(reference, windows, budget)
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


@dataclass(frozen=True, slots=True)
class _Group:
    """Some columns, and what windows contribute to their K tests."""

    names: list[tuple[str, str]]
    """Column and test of each."""
    sums: Sums
    own: Sums | None
    """Of the reference's windows; None where there are too few to tell natural variation."""
    parts: tuple[Parts, Sums] | None
    """Of their parts."""
    error: NDArray[np.float64] = field(repr=False)
    clumps: Mapping[str, Mapping[str, float]]
    """How many rows come together in a column's tails, by test."""
    clusters: NDArray[np.float64] | None = field(repr=False)
    together: list[Tests]
    """All cells of a column at once, judged while their counts are at hand: not all columns' would fit."""

    @classmethod
    def of(
        cls,
        reference: ReferenceModel,
        windows: Sequence[WindowProfile],
        some: Sequence[str],
        with_many_cells: int,
        budget: Budget,
    ) -> _Group:
        """Some of the columns, of which `with_many_cells` altogether have a test of all cells at once."""
        sums: list[Sums] = []
        own: list[Sums] = []
        within: list[Sums] = []
        error: list[NDArray[np.float64]] = []
        together: list[Tests] = []
        varies = len(reference.windows) >= LEAST_REFERENCE_WINDOWS
        parts = reference.parts if varies and reference.parts is not None and reference.parts.sums else None
        for name in some:
            feature = reference.features[name]
            moments = feature.moments()
            held = np.stack([window.counts[name] for window in windows])
            before = np.stack([window.counts[name] for window in reference.windows])
            sums.append(feature.sums(held, moments))
            error.append(feature.error(moments))
            if has_many_cells(feature):
                together.append(judge_together(feature, held, before, with_many_cells, budget))
            if varies:
                own.append(feature.of_reference.sums(before))
            if parts is not None:
                within.append(parts.sums[name])
        clumps = {}
        if varies:
            alone = len(some) < LEAST_COLUMNS
            clumps = {
                name: tail_clumps(reference.features[name], reference.windows, alone=alone) for name in some
            }
        return cls(
            [(name, test) for name in some for test in reference.features[name].tests],
            with_tests(sums),
            with_tests(own) if varies else None,
            None if parts is None else (parts, with_tests(within)),
            np.concatenate(error),
            clumps,
            _clusters(reference, some),
            together,
        )

    def known(
        self,
        reference: ReferenceModel,
        family: Family,
        total: int,
        calendar: Calendar,
        scores: _Scores | None,
    ) -> Known | None:
        """What is known of calm times of one family, of `total` tests altogether; None without any here."""
        chosen = np.array([_family_of(test) == family for _, test in self.names])
        if not chosen.any():
            return None
        picked = [name for name, keep in zip(self.names, chosen, strict=True) if keep]
        plan = Plan(
            family,
            picked,
            self.error[chosen],
            step=np.full(len(picked), float(family == "cells")),
            clumps={
                number: self.clumps[column][test]
                for number, (column, test) in enumerate(picked)
                if test in self.clumps.get(column, {})
            },
            total=total,
            clusters=None if self.clusters is None else self.clusters[:, chosen],
            least=None if scores is None else by_scores(reference.features, scores[1], scores[0], picked),
        )
        return Known.of(
            plan,
            of_tests(self.sums, chosen),
            None if self.own is None else of_tests(self.own, chosen),
            calendar,
            None if self.parts is None else (self.parts[0], of_tests(self.parts[1], chosen)),
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
    group = _Group.of(reference, windows, some, total["together"], budget)
    scores: _Scores | None = None
    for family in DATA_FAMILIES:
        known = group.known(reference, family, total[family], calendar, scores)
        if known is None:
            continue
        if family == "location" and known.spread is not None:
            scores = [column for column, _ in known.plan.names], known.spread
        yield judge_known(known, budget)
    if group.together:
        yield _merged(group.together)


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

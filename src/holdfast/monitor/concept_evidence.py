"""Tests of P(y|x): what labelled rows leave of the answers, overall and in cells of x."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.concept import ConceptModel
from holdfast.monitor.family import Budget, Family, Plan, Tests
from holdfast.monitor.judge_family import judge_family
from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.score_cells import LEAST_CELL_ROWS
from holdfast.monitor.seasons import Calendar
from holdfast.monitor.sums import of_tests
from holdfast.monitor.variation import LEAST_REFERENCE_WINDOWS


def concept_tests(
    reference: ReferenceModel, windows: Sequence[WindowProfile], budget: Budget, calendar: Calendar
) -> list[Tests]:
    """On windows whose labels count."""
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
                    of_tests(model.sums(current, view), chosen),
                    None if before is None else of_tests(model.sums(before, view), chosen),
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


def _concepts(windows: Sequence[WindowProfile]) -> NDArray[np.float64]:
    return np.stack([window.concept for window in windows if window.concept is not None])

"""From profiles to evidence: every test, window and scale against one budget of false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.reference import ReferenceModel, WindowProfile
from holdfast.stats import SCALES, Sums, natural_spread, pooled, scan, threshold

Family = Literal["moments", "cells", "overall", "residuals"]
SHARES: Final[dict[Family, float]] = {"moments": 0.35, "cells": 0.2, "overall": 0.25, "residuals": 0.2}
"""How the budget of false alarms is split. Few, broad tests get more: common changes are found early."""
LEAST_SHARE: Final = 0.002
"""A cell whose share moved by less than two rows in a thousand is immaterial, however rare it was."""
LEAST_REFERENCE_WINDOWS: Final = 5
"""With fewer, the reference says nothing about variation between windows."""


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


def data_tests(reference: ReferenceModel, windows: Sequence[WindowProfile], budget: Budget) -> list[Tests]:
    """Tests of P(x): one family of moments, one of cells.

    Args:
        reference: fitted.
        windows: in order of time, at least one.
        budget: of everything together.
    """
    names: list[tuple[str, str]] = []
    parts: list[Sums] = []
    own: list[Sums] = []
    error: list[NDArray[np.float64]] = []
    step: list[NDArray[np.float64]] = []
    for name, feature in reference.features.items():
        names += [(name, test) for test in feature.tests]
        parts.append(feature.sums(np.stack([window.counts[name] for window in windows])))
        if len(reference.windows) >= LEAST_REFERENCE_WINDOWS:
            own.append(feature.sums(np.stack([window.counts[name] for window in reference.windows])))
        error.append(feature.moments()[1] / feature.rows)
        step.append(feature.counting)
    counting = np.concatenate(step)
    result = []
    for family, chosen in (("moments", counting == 0), ("cells", counting == 1)):
        if chosen.any():
            result.append(
                _family(
                    "moments" if family == "moments" else "cells",
                    [name for name, keep in zip(names, chosen, strict=True) if keep],
                    _choose(_joined(parts), chosen),
                    _choose(_joined(own), chosen) if own else None,
                    error=np.concatenate(error)[chosen],
                    step=counting[chosen],
                    budget=budget,
                )
            )
    return result


def concept_tests(reference: ReferenceModel, windows: Sequence[WindowProfile], budget: Budget) -> list[Tests]:
    """Tests of P(y|x) on windows whose labels count."""
    model = reference.concept
    if model is None or not windows:
        return []
    sums = model.sums(_concepts(windows))
    own = None
    if len(reference.windows) >= LEAST_REFERENCE_WINDOWS:
        own = model.sums(_concepts(reference.windows))
    broad = np.array([feature in {"", "score"} for feature, _ in model.tests])
    # A cell that the reference hardly filled has no expectation to compare with.
    usable = model.rows >= 30
    result = []
    for family, chosen in (("overall", broad & usable), ("residuals", ~broad & usable)):
        if chosen.any():
            result.append(
                _family(
                    "overall" if family == "overall" else "residuals",
                    [name for name, keep in zip(model.tests, chosen, strict=True) if keep],
                    _choose(sums, chosen),
                    _choose(own, chosen) if own is not None else None,
                    error=model.reference_error[chosen],
                    step=np.full(int(chosen.sum()), 0.0 if model.task == "regression" else 1.0),
                    budget=budget,
                )
            )
    return result


def _family(
    family: Family,
    names: list[tuple[str, str]],
    sums: Sums,
    own: Sums | None,
    *,
    error: NDArray[np.float64],
    step: NDArray[np.float64],
    budget: Budget,
) -> Tests:
    spread = natural_spread(own) if own is not None else None
    values = scan(sums, error, spread, step)
    limit = threshold(len(names), budget.run_length, SHARES[family] * budget.factor)
    strength = np.zeros(values.shape[:2])
    for position, scale in enumerate(SCALES):
        weight = np.maximum(pooled(sums.weight, scale), 1e-9)
        change = np.abs(pooled(sums.observed, scale) - pooled(sums.expected, scale)) / weight
        deviation = np.sqrt(np.maximum(pooled(sums.variance, scale) / weight, 1e-300))
        material = change >= budget.tolerance_sd * deviation
        if family == "cells":
            material &= change >= LEAST_SHARE
        strength = np.maximum(strength, np.where(material, np.abs(values[:, :, position]) / limit, 0.0))
    weight = np.maximum(sums.weight, 1e-9)
    deviation = np.sqrt(np.maximum(sums.variance / weight, 1e-12))
    return Tests(
        family,
        tuple(names),
        values[:, :, 0],
        strength,
        (sums.observed - sums.expected) / weight / deviation,
    )


def _concepts(windows: Sequence[WindowProfile]) -> NDArray[np.float64]:
    return np.stack([window.concept for window in windows if window.concept is not None])


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

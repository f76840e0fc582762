"""Families of tests: how the budget is split over them, and what was found of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.stats import SCALES, threshold

Family = Literal["location", "scale", "shape", "cells", "together", "pairs", "overall", "residuals", "slopes"]
SHARES: Final[dict[Family, float]] = {
    "location": 0.65,
    "scale": 0.04,
    "shape": 0.02,
    "cells": 0.04,
    "together": 0.005,
    "pairs": 0.035,
    "overall": 0.09,
    "residuals": 0.05,
    "slopes": 0.07,
}
"""How the budget of false alarms is split. Few, broad tests get more: common changes are found early."""
DATA_FAMILIES: Final[tuple[Family, ...]] = ("location", "scale", "shape", "cells", "together", "pairs")
SCALE_SHARES: Final = (0.1, 0.7, 0.13, 0.03, 0.02, 0.02)
"""How a test's share is split over the scales. The least shift that can be found at all early is found in two
windows, so there the threshold is lowest; a larger one passes any threshold in one."""
EVEN_SHARES: Final = (1 / len(SCALES),) * len(SCALES)
"""For residuals: labels come late anyway, and rare ones need long scales."""
_ALMOST: Final = 0.999
"""What is left of an alarm that does not count."""
LEAST_COLUMNS: Final = 8
"""Columns from which on what they have in common shows; so many are judged at a time at least."""


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
    clusters: NDArray[np.float64] | None = field(default=None, repr=False)
    """`[2, K]`, what clusters of extreme rows add to variance and third cumulant of one row."""
    least: NDArray[np.float64] | None = field(default=None, repr=False)
    """`[S, K]`, natural spread that there is at least, by what other tests of the same columns show."""
    binary: bool = False
    """Whether rows are residuals of what is so or not: mean over variance is then a change of log odds."""

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
    worth: NDArray[np.float64] | None = field(default=None, repr=False)
    """`[K]`, of means of columns: independent rows that tell as much as the whole reference does."""

    @property
    def strongest(self) -> NDArray[np.float64]:
        """`[W]`, largest strength of each window."""
        most: NDArray[np.float64] = self.strength.max(axis=1, initial=0.0)
        return most if self.quiet is None else np.maximum(most, self.quiet)

    @property
    def loud(self) -> Tests:
        """Without the tests that were always quiet, of which only their strength is kept."""
        return replace(self.chosen(self.in_alarm), quiet=self.strongest)

    def chosen(self, some: NDArray[np.intp]) -> Tests:
        """Only tests of those numbers."""
        return Tests(
            self.family,
            tuple(self.names[test] for test in some),
            self.single[:, some],
            self.strength[:, some],
            self.shift[:, some],
            self.quiet,
            None if self.worth is None else self.worth[some],
        )

    def only_alarms_of(self, some: NDArray[np.bool_]) -> Tests:
        """All tests, of which `[K]` others raise no alarm."""
        return replace(self, strength=np.where(some, self.strength, np.minimum(self.strength, _ALMOST)))

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


def limits_of(family: Family, tests: int, budget: Budget) -> NDArray[np.float64]:
    """`[S]`, the value of |z| that raises an alarm at each scale."""
    share = SHARES[family] * budget.factor * len(SCALES)
    parts = SCALE_SHARES if family in DATA_FAMILIES else EVEN_SHARES
    return np.array([threshold(tests, budget.run_length, share * part) for part in parts])

"""A change is said with the size that the rows show."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from holdfast.monitor import diagnose, family
from holdfast.monitor.features import Feature
from holdfast.monitor.words import describe_concept, describe_data


class OfRegression:
    task = "regression"


@pytest.mark.parametrize(
    ("single", "shift", "said"),
    [
        ([6.0, 0.0, 0.0], [0.4, 0.0, 0.0], "higher than expected by 0.40 sd"),  # pooled, then without rows
        ([1.0, -5.0, 0.0], [0.1, -0.6, 0.0], "lower than expected by 0.60 sd"),
        ([0.0, 5.0, 7.0], [0.0, 0.3, 0.5], "higher than expected by 0.40 sd"),
    ],
)
def test_windows_without_rows_of_a_cell_do_not_thin_its_change(
    single: list[float], shift: list[float], said: str
) -> None:
    strength = np.array([[0.9], [1.2], [1.1]])
    tests = family.Tests(
        "residuals", (("month", "month = 1"),), np.array([single]).T, strength, np.array([shift]).T
    )
    assert said in describe_concept(cast("Any", OfRegression()), tests, 0, "month = 1")


SIZES = np.arange(1.0, 1001.0)
"""In bins of four values, so that a median is true within four."""


@pytest.mark.parametrize(
    ("now", "shift", "said"),
    [
        (SIZES + 100, 0.52, "size higher by 0.52 sd (median 501 → 601); share of 1 to 126: 12.5% → 2.5%"),
        (
            SIZES * 3 + 1000,
            3.48,
            "size higher by at least 3.48 sd (median 501 → above 1000); share above the",
        ),
        (SIZES - 2000, -3.48, "size lower by at least 3.48 sd (median 501 → below 1); share below the"),
        (np.where(SIZES > 600, 999.5, SIZES), 0.75, "size higher by 0.75 sd; share of 876 to 1000: "),
        (np.where(SIZES > 700, np.nan, SIZES), -0.5, "(median 501 → 351); share missing: 0.0% → 30.0%"),
        (SIZES, 0.0, "size: share of "),
    ],
)
def test_a_move_is_told_in_the_columns_own_unit_and_as_the_least_where_bins_end(
    now: np.ndarray[Any, Any], shift: float, said: str
) -> None:
    feature = Feature.fit("size", SIZES)
    counts = np.bincount(feature.index(now), minlength=feature.bins.cells)
    assert said in describe_data(feature, counts, shift, None)


def test_zeros_that_become_little_are_drift_and_the_gap_they_lie_in_is_named_by_its_ends() -> None:
    random = np.random.default_rng(11)
    spent = np.where(random.random(4000) < 0.7, 0.0, random.choice([10.0, 12.0, 14.0, 15.0], 4000))
    now = np.where((spent == 0) & (random.random(4000) < 0.3), 6.0, spent)
    found = diagnose({"spent": spent[:2000]}, {"spent": now[2000:]}, window="100 rows", explain=False)
    assert found.kinds == ("data drift",)
    assert {"cell:0", "cell:2 to 10"} <= set(Feature.fit("spent", spent).tests)

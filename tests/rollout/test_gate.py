"""What is compared with what at one look, against means worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rollout_evidence import terms

from holdfast.rollout.gate import Arm, Pairs, judge


def pairs(**changes: Any) -> Pairs:
    """Four groups of rows: the first two of the north, the last neither old enough nor labelled."""
    plain: dict[str, Any] = {
        "counts": np.array([10, 30, 40, 20]),
        "flips": np.zeros(4),
        "volume": np.array([1.0, 0.0, -1.0, 0.0]),
        "mature": np.array([True, True, True, False]),
        "loss": np.array([1.0, -1.0, 0.5, np.nan]),
        "slices": {"city": np.array(["north", "north", "south", "north"], dtype=object)},
    }
    return Pairs(**(plain | changes))


def test_a_slice_is_judged_by_its_own_mature_rows_and_one_that_nobody_logged_by_none() -> None:
    north, south, unknown = judge(
        terms(), pairs(), None, [("city", "north"), ("city", "south"), ("shop", "a")]
    ).slices
    assert (north.name, north.n, north.mean) == ("city = north", 40, (10 - 30) / 40)
    assert (south.name, south.n, south.mean) == ("city = south", 40, 0.5)
    assert (unknown.name, unknown.n, unknown.mean) == ("shop = a", 0, None)
    assert (unknown.lower, unknown.upper) == (-1.0, 1.0)


def test_flips_are_no_less_than_none_and_of_all_rows_whatever_their_age() -> None:
    found = judge(terms(), pairs(), None, [])
    assert (found.flips.n, found.flips.mean, found.flips.lower) == (100, 0.0, 0.0)
    assert found.volume.mean == pytest.approx((10 - 40) / 100)
    assert (found.admitted, found.labelled) == (80, 80)


def test_arms_are_compared_challenger_minus_champion_as_soon_as_it_has_a_row() -> None:
    champion = Arm(np.array([0.0, 1.0, np.nan]), np.array([60, 20, 20]))
    challenger = Arm(np.array([1.0]), np.array([1]))
    found = judge(terms(), pairs(), (champion, challenger), [])
    assert found.arms is not None
    assert (found.arms.n, found.arms.mean) == (81, 1 - 20 / 80)
    assert found.coverage is not None
    assert (found.coverage.n, found.coverage.mean) == (101, 1 - 80 / 100)
    nobody = Arm(np.array([]), np.array([], dtype=np.int64))
    for arms in (None, (champion, nobody)):
        none = judge(terms(), pairs(), arms, [])
        assert (none.arms, none.coverage) == (None, None)


def test_scores_are_compared_where_there_are_any() -> None:
    assert judge(terms(), pairs(), None, []).score is None
    score = judge(terms(), pairs(score=(np.array([0.5, -0.25]), np.array([1, 3]))), None, []).score
    assert score is not None
    assert (score.name, score.n, score.mean) == ("score", 4, (0.5 - 0.75) / 4)

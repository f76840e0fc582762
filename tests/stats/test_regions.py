"""Where the truth moved, and silence where it did not."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.stats import StatisticsError, find_regions


def test_no_region_is_named_where_nothing_moved() -> None:
    named = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        x, z = random.normal(size=(2, 600, 4))
        e, u = random.normal(size=(2, 600))
        named += bool(find_regions(x, e, z, u, seed=seed))
    # At a level of 1 % each for two ways of naming: five or more of 100 have a chance below 0.1.
    assert named <= 5


def test_a_slice_of_two_conditions_is_named_in_both() -> None:
    random = np.random.default_rng(1)
    x, z = random.normal(size=(2, 8000, 5))
    e, u = random.normal(size=(2, 8000))
    inside = (z[:, 2] > 0) & (z[:, 4] < 0.5)
    found = find_regions(x, e, z, u + 1.5 * inside)
    assert set(found[0].bounds) == {2, 4}
    assert found[0].bounds[2][0] == pytest.approx(0, abs=0.1)
    assert found[0].bounds[4][1] == pytest.approx(0.5, abs=0.1)
    assert found[0].change.low < 1.5 < found[0].change.high


def test_a_change_of_the_same_size_everywhere_is_everywhere() -> None:
    random = np.random.default_rng(12)
    x, z = random.normal(size=(2, 4000, 3))
    e, u = random.normal(size=(2, 4000))
    found = find_regions(x, e, z, u + 0.5)
    assert [dict(one.bounds) for one in found] == [{}]
    assert found[0].share == 1.0


def test_the_reference_own_misfit_is_no_change() -> None:
    random = np.random.default_rng(3)
    x, z = random.normal(size=(2, 6000, 2))
    e, u = random.normal(size=(2, 6000))
    assert find_regions(x, e + (x[:, 0] > 1), z, u + (z[:, 0] > 1)) == ()


def test_missing_values_have_a_place_of_their_own() -> None:
    random = np.random.default_rng(4)
    x, z = random.normal(size=(2, 4000, 2))
    lost = random.random(4000) < 0.2
    z[lost, 1] = np.nan
    x[random.random(4000) < 0.2, 1] = np.nan
    found = find_regions(x, random.normal(size=4000), z, random.normal(size=4000) + 2.0 * lost)
    assert set(found[0].bounds) == {1}
    assert found[0].share == pytest.approx(0.2, abs=0.03)


def test_too_few_rows_are_refused() -> None:
    x = np.zeros((100, 1))
    with pytest.raises(StatisticsError, match="too few labelled rows"):
        find_regions(x, x[:, 0], x, x[:, 0])

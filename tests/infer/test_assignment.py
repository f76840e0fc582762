"""Units are assigned to the arms of a rollout by everybody alike, at the share asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.infer import is_below, place_of


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_share_of_units_is_kept(share: float) -> None:
    n = 20_000
    found = sum(is_below(place_of(b"k" * 16, f"customer-{unit}"), share) for unit in range(n))
    assert abs(found - n * share) < 5 * (n * share * (1 - share)) ** 0.5


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_unit_stays_with_the_challenger_while_the_share_grows(unit: str, a: float, b: float) -> None:
    small, large = sorted((a, b))
    assert not is_below(place_of(b"k" * 16, unit), small) or is_below(place_of(b"k" * 16, unit), large)


def test_another_rollout_assigns_other_units() -> None:
    units = [f"{unit}" for unit in range(2000)]
    first = [is_below(place_of(b"a" * 16, unit), 0.5) for unit in units]
    second = [is_below(place_of(b"b" * 16, unit), 0.5) for unit in units]
    assert 0.4 < sum(x == y for x, y in zip(first, second, strict=True)) / 2000 < 0.6


def test_no_place_is_below_a_share_of_none_and_every_place_below_one_of_all() -> None:
    first, last = 0, 2**64 - 1
    assert [is_below(place, 0.0) for place in (first, last)] == [False, False]
    assert [is_below(place, 1.0) for place in (first, last)] == [True, True]

"""Ranges of sequence numbers, against plain sets and counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from holdfast.prediction_log import proof

numbers = st.lists(st.integers(0, 30), max_size=25)


def spread(parts: Iterable[proof.Range]) -> Counter[int]:
    return Counter(number for first, after in parts for number in range(first, after))


@given(numbers)
def test_ranges_hold_each_number_as_often_as_it_was_given(given_numbers: list[int]) -> None:
    parts = proof.ranges(np.array(given_numbers, np.int64))
    assert spread(parts) == Counter(given_numbers)
    assert spread(proof.joined(parts)) == Counter(given_numbers)
    assert proof.total(parts) == len(given_numbers)


@given(numbers, st.integers(0, 30))
def test_what_is_missing_is_what_no_range_has(given_numbers: list[int], end: int) -> None:
    parts = proof.ranges(np.array(given_numbers, np.int64))
    assert spread(proof.missing(parts, end)) == Counter(set(range(end)) - set(given_numbers))


@given(numbers)
def test_what_is_repeated_is_what_was_given_more_than_once(given_numbers: list[int]) -> None:
    parts = proof.ranges(np.array(given_numbers, np.int64))
    assert set(spread(proof.repeated(parts))) == {n for n, k in Counter(given_numbers).items() if k > 1}


@given(numbers, numbers)
def test_union_and_difference_are_those_of_sets(some: list[int], others: list[int]) -> None:
    one, other = (proof.ranges(np.array(part, np.int64)) for part in (some, others))
    assert spread(proof.union([*one, *other])) == Counter(set(some) | set(others))
    assert spread(proof.without(proof.union(one), other)) == Counter(set(some) - set(others))


@given(numbers, st.integers(0, 30))
def test_below_cuts_off_at_the_end(given_numbers: list[int], end: int) -> None:
    parts = proof.ranges(np.array(given_numbers, np.int64))
    assert spread(proof.below(parts, end)) == Counter(n for n in given_numbers if n < end)


@given(st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20)), max_size=10), max_size=5))
def test_replicas_are_told_apart_across_batches(batches: list[list[tuple[str, int]]]) -> None:
    arrow = [
        pa.RecordBatch.from_pydict(
            {
                "replica": pa.array([replica for replica, _ in batch], pa.string()),
                "sequence": pa.array([number for _, number in batch], pa.int64()),
            }
        )
        for batch in batches
    ]
    found = proof.ranges_by_replica(arrow)
    for name in "ab":
        expected = Counter(number for batch in batches for replica, number in batch if replica == name)
        assert spread(found.get(name, [])) == expected

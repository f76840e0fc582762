"""What a wrong answer costs, where an answer or a label is no number."""

from __future__ import annotations

import numpy as np

from holdfast.rollout.losses import Losses

NUMBERS = Losses("regression", "", truthy=False, false_positive=1.0, false_negative=1.0, scale=10.0)
NAN, INF = float("nan"), float("inf")


def test_an_answer_that_is_no_number_is_as_wrong_as_can_be_and_a_label_that_is_none_says_nothing() -> None:
    found = NUMBERS.loss([1.0, NAN, None, INF, 1.0, NAN], [3.0, 3.0, 3.0, 3.0, None, "?"])
    np.testing.assert_array_equal(found, [0.2, 1.0, 1.0, 1.0, np.nan, np.nan])


def test_a_number_and_none_are_apart_and_two_that_are_none_are_alike() -> None:
    ours, theirs = [1.0, NAN, 1.0, NAN, INF, -50.0], [3.0, 3.0, NAN, None, INF, 50.0]
    np.testing.assert_array_equal(NUMBERS.flips(ours, theirs), [0.2, 1.0, 1.0, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(NUMBERS.volume(ours, theirs), [-0.2, 1.0, 1.0, 0.0, 0.0, -1.0])

"""A change is said with the size that the rows show."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from holdfast.monitor import family
from holdfast.monitor.words import describe_concept


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

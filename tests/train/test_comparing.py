"""A challenger that answers with no number has lost, row by row, in every metric that decides."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from holdfast.registry.deciding import DecidingLoss
from holdfast.train.comparing import Answers, Truth, compare
from holdfast.train.rows import REVIEWED, TIME

ROWS = 400
RANDOM = np.random.default_rng(0)
Y = RANDOM.integers(0, 2, ROWS).astype(float)
TEST = pa.table(
    {
        TIME: pa.array(np.arange(ROWS), pa.timestamp("us", "UTC")),
        REVIEWED: np.zeros(ROWS, dtype=bool),
    }
)
BROKEN = np.arange(ROWS) % 4 == 0


def test_numbers_that_are_none_are_whole_losses_and_leave_no_mean_error() -> None:
    truth = Truth("regression", (), Y, None)
    sound = Answers("regression", np.empty(0), Y + 0.1)
    broken = Answers("regression", np.empty(0), np.where(BROKEN, np.nan, Y))
    loss = DecidingLoss(name="absolute_error", reason="a test", scale=1.0)
    overall, slices = compare(truth, sound, broken, TEST, loss)
    assert overall["absolute_error"].verdict == "worse"
    assert overall["absolute_error"].challenger == 0.25
    assert set(overall) == {"absolute_error"}
    assert all(set(one.metrics) == {"absolute_error"} for one in slices)
    whole, _ = compare(truth, sound, sound, TEST, loss)
    assert set(whole) == {"mean_absolute_error", "mean_squared_error", "absolute_error"}


def test_a_chance_that_is_no_number_gave_none_to_what_came_true() -> None:
    truth = Truth("binary", ("0", "1"), Y, None)
    even = Answers("binary", np.full(ROWS, 0.5), np.zeros(ROWS))
    broken = Answers("binary", np.where(BROKEN, np.nan, Y), Y)
    overall, _ = compare(truth, even, broken, TEST, DecidingLoss(name="brier_score", reason="a test"))
    assert overall["brier_score"].challenger == 0.25
    assert overall["log_loss"].challenger == pytest.approx(-np.log(1e-15) / 4)
    assert overall["log_loss"].verdict == "worse"
    assert "roc_auc" not in overall

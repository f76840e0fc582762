"""The parts of a changed loss, against worlds whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from holdfast.stats import Decomposition, StatisticsError, decompose, tell_apart

Numbers = NDArray[np.float64]
# Two values of x. The shared law weighs them by p q / (p + q): 2/3 * 1/3 over 1, the same for both.
OLD_SHARE, NEW_SHARE = 2 / 3, 1 / 3


def two_values(random: np.random.Generator, rows: int, first: float) -> Numbers:
    return (random.random(rows) >= first).astype(float)[:, None]


def parts(found: Decomposition) -> list[float]:
    return [found.harder_inputs.value, found.changed_mapping.value, found.new_inputs.value]


def test_the_parts_are_those_worked_out_by_hand() -> None:
    random = np.random.default_rng(1)
    old, new = two_values(random, 12_000, OLD_SHARE), two_values(random, 12_000, NEW_SHARE)
    # Then: loss 0 at x = 0 and 1 at x = 1. Now: 0 and 3.
    found = decompose(old, old[:, 0], new, 3 * new[:, 0])
    # E_P = 1/3, E_S R_P = 1/2, E_S R_Q = 3/2, E_Q = 2.
    assert parts(found) == pytest.approx([1 / 6, 1.0, 0.5], abs=0.03)
    for share, truth in zip(
        (found.harder_inputs, found.changed_mapping, found.new_inputs), (1 / 6, 1.0, 0.5), strict=True
    ):
        assert share.low <= truth <= share.high
    # The mass of pq / (p + q), 2/9 + 2/9, over its largest possible value, 1/2.
    assert found.overlap == pytest.approx(8 / 9, abs=0.02)


def test_a_moved_law_of_inputs_alone_leaves_the_mapping_alone() -> None:
    random = np.random.default_rng(2)
    old, new = random.normal(size=(6000, 3)), random.normal([0.7, 0, 0], size=(6000, 3))

    def errors(x: Numbers) -> Numbers:
        return (random.random(len(x)) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)

    found = decompose(old, errors(old), new, errors(new))
    assert found.changed_mapping.low < 0 < found.changed_mapping.high
    assert found.total.low > 0.05
    assert found.harder_inputs.value + found.new_inputs.value > 0.05


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(-2, 2), st.floats(0, 3))
def test_the_parts_add_up_to_the_total(seed: int, moved: float, changed: float) -> None:
    random = np.random.default_rng(seed)
    old, new = random.normal(size=(120, 2)), random.normal(moved, size=(150, 2))
    old_loss, new_loss = old[:, 0] ** 2, changed * new[:, 0] ** 2
    found = decompose(old, old_loss, new, new_loss, folds=2)
    assert sum(parts(found)) == pytest.approx(new_loss.mean() - old_loss.mean(), abs=1e-9)
    assert found.total.value == pytest.approx(new_loss.mean() - old_loss.mean(), abs=1e-12)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    x = np.zeros((100, 1))
    with pytest.raises(StatisticsError, match="not finite"):
        decompose(x, np.full(100, np.nan), x, np.zeros(100))


def test_equal_samples_cannot_be_told_apart() -> None:
    random = np.random.default_rng(3)
    found = tell_apart(random.normal(size=(3000, 5)), random.normal(size=(3000, 5)))
    assert found.area.low < 0.5 < found.area.high


@pytest.mark.parametrize("shared", [1.0, 0.5])
def test_rows_that_both_samples_hold_do_not_tell_them_apart(shared: float) -> None:
    random = np.random.default_rng(13)
    old, new = random.normal(size=(2, 1500, 3))
    new[: int(shared * len(new))] = old[: int(shared * len(new))]
    found = tell_apart(old, new, attribute=False)
    assert found.area.low <= 0.5 <= found.area.high
    few_values = random.choice(3, size=(1500, 2), p=[0.5, 0.3, 0.2]).astype(float)
    found = tell_apart(few_values, few_values, attribute=False)
    assert found.area.low <= 0.5 <= found.area.high


def test_values_that_many_rows_share_are_still_told_apart() -> None:
    random = np.random.default_rng(14)
    old, new = (
        random.choice(3, size=(1500, 2), p=p).astype(float) for p in ([0.5, 0.3, 0.2], [0.4, 0.4, 0.2])
    )
    # Rows of the likelier sample, by the shares themselves, are told with an area of about 0.6.
    assert tell_apart(old, new, attribute=False).area.low > 0.54


def test_a_correlation_that_turns_is_seen_though_no_margin_changes() -> None:
    random = np.random.default_rng(4)
    x, z = random.normal(size=(2, 3000, 3))
    x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
    z[:, 1] = -0.8 * z[:, 0] + 0.6 * z[:, 1]
    found = tell_apart(x, z)
    assert found.area.low > 0.7
    assert sorted(np.argsort(found.attributions)[-2:]) == [0, 1]


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(StatisticsError, match="too few rows"):
        tell_apart(np.zeros((49, 1)), np.zeros((500, 1)))


def test_samples_of_different_columns_and_losses_of_other_rows_are_refused() -> None:
    x = np.random.default_rng(6).normal(size=(100, 2))
    with pytest.raises(StatisticsError, match="different columns"):
        tell_apart(x, x[:, :1])
    with pytest.raises(StatisticsError, match="no column"):
        tell_apart(x[:, :0], x[:, :0])
    with pytest.raises(StatisticsError, match="not those of the current rows"):
        decompose(x, np.ones(100), x, np.ones(99))

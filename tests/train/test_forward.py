"""What the ready-made trainer chooses on blocks of time, in worlds whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from holdfast.train.forward import Choice, Rows, age_weights, try_forward
from holdfast.train.tabular import scale_trees

DAY_US = 86_400_000_000
ROWS = 1200


def grow(inputs: Any, labels: Any, weights: Any, held: tuple[Any, Any, Any]) -> Any:
    maker: Any = HistGradientBoostingClassifier
    if np.issubdtype(labels.dtype, np.floating):
        maker = HistGradientBoostingRegressor
    trees = maker(
        early_stopping=True,
        max_iter=25,
        n_iter_no_change=3,
        learning_rate=0.25,
        max_leaf_nodes=8,
        random_state=0,
    )
    return trees.fit(
        inputs, labels, sample_weight=weights, X_val=held[0], y_val=held[1], sample_weight_val=held[2]
    )


def world(kind: str, seed: int) -> Rows:
    """Two inputs whose effect stays, or turns by half a circle over the span of time."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(ROWS, 3))
    angle = np.linspace(0, np.pi, ROWS) if kind == "turning" else np.zeros(ROWS)
    signal = 2.0 * (np.cos(angle) * inputs[:, 0] + np.sin(angle) * inputs[:, 1])
    if kind == "numbers":
        labels: Any = signal + random.normal(size=ROWS)
    elif kind == "three":
        labels = (signal[:, None] * [1, 0, -1] + random.gumbel(size=(ROWS, 3))).argmax(axis=1)
    else:
        labels = (random.random(ROWS) < 1 / (1 + np.exp(-signal))).astype(np.int64)
    return Rows(inputs, labels, np.ones(ROWS), np.arange(ROWS) * DAY_US, 0)


def chosen(rows: Rows) -> Choice:
    found = try_forward(rows, grow)
    assert found is not None
    return found


def test_old_rows_fade_where_the_world_turns() -> None:
    assert chosen(world("turning", 0)).half_life is not None


def test_old_rows_stay_where_nothing_changes_and_where_they_are_weighed_already() -> None:
    assert chosen(world("still", 1)).half_life is None
    turning = world("turning", 0)
    weighed = Rows(
        turning.inputs, turning.labels, np.linspace(0.5, 1.5, ROWS), turning.times_us, turning.gap_us
    )
    assert chosen(weighed).half_life is None


def test_scores_that_exaggerate_on_rows_to_come_are_shrunk() -> None:
    """The first input tells the label of its week and nothing of the next one."""
    random = np.random.default_rng(3)
    week = np.repeat(np.arange(ROWS // 100), 100)
    place, truth = random.normal(size=ROWS // 100)[week], random.random(ROWS // 100)[week]
    labels = (random.random(ROWS) < truth).astype(np.int64)
    inputs = np.stack([place + 0.001 * random.normal(size=ROWS), random.normal(size=ROWS)], axis=1)
    found = chosen(Rows(inputs, labels, np.ones(ROWS), np.arange(ROWS) * DAY_US, 0))
    assert found.slope < 0.8
    assert found.loss < np.log(2) + 0.03


@pytest.mark.parametrize("kind", ["still", "numbers", "three"])
def test_a_slope_is_near_one_where_scores_are_right(kind: str) -> None:
    assert chosen(world(kind, 4)).slope == pytest.approx(1.0, abs=0.3)


def test_blocks_are_answered_by_rows_that_lie_the_gap_before_them() -> None:
    rows = world("still", 5)
    taught: list[int] = []

    def counting(inputs: Any, labels: Any, weights: Any, held: tuple[Any, Any, Any]) -> Any:
        taught.append(len(inputs))
        return grow(inputs, labels, weights, held)

    try_forward(Rows(rows.inputs, rows.labels, rows.weights, rows.times_us, 40 * DAY_US), counting)
    assert taught[:4] == [440, 620, 800, 980]


def test_a_class_that_comes_last_and_too_few_rows_are_no_fault() -> None:
    rows = world("three", 6)
    labels = np.where(np.arange(ROWS) > ROWS - 50, 7, rows.labels)
    assert chosen(Rows(rows.inputs, labels, rows.weights, rows.times_us, 0)).trees > 0
    one = Rows(rows.inputs[:8], np.zeros(8, dtype=np.int64), rows.weights[:8], rows.times_us[:8], 0)
    assert try_forward(one, grow) is None


def test_weights_halve_at_the_share_of_the_span_and_are_one_on_average() -> None:
    weights = age_weights(np.arange(101) * DAY_US, 0.25)
    assert weights.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(weights[25:] / weights[:-25], 2.0)
    np.testing.assert_array_equal(age_weights(np.arange(5), None), np.ones(5))


def test_scaling_turns_around_the_share_of_positives_and_keeps_the_order() -> None:
    rows = world("still", 7)
    rare = (rows.labels == 1) & (np.arange(ROWS) % 12 == 0)
    trees = HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(rows.inputs, rare)
    before = trees.decision_function(rows.inputs)
    middle = float(trees._baseline_prediction.item())
    scale_trees(trees, 0.5)
    np.testing.assert_allclose(trees.decision_function(rows.inputs), middle + 0.5 * (before - middle))

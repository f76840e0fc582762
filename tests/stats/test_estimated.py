"""Quality to be expected without labels, against closed forms and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_info, threadpool_limits

from holdfast.stats import (
    CONFUSION_METRICS,
    Calibration,
    LossModel,
    StatisticsError,
    calibrate,
    calibrate_classes,
    estimate_area,
    estimate_class_accuracy,
    estimate_class_confusion,
    estimate_confusion,
)

CELLS = np.linspace(0.02, 0.98, 25)


def certain(level: np.ndarray) -> Calibration:
    return Calibration(level, level[None])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=30))
def test_a_calibration_is_the_isotonic_regression_of_scikit_learn(cells: list[tuple[int, int]]) -> None:
    positives = np.array([min(one) for one in cells], dtype=float)
    rows = np.array([max(one) for one in cells], dtype=float)
    expected = IsotonicRegression().fit_transform(np.arange(len(rows)), positives / rows, sample_weight=rows)
    found = calibrate(positives, rows)
    assert found.level == pytest.approx(expected)
    assert (np.diff(found.replicates, axis=1) >= -1e-12).all()


def test_an_expected_area_is_the_area_of_rows_that_are_split_by_their_chance() -> None:
    counts = np.arange(1, 26)
    # Each cell as one positive weighing its chance and one negative weighing the rest.
    expected = metrics.roc_auc_score(
        np.repeat([1, 0], 25),
        np.tile(CELLS, 2),
        sample_weight=np.concatenate([counts * CELLS, counts * (1 - CELLS)]),
    )
    assert estimate_area(certain(CELLS), counts).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "scorer"),
    [
        ("accuracy", metrics.accuracy_score),
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("F1", metrics.f1_score),
    ],
)
def test_expected_metrics_are_those_of_scikit_learn_on_weighted_rows(name: str, scorer: object) -> None:
    counts, answered = np.full(25, 4), (CELLS > 0.6).astype(float)
    assert callable(scorer)
    expected = scorer(
        np.repeat([1, 0], 25),
        np.tile(answered, 2),
        sample_weight=np.concatenate([counts * CELLS, counts * (1 - CELLS)]),
    )
    found = estimate_confusion(certain(CELLS), counts, answered, CONFUSION_METRICS[name])
    assert found.value == pytest.approx(expected)


def test_intervals_hold_the_metric_that_labels_give_in_about_95_of_100() -> None:
    random = np.random.default_rng(5)
    counts = np.full(25, 20)
    inside = {"area": 0, "F1": 0}
    for _ in range(300):
        reference = random.binomial(100, CELLS)
        calibration = calibrate(reference, np.full(25, 100), replicates=30)
        labels = np.concatenate([random.random(20) < chance for chance in CELLS])
        scores = np.repeat(CELLS, counts)
        area = estimate_area(calibration, counts)
        inside["area"] += area.low <= metrics.roc_auc_score(labels, scores) <= area.high
        f1 = estimate_confusion(calibration, counts, CELLS > 0.5, CONFUSION_METRICS["F1"])
        inside["F1"] += f1.low <= metrics.f1_score(labels, scores > 0.5) <= f1.high
    # Three standard errors of a share of 0.95 in 300 are 0.038.
    assert min(inside.values()) >= 0.91 * 300


def test_a_window_without_rows_or_with_one_class_is_refused() -> None:
    with pytest.raises(StatisticsError, match="no row"):
        estimate_confusion(certain(CELLS), np.zeros(25), CELLS)
    with pytest.raises(StatisticsError, match="one class"):
        estimate_area(certain(np.zeros(25)), np.ones(25))
    with pytest.raises(StatisticsError, match="calibrate"):
        calibrate(np.zeros(3), np.zeros(3))


def test_three_classes_that_move_are_estimated_within_the_interval() -> None:
    random = np.random.default_rng(6)

    def drawn(rows: int, moved: float) -> tuple[np.ndarray, np.ndarray]:
        x = random.normal(moved, size=rows)
        odds = np.exp(np.stack([-x, np.zeros(rows), 1.5 * x], axis=1))
        chances = odds / odds.sum(axis=1, keepdims=True)
        truth = (random.random(rows)[:, None] > np.cumsum(chances, axis=1)).sum(axis=1)
        # The model is too sure of itself: its probabilities need the calibration.
        said = chances**2 / (chances**2).sum(axis=1, keepdims=True)
        return said, truth

    said, truth = drawn(20_000, 0.0)
    calibration = calibrate_classes(said, truth)
    said, truth = drawn(3000, 0.5)
    answered = said.argmax(axis=1)
    found = estimate_class_accuracy(calibration, said, answered)
    assert found.low <= (answered == truth).mean() <= found.high
    matrix = estimate_class_confusion(calibration, said, answered)
    assert matrix.sum() == pytest.approx(3000)
    assert matrix.sum(axis=0) == pytest.approx(np.bincount(answered, minlength=3))
    assert np.trace(matrix) / 3000 == pytest.approx(found.value)


def test_the_expected_loss_follows_inputs_that_get_harder() -> None:
    random = np.random.default_rng(7)

    def drawn(rows: int, hardest: float) -> tuple[np.ndarray, np.ndarray]:
        x = random.uniform(1, hardest, size=(rows, 2))
        return x, np.abs(random.normal(scale=x[:, 0]))

    model = LossModel.fit(*drawn(15_000, 8))
    inside = 0
    for _ in range(40):
        x, loss = drawn(500, 4)
        found = model.estimate(x)
        inside += found.low <= loss.mean() <= found.high
    assert inside >= 34


def test_no_loss_less_than_nothing_is_expected() -> None:
    """Nothing is lost at small x; what trees learn of that lies around nothing, so below it too."""
    random = np.random.default_rng(10)
    x = random.normal(size=(4000, 3))
    model = LossModel.fit(x, np.where(x[:, 0] > 0.5, random.exponential(5, 4000), 0.0))
    inside = random.normal(size=(200, 3))
    inside[:, 0] = -np.abs(inside[:, 0]) - 0.5
    assert np.mean([one.predict(inside).mean() for one in model.models]) + model.bias < 0
    found = model.estimate(inside)
    assert 0 == found.low == found.value < found.high


def test_a_window_is_estimated_by_one_thread() -> None:
    """Several wait for each other where cores are busy, and a window has little to share out."""
    seen: list[int] = []

    class Watching:
        def predict(self, inputs: np.ndarray) -> np.ndarray:
            seen.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "openmp")
            return np.ones(len(inputs))

    LossModel.fit(np.zeros((60, 1)), np.ones(60))  # the library is loaded from here on
    with threadpool_limits(2, "openmp"):
        LossModel((Watching(),), 0.0, 0.0).estimate(np.ones((1, 1)))
    assert set(seen) == {1}


def test_a_loss_cannot_be_learnt_from_few_rows() -> None:
    with pytest.raises(StatisticsError, match="learnt"):
        LossModel.fit(np.zeros((49, 1)), np.zeros(49))
    model = LossModel.fit(np.zeros((60, 1)), np.ones(60))
    with pytest.raises(StatisticsError, match="no row"):
        model.estimate(np.empty((0, 1)))


def test_a_missing_probability_of_a_class_is_no_sure_one() -> None:
    said = np.tile([[0.2, 0.8], [0.6, 0.4]], (50, 1))
    fitted = calibrate_classes(said, np.tile([1, 0], 50))
    gap = np.where(np.arange(200).reshape(100, 2) == 7, np.nan, said)
    with pytest.raises(StatisticsError, match=r"a chance is missing.*1 of 100 rows without"):
        fitted.chances(gap)
    with pytest.raises(StatisticsError, match="a chance is missing"):
        calibrate_classes(gap, np.tile([1, 0], 50))

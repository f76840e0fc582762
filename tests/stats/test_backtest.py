"""Options tried on the past, on worlds where the best is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from holdfast.stats import Estimate, Sample, StatisticsError, backtest, rows_to_decide

Numbers = NDArray[np.float64]


def wrong(truth: Numbers, answer: Numbers) -> Numbers:
    found: Numbers = np.abs(truth - answer)
    return found


def classes(seed: int, rows: int, effect: float = 1.0, level: float = 0.0) -> Sample:
    random = np.random.default_rng([6, seed])
    x = random.normal(size=rows)
    score = 1 / (1 + np.exp(-2 * x))
    truth = random.random(rows) < 1 / (1 + np.exp(-2 * effect * x - level))
    return Sample(np.c_[x, score], score, truth.astype(float))


def test_a_turned_effect_asks_for_the_rows_since_the_change() -> None:
    found = backtest(classes(1, 4000), classes(2, 1000), classes(3, 1200, -1.0), task="binary", loss=wrong)
    assert (found[0].action, found[0].detail) == ("retrain", "on the rows since the change")
    assert found[0].gain.low > 0.4


def test_without_a_change_nothing_surely_gains() -> None:
    found = backtest(classes(1, 4000), classes(2, 1000), classes(4, 1200), task="binary", loss=wrong)
    assert all(one.gain.low <= 0 for one in found)


def test_a_raised_level_needs_no_retraining() -> None:
    found = backtest(
        classes(1, 4000), classes(2, 1000), classes(5, 2000, level=2.0), task="binary", loss=wrong
    )
    gains = {(one.action, one.detail): one.gain for one in found}
    assert gains["recalibrate", ""].low > 0
    assert gains["move the threshold", ""].low > 0


def test_a_version_that_fits_again_is_worth_rolling_back_to() -> None:
    since = classes(6, 1200, -1.0)
    found = backtest(
        classes(1, 4000),
        classes(2, 1000),
        since,
        task="binary",
        loss=wrong,
        versions={"7": 1 - since.score},
    )
    assert {(one.action, one.detail) for one in found[:2]} >= {("roll back", "to version 7")}


def test_prices_that_grew_by_a_fifth_are_mended_by_a_line() -> None:
    def prices(seed: int, rows: int, growth: float) -> Sample:
        random = np.random.default_rng([7, seed])
        said = random.uniform(100, 200, rows)
        return Sample(said[:, None], said, growth * said + random.normal(size=rows))

    found = backtest(
        prices(1, 2000, 1), prices(2, 500, 1), prices(3, 800, 1.2), task="regression", loss=wrong
    )
    assert found[0].action == "recalibrate"
    # From a mean error of 30 to that of the noise, sqrt(2 / pi).
    assert found[0].gain.value == pytest.approx(30 - np.sqrt(2 / np.pi), abs=0.6)


def test_few_rows_are_refused_and_no_gain_is_not_waited_for() -> None:
    with pytest.raises(StatisticsError, match="too few labelled rows"):
        backtest(classes(1, 500), classes(2, 10), classes(3, 399), task="binary", loss=wrong)
    assert rows_to_decide(Estimate(-0.1, -0.2, 0.0, 100)) is None
    assert rows_to_decide(Estimate(0.1, 0.05, 0.15, 100)) == 0


def test_of_several_classes_models_are_retrained_and_nothing_is_recalibrated() -> None:
    def drawn(seed: int, rows: int, turn: int) -> Sample:
        random = np.random.default_rng(seed)
        x = random.integers(0, 3, rows).astype(float)
        truth = np.where(random.random(rows) < 0.9, (x + turn) % 3, random.integers(0, 3, rows))
        return Sample(np.c_[x, x], x, truth)

    def wrong(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
        return np.asarray(truth != answer, dtype=np.float64)

    found = backtest(drawn(1, 2000, 0), drawn(2, 500, 0), drawn(3, 1200, 1), task="multiclass", loss=wrong)
    assert {one.action for one in found} == {"leave", "retrain"}
    best = found[0]
    assert (best.action, best.detail) == ("retrain", "on the rows since the change")
    # Wrong in 0.9 + 0.1 * 2 / 3 of the rows before, in 0.1 * 2 / 3 after.
    assert best.gain.low < 0.9 < best.gain.high


def test_what_scores_are_worth_counts_where_no_answer_ever_is_the_rare_class() -> None:
    def rare(seed: int, rows: int, effect: float) -> Sample:
        random = np.random.default_rng([90, seed])
        x = random.normal(size=rows)
        truth = random.random(rows) < 1 / (1 + np.exp(3 - effect * x))
        score = 1 / (1 + np.exp(3 - x))
        return Sample(np.c_[x, score], score, truth.astype(float))

    def log_loss(truth: Numbers, chance: Numbers) -> Numbers:
        found: Numbers = -np.log(np.where(truth > 0, chance, 1 - chance).clip(1e-4))
        return found

    found = backtest(
        rare(1, 4000, 1.0),
        rare(2, 1000, 1.0),
        rare(3, 4000, -1.0),
        task="binary",
        loss=log_loss,
        chance=lambda score: score,
    )
    assert found[0].action in {"retrain", "recalibrate"}
    assert found[0].gain.low > 0
    assert "move the threshold" not in {one.action for one in found}

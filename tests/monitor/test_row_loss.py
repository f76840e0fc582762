"""Where hardly any answer is of the rare class, errors tell nothing: the chances behind scores are judged."""

from __future__ import annotations

from typing import Any

import numpy as np

from holdfast.monitor import diagnose
from holdfast.monitor.costing import ErrorCosts
from holdfast.monitor.options import tried_options
from holdfast.monitor.row_loss import RowLoss
from holdfast.monitor.rows import Rows
from holdfast.stats import Sample

ROWS, WINDOWS = 500, 20


def patients(random: np.random.Generator, rows: int, changed: Any = False) -> dict[str, Any]:
    """One in six is positive; once changed, rows are older and what was a sign of it is one against it."""
    sign, age = random.normal(size=rows), random.normal(size=rows)
    score = 1 / (1 + np.exp(2 - 0.7 * sign - 0.3 * (age + 0.6 * changed)))
    chance = 1 / (1 + np.exp(2 - np.where(changed, -0.7, 0.7) * sign - 0.3 * (age + 0.6 * changed)))
    truth = (random.random(rows) < chance).astype(int)
    return {"sign": sign, "age": age + 0.6 * np.asarray(changed), "risk": score, "ill": truth}


def test_a_mapping_that_turned_is_no_echo_of_older_patients_and_something_helps_against_it() -> None:
    random = np.random.default_rng(71)
    changed = np.arange(ROWS * WINDOWS) >= ROWS * WINDOWS // 2
    found = diagnose(
        patients(random, 10_000),
        patients(random, ROWS * WINDOWS, changed),
        target="ill",
        score="risk",
        window=f"{ROWS} rows",
        options=True,
    )
    assert set(found.kinds) == {"data drift", "concept drift"}
    assert found.loss_change is not None
    assert found.loss_change.loss == "log loss"
    assert found.loss_change.changed_mapping.low > 0
    assert (found.options[0].action, found.options[0].sure) == ("retrain", True)
    assert found.options[0].unit == "log loss"
    assert any("log loss of what the scores meant" in note for note in found.notes)


def test_answers_with_skill_are_judged_by_their_errors() -> None:
    random = np.random.default_rng(72)
    score = random.random(4000)
    rows = Rows({"x": score}, score=score, truth=(random.random(4000) < score).astype(float))
    assert RowLoss.of("binary", 0.5, rows).name == "error rate"
    assert RowLoss.of("binary", 0.99, rows).name == "log loss"


def test_the_log_loss_is_that_of_what_scores_meant() -> None:
    rows = Rows(
        {"x": np.zeros(8)},
        score=np.array([0.9] * 4 + [0.99] * 4),
        truth=np.array([0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0]),
    )
    # A quarter and three quarters are positive, whatever the scores say.
    expected = -np.log([0.75, 0.75, 0.75, 0.25, 0.25, 0.75, 0.75, 0.75])
    np.testing.assert_allclose(RowLoss.of_chances("binary", 0.5, rows).of_rows(rows), expected)


def test_nobody_waits_for_more_labels_of_a_change_that_comes_and_goes() -> None:
    def rows(seed: int, number: int, level: float = 0.0) -> Sample:
        random = np.random.default_rng([73, seed])
        x = random.normal(size=number)
        truth = random.random(number) < 1 / (1 + np.exp(-2 * x - level))
        score = 1 / (1 + np.exp(-2 * x))
        return Sample(np.c_[x, score], score, truth.astype(float))

    for lasting, first in ((True, "wait"), (False, "leave")):
        options = tried_options(
            RowLoss("binary", 0.5, None),
            ErrorCosts(),
            reference=rows(1, 1000),
            before=rows(2, 400),
            since=rows(12, 600, 0.5),
            span_us=None,
            lasting=lasting,
        )
        assert options[0].action == first

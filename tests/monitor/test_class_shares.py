"""Without labels: the share of positives that explains the scores is found, or refuted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_worlds import NAMES, answered, inputs, reference

from holdfast.monitor import diagnose
from holdfast.monitor.rows import Rows
from holdfast.monitor.shares import class_shares


def world(seed: int, share: float, rows: int = 4000, spread: float = 1.0) -> Rows:
    """Normal inputs around -1 and 1, and the score that is right where half are positive."""
    random = np.random.default_rng(seed)
    truth = random.random(rows) < share
    x = random.normal(np.where(truth, 1.0, -1.0), spread)
    return Rows({"x": x}, score=1 / (1 + np.exp(-2 * x)), truth=truth.astype(np.float64))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_the_share_of_a_mixture_lies_in_its_interval_and_explains_the_scores(share: float) -> None:
    inside = []
    for seed in range(12):
        found = class_shares(world(seed, 0.5), world(100 + seed, share))
        assert found is not None
        inside.append(found.after.low <= share <= found.after.high)
        assert abs(found.after.value - share) < 0.05
        assert found.explains
    assert sum(inside) >= 10  # of 12 at 95 %: fewer would come by chance in 2 of 100


def test_scores_that_no_mixture_makes_refute_label_shift() -> None:
    found = class_shares(world(1, 0.5), world(2, 0.5, spread=2.0))
    assert found is not None
    assert not found.explains
    assert found.chance < 1e-6


def test_too_few_rows_or_positives_say_nothing() -> None:
    assert class_shares(world(1, 0.5), world(2, 0.5, rows=100)) is None
    assert class_shares(world(1, 0.001), world(2, 0.5)) is None


def test_a_diagnosis_without_labels_says_what_share_would_explain_it() -> None:
    old = reference()
    # As many rows as before of the same two classes, but nine in ten of the second half are positive.
    pool = answered(inputs(5, 80), 5)
    random = np.random.default_rng(6)
    positive, negative = np.flatnonzero(pool["y"] == 1), np.flatnonzero(pool["y"] == 0)
    base = float(np.mean(pool["y"]))
    chosen = [
        random.choice(positive if random.random() < (base if row < 5000 else 0.8) else negative)
        for row in range(10_000)
    ]
    new: dict[str, Any] = {name: np.asarray(values)[chosen] for name, values in pool.items()}
    del new["y"]
    found = diagnose(old, new, **NAMES)
    assert found.kinds == ("data drift",)
    assert found.class_shares is not None
    assert found.class_shares.explains
    assert found.class_shares.after.low <= 0.8 <= found.class_shares.after.high
    assert "If only the shares of the classes changed" in found.summary


@pytest.mark.parametrize("seed", range(3))
def test_an_effect_of_a_column_that_the_score_leaves_out_is_no_label_shift(seed: int) -> None:
    """P(score | y) is as it was, though the mapping is not."""
    random = np.random.default_rng(seed)

    def rows(number: int, effect: float) -> dict[str, Any]:
        x, z = random.normal(size=(2, number))
        score = 1 / (1 + np.exp(-1.5 * x))
        chance = 1 / (1 + np.exp(-1.5 * x - effect * z))
        return {"x": x, "z": z, "s": score, "y": (random.random(number) < chance).astype(int)}

    found = diagnose(
        rows(5000, 0.0), rows(4000, 0.7), target="y", score="s", window="250 rows", explain=False
    )
    assert found.kinds == ("concept drift",)
    assert found.features[0].name == "z"

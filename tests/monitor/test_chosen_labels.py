"""Labels for high scores alone: alarms hold, and what figures do not say is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.monitor import Diagnosis, diagnose

ROWS, REFERENCE, WINDOWS = 500, 12, 16


def stream(seed: int, windows: int, since: int) -> dict[str, Any]:
    """An effect that halves with a window; the score has not heard of it."""
    random = np.random.default_rng([43, seed])
    x = random.normal(size=windows * ROWS)
    effect = np.where(np.arange(len(x)) >= since * ROWS, 0.75, 1.5)
    truth = random.random(len(x)) < 1 / (1 + np.exp(1.5 - effect * x))
    return {"x": x, "score": 1 / (1 + np.exp(1.5 - 1.5 * x)), "y": truth.astype(float)}


def judged(kept: str, since: int) -> Diagnosis:
    old, new = stream(1, REFERENCE, WINDOWS), stream(2, WINDOWS, since)
    random = np.random.default_rng(44)
    chosen = new["score"] > 0.4 if kept == "high scores" else random.random(len(new["y"])) < 0.3
    new["y"] = np.where(chosen, new["y"], np.nan)
    return diagnose(old, new, target="y", score="score", window=f"{ROWS} rows")


@pytest.mark.parametrize("kept", ["high scores", "a draw"])
def test_labels_of_high_scores_alone_are_told_and_raise_no_alarm(kept: str) -> None:
    found = judged(kept, WINDOWS)
    assert found.kinds == ()
    assert any("Labels are not drawn evenly" in note for note in found.notes) == (kept == "high scores")


@pytest.mark.parametrize("kept", ["high scores", "a draw"])
def test_a_change_is_found_and_only_even_labels_tell_its_cost(kept: str) -> None:
    found = judged(kept, 6)
    assert found.kinds == ("concept drift",)
    assert (found.cost is None) == (kept == "high scores")

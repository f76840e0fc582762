"""Labels that come first are often not like those that come late: the newest windows then prove no drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.monitor import diagnose

ROWS, REFERENCE, WINDOWS = 500, 12, 24


def stream(seed: int, windows: int, since: int) -> dict[str, Any]:
    """An effect that turns with a window; the model has not heard of it."""
    random = np.random.default_rng([5, seed, windows])
    x = random.normal(size=windows * ROWS)
    turned = np.arange(len(x)) >= since * ROWS
    chance = 1 / (1 + np.exp(1.5 - np.where(turned, -x, x)))
    score = 1 / (1 + np.exp(1.5 - x))
    return {"x": x, "score": score, "y": (random.random(len(x)) < chance).astype(float)}


def with_late_labels(stream: dict[str, Any], seed: int) -> dict[str, Any]:
    """Positives are known within four windows, most of them sooner, negatives within twelve."""
    random = np.random.default_rng([6, seed])
    rows = len(stream["y"])
    age = (rows - np.arange(rows)) / ROWS
    delay = np.where(stream["y"] == 1, random.uniform(0, 4, rows), random.uniform(2, 12, rows))
    return stream | {"y": np.where(delay <= age, stream["y"], np.nan)}


NAMES: dict[str, Any] = {"target": "y", "score": "score", "window": f"{ROWS} rows", "explain": False}


@pytest.mark.parametrize("seed", [1, 2])
def test_positives_that_are_known_sooner_are_no_drift(seed: int) -> None:
    old, new = stream(seed, REFERENCE, WINDOWS), stream(seed + 10, WINDOWS, WINDOWS)
    found = diagnose(old, with_late_labels(new, seed), **NAMES)
    assert found.kinds == ()
    coming = [window.labelled < 0.9 * ROWS for window in found.windows]
    assert [window.log_e_concept is None for window in found.windows] == coming
    assert 9 <= sum(coming) <= 12
    assert any(f"The newest {sum(coming)} windows count as unlabelled" in note for note in found.notes)
    assert 0.5 < found.coverage.label_coverage < 0.9


def test_what_had_changed_before_is_found_with_its_onset() -> None:
    old, new = stream(1, REFERENCE, WINDOWS), stream(11, WINDOWS, 8)
    found = diagnose(old, with_late_labels(new, 1), **NAMES)
    assert found.kinds == ("concept drift",)
    assert found.since is not None
    assert found.since.estimate == str(8 * ROWS)


def test_labels_of_a_drawn_part_of_the_rows_all_count() -> None:
    old, new = stream(2, REFERENCE, WINDOWS), stream(12, WINDOWS, WINDOWS)
    drawn = np.random.default_rng(7).random(len(new["y"])) < 0.2
    found = diagnose(old, new | {"y": np.where(drawn, new["y"], np.nan)}, **NAMES)
    assert all(window.log_e_concept is not None for window in found.windows)
    assert not any("count as unlabelled" in note for note in found.notes)

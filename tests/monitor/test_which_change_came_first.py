"""A mapping that changed before the inputs did dates the change, though these show it far more strongly."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.monitor import diagnose

ROWS = 600


@pytest.mark.parametrize(("mapping", "inputs"), [(8, 14), (14, 8)])
def test_the_earlier_of_two_changes_that_are_surely_apart_is_dated(mapping: int, inputs: int) -> None:
    random = np.random.default_rng(15)

    def side(windows: int, mapping: int = 99, inputs: int = 99) -> dict[str, np.ndarray]:
        number = np.arange(ROWS * windows) // ROWS
        x, z = random.normal(size=(2, len(number)))
        truth = random.random(len(number)) < 1 / (1 + np.exp(-np.where(number >= mapping, 0.2, 1.2) * x))
        score = 1 / (1 + np.exp(-1.2 * x))
        return {"x": x, "z": z + 2.0 * (number >= inputs), "score": score, "y": truth.astype(int)}

    found = diagnose(
        side(20), side(20, mapping, inputs), target="y", score="score", window=f"{ROWS} rows", explain=False
    )
    assert set(found.kinds) == {"data drift", "concept drift"}
    assert found.since is not None
    assert found.since.estimate == str(8 * ROWS)

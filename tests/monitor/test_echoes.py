"""Columns that a change of the mapping does not depend on are not called changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.monitor import Diagnosis, diagnose

WINDOW, ONSET, WINDOWS = 200, 8, 16


def table(seed: int, windows: int, *, turned: str) -> dict[str, Any]:
    """A class that is told by `size`; from the onset on it is the other one for large sizes, or less sure."""
    random = np.random.default_rng([seed, windows])
    rows = windows * WINDOW
    columns: dict[str, Any] = {"size": random.normal(size=rows), "hue": random.random(rows)}
    columns |= {"code": random.integers(0, 5, rows).astype(float), "weight": random.exponential(size=rows)}
    score = 1 / (1 + np.exp(-3 * columns["size"]))
    y = random.random(rows) < score
    after = np.arange(rows) >= ONSET * WINDOW
    if turned == "large":
        y ^= after & (columns["size"] > 0.3)
    elif turned == "some":
        y |= after & (random.random(rows) < 0.5)
    return columns | {"score": score, "y": y.astype(int)}


def judged(seed: int, turned: str) -> Diagnosis:
    return diagnose(
        table(seed, 20, turned="none"), table(seed, WINDOWS, turned=turned), target="y", score="score",
        window=f"{WINDOW} rows", explain=False,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("turned", ["large", "some"])
def test_a_column_whose_cells_moved_alike_is_not_named(seed: int, turned: str) -> None:
    found = judged(seed, turned)
    assert found.kinds == ("concept drift",)
    assert [one.name for one in found.features if one.of_column] == ["size"]


def test_a_change_in_all_cells_alike_is_named_as_one_of_all_answers() -> None:
    random = np.random.default_rng(5)

    def drawn(windows: int, rate: np.ndarray | float) -> dict[str, Any]:
        rows = windows * WINDOW
        columns = {name: random.normal(size=rows) for name in ("size", "hue", "code")}
        return columns | {"score": random.uniform(0.29, 0.31, rows), "y": (random.random(rows) < rate) * 1}

    rate = np.where(np.arange(WINDOWS * WINDOW) < ONSET * WINDOW, 0.3, 0.8)
    found = diagnose(
        drawn(20, 0.3),
        drawn(WINDOWS, rate),
        target="y",
        score="score",
        window=f"{WINDOW} rows",
        explain=False,
    )
    assert found.features[0].name == "overall"
    assert not {"size", "hue", "code"}.intersection(one.name for one in found.features)

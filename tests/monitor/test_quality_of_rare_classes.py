"""The area under the ROC curve that a verdict states is that of the scores, however rare or scaled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from holdfast.monitor import diagnose
from holdfast.monitor.profiling import QUALITY_CELLS, quality_edges

ROWS = 12_000
Numbers = NDArray[np.float64]


def rows(seed: int, share: float, scale: Callable[[Numbers], Numbers]) -> dict[str, Numbers]:
    random = np.random.default_rng(seed)
    x = random.normal(size=ROWS)
    margin = 1.2 * x + np.log(share)
    return {"x": x, "s": scale(margin), "y": (random.random(ROWS) < 1 / (1 + np.exp(-margin))).astype(float)}


@pytest.mark.parametrize("share", [0.005, 0.5])
@pytest.mark.parametrize(
    "scale",
    [lambda margin: 1 / (1 + np.exp(-margin)), lambda margin: margin, lambda margin: np.exp(margin - 9)],
)
def test_the_area_is_that_of_the_scores(share: float, scale: Callable[[Numbers], Numbers]) -> None:
    old, new = (rows(seed, share, scale) for seed in (1, 2))
    found = diagnose(old, new, target="y", score="s", window="1000 rows", explain=False).quality
    assert found is not None
    assert found.reference is not None
    assert found.before is not None
    assert found.reference.value == pytest.approx(roc_auc_score(old["y"], old["s"]), abs=0.002)
    assert found.before.value == pytest.approx(roc_auc_score(new["y"], new["s"]), abs=0.002)


@given(
    scores=st.lists(st.floats(-1e9, 1e9), max_size=400),
    seed=st.integers(0, 100),
)
def test_edges_rise_and_leave_every_score_a_cell(scores: list[float], seed: int) -> None:
    score = np.array(scores, dtype=np.float64)
    truth = (np.random.default_rng(seed).random(len(score)) < 0.1).astype(float)
    edges = quality_edges(score, truth)
    assert (np.diff(edges) > 0).all()
    assert len(edges) < QUALITY_CELLS

"""Boosted trees answered from tables say what the library's own walk down each tree says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from holdfast.monitor.forest import Forest

CELLS = (2, 30, 261)


def drawn(seed: int, rows: int) -> tuple[list[Any], Any]:
    random = np.random.default_rng(seed)
    columns = [random.integers(0, cells, rows) for cells in CELLS]
    return columns, random.normal(size=rows).astype(np.float32).astype(np.float64)


def fitted(maker: Any, **settings: Any) -> Any:
    columns, number = drawn(1, 3000)
    design = np.stack([*columns, number], axis=1).astype(np.float32)
    signal = columns[0] * number + np.sin(columns[1]) + (columns[2] > 100)
    y = signal if maker is HistGradientBoostingRegressor else (signal > 0.5).astype(int)
    return maker(max_iter=11, early_stopping=False, random_state=0, **settings).fit(design, y)


@pytest.mark.parametrize("leaves", [2, 5, 8])
@pytest.mark.parametrize("maker", [HistGradientBoostingRegressor, HistGradientBoostingClassifier])
def test_tables_answer_as_the_trees_do(maker: Any, leaves: int) -> None:
    model = fitted(maker, max_leaf_nodes=leaves)
    forest = Forest.of(model, CELLS)
    assert forest is not None
    columns, number = drawn(2, 20_000)
    design = np.stack([*columns, number], axis=1).astype(np.float32)
    wanted = _raw(model, design)
    assert forest.answer(columns, number) == pytest.approx(wanted, abs=1e-9)


def _raw(model: Any, design: Any) -> Any:
    if isinstance(model, HistGradientBoostingClassifier):
        return model.decision_function(design)
    return model.predict(design)


def test_a_number_on_a_threshold_goes_the_way_the_library_sends_it() -> None:
    model = fitted(HistGradientBoostingRegressor, max_leaf_nodes=8)
    forest = Forest.of(model, CELLS)
    assert forest is not None
    cuts = forest.cuts.astype(np.float32).astype(np.float64)
    columns = [np.zeros(len(cuts), dtype=np.intp) for _ in CELLS]
    design = np.stack([*columns, cuts], axis=1)
    assert forest.answer(columns, cuts) == pytest.approx(model.predict(design), abs=1e-9)


def test_larger_trees_are_left_to_the_library() -> None:
    assert Forest.of(fitted(HistGradientBoostingRegressor, max_leaf_nodes=9), CELLS) is None


def test_what_is_no_such_model_is_left_to_the_library() -> None:
    assert Forest.of(object(), CELLS) is None

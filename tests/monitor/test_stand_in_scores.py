"""What a model that stands in says of a row has nothing to do with the row's own truth."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from holdfast.monitor import diagnose
from holdfast.monitor.stand_in import stand_in


def few_inputs(seed: int, rows: int) -> dict[str, NDArray[np.float64]]:
    """27 kinds of rows, one answer in ten wrong."""
    random = np.random.default_rng([seed, rows])
    columns = {name: random.integers(0, 3, rows).astype(float) for name in ("size", "colour", "form")}
    right = (columns["colour"] == 1) | (columns["form"] == 1)
    return columns | {"y": (right ^ (random.random(rows) < 0.1)).astype(np.float64)}


def test_rows_with_the_same_inputs_have_the_same_score() -> None:
    old, new = few_inputs(0, 300), few_inputs(1, 2000)
    names = ["size", "colour", "form"]
    found = stand_in("binary", pa.table(old), pa.table(new), truths=(old["y"], new["y"]), inputs=names)
    assert found is not None
    kind = sum(new[name] * 3**place for place, name in enumerate(names))
    assert all(len(np.unique(found.new_score[kind == one])) == 1 for one in range(27))


def test_a_row_of_the_reference_is_scored_by_trees_that_have_not_seen_it() -> None:
    random = np.random.default_rng(2)
    old = {"x": random.normal(size=400), "y": random.integers(0, 2, 400).astype(np.float64)}
    new = {name: values[:100] for name, values in old.items()}
    found = stand_in("binary", pa.table(old), pa.table(new), truths=(old["y"], new["y"]), inputs=["x"])
    assert found is not None
    assert found.known == 100
    assert found.new_score == pytest.approx(found.old_score[:100])


@pytest.mark.parametrize("seed", range(4))
def test_few_kinds_of_rows_with_wrong_labels_are_no_drift(seed: int) -> None:
    found = diagnose(
        few_inputs(seed, 1200), few_inputs(seed + 50, 4000), target="y", window="200 rows", explain=False
    )
    assert found.verdict == "healthy"

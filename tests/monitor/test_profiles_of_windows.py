"""A window's profile is its rows' alone: not of their order, of the other windows, or of who counts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from holdfast.monitor.profiling import ProfileAdder, WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.rows import ColumnValues, Rows
from holdfast.stats import Coded

ROWS = 6000


@pytest.fixture(scope="module")
def rows() -> Rows:
    rng = np.random.default_rng(5)
    first = rng.normal(size=ROWS)
    columns: dict[str, ColumnValues] = {
        "x": first,
        "y": first + rng.normal(size=ROWS),
        "z": np.where(rng.random(ROWS) < 0.1, np.nan, rng.exponential(size=ROWS)),
        "word": Coded(rng.integers(-1, 3, ROWS).astype(np.int32), ("a", "b", "c")),
    }
    again = np.concatenate([np.arange(ROWS - 40), np.arange(ROWS - 80, ROWS - 40)])
    return chosen(Rows(columns), again)


def chosen(rows: Rows, at: NDArray[np.intp]) -> Rows:
    return Rows(
        {name: values[at] for name, values in rows.columns.items() if isinstance(values, np.ndarray | Coded)}
    )


@pytest.fixture(scope="module")
def model(rows: Rows) -> ReferenceModel:
    return ReferenceModel.fit("none", rows, [(0, ROWS, slice(0, ROWS))])


def same(some: WindowProfile, other: WindowProfile) -> bool:
    return (
        all((some.counts[name] == other.counts[name]).all() for name in some.counts)
        and some.repeated == other.repeated
        and some.products is not None
        and other.products is not None
        and np.allclose(some.products, other.products, rtol=1e-4)
    )


@pytest.mark.parametrize("windows", [1, 3, 8, 9, 50])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_profile_is_that_of_the_windows_rows_alone(
    model: ReferenceModel, rows: Rows, windows: int, *, shuffled: bool
) -> None:
    window = np.arange(ROWS) * windows // ROWS
    order = np.random.default_rng(1).permutation(ROWS) if shuffled else np.arange(ROWS)
    adder = ProfileAdder(model.measures, [(number, number + 1) for number in range(windows)])
    adder.add(chosen(rows, order), window[order])
    for number, profile in enumerate(adder.finish()):
        alone = model.profile(chosen(rows, np.flatnonzero(window == number)), number, number + 1)
        assert same(profile, alone)


def test_rows_in_the_cells_of_an_earlier_row_are_counted(model: ReferenceModel, rows: Rows) -> None:
    cells = np.stack([one.index(rows.columns[name]) for name, one in model.features.items()], axis=1)
    repeated = ROWS - len(np.unique(cells, axis=0))
    assert repeated >= 40
    assert model.profile(rows, 0, 1).repeated == repeated

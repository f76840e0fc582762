"""Cells of one column show together what windows vary by, where each by itself does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.stats import CellsOfColumns, Sums, natural_spread

SHARES = np.array([0.4, 0.25, 0.15, 0.12, 0.08])
WINDOWS, ROWS, COLUMNS, VARIED = 20, 50, 40, 3
CELLS = CellsOfColumns(np.repeat(np.arange(COLUMNS), len(SHARES)), np.tile(SHARES, COLUMNS))


def spread_of_mixes(seed: int, effect: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of single windows, `[columns, cells]`: each cell by itself, and with those of its column.

    A few columns have a mix of their own in each window, which the median of all does not show.
    """
    random = np.random.default_rng(seed)
    level = np.log(SHARES) + effect * random.normal(size=(WINDOWS, COLUMNS, len(SHARES)))
    level[:, VARIED:] = np.log(SHARES)
    mix = np.exp(level) / np.exp(level).sum(axis=2, keepdims=True)
    counts = random.multinomial(ROWS, mix).reshape(WINDOWS, -1).astype(float)
    one, share = np.ones_like(counts), counts.sum(axis=0) / (WINDOWS * ROWS)
    variance = one * ROWS * share * (1 - share)
    sums = Sums(counts, one * ROWS * share, variance, variance * (1 - 2 * share), one * ROWS)
    alone, together = (natural_spread(sums, cells=cells)[0] for cells in (None, CELLS))
    return alone.reshape(COLUMNS, -1), together.reshape(COLUMNS, -1)


def test_a_mix_of_each_window_s_own_is_believed_by_all_cells_of_a_column_together() -> None:
    alone, together = spread_of_mixes(1, 0.3)
    assert (alone[:VARIED] > 1).mean() < 0.6
    assert (together[:VARIED] > 1).mean() > 0.9


def test_cells_of_independent_rows_are_hardly_ever_believed_to_vary_more() -> None:
    believed = [(spread_of_mixes(seed, 0.0)[1] > 1).mean() for seed in range(5)]
    assert np.mean(believed) < 0.05


def test_a_rare_cell_has_as_much_part_in_what_a_column_shows_as_its_share_lets_it_vary() -> None:
    found = CELLS.of_each(np.full(COLUMNS, 3.0))[: len(SHARES)] - 1
    variance = SHARES * (1 - SHARES)
    assert np.allclose(found / found[0], variance / variance[0])
    assert np.isclose((found * variance).sum() / variance.sum(), 2.0)

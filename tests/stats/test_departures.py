"""The debiased chi-square of pooled counts: its mean, its spread and its tail are those that are said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from holdfast.stats import (
    SCALES,
    CellShares,
    Excess,
    chi_square,
    departure_z,
    departures,
    natural_excess,
    without_largest,
)

UNIFORM, LONG = np.ones(200) / 200, 1 / np.arange(1, 201)
NONE = Excess(np.zeros(1), np.zeros(1))


def drawn(
    seed: int, share: NDArray[np.float64], rows: int, windows: int
) -> tuple[CellShares, NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    counts = random.multinomial(rows, share / share.sum(), size=20 + windows).astype(float)
    return CellShares.of(counts[:20].sum(axis=0)), counts[20:]


@pytest.mark.parametrize("share", [UNIFORM, LONG], ids=["alike", "long tail"])
@pytest.mark.parametrize("rows", [50, 1000])
def test_without_a_change_the_standard_values_are_standard_at_every_scale(
    share: NDArray[np.float64], rows: int
) -> None:
    values: list[list[float]] = [[] for _ in SCALES]
    for seed in range(80):
        shares, counts = drawn(seed, share, rows, 32)
        for position, (apart, all_rows) in enumerate(departures(counts, shares)):
            z = departure_z(apart[-1:], all_rows[-1:], shares, NONE)
            values[position].append(float(z[0]))
    for of_scale in values:
        assert abs(np.mean(of_scale)) < 0.35
        assert 0.8 < np.std(of_scale) < 1.2
        assert np.max(of_scale) < 4.5


@given(st.lists(st.integers(1, 50), min_size=2, max_size=8), st.data())
def test_against_an_endless_reference_of_like_cells_it_is_pearson_s_statistic_less_its_mean(
    counts: list[int], data: st.DataObject
) -> None:
    now = np.array(data.draw(st.lists(st.integers(0, 50), min_size=len(counts), max_size=len(counts))))
    if not now.sum():
        return
    cells, rows = len(now), int(now.sum())
    shares = CellShares.of(np.ones(cells) * 1e9)
    found = float(departures(now[None].astype(float), shares)[0][0][0])
    pearson = chi_square(np.full(cells, 10**12), now)[0]
    # Weights are 1 / (p + p / 4), and the bias taken off is that of the rows that there are.
    expected = (pearson * rows / cells - rows + rows / cells) * float(shares.weight[0])
    assert abs(found - expected) < 1e-3 * rows**2


def test_pooled_windows_are_those_added_up() -> None:
    shares, counts = drawn(3, LONG, 100, 300)
    for (apart, rows), scale in zip(departures(counts, shares), SCALES, strict=True):
        alone = departures(counts[len(counts) - scale :].sum(axis=0)[None], shares)[0][0][0]
        assert rows[-1] == 100 * scale
        assert apart[-1] == pytest.approx(alone, rel=1e-9, abs=1e-6)


def test_what_one_cell_shows_is_left_out() -> None:
    shares, counts = drawn(4, UNIFORM, 1000, 1)
    burst = counts.copy()
    burst[0, 7] += 80
    assert departures(burst, shares)[0][0][0] > departures(counts, shares)[0][0][0] + 3e5
    assert without_largest(burst, shares, 2)[0] < without_largest(counts, shares, 1)[0] + 3e4


def test_windows_that_vary_more_than_by_sampling_are_known_from_the_reference() -> None:
    random = np.random.default_rng(5)
    calm = random.multinomial(1000, UNIFORM, size=40).astype(float)
    mixed = np.stack([random.multinomial(1000, share) for share in random.dirichlet(UNIFORM * 1000, 40)])
    quiet = natural_excess(calm, CellShares.of(calm.sum(axis=0)))
    loud = natural_excess(mixed.astype(float), CellShares.of(mixed.sum(axis=0).astype(float)))
    assert quiet.shown.max() == 0
    # A Dirichlet-multinomial of as many pseudo-rows as rows varies twice as much.
    assert 0.8 < loud.shown[0] < 1.6
    assert loud.directions > 20


def test_a_season_of_the_mix_is_of_few_directions() -> None:
    random = np.random.default_rng(6)
    wave = np.cos(np.arange(42) / 7 * 2 * np.pi)[:, None] * random.normal(size=200)
    mixes = np.exp(wave / 2)
    counts = np.stack([random.multinomial(1000, mix / mix.sum()) for mix in mixes]).astype(float)
    found = natural_excess(counts, CellShares.of(counts.sum(axis=0)))
    assert found.shown[0] > 0.2
    assert found.directions < 4


def test_windows_that_alone_hold_a_group_of_cells_do_not_hide_how_much_windows_vary() -> None:
    own = 30.0 * np.repeat(np.eye(20), 10, axis=1)  # each window has ten values of its own
    found = natural_excess(own, CellShares.of(own.sum(axis=0), group=np.arange(200) // 25))
    assert (found.shown >= found.shown[0]).all()

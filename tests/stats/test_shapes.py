"""How long a gradual change took, and how its rows moved."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from holdfast.stats import StatisticsError, change_shape, compare_passages, ramp_extent


def rising(windows: int, begin: float, length: float) -> np.ndarray:
    middle = np.arange(windows) + 0.5
    climbed: np.ndarray = np.clip((middle - begin) / length, 0, 1)
    return climbed


@pytest.mark.parametrize(("begin", "length"), [(12, 10), (20, 24), (5, 40)])
def test_a_clear_ramp_is_measured_to_a_window(begin: int, length: int) -> None:
    found = ramp_extent(rising(60, begin, length) + np.random.default_rng(1).normal(0, 0.02, 60))
    assert found.begin == pytest.approx(begin, abs=1)
    assert found.end == pytest.approx(begin + length, abs=1)
    assert found.length_low <= length <= found.length_high
    assert found.over > 0.99


def test_a_ramp_that_climbs_still_is_not_over_and_may_be_of_any_greater_length() -> None:
    found = ramp_extent(rising(40, 20, 60) + np.random.default_rng(1).normal(0, 0.01, 40))
    assert found.over < 0.5
    assert found.begin == pytest.approx(20, abs=2)
    assert found.length_low <= 60 <= found.length_high


def test_the_interval_of_the_length_holds_it_nineteen_times_in_twenty() -> None:
    random = np.random.default_rng(5)
    held = said = 0
    for _ in range(120):
        begin, length = random.uniform(5, 40), float(np.exp(random.uniform(np.log(10), np.log(50))))
        level = 6 * rising(int(begin + length) + int(random.integers(6, 40)), begin, length)
        level += random.normal(size=len(level))
        if change_shape(level) != "gradual":
            continue
        found = ramp_extent(level)
        said += 1
        held += found.length_low <= length <= found.length_high
    assert said > 90
    # Two standard errors of a share of 0.95 among those.
    assert held / said >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / said)


def test_few_windows_have_no_ramp() -> None:
    with pytest.raises(StatisticsError, match="5 or more"):
        ramp_extent(np.ones(4))


EDGES = np.linspace(-6, 10, 129)


def law(shift: float) -> np.ndarray:
    """Of a normal column of standard deviation 1, in cells."""
    return np.diff(stats.norm.cdf(EDGES, shift))


@pytest.mark.parametrize("shift", [1.0, 2.0, 4.0])
def test_rows_that_move_together_are_incremental_and_a_growing_share_is_mixed(shift: float) -> None:
    random = np.random.default_rng(2)
    before, after = random.multinomial(20_000, law(0)), random.multinomial(5_000, law(shift))
    way = np.linspace(0.1, 0.9, 10)
    together = np.stack([random.multinomial(500, law(share * shift)) for share in way])
    mixed = np.stack([random.multinomial(500, (1 - share) * law(0) + share * law(shift)) for share in way])
    assert compare_passages(EDGES, before, after, together).manner == "incremental"
    assert compare_passages(EDGES, before, after, mixed).manner == "mixed"


@pytest.mark.parametrize("seed", range(10))
def test_a_slight_shift_leaves_it_open(seed: int) -> None:
    random = np.random.default_rng(seed)
    before, after = random.multinomial(20_000, law(0)), random.multinomial(5_000, law(0.3))
    way = np.linspace(0.1, 0.9, 10)
    for laws in ([law(0.3 * one) for one in way], [(1 - one) * law(0) + one * law(0.3) for one in way]):
        between = np.stack([random.multinomial(500, one) for one in laws])
        assert compare_passages(EDGES, before, after, between).manner is None


def test_what_is_to_be_expected_is_the_divergence_of_the_two_laws() -> None:
    # Half of the way from -3 to 3 lies all at 0, or in equal parts at both ends: nothing is in both.
    old, new, middle = (np.diff(stats.norm.cdf(EDGES, at, 0.05)) * 1000 for at in (-3, 3, 0))
    found = compare_passages(EDGES, old, new, middle[None])
    assert found.log_odds == pytest.approx(found.if_together, rel=0.05)
    assert found.log_odds > 4000


@pytest.mark.parametrize(
    ("edges", "before", "between", "said"),
    [
        (EDGES[::-1], law(0), law(0)[None], "numbers that rise"),
        (EDGES, law(0)[1:], law(0)[None], "128 of each"),
        (EDGES, law(0), law(0), "128 of each"),
        (EDGES, np.zeros(128), law(0)[None], "no row"),
    ],
)
def test_counts_that_fit_no_cells_are_refused(
    edges: np.ndarray, before: np.ndarray, between: np.ndarray, said: str
) -> None:
    with pytest.raises(StatisticsError, match=said):
        compare_passages(edges, before, law(1), between)

"""Correlations of pooled windows, and what they vary by."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.stats import PairMoments, correlations, fisher_variance, scan_pairs


def moments(rows: np.ndarray) -> PairMoments:
    return PairMoments(
        np.array([float(rows.shape[1])] * len(rows)), rows.sum(axis=1), np.einsum("wrp,wrq->wpq", rows, rows)
    )


def test_correlations_are_those_of_numpy() -> None:
    rows = np.random.default_rng(0).lognormal(size=(3, 500, 4))
    found = correlations(moments(rows))
    for number in range(3):
        np.testing.assert_allclose(found[number], np.corrcoef(rows[number].T), atol=1e-9)


def test_the_fisher_value_of_normal_columns_varies_by_one_over_the_rows() -> None:
    random = np.random.default_rng(1)
    a, noise = random.normal(size=(2, 200_000))
    assert fisher_variance(np.stack([a, 0.6 * a + 0.8 * noise], axis=1))[0, 1] == pytest.approx(1, abs=0.02)


def test_columns_that_share_their_spread_vary_by_more_and_the_scan_knows() -> None:
    random = np.random.default_rng(2)

    def drawn(windows: int) -> np.ndarray:
        # Uncorrelated, but large together: the textbook variance would be wrong by a factor of three.
        return np.asarray(
            random.normal(size=(windows, 400, 2)) * random.choice([0.3, 2.0], (windows, 400, 1))
        )

    old = drawn(500)
    variance = fisher_variance(old.reshape(-1, 2))
    assert variance[0, 1] > 1.5
    whole = moments(old.reshape(1, -1, 2))
    z, _ = scan_pairs(moments(drawn(2000)), whole, variance, (np.array([0]), np.array([1])))
    assert np.std(z[:, 0, 0]) == pytest.approx(1, abs=0.1)


def test_a_shift_or_a_spread_of_one_column_is_no_change_of_dependence() -> None:
    random = np.random.default_rng(3)

    def drawn() -> np.ndarray:
        a, noise = random.normal(size=(2, 20_000))
        return np.stack([a, 0.6 * a + 0.8 * noise], axis=1)[None]

    old, new = drawn(), drawn() * np.array([1.5, 1.0]) + np.array([2.0, 0.0])
    z, _ = scan_pairs(moments(new), moments(old), fisher_variance(old[0]), (np.array([0]), np.array([1])))
    assert np.abs(z[0, 0, 0]) < 4

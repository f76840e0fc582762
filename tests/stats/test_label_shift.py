"""Shares of classes without labels, against drawn truths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from holdfast.stats import (
    StatisticsError,
    explain_by_shares,
    label_shift_gain,
    shares_by_confusion,
    shares_by_likelihood,
)


def drawn(seed: int, rows: int, positives: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Normal classes at a distance of 1.5, and the chance of the second were both equally common."""
    random = np.random.default_rng([8, seed])
    truth = (random.random(rows) < positives).astype(np.int64)
    x = random.normal(1.5 * truth)
    return 1 / (1 + np.exp(-(1.5 * x - 1.125))), truth


def table(chance: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    at = np.minimum((chance * 12).astype(int), 11)
    return np.stack([np.bincount(at[truth == side], minlength=12) for side in (0, 1)])


def test_both_estimates_find_the_shares_of_three_quarters() -> None:
    chance, truth = drawn(1, 20_000, 0.5)
    now, _ = drawn(2, 20_000, 0.75)
    answers = chance > 0.5
    confusion = np.array([[((truth == y) & (answers == a)).sum() for a in (0, 1)] for y in (0, 1)])
    found = shares_by_confusion(confusion, np.bincount(now > 0.5, minlength=2))
    assert found[1] == pytest.approx(0.75, abs=0.02)
    found = shares_by_likelihood(np.stack([1 - now, now], axis=1), np.array([0.5, 0.5]))
    assert found[1] == pytest.approx(0.75, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 0.95))
def test_an_exact_mixture_of_three_classes_is_found_and_explained(first: float) -> None:
    reference = np.array([[70, 20, 5, 5], [5, 70, 20, 5], [5, 5, 20, 70]]) * 1000
    shares = np.array([first, (1 - first) / 3, 2 * (1 - first) / 3])
    current = 1000 * shares @ (reference / reference.sum(axis=1, keepdims=True))
    found = explain_by_shares(reference, current)
    assert found.shares == pytest.approx(shares, abs=1e-3)
    assert found.statistic == pytest.approx(0.0, abs=1e-4)


def test_label_shift_is_refuted_at_its_level_and_a_moved_law_nearly_always() -> None:
    refuted = {"label shift": 0, "moved": 0}
    for seed in range(100):
        reference = table(*drawn(seed, 5000, 0.5))
        chance, truth = drawn(seed + 1000, 2000, 0.7)
        refuted["label shift"] += explain_by_shares(reference, table(chance, truth).sum(axis=0)).chance < 0.01
        narrowed = 0.5 + 0.6 * (chance - 0.5)
        refuted["moved"] += explain_by_shares(reference, table(narrowed, truth).sum(axis=0)).chance < 0.01
    assert refuted["label shift"] <= 5
    assert refuted["moved"] >= 95


def test_a_raised_level_is_told_from_label_shift() -> None:
    right = 0
    for seed in range(50):
        reference = table(*drawn(seed, 6000, 0.5))
        right += label_shift_gain(reference, table(*drawn(seed + 500, 3000, 0.7))) > 0
        chance, _ = drawn(seed + 900, 3000, 0.5)
        raised = 1 / (1 + np.exp(-np.log(chance / (1 - chance)) - 0.85))
        truth = (np.random.default_rng(seed).random(3000) < raised).astype(np.int64)
        right += label_shift_gain(reference, table(chance, truth)) < 0
    assert right >= 97


def test_rows_where_no_class_ever_had_one_speak_against_label_shift() -> None:
    reference = np.array([[800, 200, 0], [200, 800, 0]])
    assert explain_by_shares(reference, np.array([500, 500, 0])).chance > 0.9
    assert explain_by_shares(reference, np.array([500, 500, 1])).chance > 0.1
    assert explain_by_shares(reference, np.array([500, 500, 100])).chance < 1e-6
    assert explain_by_shares(reference, np.array([0, 0, 1000])).chance < 1e-6


def test_a_missing_chance_is_refused() -> None:
    with pytest.raises(StatisticsError, match=r"1 of 2 rows"):
        shares_by_likelihood(np.array([[0.5, 0.5], [np.nan, 0.5]]), np.array([0.5, 0.5]))


def test_what_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(StatisticsError, match="absent"):
        shares_by_confusion(np.array([[1, 0], [0, 0]]), np.array([1, 1]))
    with pytest.raises(StatisticsError, match="alike"):
        shares_by_confusion(np.array([[1, 1], [1, 1]]), np.array([1, 1]))
    with pytest.raises(StatisticsError, match="no row"):
        explain_by_shares(np.array([[1, 1], [1, 1]]), np.array([0, 0]))
    with pytest.raises(StatisticsError, match="no row"):
        shares_by_likelihood(np.empty((0, 2)), np.array([0.5, 0.5]))

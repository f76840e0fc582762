"""Where among the inputs has the truth moved away from what the reference leads to expect?

A shallow tree is fitted on half of the residuals and judged on the other half, so that what is named is not
the best of many chances. See docs/methods/regions.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.boosting import SMALL_TREES, least_leaf
from holdfast.stats.domain import FOLDS, fitted, split
from holdfast.stats.errors import StatisticsError
from holdfast.stats.quality import Z95, Estimate

Numbers = NDArray[np.float64]
DEPTH: Final = 2
"""A region has at most two conditions: more are neither read nor found on few rows."""
LEAST_SHARE: Final = 0.03
"""Of the rows: smaller regions are not looked for."""
LEAST_LEAF: Final = 25
CHANCE: Final = 0.01
"""Of naming a region where the truth is as expected, or of telling regions apart that changed alike."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the input space, and by how much the truth has moved there."""

    bounds: Mapping[int, tuple[float, float]]
    """By column, the values above the first and up to the second; empty for all inputs."""
    share: float
    """Of the current rows."""
    change: Estimate
    """Of the mean residual from the reference to the current rows, on rows the tree has not seen."""


def expected_truth(
    reference: Numbers, truth: Numbers, current: Numbers, *, folds: int = FOLDS, seed: int = 0
) -> tuple[Numbers, Numbers]:
    """What the reference leads to expect of each of its own rows (cross-fitted) and of each current row.

    Args:
        reference: `[n, D]` inputs, the score among them; NaN for missing.
        truth: `[n]`, a number, or 0 and 1.
        current: `[m, D]`.
        folds: of the cross-fitting.
        seed: of the folds.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(0, 1, 400)[:, None]
        >>> own, new = expected_truth(x, np.full(400, 2.0), x[:3])
        >>> own.shape, new.tolist()
        ((400,), [2.0, 2.0, 2.0])
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    own, new = np.empty(len(reference)), np.zeros(len(current))
    for fit, held in split(np.zeros(len(reference)), folds, seed):
        model = HistGradientBoostingRegressor(
            **SMALL_TREES, min_samples_leaf=least_leaf(len(fit)), random_state=seed
        )
        fitted(model, reference[fit], truth[fit])
        own[held] = model.predict(reference[held])
        if len(current):
            new += model.predict(current) / folds
    return own, new


def find_regions(
    reference: Numbers,
    reference_residual: Numbers,
    current: Numbers,
    current_residual: Numbers,
    *,
    seed: int = 0,
) -> tuple[Region, ...]:
    """The regions where the mean residual has changed; none if nowhere.

    The largest change, times the root of its share of the rows, comes first: chance explains it least.
    One region without bounds is returned where the residual has changed by about as much everywhere.

    Args:
        reference: `[n, D]` numbers; a category as one column of 0 and 1 for each value. NaN sorts low.
        reference_residual: `[n]`, truth minus expectation.
        current: `[m, D]`.
        current_residual: `[m]`.
        seed: of the halves.

    Raises:
        StatisticsError: fewer than eight leaves of rows, 200, on a side.

    Example:
        Only above 0.5 in the second column has the truth moved, by 2.

        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> x, z = random.random((2, 4000, 3))
        >>> e, u = random.normal(size=(2, 4000))
        >>> found = find_regions(x, e, z, u + 2 * (z[:, 1] > 0.5))
        >>> sorted(found[0].bounds), round(found[0].bounds[1][0], 1)
        ([1], 0.5)
        >>> bool(found[0].change.low < 2 < found[0].change.high)
        True
    """
    least = max(LEAST_LEAF, int(LEAST_SHARE * len(current) / 2))
    if min(len(reference), len(current)) < 8 * LEAST_LEAF:
        raise StatisticsError(
            "too few labelled rows to say where the truth has moved",
            expected=f"at least {8 * LEAST_LEAF} on each side",
            received=f"{len(reference)} and {len(current)}",
        )
    from scipy.stats import norm
    from sklearn.tree import DecisionTreeRegressor

    old, new = _lowest_for_missing(reference), _lowest_for_missing(current)
    half = np.random.default_rng([seed, 29]).permutation(len(new)) < len(new) // 2
    tree = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=least, random_state=seed)
    tree.fit(new[half], current_residual[half])
    residual = current_residual[~half]
    before = tree.decision_path(old).toarray().astype(bool)
    after = tree.decision_path(new[~half]).toarray().astype(bool)
    changes = [
        _difference(reference_residual[before[:, node]], residual[after[:, node]])
        for node in range(before.shape[1])
    ]
    splits = max(1, (tree.tree_.node_count - 1) // 2)
    kept = _pruned(tree.tree_, changes, 0, float(norm.isf(CHANCE / 2 / splits)))
    limit = float(norm.isf(CHANCE / 2 / len(kept)))
    bounds = _bounds(tree.tree_)
    found = []
    for node in kept:
        value, error = changes[node]
        if abs(value) > limit * error:
            rows = int(after[:, node].sum())
            change = Estimate(value, value - Z95 * error, value + Z95 * error, rows)
            found.append(Region(bounds[node], rows / len(residual), change))
    return tuple(sorted(found, key=lambda region: -abs(region.change.value) * region.share**0.5))


def _pruned(tree: Any, changes: Sequence[tuple[float, float]], node: int, limit: float) -> list[int]:
    """The nodes below that stand for themselves: parts are joined where they changed by about as much."""
    left, right = int(tree.children_left[node]), int(tree.children_right[node])
    if left < 0:
        return [node]
    parts = [_pruned(tree, changes, child, limit) for child in (left, right)]
    (first, error), (second, other) = changes[left], changes[right]
    alike = abs(first - second) <= limit * float(np.hypot(error, other))
    return [node] if alike and parts == [[left], [right]] else parts[0] + parts[1]


def _difference(before: Numbers, after: Numbers) -> tuple[float, float]:
    if min(len(before), len(after)) < 2:
        return 0.0, np.inf
    error = np.sqrt(before.var(ddof=1) / len(before) + after.var(ddof=1) / len(after))
    return float(after.mean() - before.mean()), float(error)


def _bounds(tree: Any) -> dict[int, Mapping[int, tuple[float, float]]]:
    """By node, the conditions on the way to it."""
    found: dict[int, Mapping[int, tuple[float, float]]] = {0: {}}
    # A child's number is larger than its parent's.
    for node in range(tree.node_count):
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left < 0:
            continue
        column, cut = int(tree.feature[node]), float(tree.threshold[node])
        low, high = found[node].get(column, (-np.inf, np.inf))
        found[left] = {**found[node], column: (low, min(high, cut))}
        found[right] = {**found[node], column: (max(low, cut), high)}
    return found


def _lowest_for_missing(values: Numbers) -> NDArray[np.float32]:
    """Trees of scikit-learn compare 32 bit numbers; missing and infinite values get places at the ends."""
    largest = float(np.finfo(np.float32).max)
    found = np.nan_to_num(values, nan=-largest, posinf=largest, neginf=-largest)
    return np.clip(found, -largest, largest).astype(np.float32)

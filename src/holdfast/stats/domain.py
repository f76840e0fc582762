"""Can a classifier tell current rows from reference rows? Which columns give them away?

A change of the joint law of many columns that no single column shows is seen here. Cross-fitted: no row is
judged by a model that was fitted on it. See docs/methods/domain-classifier.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.boosting import SMALL_TREES, least_leaf
from holdfast.stats.errors import StatisticsError
from holdfast.stats.quality import Z95, Estimate, area_under_curve

Numbers = NDArray[np.float64]
FOLDS: Final = 5
"""Four fifths of the rows fit each model: more folds cost time and hardly change a boosted model."""
LEAST_ROWS: Final = 50
"""On each side: with fewer, a fold holds less than ten rows of a side."""


@dataclass(frozen=True, slots=True)
class DomainShift:
    """How far two samples can be told apart."""

    area: Estimate
    """Area under the ROC curve on held-back rows: 0.5 if they are alike, 1 if they do not overlap."""
    attributions: tuple[float, ...]
    """For each column, the area that is lost when its values are shuffled among the held-back rows."""
    chance: Numbers = field(repr=False)
    """`[n + m]`, the chance that a row is a current one were both samples equally large; reference first."""


def tell_apart(
    reference: Numbers, current: Numbers, *, attribute: bool = True, folds: int = FOLDS, seed: int = 0
) -> DomainShift:
    """Cross-fit a domain classifier (gradient-boosted trees; Friedman 2003, Lopez-Paz and Oquab 2017).

    The area is the mean of the folds' areas, with DeLong's variance in each; pooled scores of several models
    would lie below 0.5 without a change, and so would rows judged by a model that learnt their twins of the
    other side: equal rows are held back together. About half a second for 10,000 + 10,000 rows of 20 columns
    and core.

    Args:
        reference: `[n, D]`, NaN for missing; categories as codes.
        current: `[m, D]`.
        attribute: whether to shuffle columns; doubles the cost.
        folds: at least 2.
        seed: of the folds and shuffles.

    Raises:
        StatisticsError: a side has fewer than `LEAST_ROWS` rows, or the columns are not the same or none.

    Example:
        The area for two normal laws at a distance of 1 is the normal distribution at 1 / sqrt(2), 0.760.

        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> found = tell_apart(random.normal(size=(2000, 2)), random.normal([1, 0], size=(2000, 2)))
        >>> bool(found.area.low < 0.760 < found.area.high)
        True
        >>> int(np.argmax(found.attributions))
        0
    """
    shapes = f"{reference.shape} and {current.shape}"
    if reference.ndim != 2 or current.ndim != 2 or reference.shape[1] != current.shape[1]:
        raise StatisticsError(
            "two samples of different columns", expected="[n, D] and [m, D]", received=f"shapes {shapes}"
        )
    if not reference.shape[1]:
        raise StatisticsError(
            "no column to tell two samples apart by", expected="at least one", received=shapes
        )
    if min(len(reference), len(current)) < LEAST_ROWS:
        raise StatisticsError(
            "too few rows to tell two samples apart",
            expected=f"at least {LEAST_ROWS} on each side",
            received=f"{len(reference)} and {len(current)}",
        )
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = np.concatenate([reference, current])
    of_current = np.r_[np.zeros(len(reference)), np.ones(len(current))]
    chance = np.full(len(rows), np.nan)
    random = np.random.default_rng(seed)
    areas: list[Estimate] = []
    lost = np.zeros((folds, rows.shape[1]))
    for fold, (fit, held) in enumerate(split_alike(rows, of_current, folds, seed)):
        model = HistGradientBoostingClassifier(
            **SMALL_TREES, min_samples_leaf=least_leaf(len(fit)), random_state=seed
        )
        fitted(model, rows[fit], of_current[fit])
        chance[held] = model.predict_proba(rows[held])[:, 1]
        area = area_under_curve(of_current[held] == 1, chance[held])
        areas.append(area)
        if attribute:
            lost[fold] = _lost(model, rows[held], of_current[held] == 1, area.value, random)
    value = float(np.mean([area.value for area in areas]))
    error = float(np.sqrt(np.sum([((area.high - area.low) / 2) ** 2 for area in areas])) / folds)
    # An interval that was cut at 1 in a fold is one-sided there: half of it understates little.
    error = max(error, Z95 * 0.5 / len(rows))
    # No law is told apart worse than by guessing: so little comes of rows that both sides hold.
    value = max(value, 0.5) if value + error < 0.5 else value
    return DomainShift(
        Estimate(value, max(0.0, value - error), min(1.0, value + error), len(rows)),
        tuple(float(one) for one in lost.mean(axis=0)) if attribute else (),
        _balanced(np.clip(chance, 1e-3, 1 - 1e-3), len(reference), len(current)),
    )


def _balanced(chance: Numbers, reference: int, current: int) -> Numbers:
    """The chance were both samples equally large."""
    now, then = chance * reference, (1 - chance) * current
    return now / (now + then)


def _lost(
    model: Any, rows: Numbers, of_current: NDArray[np.bool_], area: float, random: np.random.Generator
) -> Numbers:
    lost = np.zeros(rows.shape[1])
    for column in range(rows.shape[1]):
        shuffled = rows.copy()
        shuffled[:, column] = random.permutation(shuffled[:, column])
        said = model.predict_proba(shuffled)[:, 1]
        lost[column] = area - area_under_curve(of_current, said).value
    return lost


def fitted(model: Any, rows: Numbers, truth: Numbers) -> Any:
    """The model, fitted on one core: threads of small models that wait for busy cores cost ten times more.

    A column without any number is taken as 0, as the trees refuse it.

    Example:
        >>> import numpy as np
        >>> from sklearn.ensemble import HistGradientBoostingRegressor
        >>> rows = np.c_[np.arange(50.0), np.full(50, np.nan)]
        >>> fitted(HistGradientBoostingRegressor(max_iter=1), rows, np.ones(50)).predict(rows[:1]).tolist()
        [1.0]
    """
    from threadpoolctl import threadpool_limits

    empty = ~np.isfinite(rows).any(axis=0)
    with threadpool_limits(1, "openmp"):
        return model.fit(np.where(empty, 0.0, rows) if empty.any() else rows, truth)


def split(strata: Numbers, folds: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to fit on and rows held back, for each fold, with the same share of each stratum in all.

    Example:
        >>> import numpy as np
        >>> [held.size for _, held in split(np.r_[np.zeros(6), np.ones(3)], 3, seed=0)]
        [3, 3, 3]
    """
    random = np.random.default_rng([seed, 17])
    number = np.empty(len(strata), dtype=np.intp)
    for stratum in np.unique(strata):
        inside = np.flatnonzero(strata == stratum)
        number[inside] = random.permutation(np.arange(len(inside)) % folds)
    for fold in range(folds):
        yield np.flatnonzero(number != fold), np.flatnonzero(number == fold)


def split_alike(
    rows: Numbers, strata: Numbers, folds: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """`split` of rows of which some are equal: what one fold holds back, the others do not know by heart.

    Rows that have fewer equals than a leaf holds are held back together with them. Values that more rows
    share are to be learnt, so their rows are dealt out one by one.

    Args:
        rows: `[N, D]`.
        strata: `[N]`.
        folds: at least 2.
        seed: of the folds.

    Example:
        >>> import numpy as np
        >>> twice = np.array([[1.0], [2.0], [3.0], [1.0], [2.0], [3.0]])
        >>> sides = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
        >>> [twice[held, 0].tolist() for _, held in split_alike(twice, sides, 3, seed=0)]
        [[2.0, 2.0], [1.0, 1.0], [3.0, 3.0]]
    """
    names = np.unique(strata, return_inverse=True)[1]
    # Adding nought makes one zero of two; a missing value is one pattern of bits.
    plain = np.ascontiguousarray(np.where(np.isnan(rows), np.nan, rows + 0.0))
    bits = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    group, copies = np.unique(bits, return_inverse=True, return_counts=True)[1:]
    common = copies[group] >= least_leaf(len(rows))
    # Groups with as many rows of each stratum are dealt out evenly; rows of common values are groups of one.
    group = np.where(common, len(copies) + np.arange(len(rows)), group)
    group = np.unique(group, return_inverse=True)[1]
    held = np.zeros((int(group.max()) + 1, int(names.max()) + 1), dtype=np.intp)
    np.add.at(held, (group, names), 1)
    order = np.lexsort((np.random.default_rng([seed, 17]).random(len(held)), *held.T))
    dealt = np.empty(len(held), dtype=np.intp)
    dealt[order] = np.arange(len(held)) % folds
    number = dealt[group]
    for fold in range(folds):
        yield np.flatnonzero(number != fold), np.flatnonzero(number == fold)

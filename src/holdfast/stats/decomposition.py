"""Why the loss changed: harder inputs, a changed mapping, or inputs never seen.

Cai, Namkoong and Yadlowsky (2023), "Diagnosing model performance under distribution shift". P is the law of
the reference's inputs, Q that of the current ones, S their shared law, with density pq / (p + q) up to a
constant; R_P(x) and R_Q(x) the expected loss at x then and now:

    E_Q l - E_P l = (E_S R_P - E_P R_P) + (E_S R_Q - E_S R_P) + (E_Q R_Q - E_S R_Q)

S is the law of "overlap weights", for which estimators exist that forgive small errors of the fitted models
(Li, Morgan and Zaslavsky 2018): see docs/methods/decomposition.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.boosting import SMALL_TREES, least_leaf
from holdfast.stats.domain import FOLDS, DomainShift, fitted, split, tell_apart
from holdfast.stats.errors import StatisticsError
from holdfast.stats.quality import Z95, Estimate

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The parts of a change of the mean loss; they add up to the total."""

    total: Estimate
    harder_inputs: Estimate
    """More of the inputs that were always hard, seen before."""
    changed_mapping: Estimate
    """P(y|x) is not what it was, at inputs that both samples share."""
    new_inputs: Estimate
    """Inputs that the reference hardly had."""
    overlap: float
    """How much of the two laws of inputs is shared: 1 if they are alike, 0 if they are apart."""
    shift: DomainShift = field(repr=False)
    """The domain classifier that found the shared law."""


def decompose(
    reference: Numbers,
    reference_loss: Numbers,
    current: Numbers,
    current_loss: Numbers,
    *,
    attribute: bool = False,
    folds: int = FOLDS,
    seed: int = 0,
) -> Decomposition:
    """Split the change of the mean loss, with 95 % intervals from influence functions.

    With g(x) the cross-fitted chance that x is current were both samples equally large, the mean of a
    function under S weighs reference rows by g² and current rows by (1 - g)²: of the weights that lead to S
    these forgive errors of g to first order. The cross-fitted expected losses are averaged so; what they miss
    is added back from the rows' own losses, weighed by g and 1 - g. About 3 s and core for 20,000 + 20,000
    rows of 20 columns.

    Args:
        reference: `[n, D]` inputs, NaN for missing; the model's score among them helps.
        reference_loss: `[n]`, the loss of each row, in any unit.
        current: `[m, D]`.
        current_loss: `[m]`.
        attribute: whether to find which columns give the current rows away.
        folds: of the cross-fitting.
        seed: of the folds.

    Raises:
        StatisticsError: too few rows, a loss for another number of rows, or one that is not finite.

    Example:
        The same inputs, twice the loss: all of it is the mapping.

        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> x, z = random.normal(size=(2, 3000, 1))
        >>> found = decompose(x, x[:, 0] ** 2, z, 2 * z[:, 0] ** 2)
        >>> bool(found.changed_mapping.low < 1.0 < found.changed_mapping.high)
        True
        >>> parts = found.harder_inputs.value + found.changed_mapping.value + found.new_inputs.value
        >>> bool(np.isclose(parts, found.total.value))
        True
    """
    for name, rows_of, losses in (
        ("reference", reference, reference_loss),
        ("current", current, current_loss),
    ):
        if np.shape(losses) != (len(rows_of),):
            raise StatisticsError(
                f"the losses are not those of the {name} rows",
                expected=f"one for each of {len(rows_of)} rows",
                received=f"shape {np.shape(losses)}",
            )
    if not (np.isfinite(reference_loss).all() and np.isfinite(current_loss).all()):
        raise StatisticsError("a loss is not finite", expected="one finite loss for each row")
    shift = tell_apart(reference, current, attribute=attribute, folds=folds, seed=seed)
    n, m = len(reference), len(current)
    rows, loss = np.concatenate([reference, current]), np.concatenate([reference_loss, current_loss])
    old = np.arange(n + m) < n
    expected_old, expected_new = _expected_losses(rows, loss, old, folds, seed)
    g = shift.chance
    # One row's share in a mean over the mixture of equal halves.
    size = np.where(old, n, m)
    shared = np.where(old, g**2, (1 - g) ** 2) / 2
    weight = (shared / size).sum()

    def under_shared(expected: Numbers, side: NDArray[np.bool_], own: Numbers) -> tuple[float, Numbers]:
        """The mean of one side's expected loss under S, and the influence of each row on it."""
        model = float((shared * expected / size).sum() / weight)
        missed = np.where(side, loss - expected, 0.0)
        total = float((own * side / size).sum())
        correction = float((own * missed / size).sum() / total)
        influence = shared * (expected - model) / weight
        influence = influence + np.where(side, own * (missed - correction) / total, 0.0)
        return model + correction, influence

    shared_old, influence_old = under_shared(expected_old, old, g)
    shared_new, influence_new = under_shared(expected_new, ~old, 1 - g)
    mean_old, mean_new = float(reference_loss.mean()), float(current_loss.mean())
    at_old, at_new = np.where(old, loss - mean_old, 0.0), np.where(~old, loss - mean_new, 0.0)

    def estimate(value: float, influence: Numbers) -> Estimate:
        error = Z95 * float(np.sqrt(((influence / size) ** 2).sum()))
        return Estimate(value, value - error, value + error, n + m)

    return Decomposition(
        estimate(mean_new - mean_old, at_new - at_old),
        estimate(shared_old - mean_old, influence_old - at_old),
        estimate(shared_new - shared_old, influence_new - influence_old),
        estimate(mean_new - shared_new, at_new - influence_new),
        float(np.clip(4 * weight, 0.0, 1.0)),
        shift,
    )


def _expected_losses(
    rows: Numbers, loss: Numbers, old: NDArray[np.bool_], folds: int, seed: int
) -> tuple[Numbers, Numbers]:
    """For every row the loss expected then and now, by models fitted without it."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    found: Any = np.empty((2, len(rows)))
    for fit, held in split(old.astype(float), folds, seed):
        for side, belongs in enumerate((old, ~old)):
            chosen = fit[belongs[fit]]
            model = HistGradientBoostingRegressor(
                **SMALL_TREES, min_samples_leaf=least_leaf(len(chosen)), random_state=seed
            )
            fitted(model, rows[chosen], loss[chosen])
            found[side, held] = model.predict(rows[held])
    return found[0], found[1]

"""What a score meant on the reference: the chance of a positive at each score, with its own uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

Numbers = NDArray[np.float64]
REPLICATES: Final = 60
"""Random calibrations that show the uncertainty: its standard deviation is then known to a tenth."""
SCORE_CELLS: Final = 256


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chance of a positive in each cell of the score, cells in rising order."""

    level: Numbers = field(repr=False)
    """`[cells]`, rising."""
    replicates: Numbers = field(repr=False)
    """`[replicates, cells]`, what another reference of the same size might have said."""


def calibrate(
    positives: NDArray[Any], rows: NDArray[Any], *, replicates: int = REPLICATES, seed: int = 0
) -> Calibration:
    """The nearest rising chances to the shares of positives, in weighted least squares (isotonic).

    The replicates draw each cell's chance from its beta posterior, whose prior weighs one row with the
    overall share, and make it rise again.

    Args:
        positives: `[cells]` of the reference, by rising score.
        rows: `[cells]`; a cell without rows takes its neighbours' chance.
        replicates: how many.
        seed: of the replicates.

    Raises:
        StatisticsError: there is no row.

    Example:
        The second and third cell fall, and are pooled: (5 + 3) / (10 + 10).

        >>> import numpy as np
        >>> calibrate(np.array([1, 5, 3, 9]), np.array([10, 10, 10, 10])).level.tolist()
        [0.1, 0.4, 0.4, 0.9]
    """
    events, weight = np.asarray(positives, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    if weight.sum() <= 0:
        raise StatisticsError("no labelled row to calibrate on")
    overall = events.sum() / weight.sum()
    random = np.random.default_rng([seed, 5])
    filled = weight > 0
    drawn = random.beta(
        events + overall + 1e-9, weight - events + 1 - overall + 1e-9, (replicates, len(weight))
    )
    level = _rising(np.divide(events, weight, out=np.zeros_like(weight), where=filled), weight)
    return Calibration(level, np.array([_rising(one, weight) for one in drawn]).reshape(replicates, -1))


def _rising(share: Numbers, weight: Numbers) -> Numbers:
    from scipy.optimize import isotonic_regression

    filled = np.flatnonzero(weight > 0)
    found = isotonic_regression(share[filled], weights=weight[filled]).x
    level: Numbers = np.interp(np.arange(len(weight)), filled, found)
    return level


@dataclass(frozen=True, slots=True)
class ClassCalibration:
    """What the probabilities of K classes meant on the reference, one class against the rest."""

    edges: tuple[Numbers, ...] = field(repr=False)
    """For each class the bounds of its probability's cells."""
    classes: tuple[Calibration, ...] = field(repr=False)

    def chances(self, probabilities: Numbers, replicate: int | None = None) -> Numbers:
        """`[N, K]` chance of each class for each row, adding up to 1.

        Args:
            probabilities: `[N, K]` as the model said.
            replicate: number of the random calibration; None for the one that is likeliest.

        Raises:
            StatisticsError: a probability is missing.
        """
        require_chances(probabilities)
        found = np.empty_like(probabilities, dtype=np.float64)
        for code, (edges, calibration) in enumerate(zip(self.edges, self.classes, strict=True)):
            level = calibration.level if replicate is None else calibration.replicates[replicate]
            found[:, code] = level[np.searchsorted(edges, probabilities[:, code], side="right")]
        total = found.sum(axis=1, keepdims=True)
        even = np.full_like(found, 1 / found.shape[1])
        chances: Numbers = np.divide(found, total, out=even, where=total > 0)
        return chances


def calibrate_classes(
    probabilities: Numbers, truth: NDArray[Any], *, replicates: int = REPLICATES, seed: int = 0
) -> ClassCalibration:
    """Calibrate every class against the rest, on equally full cells of its probability.

    Args:
        probabilities: `[N, K]` on the reference.
        truth: `[N]` codes of the true classes, 0 to K - 1.
        replicates: of each class.
        seed: of the replicates.

    Raises:
        StatisticsError: a probability is missing, or there is no row.

    Example:
        Probabilities that say nothing mean the classes' shares.

        >>> import numpy as np
        >>> found = calibrate_classes(np.full((4, 2), 0.5), np.array([0, 1, 1, 1]))
        >>> found.chances(np.array([[0.5, 0.5]])).tolist()
        [[0.25, 0.75]]
    """
    require_chances(probabilities)
    edges, classes = [], []
    for code in range(probabilities.shape[1]):
        values = probabilities[:, code]
        bounds = score_edges(values)
        at = np.searchsorted(bounds, values, side="right")
        rows = np.bincount(at, minlength=len(bounds) + 1)
        positives = np.bincount(at, weights=(truth == code).astype(float), minlength=len(bounds) + 1)
        edges.append(bounds)
        classes.append(calibrate(positives, rows, replicates=replicates, seed=seed + code))
    return ClassCalibration(tuple(edges), tuple(classes))


def require_chances(chances: NDArray[Any]) -> None:
    """Refuse `[N, K]` chances of which one is missing: its row would be sorted in among the surest.

    Raises:
        StatisticsError: how many rows are without.
    """
    without = ~np.isfinite(chances).all(axis=1)
    if without.any():
        raise StatisticsError(
            "a chance is missing",
            expected="finite chances of every class in every row",
            received=f"{int(without.sum())} of {len(chances)} rows without",
            next_step="Leave those rows out",
        )


def score_edges(scores: NDArray[Any], cells: int = SCORE_CELLS) -> Numbers:
    """Bounds between equally full cells of a score; a cell takes its lower bound in.

    Example:
        >>> import numpy as np
        >>> score_edges(np.array([0.1, 0.2, 0.3, 0.4]), 2).tolist()
        [0.25]
    """
    edges: Numbers = np.unique(np.quantile(scores, np.arange(1, cells) / cells))
    return edges

"""Only the shares of the classes changed: by how much, and does that explain what is seen?

Under label shift P(x | y) stays, and with it the law of the score in each class. See
docs/methods/label-shift.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.calibration import require_chances
from holdfast.stats.errors import StatisticsError

Numbers = NDArray[np.float64]
_STEPS: Final = 2000
_STILL: Final = 1e-10


@dataclass(frozen=True, slots=True)
class LabelShift:
    """Shares of the classes that explain the current rows best, and how well."""

    shares: Numbers = field(repr=False)
    """`[K]`."""
    statistic: float
    """Squared distance of the current counts from the best mixture, in units of chance."""
    freedom: int
    chance: float
    """Of a statistic so large under label shift: if it is tiny, label shift does not explain what is seen."""


def shares_by_confusion(confusion: NDArray[Any], answered: NDArray[Any]) -> Numbers:
    """Shares of the classes from the classes that were answered (BBSE; Lipton, Wang and Smola 2018).

    The confusion of the reference, as P(answer | class), is inverted; shares below 0 are cut there.

    Args:
        confusion: `[K, K]` rows of the reference by true class (first) and answered class.
        answered: `[K]` current rows by answered class.

    Raises:
        StatisticsError: a class is absent from the reference, or two are always answered alike.

    Example:
        Nine in ten are answered rightly. Of 100 rows 58 are answered with the second class: 60 belong to it,
        as 0.1 * 40 + 0.9 * 60 = 58.

        >>> import numpy as np
        >>> shares_by_confusion(np.array([[90, 10], [10, 90]]), np.array([42, 58])).round(6).tolist()
        [0.4, 0.6]
    """
    table = np.asarray(confusion, dtype=np.float64)
    if (table.sum(axis=1) <= 0).any():
        raise StatisticsError("a class is absent from the reference")
    told = np.asarray(answered, dtype=np.float64)
    by_class = (table / table.sum(axis=1, keepdims=True)).T
    if np.linalg.matrix_rank(by_class) < len(by_class):
        raise StatisticsError("two classes are always answered alike, so their shares cannot be told apart")
    found = np.clip(np.linalg.solve(by_class, told / told.sum()), 0.0, None)
    shares: Numbers = found / found.sum()
    return shares


def shares_by_likelihood(chances: Numbers, old_shares: Numbers) -> Numbers:
    """Shares of the classes from calibrated chances by maximum likelihood (EM; Saerens et al. 2002).

    Args:
        chances: `[N, K]` calibrated on the reference, for each current row.
        old_shares: `[K]` of the reference.

    Raises:
        StatisticsError: there is no row, or a chance is missing.

    Example:
        A score that tells the classes apart for certain gives their shares.

        >>> import numpy as np
        >>> shares_by_likelihood(np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]]), np.array([0.5, 0.5])).tolist()
        [0.75, 0.25]
    """
    if not len(chances):
        raise StatisticsError("no row to find the shares of the classes from")
    require_chances(chances)
    ratio = np.asarray(chances, dtype=np.float64) / np.maximum(old_shares, 1e-12)
    return _most_likely(ratio, np.ones(len(chances)), np.asarray(old_shares, dtype=np.float64))


def explain_by_shares(reference: NDArray[Any], current: NDArray[Any]) -> LabelShift:
    """The mixture of the reference's classes that is nearest to the current rows, and whether it is near.

    Needs no current label. Rows in cells where the reference has none count against it. The shares are found
    by maximum likelihood on the cells; the squared differences are weighed by what chance gives both the
    window and the finite reference.

    Args:
        reference: `[K, cells]` rows by class and cell of the score (or of any column).
        current: `[cells]` rows.

    Raises:
        StatisticsError: a class or the window is empty.

    Example:
        Three quarters of the second class: exactly a mixture.

        >>> import numpy as np
        >>> found = explain_by_shares(np.array([[80, 20], [20, 80]]) * 100, np.array([35, 65]))
        >>> found.shares.round(3).tolist(), round(found.statistic, 6)
        ([0.25, 0.75], 0.0)
    """
    table, rows = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if (table.sum(axis=1) <= 0).any() or rows.sum() <= 0:
        raise StatisticsError("a class of the reference, or the window, has no row")
    from scipy.special import chdtrc

    filled = table.sum(axis=0) > 0
    # No mixture of the classes has rows where none of them has: they speak against it, as if each had half a
    # row there.
    beyond = float(rows[~filled].sum())
    table, rows = table[:, filled], rows[filled]
    if beyond:
        table, rows = np.c_[table, np.full(len(table), 0.5)], np.append(rows, beyond)
    size = table.sum(axis=1)
    by_class = table / size[:, None]
    shares = _most_likely(by_class.T, rows, size / size.sum())
    expected = shares @ by_class
    total = rows.sum()
    finite = (shares**2 / size) @ (by_class * (1 - by_class))
    variance = total * expected + total**2 * finite
    statistic = float(((rows - total * expected) ** 2 / np.maximum(variance, 1e-12)).sum())
    freedom = len(rows) - len(table)
    return LabelShift(shares, statistic, freedom, float(chdtrc(freedom, statistic)) if freedom > 0 else 1.0)


def label_shift_gain(reference: NDArray[Any], current: NDArray[Any]) -> float:
    """By how much label shift explains labelled rows better than another level of P(y | score) does.

    All have one number to choose: the share of the second class with P(score | y) as it was, or a shift of
    the log odds of y with P(score) as it was: of all cells, or of those above or below one of them alone. The
    difference of log likelihoods to the best of these; above 0 for label shift. Where only shares of classes
    change P(score) must change with them, which a level leaves alone. Of rare events P(score) says nothing,
    but label shift raises all cells alike. That one of 2 (cells - 1) parts is chosen costs its logarithm.

    Args:
        reference: `[2, cells]` rows of the reference by class and cell of the score.
        current: `[2, cells]`.

    Example:
        >>> import numpy as np
        >>> reference = np.array([[400, 100], [100, 400]])
        >>> label_shift_gain(reference, np.array([[160, 40], [160, 640]])) > 0
        True
        >>> label_shift_gain(reference, np.array([[300, 40], [200, 460]])) > 0
        False
        >>> rare = np.array([[9000, 1000], [50, 50]])  # twice as many everywhere, then in the second cell
        >>> label_shift_gain(rare, np.array([[8910, 990], [100, 100]])) > 0
        True
        >>> label_shift_gain(rare, np.array([[9000, 900], [50, 150]])) > 0
        False
    """
    old, new = np.asarray(reference, dtype=np.float64) + 0.5, np.asarray(current, dtype=np.float64)
    by_class = old / old.sum(axis=1, keepdims=True)
    share = new.sum(axis=1) / new.sum()
    of_shares = float((new * np.log(np.maximum(share[:, None] * by_class, 1e-300))).sum())
    in_cell = old.sum(axis=0) / old.sum()
    odds = np.log(old[1] / old[0])
    parts = np.tri(len(in_cell), dtype=bool)
    best = max(
        _of_level(odds, new, np.ones(len(in_cell), dtype=bool)),
        *(_of_level(odds, new, some) - np.log(2 * len(in_cell) - 2) for some in (*parts[:-1], *~parts[:-1])),
    )
    return float(of_shares - best - (new.sum(axis=0) * np.log(in_cell)).sum())


def _of_level(odds: Numbers, new: Numbers, some: NDArray[np.bool_]) -> float:
    """Log likelihood of the classes of rows if the log odds of some cells have moved, all by as much."""
    from scipy.optimize import brentq
    from scipy.special import expit, log_expit

    moved, positives = new[:, some].sum(axis=0), float(new[1, some].sum())

    def missing(shift: float) -> float:
        return float((moved * expit(odds[some] + shift)).sum()) - positives

    if 0 < positives < moved.sum():
        shift = float(brentq(missing, -50, 50))
    else:
        shift = 50.0 * np.sign(positives - 0.5)
    now = odds + np.where(some, shift, 0.0)
    return float((new[1] * log_expit(now)).sum() + (new[0] * log_expit(-now)).sum())


def _most_likely(density: Numbers, rows: Numbers, start: Numbers) -> Numbers:
    """Mixture weights by expectation and maximisation.

    Args:
        density: `[cells, K]`.
        rows: `[cells]`.
        start: `[K]`.
    """
    shares: Numbers = np.maximum(start, 1e-6) / np.maximum(start, 1e-6).sum()
    for _ in range(_STEPS):
        joint = density * shares
        total = joint.sum(axis=1, keepdims=True)
        part = np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)
        found: Numbers = rows @ part
        found /= max(float(found.sum()), 1e-300)
        if np.abs(found - shares).max() < _STILL:
            return found
        shares = found
    return shares

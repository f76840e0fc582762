"""Row by row: has a stream left its reference? An e-detector with the finite reference in its null.

For each feature a bet is placed on every row: that its rank in the reference is higher, or lower, than it
should be, by one of several amounts. What all bets have won since any row is added up (Shiryaev-Roberts) and
averaged; an alarm is raised when that passes the declared run length. See docs/methods/e-detector.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

STAKES: Final = (0.04, 0.1, 0.2, 0.4, 0.8)
"""Fractions bet on a row, each best for a shift of a third of it in rank scores: 0.02 to 0.5 sd."""
REFERENCE_DOUBT: Final = 0.01
"""Chance that some feature of the reference lies farther from the truth than its slack grants."""
_VARIANCE: Final = 1 / 3
"""Of a rank score, at most: that of a uniform number from -1 to 1."""
_LARGEST_LOSS: Final = 0.95
"""A bet never loses more than this share of what it has, whatever the slack."""
_STRETCH: Final = 1 << 10
"""Rows followed at a time: memory does not grow with what is added, and little is done twice at an alarm."""

Numbers = NDArray[np.float64]


def rank_scores(reference: Numbers, values: Numbers) -> Numbers:
    """Where values lie in the reference: -1 below all of it, 1 above, ties in the middle; 0 for NaN.

    Args:
        reference: at least one finite number; NaN is left out.
        values: of any shape.

    Example:
        >>> import numpy as np
        >>> rank_scores(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 2.5, 4.0, np.nan])).tolist()
        [-1.0, 0.0, 0.75, 0.0]
    """
    held = np.sort(reference[~np.isnan(reference)])
    if held.size == 0:
        raise StatisticsError("no number to rank by")
    below = np.searchsorted(held, values, side="left") + np.searchsorted(held, values, side="right")
    return np.where(np.isnan(values), 0.0, below / held.size - 1)


def reference_slack(rows: int, features: int, doubt: float = REFERENCE_DOUBT) -> float:
    """By how much the mean rank score of new rows of the same kind may differ from 0, in all features.

    The mean score of an endless stream against a reference is the mean of as many independent numbers as
    the reference has rows, each between -1 and 1 with a variance of a third at most; Bernstein's inequality
    bounds it on both sides for each feature.

    Example:
        >>> round(reference_slack(20_000, 20), 4)
        0.0168
    """
    if rows < 1 or features < 1 or not 0 < doubt < 1:
        raise StatisticsError(
            f"a slack needs rows, features and a doubt between 0 and 1, got {rows}, {features} and {doubt}"
        )
    log = np.log(2 * features / doubt)
    linear = log / (3 * rows)
    return float(linear + np.sqrt(linear**2 + 2 * _VARIANCE * log / rows))


@dataclass(slots=True)
class EDetector:
    """Follows K features row by row, with a declared mean number of rows between false alarms.

    On a reference as near to the truth as `reference_slack` grants, and as long as the expected score of each
    row, given the rows before, stays within slack and tolerance, the mean number of rows to an alarm is at
    least `run_length_rows`, whatever the features have in common.

    Example:
        >>> import numpy as np
        >>> detector = EDetector.against(20_000, 1, run_length_rows=100_000)
        >>> rng = np.random.default_rng(3)
        >>> quiet, moved = rng.uniform(-1, 1, (5000, 1)), rng.uniform(-0.7, 1, (5000, 1))
        >>> detector.add(quiet).size, int(detector.add(moved)[0]) < 700
        (0, True)
    """

    run_length_rows: float
    slack: float
    """In rank scores, with the tolerance."""
    stakes: Numbers = field(repr=False)
    log_sums: Numbers = field(repr=False)
    """`[K, 2, stakes]`, log of the Shiryaev-Roberts sum of each bet."""

    @classmethod
    def against(
        cls,
        reference_rows: int,
        features: int,
        *,
        run_length_rows: float,
        tolerance: float = 0.0,
        doubt: float = REFERENCE_DOUBT,
    ) -> EDetector:
        """A detector that has seen nothing yet.

        Args:
            reference_rows: from which the scores are ranked.
            features: followed together.
            run_length_rows: mean number of quiet rows to a false alarm of all features together, at least.
            tolerance: mean rank score that is immaterial; a shift of d standard deviations is about 0.56 d.
            doubt: chance that the reference is farther from the truth than granted.
        """
        if run_length_rows < 1 or tolerance < 0:
            raise StatisticsError(
                f"a run length of at least a row and a tolerance of at least 0, got {run_length_rows} rows "
                f"and {tolerance}"
            )
        slack = reference_slack(reference_rows, features, doubt) + tolerance
        stakes = np.minimum(np.array(STAKES), _LARGEST_LOSS / (1 + slack))
        return cls(run_length_rows, slack, stakes, np.full((features, 2, len(STAKES)), -np.inf))

    def add(self, scores: Numbers) -> NDArray[np.intp]:
        """Rows, of those given, at which an alarm was raised; after each the detector begins anew.

        Args:
            scores: `[rows, K]` rank scores, in order of time.
        """
        values = np.asarray(scores, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.log_sums):
            raise StatisticsError(f"scores of shape {values.shape} for {len(self.log_sums)} features")
        if values.size and not (np.abs(values) <= 1).all():
            raise StatisticsError("a rank score lies between -1 and 1")
        alarms = []
        start = 0
        while start < len(values):
            paths = self._paths(values[start : start + _STRETCH])
            over = np.flatnonzero(_mean_of(paths) >= np.log(self.run_length_rows))
            if over.size == 0:
                self.log_sums = paths[-1]
                start += len(paths)
                continue
            start += int(over[0]) + 1
            alarms.append(start - 1)
            self.log_sums = np.full_like(self.log_sums, -np.inf)
        return np.array(alarms, dtype=np.intp)

    @property
    def log_evidence(self) -> float:
        """Log of the average of all bets; an alarm is raised at the log of the run length."""
        return float(_mean_of(self.log_sums[None])[0])

    @property
    def shares(self) -> Numbers:
        """`[K]`, each feature's share of the evidence; all alike before the first row."""
        by_feature = np.logaddexp.reduce(self.log_sums.reshape(len(self.log_sums), -1), axis=1)
        if not np.isfinite(by_feature).any():
            return np.full(len(by_feature), 1 / len(by_feature))
        result: Numbers = np.exp(by_feature - np.logaddexp.reduce(by_feature))
        return result

    def _paths(self, values: Numbers) -> Numbers:
        """`[rows, K, 2, stakes]`, log sums after each row, without alarms.

        With P the product of the first t returns: M(t) = P(t) (M(0) + sum over s < t of 1 / P(s)).
        """
        directed = np.stack([values, -values], axis=2) - self.slack
        won = np.cumsum(np.log1p(directed[..., None] * self.stakes), axis=0)
        entered = np.concatenate([np.zeros((1, *won.shape[1:])), -won[:-1]])
        entered[0] = np.logaddexp(entered[0], self.log_sums)
        paths: Numbers = won + np.logaddexp.accumulate(entered, axis=0)
        return paths


def _mean_of(paths: Numbers) -> Numbers:
    flat = paths.reshape(len(paths), -1)
    return np.asarray(np.logaddexp.reduce(flat, axis=1) - np.log(flat.shape[1]), dtype=np.float64)

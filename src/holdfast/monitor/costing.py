"""What errors cost: in metric points and in money, and what a change has cost so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.explained import Cost
from holdfast.monitor.row_loss import RowLoss
from holdfast.monitor.rows import Rows
from holdfast.stats import Z95, Estimate
from holdfast.stats.season import DAY_US

Numbers = NDArray[np.float64]
_EVEN: Final = 0.5
"""Without stated costs both errors cost the same."""


@dataclass(frozen=True, slots=True)
class ErrorCosts:
    """The checklist's costs of an error of two classes; 0 and 0 where none was stated."""

    false_positive: float = 0.0
    false_negative: float = 0.0
    currency: str = "EUR"
    answered_from: float = 0.5
    """The score from which the model answers with the positive class."""

    @property
    def stated(self) -> bool:
        """Whether there is money to speak of."""
        return self.false_positive > 0 or self.false_negative > 0

    @property
    def threshold(self) -> float:
        """The calibrated chance above which a positive answer is the cheaper one."""
        if not self.stated:
            return _EVEN
        return self.false_positive / (self.false_positive + self.false_negative)


def money(costs: ErrorCosts, truth: Numbers, answered: NDArray[np.bool_]) -> Numbers:
    """`[N]`, what the answer to each row cost, for two classes."""
    wrong_yes = answered & (truth <= 0)
    missed = ~answered & (truth > 0)
    paid: Numbers = costs.false_positive * wrong_yes + costs.false_negative * missed
    return paid


def cost_of(
    loss: RowLoss, costs: ErrorCosts, reference: Rows, since: Rows, *, rows: int, span_us: int | None
) -> Cost | None:
    """The cost of a change from labelled rows; None without labels.

    Args:
        loss: of a row, in metric points.
        costs: of an error.
        reference: labelled rows of it.
        since: labelled rows since the onset.
        rows: since the onset, all of them: the labelled ones stand for the others.
        span_us: from the onset to the end of the newest window; None without times.
    """
    if reference.truth is None or reference.score is None or since.truth is None or since.score is None:
        return None
    if min(len(reference), len(since)) < 2:
        return None
    per_row = _rise(loss.of_rows(reference), loss.of_rows(since))
    in_money: Estimate | None = None
    if loss.task == "binary" and costs.stated:
        in_money = _rise(
            money(costs, reference.truth, reference.score >= costs.answered_from),
            money(costs, since.truth, since.score >= costs.answered_from),
        )
    return scaled(
        loss.name,
        "labels",
        per_row=per_row,
        in_money=in_money,
        costs=costs,
        rows=rows,
        span_us=span_us,
    )


def scaled(
    loss: str,
    basis: str,
    *,
    per_row: Estimate,
    in_money: Estimate | None,
    costs: ErrorCosts,
    rows: int,
    span_us: int | None,
) -> Cost:
    """A cost for each row as a cost so far and for a day."""
    per_day = rows * DAY_US / span_us if span_us else None
    return Cost(
        loss=loss,
        basis=basis,
        per_row=_times(per_row, 1, 6),
        rows=rows,
        so_far=_times(per_row, rows),
        per_day=None if per_day is None else _times(per_row, per_day),
        currency=costs.currency if in_money is not None else None,
        money_so_far=None if in_money is None else _times(in_money, rows),
        money_per_day=None if in_money is None or per_day is None else _times(in_money, per_day),
    )


def _rise(before: Numbers, after: Numbers) -> Estimate:
    value = float(after.mean() - before.mean())
    error = Z95 * float(np.sqrt(before.var(ddof=1) / len(before) + after.var(ddof=1) / len(after)))
    return Estimate(value, value - error, value + error, len(after))


def _times(estimate: Estimate, factor: float, digits: int = 2) -> Estimate:
    return Estimate(
        round(estimate.value * factor, digits),
        round(estimate.low * factor, digits),
        round(estimate.high * factor, digits),
        estimate.rows,
    )

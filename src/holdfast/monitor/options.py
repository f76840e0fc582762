"""What to do about a change, each option tried on the labelled rows of the past."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.costing import ErrorCosts, money
from holdfast.monitor.explained import Option
from holdfast.monitor.plain import plain
from holdfast.monitor.row_loss import RowLoss, losses
from holdfast.stats import Backtest, Estimate, Sample, StatisticsError, backtest, rows_to_decide
from holdfast.stats.season import DAY_US

Numbers = NDArray[np.float64]
_YES = 1.0
"""An answer of 1 is yes."""
_LONGEST_WAIT = 365.0
"""Days; a gain that takes longer to be sure of is none to wait for."""


def tried_options(
    row_loss: RowLoss,
    costs: ErrorCosts,
    *,
    reference: Sample,
    before: Sample,
    since: Sample,
    span_us: int | None,
    lasting: bool = True,
    versions: Mapping[str, Numbers] | None = None,
) -> tuple[Option, ...]:
    """The options, the best first; empty where too few rows are labelled.

    Args:
        row_loss: of the model, where no costs are stated; with several classes truth and score are
            numbers of classes.
        costs: of an error; where stated, it is money that is saved.
        reference: labelled rows of it.
        before: labelled rows before the change.
        since: labelled rows since, in order of time.
        span_us: from the first to the last of these; None without times.
        lasting: whether the change stands. More rows of one that comes and goes decide nothing.
        versions: scores of older versions for the rows since.
    """
    task = row_loss.task
    if task == "none":
        return ()
    in_money = task == "binary" and costs.stated
    chances = None if in_money else row_loss.chances

    def loss(truth: Numbers, answer: Numbers) -> Numbers:
        if task == "multiclass":
            return np.asarray(truth != answer, dtype=np.float64)
        if chances is not None:
            return chances.log_loss(truth, answer)
        if in_money:
            return money(costs, truth, answer > 0)
        return losses(task, truth, answer, answered_from=_YES)

    try:
        found = backtest(
            reference,
            before,
            since,
            task=task,
            loss=loss,
            # The model answers from that score on, `backtest` above it.
            answered_above=float(np.nextafter(costs.answered_from, -np.inf)),
            threshold=costs.threshold,
            chance=None if chances is None else chances.meant,
            versions=versions,
        )
    except StatisticsError:
        return ()
    unit = costs.currency if in_money else row_loss.name
    per_day = len(since) * DAY_US / span_us if span_us else None
    return _in_order([_told(one, unit) for one in found], per_day, lasting=lasting)


def _told(one: Backtest, unit: str) -> Option:
    gain = Estimate(round(one.gain.value, 6), round(one.gain.low, 6), round(one.gain.high, 6), one.gain.rows)
    return Option(action=one.action, detail=one.detail, gain=gain, unit=unit, sure=one.gain.low > 0)


def _in_order(options: list[Option], rows_per_day: float | None, *, lasting: bool) -> tuple[Option, ...]:
    """The one to take first; where no gain is sure but one would be with more labels, that is to wait."""
    best = options[0]
    if any(one.sure for one in options):
        # A sure gain before a larger one that may be luck.
        options.sort(key=lambda one: (not one.sure, -one.gain.value))
        return tuple(options)
    more = rows_to_decide(best.gain)
    leave = next(one for one in options if one.action == "leave")
    rest = [one for one in options if one is not leave]
    if more is None or not lasting:
        return (leave, *rest)
    days = None if rows_per_day is None else round(more / rows_per_day, 1)
    if days is not None and days > _LONGEST_WAIT:
        return (leave, *rest)
    wait = msgspec.structs.replace(
        leave,
        action="wait",
        detail=f"for {more} more labelled rows, then {_name(best)}",
        wait_days=days,
    )
    return (wait, leave, *rest)


def _name(option: Option) -> str:
    return f"{option.action} {option.detail}".strip()


def option_words(options: tuple[Option, ...]) -> list[str]:
    """The best option as a line of advice; nothing where none was tried."""
    if not options:
        return []
    best = options[0]
    if best.action == "leave":
        return ["Tried on the labelled rows, no option does better than leaving the model as it is."]
    if best.action == "wait":
        when = "" if best.wait_days is None else f" (about {best.wait_days:g} days)"
        return [f"Wait {best.detail}{when}: on the labels so far no option is surely better than the model."]
    gain = best.gain
    if best.unit == "error rate":
        saved = f"{100 * gain.value:.1f} ({100 * gain.low:.1f} to {100 * gain.high:.1f}) points of error rate"
    else:
        saved = f"{plain(gain.value)} ({plain(gain.low)} to {plain(gain.high)}) {best.unit} for each row"
    name = _name(best)
    return [f"{name[0].upper()}{name[1:]}: tried on the labelled rows, that saves {saved}."]

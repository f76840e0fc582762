"""Reasons, costs and estimates in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from holdfast.monitor.explained import ChangedRegion, ClassShares, Cost, EstimatedQuality, LossChange
from holdfast.monitor.plain import level, plain, signed
from holdfast.monitor.rows import Task
from holdfast.stats import Estimate

_MISSING = -1e37
"""Bounds below separate missing values, which sort low, from all numbers."""


def explained_words(
    *,
    estimated: Sequence[EstimatedQuality] = (),
    change: LossChange | None = None,
    regions: Sequence[ChangedRegion] = (),
    cost: Cost | None = None,
    task: Task = "none",
) -> str:
    """Sentences for the summary; empty where nothing is known."""
    parts = []
    if estimated:
        parts.append(_expected(estimated[0]))
    if change is not None:
        parts.append(_parts(change))
    if regions:
        parts.append(_where(regions[0], task))
    if cost is not None:
        parts.append(price_words(cost))
    return " ".join(parts)


def region_words(names: Sequence[tuple[str, str | None]], bounds: Mapping[int, tuple[float, float]]) -> str:
    """A region in words.

    Args:
        names: column and, for a column of 0 and 1, the word it stands for.
        bounds: by number, above the first and up to the second.
    """
    parts = []
    for number, (low, high) in sorted(bounds.items()):
        name, word = names[number]
        if word is not None:
            parts.append(f"{name} is {word}" if low > 0 else f"{name} is not {word}")
        elif high <= _MISSING:
            parts.append(f"{name} is missing")
        elif low <= _MISSING and np.isinf(high):
            parts.append(f"{name} is known")
        elif low <= _MISSING:
            parts.append(f"{name} is at most {plain(high)}")
        elif np.isinf(high):
            parts.append(f"{name} is above {plain(low)}")
        else:
            parts.append(f"{name} is from {plain(low)} to {plain(high)}")
    return " and ".join(parts) if parts else "everywhere"


def share_words(shares: ClassShares) -> str:
    """Whether other shares of the classes explain the scores."""
    if not shares.explains:
        return (
            "Other shares of the classes alone do not explain the scores since then "
            f"(chance {shares.chance:.2g})."
        )
    return (
        f"If only the shares of the classes changed, {shares.after.value:.0%} are positive since then "
        f"({shares.after.low:.0%} to {shares.after.high:.0%}; reference {shares.before:.0%}), which explains "
        "the scores; labels would tell."
    )


def _expected(one: EstimatedQuality) -> str:
    now = one.after or one.before
    if now is None:
        return ""
    against = "" if one.reference is None else f" (reference {level(one.reference.value)})"
    when = " since then" if one.after is not None else ""
    return (
        f"Without labels, the {one.metric} to be expected{when} is {_range(now)}{against}, "
        f"if {one.assumption}."
    )


def _parts(change: LossChange) -> str:
    percent = change.loss == "error rate"

    def points(estimate: Estimate) -> str:
        if percent:
            return f"{100 * estimate.value:+.1f} ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"
        return f"{signed(estimate.value)} ({signed(estimate.low)} to {signed(estimate.high)})"

    unit = " points" if percent else ""
    return (
        f"The {change.loss} changed by {points(change.total)}{unit} against the reference: "
        f"{points(change.changed_mapping)} by a changed mapping from x to y, "
        f"{points(change.harder_inputs)} by harder but known inputs, "
        f"{points(change.new_inputs)} by new inputs."
    )


def _where(region: ChangedRegion, task: Task) -> str:
    place = "Everywhere" if not region.columns else f"Where {region.words}"
    share = "" if not region.columns else f" ({region.share:.0%} of rows)"
    return f"{place}{share}, {moved_words(region.change, task)}."


def moved_words(change: Estimate, task: Task) -> str:
    """How the truth has moved in a region, in words."""
    what = {"binary": "positives", "multiclass": "right answers"}.get(task)
    if what is None:
        moved = f"the truth is {'higher' if change.value > 0 else 'lower'}"
        size = plain(abs(change.value))
    else:
        moved = f"{what} are {'more frequent' if change.value > 0 else 'rarer'}"
        size = f"{100 * abs(change.value):.0f} points"
    return f"{moved} than the reference leads to expect by {size}"


def price_words(cost: Cost) -> str:
    """What it has cost, or saved, with intervals."""
    saved, unsure = cost.so_far.high < 0, cost.so_far.low <= 0 <= cost.so_far.high
    if cost.loss == "error rate":
        thing = "errors fewer" if saved else "errors more"
    else:
        thing = f"of {cost.loss} {'less' if saved else 'more'}"
    begin = "It may have cost nothing: so far" if unsure else "So far that is"
    parts = [f"{begin} {_whole(_turned(cost.so_far) if saved else cost.so_far)} {thing}"]
    if cost.per_day is not None:
        parts.append(f"{_whole(_turned(cost.per_day) if saved else cost.per_day)} a day")
    words = ", ".join(parts)
    if cost.money_so_far is not None:
        words += f"; in money {_money(cost.money_so_far, cost.currency)}"
        if cost.money_per_day is not None:
            words += f", {_money(cost.money_per_day, cost.currency)} a day"
    assumed = " by the estimated quality" if cost.basis == "estimate" else ""
    return f"{words}{assumed}."


def _money(estimate: Estimate, currency: str | None) -> str:
    if estimate.high < 0:
        return f"{_whole(_turned(estimate))} {currency} less"
    return f"{_whole(estimate)} {currency}"


def _turned(estimate: Estimate) -> Estimate:
    return Estimate(-estimate.value, -estimate.high, -estimate.low, estimate.rows)


def _whole(estimate: Estimate) -> str:
    # Nought has no sign.
    return f"{estimate.value:z,.0f} ({estimate.low:z,.0f} to {estimate.high:z,.0f})"


def _range(estimate: Estimate) -> str:
    return f"{level(estimate.value)} ({level(estimate.low)} to {level(estimate.high)})"

"""How much of the traffic a challenger may get before labels can speak, and when they can."""

from __future__ import annotations

from holdfast.rollout.values import Comparison, Evidence, Terms


def most_share(terms: Terms, evidence: Evidence, *, approved: bool) -> float:
    """The largest share that the risk budget allows.

    Before a mistake can show in labels, rate x share x maturity predictions are out, each of which loses at
    worst what is still plausible: the upper bound of the difference of losses, 1 before there are labels.
    Without a stated budget the first share of the ramp is all that is risked until the labels approve.

    Returns:
        0 to 1. 0 where the rate is unknown, since nothing has been seen.
    """
    if approved:
        return 1.0
    if terms.risk_budget == 0:
        return terms.ramp[0]
    if evidence.rows_per_s <= 0:
        return 0.0
    worst = 1.0 if evidence.quality is None else min(max(evidence.quality.upper, 0.0), 1.0)
    at_risk = evidence.rows_per_s * terms.maturity_us / 1e6 * worst * terms.cost_per_loss
    return 1.0 if at_risk <= 0 else min(terms.risk_budget / at_risk, 1.0)


def earliest_decision_us(terms: Terms, started_at_us: int, rows_per_s: float) -> int:
    """Before this moment no label can approve the challenger.

    The first prediction must mature, and then enough: with no difference and one row in twenty answered
    differently, `least_rows` of them.

    Args:
        terms: of the rollout.
        started_at_us: microseconds since the epoch.
        rows_per_s: expected; 0: not known, so that only maturity and the ramp count.
    """
    ramp_us = terms.shadow_us + terms.step_us * (len(terms.ramp) - 1)
    labels_us = terms.maturity_us
    if rows_per_s > 0:
        labels_us += round(least_rows(terms) / rows_per_s * 1e6)
    return started_at_us + max(ramp_us, labels_us)


def least_rows(terms: Terms) -> int:
    """Labelled rows after which equal versions that differ in one answer of twenty can be told to be so.

    Found on the betting bounds themselves, for counts as they would be expected.
    """
    import numpy as np

    from holdfast.stats import log_capital

    points, enough = np.array([0.0, 0.5, 1.0]), np.log(1 / (terms.alpha / 2))
    rates = np.array([0.025, 0.95, 0.025])
    candidate = min((1 + terms.margin) / 2, 1 - 1e-9)
    rows = 16
    while rows < 2**40 and log_capital(points, rates * rows, candidate, above=False) < enough:
        rows += rows // 8
    return rows


def rows_missing(terms: Terms, quality: Comparison | None) -> float | None:
    """Labelled rows that are still to come until the labels approve, if they go on as so far.

    Bounds narrow with the root of the rows, a little faster while there are few. So where the difference is
    barely below the margin, approval is far away, and a newer challenger may be the better use of the time.

    Returns:
        0 where they approve already; infinity where the difference so far is not below the margin; None
        before the first label.
    """
    if quality is None or quality.n == 0 or quality.mean is None:
        return None
    if quality.upper < terms.margin:
        return 0.0
    room = terms.margin - quality.mean
    if room <= 0:
        return float("inf")
    return quality.n * (((quality.upper - quality.mean) / room) ** 2 - 1)

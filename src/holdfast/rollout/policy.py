"""The decision: where a rollout stands and what is known, in; a plan, out. Nothing else is touched.

The same function decides live, in replay and in simulation. Three clocks: the fast one (errors, latency) can
send the challenger back; the label-free one can hold; only labels approve. What is not known holds.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.rollout.exposure import most_share, rows_missing
from holdfast.rollout.values import Act, Clock, Comparison, Evidence, Plan, Standing, Terms


def decide(terms: Terms, standing: Standing, evidence: Evidence) -> Plan:
    """What to do now.

    Going back comes first, then the deadline, then holding, then going forward.

    Args:
        terms: of the checklist.
        standing: of the open rollout.
        evidence: with bounds that hold at all times, so that this may be asked as often as one likes.
    """
    approved = is_approved(terms, evidence)
    allowed = most_share(terms, evidence, approved=approved)

    def plan(act: Act, clock: Clock, reason: str, share: float = 0.0, subject: str = "") -> Plan:
        return Plan(
            act=act,
            reason=reason,
            clock=clock,
            share=share,
            subject=subject,
            approved=approved,
            most_share=allowed,
        )

    for reason in _failing(terms, evidence):
        return plan("roll back", "fast", reason)
    for one in _harmed(evidence):
        return plan("roll back", "labels", f"{one.name}: worse by at least {_number(one.lower)} ({_of(one)})")
    if evidence.now_us >= standing.deadline_us:
        return plan("expire", "time", "the deadline came without a decision")
    if standing.held:
        return plan("none", "time", "held; `holdfast rollout resume` lets it go on")
    # A first deployment is there to answer otherwise than the rule or the person before it.
    for subject, reason in _odd(terms, evidence) if standing.kind == "update" else ():
        if subject not in standing.accepted:
            return plan("hold", "label-free", reason, subject=subject)

    shares = (0.0, *terms.ramp)
    following = min(share for share in shares if share > standing.share)
    dwell_us = terms.shadow_us if standing.phase == "shadow" else terms.step_us
    left_us = standing.phase_at_us + dwell_us - evidence.now_us
    if evidence.challenger.requests == 0:
        return plan("none", "fast", "no traffic has reached the challenger yet")
    if left_us > 0:
        return plan("none", "time", f"{_span(left_us / 1e6)} left at this share")
    if standing.kind == "first" or following >= 1:
        if not approved:
            return plan("none", "labels", _missing(terms, evidence))
        if not standing.checked:
            return plan(
                "none", "time", "the labels approve it; a passed `holdfast check` or a waiver is missing"
            )
        if standing.kind == "first":
            return plan(
                "hold",
                "labels",
                "the labels approve it; a person confirms with `holdfast rollout promote`",
                subject="confirmation",
            )
        return plan("promote", "labels", _approval(evidence))
    if following > allowed:
        return plan(
            "none",
            "labels",
            f"the risk budget allows {allowed:.3g} of the traffic, the next share is {following:g}; "
            + _missing(terms, evidence),
        )
    why = "approved by the labels" if approved else "errors, latency and answers are within bounds"
    return plan("advance", "label-free", why, following)


def is_approved(terms: Terms, evidence: Evidence) -> bool:
    """Whether the labels say that it is not worse by the margin, and no guardrail of theirs is broken."""
    quality = evidence.quality
    if quality is None or quality.n == 0 or quality.upper >= terms.margin:
        return False
    return not any(True for _ in _harmed(evidence))


def _failing(terms: Terms, evidence: Evidence) -> Iterator[str]:
    ours, theirs = evidence.challenger, evidence.champion
    if evidence.load_failures:
        yield f"{evidence.load_failures} workers could not load the challenger"
    if evidence.crashes >= terms.max_crashes:
        yield f"the challenger's process died {evidence.crashes} times"
    more = ours.errors_lower - theirs.errors_upper
    if more > terms.max_error_increase:
        yield (
            f"errors: {ours.errors} of {ours.requests} requests failed, at least {_number(more)} more than "
            "the champion's share"
        )
    slow, quick = ours.p99_lower_s, theirs.p99_upper_s
    if (
        slow is not None
        and slow > terms.latency_target_s
        and quick is not None
        and slow > terms.max_latency_ratio * quick
    ):
        yield (
            f"latency: the 99th percentile is above {slow * 1000:.3g} ms, the target is "
            f"{terms.latency_target_s * 1000:.3g} ms and the champion's is below {quick * 1000:.3g} ms"
        )


def _harmed(evidence: Evidence) -> Iterator[Comparison]:
    for one in (evidence.quality, evidence.arms, *evidence.slices):
        if one is not None and one.lower > 0:
            yield one


def _odd(terms: Terms, evidence: Evidence) -> Iterator[tuple[str, str]]:
    if evidence.ratio_evidence >= 1 / terms.alpha:
        yield "ratio", "the arms do not get the shares they should, so no comparison of them can be trusted"
    coverage = evidence.coverage
    if coverage is not None and (coverage.lower > 0 or coverage.upper < 0):
        by = _number(coverage.mean or 0.0)
        yield "coverage", f"the arms' labels arrive differently by {by}: their losses cannot be compared"
    flips = evidence.flips
    if flips is not None and flips.lower > terms.max_flips:
        yield (
            "flips",
            f"at least {flips.lower:.1%} of the answers differ, more than max_flips {terms.max_flips:g}",
        )
    most = terms.max_volume_change
    for what, one in ((evidence.volume_of, evidence.volume), ("mean score", evidence.score)):
        if one is not None and (one.lower > most or one.upper < -most):
            yield what, f"the {what} moved by {_number(one.mean or 0.0)}, more than {most:g}"


def _missing(terms: Terms, evidence: Evidence) -> str:
    quality = evidence.quality
    if quality is None or quality.n == 0:
        return "no mature label is there yet"
    said = (
        f"over {quality.n} labelled rows the difference of losses is between {_number(quality.lower)} and "
        f"{_number(quality.upper)}; {terms.margin:g} is allowed"
    )
    missing = rows_missing(terms, quality)
    if not missing:
        return said
    if missing == float("inf"):
        return f"{said}, and so far it is {_number(quality.mean or 0.0)}"
    return f"{said}; if it goes on so, about {missing:,.0f} more rows will do"


def _approval(evidence: Evidence) -> str:
    quality = evidence.quality
    if quality is None:
        return "approved"
    if quality.upper < 0:
        return f"better by at least {-quality.upper:.3g} over {quality.n} labelled rows"
    return f"worse by at most {_number(quality.upper)} over {quality.n} labelled rows"


def _of(one: Comparison) -> str:
    return f"{one.n} labelled rows"


def _number(value: float) -> str:
    return f"{value:+.3g}"


def _span(seconds: float) -> str:
    """A length of time as a person would say it."""
    for unit, size_s in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s"

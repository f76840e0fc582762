"""The policy on a rollout that has been, with the terms of today: when would it have decided, and how."""

from __future__ import annotations

import msgspec

from holdfast.registry import Phase, Rollout
from holdfast.rollout.gate import judge
from holdfast.rollout.log_evidence import LogEvidence
from holdfast.rollout.policy import decide
from holdfast.rollout.values import Evidence, Health, Plan, Standing, Terms


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """One plan that would have been carried out."""

    at_us: int
    plan: Plan


def replay(
    terms: Terms,
    log: LogEvidence,
    rollout: Rollout,
    slices: list[tuple[str, str]],
    *,
    until_us: int,
    every_us: int,
) -> list[Replayed]:
    """What the policy would have done, from the pairs that the log holds.

    The log knows no errors, deaths and latencies of then, and no arms for shares that were not given, so the
    fast clock is silent: this is about margins, alpha, maturity and slices.

    Args:
        terms: of today's checklist.
        log: with the maturity of these terms.
        rollout: that has been, or is.
        slices: to watch.
        until_us: end of the replay.
        every_us: between two looks.

    Returns:
        Every plan that does something, in order; the last one ends it unless `until_us` came first.
    """
    fields = tuple(dict.fromkeys(field for field, _ in slices))
    phase: Phase = "shadow"
    share, since_us = 0.0, rollout.started_at_us
    found: list[Replayed] = []
    for now_us in range(rollout.started_at_us + every_us, until_us + 1, every_us):
        pairs = log.pairs(rollout, fields, now_us)
        judged = judge(terms, pairs, None, slices)
        evidence = Evidence(
            now_us=now_us,
            challenger=Health(requests=int(pairs.counts.sum())),
            flips=judged.flips,
            volume=judged.volume,
            volume_of=judged.volume_of,
            score=judged.score,
            quality=judged.quality,
            slices=judged.slices,
            admitted=judged.admitted,
            labelled=judged.labelled,
            rows_per_s=log.rows_per_s(rollout.started_at_us, now_us),
        )
        standing = Standing(
            kind=rollout.kind,
            phase=phase,
            share=share,
            held=False,
            started_at_us=rollout.started_at_us,
            phase_at_us=since_us,
            deadline_us=rollout.deadline_us,
            checked=True,
        )
        plan = decide(terms, standing, evidence)
        if plan.act == "none":
            continue
        found.append(Replayed(at_us=now_us, plan=plan))
        if plan.act == "advance":
            phase, share, since_us = "canary", plan.share, now_us
        else:
            break
    return found

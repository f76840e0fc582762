"""Plain data of a rollout: terms, where it stands, evidence, plan. The policy knows nothing else."""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.registry import Phase, Rollout, RolloutKind
from holdfast.spec.checklist import Checklist

Act = Literal["none", "advance", "hold", "promote", "roll back", "expire"]
Clock = Literal["fast", "label-free", "labels", "time"]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the checklist asks of a rollout."""

    alpha: float
    margin: float
    ramp: tuple[float, ...]
    shadow_us: int
    step_us: int
    maturity_us: int
    """Age at which a prediction counts with or without its label."""
    risk_budget: float
    """0: not stated."""
    cost_per_loss: float
    """Currency for a whole loss; 1 where none is stated."""
    latency_target_s: float
    max_latency_ratio: float
    max_error_increase: float
    max_flips: float
    max_volume_change: float
    max_crashes: int


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How alpha is split, so that all wrong decisions together keep it."""

    quality: float
    guardrail: float
    """For each of errors, latency, the arms and every slice."""

    @classmethod
    def of(cls, alpha: float, slices: int) -> Shares:
        """Half for the quality over all, half shared by the guardrails.

        A rollout is never wrong both in going back and in promoting, so each of the two may use its share
        whole.
        """
        return cls(quality=alpha / 2, guardrail=alpha / 2 / (3 + slices))


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rollout is."""

    kind: RolloutKind
    phase: Phase
    share: float
    held: bool
    started_at_us: int
    phase_at_us: int
    deadline_us: int
    checked: bool
    """A passed check, or a waiver, is there."""
    accepted: tuple[str, ...] = ()
    """Subjects after which a person let it go on."""

    @classmethod
    def of(cls, rollout: Rollout, *, checked: bool, accepted: tuple[str, ...] = ()) -> Standing:
        """Of a rollout in the registry."""
        return cls(
            kind=rollout.kind,
            phase=rollout.phase,
            share=rollout.share,
            held=rollout.held,
            started_at_us=rollout.started_at_us,
            phase_at_us=rollout.phase_at_us,
            deadline_us=rollout.deadline_us,
            checked=checked,
            accepted=accepted,
        )


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Errors and latency of one arm since the phase began."""

    requests: int = 0
    errors: int = 0
    errors_lower: float = 0.0
    """Bounds of the share of requests that fail."""
    errors_upper: float = 1.0
    p99_lower_s: float | None = None
    """Bounds of the 99th percentile; None: nothing is known on that side."""
    p99_upper_s: float | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Challenger minus champion, with bounds that hold at all times."""

    name: str
    n: int
    mean: float | None
    lower: float
    upper: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known at one moment."""

    now_us: int
    champion: Health = Health()
    challenger: Health = Health()
    crashes: int = 0
    load_failures: int = 0
    """Workers that could not load the challenger."""
    copies_dropped: int = 0
    ratio_evidence: float = 1.0
    """How many times likelier the arms' counts are under a broken assignment."""
    flips: Comparison | None = None
    """Share of rows answered differently."""
    volume: Comparison | None = None
    """Share of positives, or the mean answer in units of loss_scale."""
    volume_of: str = "share of positives"
    """Which of the two, in words."""
    score: Comparison | None = None
    """Mean score: calibration as far as it shows without labels."""
    quality: Comparison | None = None
    """Loss, over the mature rows that both versions answered."""
    arms: Comparison | None = None
    """Loss of the mature rows that callers got from either: it holds what acting on the answer changes."""
    slices: tuple[Comparison, ...] = ()
    coverage: Comparison | None = None
    """Share of mature rows that have a label, between the arms."""
    admitted: int = 0
    """Mature predictions."""
    labelled: int = 0
    exposed: int = 0
    """Requests that the challenger answered to a caller."""
    rows_per_s: float = 0.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and why."""

    act: Act
    reason: str
    clock: Clock
    subject: str = ""
    """With `hold`: what was odd."""
    share: float = 0.0
    """With `advance`: the next one."""
    approved: bool = False
    """The labels say that it is not worse by the margin, in no guardrail."""
    most_share: float = 0.0
    """That the risk budget allows now."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The newest look at a rollout, as it stands in the registry."""

    evidence: Evidence
    plan: Plan


def terms_of(checklist: Checklist) -> Terms:
    """The terms of a checklist."""
    rollout, monitoring = checklist.rollout, checklist.monitoring
    return Terms(
        alpha=rollout.alpha,
        margin=rollout.margin,
        ramp=rollout.ramp,
        shadow_us=rollout.shadow.microseconds,
        step_us=rollout.step.microseconds,
        maturity_us=monitoring.label_delay.microseconds,
        risk_budget=rollout.risk_budget,
        cost_per_loss=max(monitoring.cost_false_positive, monitoring.cost_false_negative) or 1.0,
        latency_target_s=checklist.speed.p99_ms / 1000,
        max_latency_ratio=rollout.max_latency_ratio,
        max_error_increase=rollout.max_error_increase,
        max_flips=rollout.max_flips,
        max_volume_change=rollout.max_volume_change,
        max_crashes=rollout.max_crashes,
    )

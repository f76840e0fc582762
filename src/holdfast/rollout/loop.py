"""The policy loop: gather evidence, ask the policy, carry its plan out, write down why."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from holdfast.artifact import open_artifact
from holdfast.clock import Clock
from holdfast.infer import keep_units_of
from holdfast.prediction_log import PredictionLog
from holdfast.registry import Registry, Rollout
from holdfast.rollout.checks import what_lacks
from holdfast.rollout.gate import Judged, judge
from holdfast.rollout.health import Counted, count, exposed, health, ratio_evidence
from holdfast.rollout.log_evidence import LogEvidence
from holdfast.rollout.losses import losses_of
from holdfast.rollout.policy import decide
from holdfast.rollout.starting import baseline_answers
from holdfast.rollout.values import Evidence, Plan, Report, Standing, terms_of
from holdfast.spec import Deployment
from holdfast.telemetry import ServiceCounts, read_all

POLICY = "policy"
"""Who acts, in the audit."""
EVIDENCE = "rollout"
"""Kind of the evidence that is left with the challenger at the end."""

LARGEST_DUTY = 0.3
"""Share of the time that reading the log may take."""


class Memory(msgspec.Struct, kw_only=True):
    """What the loop needs to go on after a restart; stands in the registry."""

    slices: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """Fixed at the start, since alpha is split over them."""
    base: Counted = Counted()
    """Counts of the service when the phase began."""
    base_at_us: int = -1
    """Beginning of the phase that `base` belongs to."""
    canary_since_us: int | None = None
    held_for: str = ""
    """What the policy held for."""
    accepted: list[str] = msgspec.field(default_factory=list)
    """What a person resumed after; it holds no more."""


class RolloutLoop:
    """Follows the open rollout of one deployment.

    Args:
        deployment: its checklist.
        registry: of the deployment.
        clock: wall time of evidence and decisions.
    """

    def __init__(self, deployment: Deployment, registry: Registry, clock: Clock) -> None:
        self._deployment = deployment
        self._registry = registry
        self._clock = clock
        self._terms = terms_of(deployment.checklist)
        self._of_tables = deployment.checklist.predictions.mode == "batch"
        self._judged: tuple[int, Judged, float] | None = None
        self._log: tuple[int, LogEvidence] | None = None

    def run_once(self, *, labels: bool = True) -> tuple[Rollout, Report] | None:
        """Look once, and act.

        Args:
            labels: read the log anew; else the newest look at it counts.

        Returns:
            The rollout after the act; None where none is open.

        Raises:
            RolloutError: the baseline of a first deployment cannot be read.
        """
        rollout = self._registry.rollouts.open()
        if rollout is None:
            return None
        memory = msgspec.convert(rollout.memory, Memory)
        evidence = self._evidence(rollout, memory, labels=labels)
        if memory.held_for and not rollout.held:
            memory.accepted.append(memory.held_for)
            memory.held_for = ""
        # Of the start: `serve --port` and the like override the checklist of this process alone.
        lacks = what_lacks(self._registry, rollout.challenger, rollout.checklist_hash)
        standing = Standing.of(
            rollout, checked=lacks is None or bool(rollout.waived), accepted=tuple(memory.accepted)
        )
        plan = decide(self._terms, standing, evidence)
        report = Report(evidence=evidence, plan=plan)
        if plan.act == "hold":
            memory.held_for = plan.subject
        if labels or plan.act != "none" or rollout.report.get("plan", {}).get("reason") != plan.reason:
            payload = msgspec.to_builtins(report)
            self._registry.rollouts.report(rollout.number, payload, msgspec.to_builtins(memory))
        self._carry_out(rollout, plan, report)
        now = self._registry.rollouts.open()
        if plan.act != "none":
            keep_units_of(self._deployment.scored_folder, now)
        return (now if now is not None and now.number == rollout.number else rollout), report

    def follow(self, stop: threading.Event) -> Iterator[tuple[Rollout, Report]]:
        """Look again and again until `stop` is set or the rollout has ended; yields each act."""
        settings = self._deployment.checklist.rollout
        labels_at_s = 0.0
        while not stop.is_set():
            began_s = self._clock.monotonic_s()
            labels = began_s >= labels_at_s
            found = self.run_once(labels=labels)
            if labels:  # reading a long log may take this share of the time and no more
                ended_s = self._clock.monotonic_s()
                pause_s = max(settings.label_interval.seconds, (ended_s - began_s) / LARGEST_DUTY)
                labels_at_s = began_s + pause_s
            if found is None:
                return
            if found[1].plan.act != "none":
                yield found
            stop.wait(settings.fast_interval.seconds)

    def _evidence(self, rollout: Rollout, memory: Memory, *, labels: bool) -> Evidence:
        now_us = self._clock.now_us()
        counts = self._counts(rollout, f"{rollout.share:g}")
        counted = count(counts, rollout)
        if memory.base_at_us != rollout.phase_at_us:
            # Tables are counted apart for each share, and may be long done when somebody looks.
            memory.base = Counted() if self._of_tables else counted
            memory.base_at_us = rollout.phase_at_us
            if rollout.phase == "canary" and memory.canary_since_us is None:
                memory.canary_since_us = rollout.phase_at_us
        new = counted.since(memory.base)
        judged, rate = self._look(rollout, memory, now_us, anew=labels)
        return Evidence(
            now_us=now_us,
            champion=health(new.champion, self._terms, len(memory.slices)),
            challenger=health(new.challenger, self._terms, len(memory.slices)),
            crashes=new.deaths,
            load_failures=new.load_failures if rollout.phase == "canary" else 0,
            copies_dropped=new.dropped,
            ratio_evidence=ratio_evidence(counts, rollout),
            exposed=exposed(self._counts(rollout, "*"), rollout),
            rows_per_s=rate,
            **({} if judged is None else _fields(judged)),
        )

    def _counts(self, rollout: Rollout, shares: str) -> ServiceCounts:
        """Of the service that runs; or of the tables that were scored at those shares of this rollout."""
        if not self._of_tables:
            return read_all(self._deployment.run_folder)
        total = ServiceCounts()
        for folder in (self._deployment.scored_folder / str(rollout.number)).glob(shares):
            total.add(read_all(folder), alive=False)
        return total

    def _look(
        self, rollout: Rollout, memory: Memory, now_us: int, *, anew: bool
    ) -> tuple[Judged | None, float]:
        if not self._deployment.checklist.logging.enabled:
            return None, 0.0
        if not anew and self._judged is not None and self._judged[0] == rollout.number:
            return self._judged[1], self._judged[2]
        log = self._log_of(rollout)
        if not log.has_answers:
            return None, 0.0
        watermark_us = now_us
        if self._deployment.checklist.predictions.time_field:
            watermark_us = log.newest_us(rollout.started_at_us) or now_us
        fields = tuple(dict.fromkeys(field for field, _ in memory.slices))
        pairs = log.pairs(rollout, fields, watermark_us)
        since_us = memory.canary_since_us
        arms = None if since_us is None else log.arms(rollout, since_us, watermark_us)
        judged = judge(self._terms, pairs, arms, memory.slices)
        rate = log.rows_per_s(rollout.started_at_us, now_us)
        self._judged = (rollout.number, judged, rate)
        return judged, rate

    def _log_of(self, rollout: Rollout) -> LogEvidence:
        if self._log is None or self._log[0] != rollout.number:
            version = self._registry.version(rollout.challenger)
            artifact = open_artifact(self._deployment.artifacts_folder / version.artifact_folder)
            log = LogEvidence(
                PredictionLog(self._deployment),
                losses_of(self._deployment, artifact.signature, rollout),
                self._terms.maturity_us,
                baseline_answers(rollout.baseline),
            )
            self._log = (rollout.number, log)
        return self._log[1]

    def _carry_out(self, rollout: Rollout, plan: Plan, report: Report) -> None:
        """The thin part: one plan, one change of the registry."""
        rollouts, number = self._registry.rollouts, rollout.number
        who: dict[str, Any] = {"reason": plan.reason, "actor": POLICY}
        if plan.act in {"promote", "roll back", "expire"}:
            payload = {"rollout": number, "act": plan.act, **msgspec.to_builtins(report)}
            self._registry.attach_evidence(rollout.challenger, EVIDENCE, payload)
        if plan.act == "advance":
            rollouts.advance(number, plan.share, **who)
        elif plan.act == "hold":
            rollouts.hold(number, **who)
        elif plan.act == "promote":
            self._registry.promote(rollout.challenger, checklist_hash=self._deployment.checklist_hash, **who)
        elif plan.act == "roll back":
            rollouts.end(number, "rolled back", **who)
        elif plan.act == "expire":
            rollouts.end(number, "expired", **who)


def _fields(judged: Judged) -> dict[str, Any]:
    return {
        "flips": judged.flips,
        "volume": judged.volume,
        "volume_of": judged.volume_of,
        "score": judged.score,
        "quality": judged.quality,
        "slices": judged.slices,
        "arms": judged.arms,
        "coverage": judged.coverage,
        "admitted": judged.admitted,
        "labelled": judged.labelled,
    }

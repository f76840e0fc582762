"""The fast clock: errors and latency of both arms, from the counts of the running service or of tables."""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.registry import Rollout
from holdfast.rollout.values import Health, Shares, Terms
from holdfast.stats import QuantileBounds, quantile_bounds_of_counts, sample_ratio_evidence, share_bounds
from holdfast.telemetry import CopyCounts, Histogram, ServiceCounts

_QUANTILE: Final = 0.99
_HOT: Final = ("/predict", "/infer", ":predict", "/invocations", "ModelInfer", "/score")
"""Ends of the routes that answer predictions; the last one is of tables."""


class ArmCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one arm has counted; numbers that only grow while a service runs."""

    requests: int = 0
    errors: int = 0
    edges_s: tuple[float, ...] = ()
    latency: tuple[int, ...] = ()

    def since(self, base: ArmCounts) -> ArmCounts:
        """What came after; after a restart of the service, everything."""
        if base.requests > self.requests or base.errors > self.errors or base.edges_s != self.edges_s:
            return self
        return ArmCounts(
            requests=self.requests - base.requests,
            errors=self.errors - base.errors,
            edges_s=self.edges_s,
            latency=tuple(a - b for a, b in zip(self.latency, base.latency, strict=True)),
        )


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Both arms, and what happened to the challenger's process."""

    champion: ArmCounts = ArmCounts()
    challenger: ArmCounts = ArmCounts()
    deaths: int = 0
    load_failures: int = 0
    dropped: int = 0

    def since(self, base: Counted) -> Counted:
        """What came after."""
        restarted = base.deaths > self.deaths
        return Counted(
            champion=self.champion.since(base.champion),
            challenger=self.challenger.since(base.challenger),
            deaths=self.deaths if restarted else self.deaths - base.deaths,
            load_failures=max(self.load_failures - (0 if restarted else base.load_failures), 0),
            dropped=max(self.dropped - (0 if restarted else base.dropped), 0),
        )


def count(counts: ServiceCounts, rollout: Rollout) -> Counted:
    """What the service has counted for the arms of a rollout.

    In shadow both arms are judged by their runs, since no caller waits for the challenger: its own by those
    on copies. With a share, by the requests that were shared out: who names a version is in neither arm.
    """
    ours, theirs = rollout.challenger, rollout.champion or ""
    copies = counts.copies.get(ours)
    if rollout.kind == "first":
        return Counted(challenger=_requests(counts, ours))
    return Counted(
        champion=_requests(counts, theirs) if rollout.phase == "canary" else _runs(counts, theirs),
        challenger=_requests(counts, ours) if rollout.phase == "canary" else _copied(copies),
        deaths=0 if copies is None else copies.deaths,
        load_failures=0 if copies is None else copies.load_failures,
        dropped=0 if copies is None else copies.dropped,
    )


def health(arm: ArmCounts, terms: Terms, slices: int) -> Health:
    """Bounds of one arm's errors and latency; the two arms share the guardrail's part of alpha."""
    error = Shares.of(terms.alpha, slices).guardrail / 2
    failed = share_bounds(min(arm.errors, arm.requests), arm.requests, error)
    p99 = QuantileBounds(0, float("-inf"), float("inf"))
    if sum(arm.latency):
        p99 = quantile_bounds_of_counts(arm.edges_s, arm.latency, _QUANTILE, error)
    return Health(
        requests=arm.requests,
        errors=arm.errors,
        errors_lower=failed.lower,
        errors_upper=failed.upper,
        p99_lower_s=p99.lower if p99.lower > float("-inf") else None,
        p99_upper_s=p99.upper if p99.upper < float("inf") else None,
    )


def ratio_evidence(counts: ServiceCounts, rollout: Rollout) -> float:
    """How the units are shared between the arms at the present share; 1 where nothing is assigned."""
    if rollout.phase != "canary" or not 0 < rollout.share < 1:
        return 1.0
    found = [
        counts.units.get(f"{rollout.number} {rollout.share:g} {arm}", 0) for arm in ("champion", "challenger")
    ]
    return sample_ratio_evidence(found, [1 - rollout.share, rollout.share])


def exposed(counts: ServiceCounts, rollout: Rollout) -> int:
    """Requests, or rows of tables, that were shared out to the challenger and answered by these counts."""
    return 0 if rollout.kind == "first" else _requests(counts, rollout.challenger).requests


def _requests(counts: ServiceCounts, version: str) -> ArmCounts:
    requests = errors = 0
    latency: Histogram | None = None
    for route in counts.routes.values():
        if route.version != version or not route.route.endswith(_HOT):
            continue
        requests += sum(route.statuses.values())
        errors += sum(number for status, number in route.statuses.items() if status >= 500)
        if latency is None:
            latency = Histogram.of(route.latency_s.edges)
        latency.add(route.latency_s)
    return _arm(requests, errors, latency)


def _runs(counts: ServiceCounts, version: str) -> ArmCounts:
    found = counts.versions.get(version)
    if found is None:
        return ArmCounts()
    return _arm(found.rows + found.failures, found.failures, found.run_s)


def _copied(copies: CopyCounts | None) -> ArmCounts:
    if copies is None:
        return ArmCounts()
    return _arm(copies.answered + copies.failed, copies.failed, copies.run_s)


def _arm(requests: int, errors: int, latency: Histogram | None) -> ArmCounts:
    return ArmCounts(
        requests=requests,
        errors=errors,
        edges_s=() if latency is None else latency.edges,
        latency=() if latency is None else tuple(latency.counts),
    )

"""The curve of latency against load as evidence of a version, for the dashboard and the next release."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from holdfast.loadtest.report import LoadReport, Percentile
from holdfast.loadtest.search import SearchReport, shortfall
from holdfast.registry import Registry
from holdfast.spec import Deployment, Speed

CURVE_KIND: Final = "load curve"


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One load on the way to the highest rate."""

    rate_per_s: float
    """Asked."""
    answered_per_s: float
    failed_share: float
    p50: Percentile
    p99: Percentile
    kept: bool
    """Whether it kept `[speed]`."""
    disturbed: str | None
    """Why the latencies may be longer than the service's own; None: they are its own."""


class LoadCurve(msgspec.Struct, frozen=True, kw_only=True):
    """As it stands in the registry, under the kind `load curve`."""

    at: str
    """ISO 8601, UTC."""
    machine: str
    checklist_hash: str
    protocol: str
    arrivals: str
    seconds: float
    """Of each load."""
    p50_ms: float | None
    """As `[speed]` asked it; likewise the next two."""
    p99_ms: float
    qps: float
    rate_per_s: float | None
    """The highest rate that kept `[speed]` in every confirmation; None: there is none."""
    confirmations: int
    stopped_by: str
    points: tuple[CurvePoint, ...]
    """Ascending by rate; loads that the generator could not send are left out."""


def make_curve(
    found: SearchReport, speed: Speed, *, at: str, machine: str, checklist_hash: str
) -> LoadCurve | None:
    """What a search leaves behind; None where no load was really sent."""
    points = tuple(_point(one, speed) for one in found.probes if one.offered and one.percentiles)
    if not points:
        return None
    first = found.probes[0]
    return LoadCurve(
        at=at,
        machine=machine,
        checklist_hash=checklist_hash,
        protocol=first.protocol,
        arrivals=first.arrivals,
        seconds=first.seconds,
        p50_ms=speed.p50_ms,
        p99_ms=speed.p99_ms,
        qps=speed.qps,
        rate_per_s=found.rate_per_s,
        confirmations=found.confirmations,
        stopped_by=found.stopped_by,
        points=points,
    )


def _point(report: LoadReport, speed: Speed) -> CurvePoint:
    return CurvePoint(
        rate_per_s=report.rate_per_s,
        answered_per_s=report.answered_per_s,
        failed_share=report.failed_share,
        p50=report.percentile(0.5),
        p99=report.percentile(0.99),
        kept=shortfall(report, speed) is None,
        disturbed=report.disturbed,
    )


def keep_curve(
    deployment: Deployment, registry: Registry, version: str, found: SearchReport, *, at: str, machine: str
) -> LoadCurve | None:
    """Store the curve as evidence of the version that was asked.

    Raises:
        UnknownVersionError: there is no such version.
    """
    curve = make_curve(
        found,
        deployment.checklist.speed,
        at=at,
        machine=machine,
        checklist_hash=deployment.checklist_hash,
    )
    if curve is not None:
        content: dict[str, Any] = msgspec.to_builtins(curve)
        registry.attach_evidence(version, CURVE_KIND, content)
    return curve

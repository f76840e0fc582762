"""The highest rate at which a service still keeps its promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from holdfast.loadtest.report import LoadReport
from holdfast.spec import Speed

_RESOLUTION: Final = 1.08
"""Two rates nearer than 8 % are not told apart: repeated runs differ by as much."""
_STEP_BACK: Final = 0.9
_MOST_PROBES: Final = 24
_AGAIN: Final = 2
"""How often a load is repeated whose latencies may be the generator's own."""
ALLOWED_FAILURES: Final = 0.001
"""Share of requests without a good answer that still counts as sustained."""


class SearchReport(msgspec.Struct, frozen=True, kw_only=True):
    """The rate that was found, and every load on the way: the curve of latency against load."""

    rate_per_s: float | None
    """Kept in every confirmation; None: not even the lowest rate tried was."""
    confirmations: int
    probes: tuple[LoadReport, ...]
    """Ascending by rate."""
    stopped_by: str
    """What the next higher rate failed for, in words."""


def shortfall(report: LoadReport, speed: Speed) -> str | None:
    """What of `[speed]` a load did not keep, in words; None: it kept all."""
    wanted = [(0.99, speed.p99_ms)] + ([(0.5, speed.p50_ms)] if speed.p50_ms is not None else [])
    for q, limit_ms in wanted:
        found = report.percentile(q).ms if report.percentiles else None
        if found is None or found > limit_ms:
            shown = "none" if found is None else f"{found:.4g} ms"
            return f"p{q * 100:g} {shown} (at most {limit_ms:g} ms)"
    if report.failed_share > ALLOWED_FAILURES:
        kinds = ", ".join(f"{kind}: {count}" for kind, count in report.failed.items())
        return f"{report.failed_share:.2%} of requests without an answer ({kinds})"
    if report.wrong:
        return f"{report.wrong} of {report.checked} answers were wrong"
    return None


def search_rate(
    probe: Callable[[float], LoadReport],
    speed: Speed,
    *,
    start_per_s: float,
    most_per_s: float = 1e6,
    confirmations: int = 3,
    most_probes: int = _MOST_PROBES,
    said: Callable[[str], None] = lambda _: None,
) -> SearchReport:
    """Double or halve from `start_per_s` until the answer changes, bisect, then confirm.

    A rate counts only if every one of `confirmations` more loads keeps `[speed]` too; otherwise the next
    lower one is tried. The generator's own lag is part of the latencies, so a load that keeps `[speed]` keeps
    it, whatever the lag. One that does not, while the generator was late, says nothing and is made again; a
    generator that uses its whole core ends the search upwards.

    Args:
        probe: makes one load at a rate.
        speed: what must be kept.
        start_per_s: where to begin.
        most_per_s: never tried above.
        confirmations: further loads at the rate that was found.
        most_probes: rates before the confirmations, however often each was asked; fewer give a coarser
            answer, which is still kept.
        said: is told of each probe in one line.
    """
    probes: list[LoadReport] = []
    reason = "the highest rate that may be tried"

    # Rates, each counted once however often it was asked again.
    tried = 0

    def kept(rate: float) -> bool:
        nonlocal reason, tried
        tried += 1
        for again in range(_AGAIN, -1, -1):
            report = probe(rate)
            probes.append(report)
            missing = shortfall(report, speed)
            if not report.offered:
                missing = f"the generator: {report.bottleneck}"
                break
            if missing is None or report.disturbed is None:
                break
            missing = f"{missing}, and perhaps only because {report.disturbed}"
            if again:
                said(f"{rate:.0f}/s: {missing}; asking again")
        said(f"{rate:.0f}/s: {missing or 'kept'}")
        if missing is not None:
            reason = missing
        return missing is None

    low, high = 0.0, float("inf")
    rate = min(start_per_s, most_per_s)
    while tried < most_probes:
        if kept(rate):
            low = max(low, rate)
            if rate >= most_per_s or low * _RESOLUTION >= high:
                break
            rate = min(rate * 2, most_per_s) if high == float("inf") else (low * high) ** 0.5
        else:
            high = min(high, rate)
            if low * _RESOLUTION >= high or rate < 1:
                break
            rate = (low * high) ** 0.5 if low else rate / 2
    confirmed = 0
    while low >= 0.5 and confirmed < confirmations and tried < 2 * most_probes:
        if kept(low):
            confirmed += 1
        else:
            low, confirmed = low * _STEP_BACK, 0
    found = low if low >= 0.5 and confirmed >= confirmations else None
    return SearchReport(
        rate_per_s=found,
        confirmations=confirmed,
        probes=tuple(sorted(probes, key=lambda report: report.rate_per_s)),
        stopped_by=reason,
    )

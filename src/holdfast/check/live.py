"""Lines that need the running service: latency, throughput, memory, refusals, the log."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import numpy as np

from holdfast.check.confines import Confines
from holdfast.check.lines import Line, judge_at_most
from holdfast.check.memory import Peak, memory_line
from holdfast.check.scratch import Scratch
from holdfast.check.service import RunningService
from holdfast.clock import Clock
from holdfast.loadtest import (
    Load,
    LoadReport,
    Percentile,
    Requests,
    Target,
    reference_requests,
    run_load,
    search_rate,
    shortfall,
    with_reference_run,
)
from holdfast.prediction_log import PredictionLog, settle
from holdfast.spec import Speed
from holdfast.stats import Z95, quantile_estimate

_FEWEST: Final = 450
"""Requests that bound a 99th percentile from both sides with 95 % confidence, with some to spare (369)."""
_STARTS_DIFFER: Final = 0.07
"""Standard deviation of the logarithm of a latency from one start of a service to another: placement of
memory and threads. Of 8 starts measured 10 times each, 0.064 of the median beside 0.107 within a start."""
_SEARCH_S: Final = 2.0
_SEARCH_WARMUP_S: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """How long a check measures."""

    seconds: float = 6.0
    """Of load, beside the warm-up; twice as long once more where a limit lies inside an interval."""
    warmup_s: float = 1.0
    seed: int = 0


class LiveCheck:
    """The measurements on one running service.

    Args:
        scratch: which copy runs.
        service: the processes.
        confines: that hold them.
        effort: how long to measure.
        said: is told of each step.
    """

    def __init__(
        self,
        scratch: Scratch,
        service: RunningService,
        confines: Confines,
        effort: Effort,
        said: Callable[[str], None],
    ) -> None:
        self._deployment = scratch.deployment
        self._checklist = scratch.deployment.checklist
        self._service = service
        self._confines = confines
        self._effort = effort
        self._said = said
        self._first: Peak | None = None
        """Of memory, when the first load had ended."""
        self._authority = scratch.authority
        certificate = None if scratch.authority is None else str(scratch.authority.caller)
        name = scratch.deployment.name
        self._target = Target(service.url, name, "json", scratch.key, certificate)
        self._requests: Requests = with_reference_run(
            reference_requests(scratch.deployment, scratch.version, self._target)
        )
        plain = Target(service.url, name, "predict", scratch.key, certificate)
        one = reference_requests(scratch.deployment, scratch.version, plain, sizes=(1,))
        self._record = one.payloads[0].partition(b"\r\n\r\n")[2]
        """A row of the reference, as `/predict` takes it."""
        self.answered = len(self._requests.payloads)
        """Rows that this check got an answer to."""

    def lines(self) -> Iterator[Line]:
        """Every line, in the order of the file; the memory limit is set before the load."""
        compute = self._checklist.compute
        started = self._service.peak()
        fits = started is not None and started.seen <= compute.memory_mb * 1e6
        if fits:
            self._confines.limit(self._service.usage.pids())
        begun_s, begun_cpu_s = time.monotonic(), self._service.usage.cpu_s()
        speed_lines = self._speed()
        cpu = (self._service.usage.cpu_s() - begun_cpu_s) / (time.monotonic() - begun_s)
        yield from self._limits()
        yield self._cores(cpu, speed_lines)
        yield self._memory(enforced=fits)
        yield from speed_lines
        yield from self._callers()
        if self._authority is not None:
            yield self._authority.line(self._target)

    # The section speed

    def _load(self, rate_per_s: float, seconds: float, seed: int, warmup_s: float) -> LoadReport:
        load = Load(
            rate_per_s=rate_per_s,
            seconds=seconds,
            warmup_s=warmup_s,
            seed=seed,
            cpus=self._confines.others,
            timeout_s=max(self._checklist.speed.deadline_ms / 1000 * 2, 1.0),
        )
        known = self._others_s() is not None
        report = run_load(self._requests, load, others=(lambda: self._others_s() or 0.0) if known else None)
        self.answered += report.answered_in_all
        if self._first is None:
            self._first = self._service.peak()
        return report

    def _others_s(self) -> float | None:
        """Processor time that others took from the service's cores so far, as a share of these."""
        busy_s = self._confines.busy_s()
        if busy_s is None:
            return None
        own_s = self._service.usage.cpu_s()
        if not self._confines.others:
            # The load has no core of its own, so that it is among what the cores did.
            used = os.times()
            own_s += used.user + used.system + used.children_user + used.children_system
        return (busy_s - own_s) / len(self._confines.cores)

    def _speed(self) -> list[Line]:
        """At the stated rate, or above it where that gives too few requests and the service keeps up."""
        speed, effort = self._checklist.speed, self._effort
        higher = _FEWEST / effort.seconds
        if speed.qps < higher:
            self._said(f"asking {higher:.0f} times a second, as {speed.qps:g} would be too few to tell")
            report = self._load(higher, effort.seconds, effort.seed, effort.warmup_s)
            if report.offered and shortfall(report, speed) is None:
                return self._speed_lines(report)
        self._said(f"asking {speed.qps:g} times a second for {effort.warmup_s + effort.seconds:g} s")
        report = self._load(speed.qps, effort.seconds, effort.seed, effort.warmup_s)
        lines = self._speed_lines(report)
        verdicts = {line.verdict for line in lines}
        if "unknown" in verdicts and "fail" not in verdicts:
            self._said("a limit lies inside an interval: asking twice as long")
            report = self._load(speed.qps, 2 * effort.seconds, effort.seed + 1, effort.warmup_s)
            lines = self._speed_lines(report)
        hopeless = any(line.advice and "no rate keeps it" in line.advice for line in lines)
        if any(line.verdict == "fail" for line in lines) and not hopeless:
            lines = self._with_nearest_rate(lines, speed)
        return lines

    def _speed_lines(self, report: LoadReport) -> list[Line]:
        speed = self._checklist.speed
        lines = []
        for q, path, asked in ((0.5, "speed.p50_ms", speed.p50_ms), (0.99, "speed.p99_ms", speed.p99_ms)):
            if asked is None:
                continue
            found = report.percentile(q)
            interval = latency_interval(found, report.disturbed)
            nearest = interval[1] if interval is not None else found.ms
            bounded = found.ms if interval is not None else None
            lines.append(
                self._even_alone(asked, path)
                or judge_at_most(
                    path,
                    asked,
                    bounded,
                    interval,
                    nearest="No rate was asked at which it is kept: see the failures."
                    if nearest is None
                    else f"nearest possible at this rate, here: {path.split('.')[1]} = {_up(nearest)}",
                    unsure=report.disturbed
                    or "The interval holds the limit: measure longer with --seconds 60.",
                    lower_only=report.disturbed is not None,
                )
            )
        lines.append(self._qps(report))
        lines.append(self._deadline(report))
        return lines

    def _even_alone(self, asked_ms: float, path: str) -> Line | None:
        """A fail that no load is needed for: one request at a time already takes longer at the median."""
        alone = quantile_estimate(np.array(self._requests.alone_s), 0.5)
        if alone.low * 1000 <= asked_ms:
            return None
        least = _up(alone.high * 1000)
        return Line(
            line=path,
            asked=asked_ms,
            measured=round(alone.value * 1000, 4),
            interval=_rounded((alone.low * 1000, alone.high * 1000)),
            verdict="fail",
            advice="one request at a time takes as long at the median, so no rate keeps it; nearest "
            f"possible, and only without load: {path.split('.')[1]} = {least}",
        )

    def _qps(self, report: LoadReport) -> Line:
        asked = self._checklist.speed.qps
        # A count of independent callers varies by its root.
        spread = 1.96 * math.sqrt(max(report.answered, 1)) / report.seconds
        interval = (max(report.answered_per_s - spread, 0.0), report.answered_per_s + spread)
        unanswered = report.failed_share > 0.001
        advice = None
        verdict = "pass"
        if unanswered or report.wrong:
            verdict = "unknown" if report.disturbed and not report.wrong else "fail"
            kinds = ", ".join(f"{count} {kind}" for kind, count in report.failed.items())
            advice = (
                f"of {report.requests} requests: {kinds or f'{report.wrong} answered with other numbers'}"
            )
        return Line(
            line="speed.qps",
            asked=asked,
            measured=round(report.answered_per_s, 3),
            interval=_rounded(interval),
            verdict="pass" if verdict == "pass" else "unknown" if verdict == "unknown" else "fail",
            advice=advice,
        )

    def _deadline(self, report: LoadReport) -> Line:
        asked = self._checklist.speed.deadline_ms
        longest = report.max_ms
        return judge_at_most(
            "speed.deadline_ms",
            asked,
            None if longest is None else round(longest, 3),
            None,
            nearest=f"the longest answer took {longest:.4g} ms of the caller's time"
            if longest is not None
            else "nothing was answered",
            unsure=report.disturbed or "nothing was answered",
            lower_only=report.disturbed is not None,
        )

    def _with_nearest_rate(self, lines: list[Line], speed: Speed) -> list[Line]:
        """Say at which rate `[speed]` is kept, where it is not at the stated one."""
        self._said("looking for the rate that is kept")

        def probe(rate_per_s: float) -> LoadReport:
            seconds = min(max(_SEARCH_S, 100 / rate_per_s), 8.0)
            return self._load(rate_per_s, seconds, self._effort.seed, _SEARCH_WARMUP_S)

        start = speed.qps / 4
        found = search_rate(
            probe, speed, start_per_s=start, most_per_s=speed.qps, confirmations=1, most_probes=5
        )
        text = (
            f"nearest possible rate with these latencies: qps = {_down(found.rate_per_s)}"
            if found.rate_per_s is not None
            else "no rate keeps these latencies here: promise slower ones, or compress the model"
        )
        return [
            msgspec.structs.replace(line, advice=f"{line.advice}; {text}" if line.advice else text)
            if line.line == "speed.qps" or (line.verdict == "fail" and line.line == "speed.p99_ms")
            else line
            for line in lines
        ]

    # The section compute

    def _cores(self, cpu: float, speed_lines: list[Line]) -> Line:
        asked, there = self._checklist.compute.cores, len(self._confines.cores)
        measured = f"{cpu:.2f} used of {there} core(s)"
        if there >= asked:
            return Line(line="compute.cores", asked=asked, measured=measured, verdict="pass")
        if all(line.verdict == "pass" for line in speed_lines):
            return Line(
                line="compute.cores", asked=asked, measured=f"{measured}, and that is enough", verdict="pass"
            )
        return Line(
            line="compute.cores",
            asked=asked,
            measured=measured,
            verdict="unknown",
            advice=f"This machine has {there} core(s) for it: check on one that has {asked}.",
        )

    def _memory(self, *, enforced: bool) -> Line:
        asked = self._checklist.compute.memory_mb
        note = "" if enforced else " (measured without the limit, in which it cannot start)"
        line = memory_line(asked, self._service.peak(), first=self._first, note=note)
        killed = self._confines.killed()
        if not killed:
            return line
        return msgspec.structs.replace(
            line,
            verdict="fail",
            advice=f"The kernel ended {killed} process(es) of it at the limit: memory_mb must be larger.",
        )

    # Sections predictions and security

    def _limits(self) -> Iterator[Line]:
        predictions = self._checklist.predictions
        over = predictions.max_body_bytes + 1
        if over <= 64 << 20:
            status, _ = self._target.ask("POST", "/predict", b" " * over)
            yield _refusal("predictions.max_body_bytes", predictions.max_body_bytes, status, f"{over} bytes")
        rows = predictions.max_rows_per_request + 1
        body = self._record + (b"," + self._record) * (rows - 1)
        if len(body) + 2 <= predictions.max_body_bytes:
            status, _ = self._target.ask("POST", "/predict", b"[" + body + b"]")
            yield _refusal("predictions.max_rows_per_request", rows - 1, status, f"{rows} rows")

    def _callers(self) -> Iterator[Line]:
        asked = self._checklist.security.auth
        if asked == "none":
            return
        body = self._requests.payloads[0].partition(b"\r\n\r\n")[2]
        path = f"/v2/models/{self._deployment.name}/infer"
        found = {}
        for who, key in (("no key", None), ("a made-up key", "hfk_000000000000_" + "x" * 43)):
            target = dataclasses.replace(self._target, key=key)
            found[who], _ = target.ask("POST", path, body)
        fits = all(status == 401 for status in found.values())
        yield Line(
            line="security.auth",
            asked=asked,
            measured=", ".join(f"{who}: {status}" for who, status in found.items()),
            verdict="pass" if fits else "fail",
            advice=None
            if fits
            else "A caller without a valid key must get 401: report this, it is a defect.",
        )


def log_line(scratch: Scratch, service: RunningService, answered: int, clock: Clock) -> Line | None:
    """Kill the service as a crash would, then account for every prediction that it had answered.

    Call after everything else: the service is gone.

    Args:
        scratch: which copy ran.
        service: its processes.
        answered: rows that callers got an answer to.
        clock: of the keeper.
    """
    service.kill()
    logging = scratch.deployment.checklist.logging
    if not logging.enabled:
        return None
    settle(scratch.deployment, clock)
    proof = PredictionLog(scratch.deployment).verify()
    kept = proof.ledger.stored + proof.ledger.spooled + proof.ledger.sampled_out
    fits = proof.ok and kept >= answered
    return Line(
        line="logging.durability",
        asked=logging.durability,
        measured=f"after SIGKILL {min(kept, answered)} of {answered} answered rows are accounted for",
        verdict="unknown" if not answered else "pass" if fits else "fail",
        advice=None if fits and answered else "Is its disk full? See `holdfast log verify`.",
    )


def _refusal(path: str, asked: int, status: int, sent: str) -> Line:
    fits = status == 413
    return Line(
        line=path,
        asked=asked,
        measured=f"{sent} were refused ({status})" if 400 <= status < 500 else f"{sent} gave {status}",
        verdict="pass" if fits else "fail",
        advice=None if fits else "A larger request must get 413: report this, it is a defect.",
    )


def latency_interval(found: Percentile, disturbed: str | None) -> tuple[float, float] | None:
    """Of the service's own latency, over its starts; None: a side is not bounded by what was measured.

    Args:
        found: in one load of one start.
        disturbed: why the latency may be longer than the service's own; then nothing bounds that from below.
    """
    if found.ms is None or found.low_ms is None or found.high_ms is None:
        return None
    low, high = _with_restarts(found.ms, found.low_ms, found.high_ms)
    return (low if disturbed is None else 0.0), high


def _with_restarts(ms: float, low_ms: float, high_ms: float) -> tuple[float, float]:
    """The interval of a latency of one start of a service, widened to hold other starts of it.

    Its own uncertainty and that of `_STARTS_DIFFER` are added as squares, on the logarithm, as the Guide to
    the Expression of Uncertainty in Measurement (JCGM 100:2008, section 4.3) does with what is known from
    elsewhere.
    """
    if ms <= 0:
        return low_ms, high_ms
    starts = Z95 * _STARTS_DIFFER
    below = math.hypot(math.log(ms / low_ms), starts) if low_ms > 0 else math.inf
    above = math.hypot(math.log(high_ms / ms), starts)
    return round(ms * math.exp(-below), 4), round(ms * math.exp(above), 4)


def _rounded(interval: tuple[float, float]) -> tuple[float, float]:
    return round(interval[0], 3), round(interval[1], 3)


def _up(value: float) -> float:
    """To two digits, upwards."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return float(f"{math.ceil(value / step) * step:.6g}")


def _down(value: float) -> float:
    step = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return float(f"{math.floor(value / step) * step:.6g}")

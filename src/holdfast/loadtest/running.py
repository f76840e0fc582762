"""One load at one rate: the schedule, the generating processes, the report."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.loadtest.arrivals import Pattern, constant_arrivals, poisson_arrivals, replayed_arrivals
from holdfast.loadtest.errors import LoadTestError
from holdfast.loadtest.plan import Outcome, Plan
from holdfast.loadtest.report import Lag, LoadReport, find_bottleneck, summarise
from holdfast.loadtest.target import Requests, read_answer, same_outputs

_START_S: Final = 0.6
"""From starting the processes to the first request: time to import and connect."""
_PER_PROCESS: Final = 6000.0
"""Requests per second that one process sends without using its whole core (see bench/loadtest.py)."""
_KEPT: Final = 500
"""Answers kept for the comparison, of a whole load."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How much is asked, how, and for how long."""

    rate_per_s: float
    seconds: float = 10.0
    """Measured. 10 s hold a thousand requests of a busy page, enough for a 99th percentile."""
    warmup_s: float = 2.0
    """Cut off: caches fill, batches find their size."""
    arrivals: Pattern = "poisson"
    """Independent callers, as most are."""
    connections: int = 256
    """At most; opened as they are needed."""
    processes: int = 0
    """0: as many as the rate needs."""
    timeout_s: float = 5.0
    tolerance: float = 1e-5
    """Relative difference at which two answers are still the same: float32 rounding is near 1e-6."""
    seed: int = 0
    closed_loop: bool = False
    """See `Plan.closed_loop`."""
    cpus: tuple[int, ...] = ()
    """Cores for the generating processes; empty: any."""


def run_load(
    requests: Requests, load: Load, *, times_us: NDArray[np.integer[Any]] | None = None
) -> LoadReport:
    """Send requests on schedule and measure; takes `warmup_s + seconds` and about a second.

    The report says when the generator was the bottleneck; its latencies then only bound those of the service
    from above.

    Args:
        requests: what is sent, drawn at random; for replayed arrivals by their size.
        load: how much of it.
        times_us: for replayed arrivals, when each row of the log arrived.

    Raises:
        LoadTestError: a generating process failed, or there is nothing to replay.
    """
    whole_s = load.warmup_s + load.seconds
    rng = np.random.default_rng(load.seed)
    arrivals, choices = _schedule(requests, load, whole_s, rng, times_us)
    with tempfile.TemporaryDirectory(prefix="holdfast-load-") as folder:
        outcomes, latency, outcome = _generate(Path(folder), requests, load, arrivals, choices)
    measured = arrivals >= load.warmup_s
    percentiles, failed, longest_ms, histogram = summarise(
        latency[measured],
        outcome[measured],
        arrivals[measured] - load.warmup_s,
        seconds=load.seconds,
        seed=load.seed,
    )
    checked, wrong = _check(requests, outcomes, load.tolerance)
    lag = Lag(
        p50_ms=max(one.lag_p50_s for one in outcomes) * 1000,
        p99_ms=max(one.lag_p99_s for one in outcomes) * 1000,
        max_ms=max(one.lag_max_s for one in outcomes) * 1000,
        busy=max(one.busy for one in outcomes),
    )
    p99 = next((one.ms for one in percentiles if one.q == 0.99), None)
    answered = int((outcome[measured] == 0).sum())
    return LoadReport(
        url=requests.target.url,
        protocol=requests.target.protocol,
        arrivals="closed loop" if load.closed_loop else load.arrivals,
        rate_per_s=load.rate_per_s,
        seconds=load.seconds,
        warmup_s=load.warmup_s,
        requests=int(measured.sum()),
        answered=answered,
        answered_in_all=int((outcome == 0).sum()),
        answered_per_s=answered / load.seconds,
        failed=failed,
        percentiles=percentiles,
        max_ms=longest_ms,
        checked=checked,
        wrong=wrong,
        lag=lag,
        connections=sum(one.opened for one in outcomes),
        processes=len(outcomes),
        generator_cpu_s=sum(one.cpu_s for one in outcomes),
        bottleneck=None if load.closed_loop else find_bottleneck(lag, p99),
        histogram=histogram,
    )


def _schedule(
    requests: Requests,
    load: Load,
    whole_s: float,
    rng: np.random.Generator,
    times_us: NDArray[np.integer[Any]] | None,
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    if load.arrivals == "replay":
        if times_us is None:
            raise LoadTestError("there are no times to replay", next_step="Give the rows' times of a log.")
        arrivals, rows = replayed_arrivals(times_us, load.rate_per_s, whole_s)
        # The request whose size is nearest, at random among several.
        sizes = np.array(requests.rows)
        choices = np.empty(len(rows), dtype=np.int32)
        for size in np.unique(rows):
            nearest = np.flatnonzero(np.abs(sizes - size) == np.abs(sizes - size).min())
            here = rows == size
            choices[here] = rng.choice(nearest, size=int(here.sum()))
        return arrivals, choices
    arrivals = (
        poisson_arrivals(load.rate_per_s, whole_s, rng)
        if load.arrivals == "poisson"
        else constant_arrivals(load.rate_per_s, whole_s)
    )
    return arrivals, rng.integers(0, len(requests.payloads), size=len(arrivals), dtype=np.int32)


def _generate(
    folder: Path,
    requests: Requests,
    load: Load,
    arrivals: NDArray[np.float64],
    choices: NDArray[np.int32],
) -> tuple[list[Outcome], NDArray[np.float64], NDArray[np.int16]]:
    processes = load.processes or max(1, min(int(np.ceil(load.rate_per_s / _PER_PROCESS)), 8))
    host, port, tls = requests.target.address
    start_s = time.monotonic() + _START_S + 0.1 * processes
    keep_every = 0 if requests.expected is None else max(len(arrivals) // _KEPT, 1)
    running = []
    for number in range(processes):
        part = {name: folder / f"{number}-{name}" for name in ("arrivals", "choices", "latency", "outcome")}
        report_file = folder / f"{number}.report"
        files = {name: str(path) + ".npy" for name, path in part.items()}
        np.save(files["arrivals"], arrivals[number::processes])
        np.save(files["choices"], choices[number::processes])
        plan = Plan(
            host=host,
            port=port,
            tls=tls,
            payloads=list(requests.payloads),
            arrivals_file=files["arrivals"],
            choices_file=files["choices"],
            start_s=start_s,
            connections=max(load.connections // processes, 1),
            timeout_s=load.timeout_s,
            keep_every=keep_every,
            latency_file=files["latency"],
            outcome_file=files["outcome"],
            report_file=str(report_file),
            cpu=load.cpus[number % len(load.cpus)] if load.cpus else None,
            closed_loop=load.closed_loop,
        )
        path = folder / f"{number}.plan"
        path.write_bytes(msgspec.msgpack.encode(plan))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "holdfast.loadtest.generator", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        running.append((process, files, report_file))
    outcomes = []
    latency = np.full(len(arrivals), np.nan)
    outcome = np.zeros(len(arrivals), dtype=np.int16)
    longest_s = _START_S + load.warmup_s + load.seconds + load.timeout_s + 60
    try:
        for number, (process, files, report_file) in enumerate(running):
            try:
                _, errors = process.communicate(timeout=longest_s)
            except subprocess.TimeoutExpired:
                process.kill()
                _, errors = process.communicate()
            if process.returncode or not report_file.exists():
                raise LoadTestError(
                    "a generating process failed",
                    received=(errors.decode(errors="replace").strip().splitlines() or ["no message"])[-1],
                )
            outcomes.append(msgspec.msgpack.decode(report_file.read_bytes(), type=Outcome))
            latency[number::processes] = np.load(files["latency"])
            outcome[number::processes] = np.load(files["outcome"])
    finally:
        for process, _, _ in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    return outcomes, latency, outcome


def _check(requests: Requests, outcomes: list[Outcome], tolerance: float) -> tuple[int, int]:
    if requests.expected is None:
        return 0, 0
    checked = wrong = 0
    for kept in (one for outcome in outcomes for one in outcome.kept):
        checked += 1
        given = read_answer(kept.answer, requests.target.protocol)
        wrong += given is None or not same_outputs(given, requests.expected[kept.payload], tolerance)
    return checked, wrong

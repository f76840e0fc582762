"""One load at one rate: the schedule, its rounds, the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.loadtest.arrivals import Pattern, constant_arrivals, poisson_arrivals, replayed_arrivals
from holdfast.loadtest.errors import LoadTestError
from holdfast.loadtest.plan import OK, Outcome, Plan
from holdfast.loadtest.processes import generate
from holdfast.loadtest.report import OTHERS_SHARE, Lag, LoadReport, find_bottleneck, summarise
from holdfast.loadtest.target import Requests, read_answer, same_outputs

_PER_PROCESS: Final = 6000.0
"""Requests per second that one process sends without using its whole core (see bench/loadtest.py)."""
_KEPT: Final = 500
"""Answers kept for the comparison, of a whole load."""
_MOST_ROUNDS: Final = 8
_FEWEST_ROUNDS: Final = 5
"""Below, Student's t of so few rounds says nothing: one round, and blocks of it, say more."""
_ROUND_S: Final = 1.0
_ROUND_REQUESTS: Final = 100
"""Of a round at least: fewer have no 99th percentile of their own."""
_ROUND_WARMUP_S: Final = 0.3
"""Before each round but the first: the service is warm, only its connections are new."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How much is asked, how, and for how long."""

    rate_per_s: float
    seconds: float = 10.0
    """Measured. 10 s hold a thousand requests of a busy page, enough for a 99th percentile."""
    warmup_s: float = 2.0
    """Cut off: caches fill, batches find their size."""
    rounds: int = 0
    """Into which the measured time is divided, each begun anew; 0: up to 8 of a second or more, or 1 where
    that would leave fewer than 5."""
    arrivals: Pattern = "poisson"
    """Independent callers, as most are."""
    connections: int = 256
    """At most; opened as they are needed."""
    processes: int = 0
    """0: as many as the rate needs."""
    timeout_s: float = 5.0
    seed: int = 0
    closed_loop: bool = False
    """See `Plan.closed_loop`."""
    cpus: tuple[int, ...] = ()
    """Cores for the generating processes; empty: any."""

    @property
    def rounds_made(self) -> int:
        """The rounds that `rounds` comes to."""
        if self.rounds or self.closed_loop:
            return max(self.rounds, 1)
        whole = min(self.seconds / _ROUND_S, self.rate_per_s * self.seconds / _ROUND_REQUESTS, _MOST_ROUNDS)
        return int(whole) if whole >= _FEWEST_ROUNDS else 1


def run_load(
    requests: Requests,
    load: Load,
    *,
    times_us: NDArray[np.integer[Any]] | None = None,
    others: Callable[[], float] | None = None,
) -> LoadReport:
    """Send requests on schedule and measure; takes `warmup_s + seconds`, and half a second for each round.

    The measured time is divided into rounds. Processes and connections that are made anew meet another
    placement of threads and another moment of the machine, and measurements differ by that more than parts of
    one do; so the intervals rest on the rounds. A round in which the generator was late, or other programs
    used the service's cores, is measured again; there may be as many of those again as there are rounds.

    The report says when the generator was the bottleneck; its latencies then only bound those of the service
    from above.

    Args:
        requests: what is sent, drawn at random; for replayed arrivals by their size.
        load: how much of it.
        times_us: for replayed arrivals, when each row of the log arrived.
        others: the processor time, in seconds so far, that other programs took from the service's cores, as a
            share of these; None: not known.

    Raises:
        LoadTestError: a generating process failed, or there is nothing to replay.
    """
    count = load.rounds_made
    length_s = load.seconds / count
    rng = np.random.default_rng(load.seed)
    arrivals, choices = _schedule(requests, load, load.warmup_s + load.seconds, rng, times_us)
    again = count if count > 1 else 0
    rounds: list[_Round] = []
    answered_in_all = repeated = 0
    while len(rounds) < count:
        warmup_s = min(load.warmup_s, _ROUND_WARMUP_S) if rounds or repeated else load.warmup_s
        begin_s = load.warmup_s + len(rounds) * length_s
        inside = (arrivals >= begin_s - warmup_s) & (arrivals < begin_s + length_s)
        one = _round(
            requests, load, arrivals[inside] - begin_s, choices[inside], warmup_s=warmup_s, others=others
        )
        answered_in_all += int((one.outcome == OK).sum())
        if again and not load.closed_loop and one.is_disturbed:
            again -= 1
            repeated += 1
            continue
        rounds.append(one)
    due_s = np.concatenate([one.due_s + n * length_s for n, one in enumerate(rounds)])
    number = np.repeat(np.arange(count), [len(one.due_s) for one in rounds])
    measured = np.concatenate([one.due_s >= 0 for one in rounds])
    latency = np.concatenate([one.latency for one in rounds])[measured]
    outcome = np.concatenate([one.outcome for one in rounds])[measured]
    percentiles, failed, longest_ms, histogram = summarise(
        latency, outcome, due_s[measured], rounds=number[measured], seconds=load.seconds, seed=load.seed
    )
    outcomes = [told for one in rounds for told in one.told]
    checked, wrong = _check(requests, outcomes)
    lag = _worst([one.lag for one in rounds])
    p99 = next((one.ms for one in percentiles if one.q == 0.99), None)
    answered = int((outcome == OK).sum())
    return LoadReport(
        url=requests.target.url,
        protocol=requests.target.protocol,
        arrivals="closed loop" if load.closed_loop else load.arrivals,
        rate_per_s=load.rate_per_s,
        seconds=load.seconds,
        warmup_s=load.warmup_s,
        requests=int(measured.sum()),
        answered=answered,
        answered_in_all=answered_in_all,
        answered_per_s=answered / load.seconds,
        failed=failed,
        percentiles=percentiles,
        max_ms=longest_ms,
        checked=checked,
        wrong=wrong,
        lag=lag,
        connections=max(sum(told.opened for told in one.told) for one in rounds),
        processes=len(rounds[0].told),
        rounds=count,
        repeated=repeated,
        others=None if others is None else max(one.others or 0.0 for one in rounds),
        generator_cpu_s=sum(one.cpu_s for one in outcomes),
        bottleneck=None if load.closed_loop else find_bottleneck(lag, p99),
        histogram=histogram,
    )


@dataclass(frozen=True, slots=True)
class _Round:
    """One measurement, begun anew."""

    told: list[Outcome]
    due_s: NDArray[np.float64]
    """Intended times from the start of the measured part; negative in the warm-up."""
    latency: NDArray[np.float64]
    outcome: NDArray[np.int16]
    lag: Lag
    others: float | None

    @property
    def is_disturbed(self) -> bool:
        good = np.sort(self.latency[(self.outcome == OK) & (self.due_s >= 0)])
        p99_ms = float(good[int(0.99 * (len(good) - 1))]) * 1000 if len(good) else None
        return find_bottleneck(self.lag, p99_ms) is not None or (self.others or 0.0) > OTHERS_SHARE


def _round(
    requests: Requests,
    load: Load,
    due_s: NDArray[np.float64],
    choices: NDArray[np.int32],
    *,
    warmup_s: float,
    others: Callable[[], float] | None,
) -> _Round:
    processes = load.processes or max(1, min(int(np.ceil(load.rate_per_s / _PER_PROCESS)), 8))
    host, port, tls = requests.target.address
    kept = max(_KEPT // load.rounds_made, 1)
    plan = Plan(
        host=host,
        port=port,
        tls=tls,
        certificate=requests.target.certificate,
        certificate_key=requests.target.certificate_key,
        payloads=list(requests.payloads),
        connections=max(load.connections // processes, 1),
        timeout_s=load.timeout_s,
        keep_every=0 if requests.expected is None else max(len(due_s) // kept, 1),
        closed_loop=load.closed_loop,
    )
    cpus = tuple(load.cpus[n % len(load.cpus)] if load.cpus else None for n in range(processes))
    before_s, taken_s = time.monotonic(), 0.0 if others is None else others()
    told, latency, outcome = generate(plan, due_s + warmup_s, choices, cpus)
    share = None if others is None else max(others() - taken_s, 0.0) / (time.monotonic() - before_s)
    lag = _worst(
        [Lag(one.lag_p50_s * 1000, one.lag_p99_s * 1000, one.lag_max_s * 1000, one.busy) for one in told]
    )
    return _Round(told, due_s, latency, outcome, lag, share)


def _worst(lags: list[Lag]) -> Lag:
    return Lag(
        p50_ms=max(one.p50_ms for one in lags),
        p99_ms=max(one.p99_ms for one in lags),
        max_ms=max(one.max_ms for one in lags),
        busy=max(one.busy for one in lags),
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


def _check(requests: Requests, outcomes: list[Outcome]) -> tuple[int, int]:
    if requests.expected is None:
        return 0, 0
    checked = wrong = 0
    for kept in (one for outcome in outcomes for one in outcome.kept):
        checked += 1
        given = read_answer(kept.answer, requests.target.protocol)
        wrong += given is None or not same_outputs(given, requests.expected[kept.payload])
    return checked, wrong

"""What a load test found: numbers with their intervals, or why there are none."""

from __future__ import annotations

import base64
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.loadtest.plan import OK, OUTCOMES
from holdfast.stats import quantile_estimate

QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
_BLOCK_S: Final = 0.25
_MOST_BLOCKS: Final = 60
_HIGHEST_US: Final = 3_600_000_000
_LAG_SHARE: Final = 0.1
"""Own lag above this share of the 99th percentile of latency: the number would speak of the generator."""
_LAG_FLOOR_S: Final = 0.001
_BUSY: Final = 0.95
OTHERS_SHARE: Final = 0.05
"""Of the service's cores, used by other programs: above it, they are not the service's own."""


class Percentile(msgspec.Struct, frozen=True):
    """A percentile of latency over all requests, those without a good answer counted as slower than any."""

    q: float
    """Between 0 and 1."""
    ms: float | None
    """None: so many requests had no good answer that there is no such latency."""
    low_ms: float | None
    high_ms: float | None
    """End of the 95 % interval; None: not bounded by what was measured."""


class Lag(msgspec.Struct, frozen=True):
    """How late the generator itself was; it is part of every latency reported."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    busy: float
    """Largest share of a core that one generating process used."""


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """One load at one rate."""

    url: str
    protocol: str
    arrivals: str
    rate_per_s: float
    """Requests that were to be sent per second."""
    seconds: float
    """Measured, after the warm-up."""
    warmup_s: float
    requests: int
    """Due in the measured time."""
    answered: int
    """With status 200."""
    answered_in_all: int
    """With status 200, in the warm-up too."""
    answered_per_s: float
    failed: dict[str, int]
    """Requests without a good answer, by kind."""
    percentiles: tuple[Percentile, ...]
    max_ms: float | None
    checked: int
    """Answers compared with the reference run."""
    wrong: int
    """Of those, with other numbers."""
    lag: Lag
    connections: int
    processes: int
    rounds: int
    """Measurements that were each begun anew, with processes and connections of their own."""
    repeated: int
    """Rounds that were measured again, as the generator was late or others used the service's cores."""
    others: float | None
    """Share of the service's cores that other programs used in the busiest round; None: not known."""
    generator_cpu_s: float
    """Processor time of all generating processes."""
    bottleneck: str | None
    """Why the latencies speak of the generator rather than of the service; None: they do not."""
    histogram: str
    """Latencies of good answers in microseconds: an HdrHistogram, encoded as its log format has it."""

    def percentile(self, q: float) -> Percentile:
        """One of `QUANTILES`."""
        return next(one for one in self.percentiles if one.q == q)

    @property
    def offered(self) -> bool:
        """Whether the rate was really asked, so that the latencies bound those of the service from above.

        A generator that is now and then late makes latencies longer and no shorter. One that uses its whole
        core sends less than it says.
        """
        return self.lag.busy <= _BUSY

    @property
    def disturbed(self) -> str | None:
        """Why a latency may be longer than the service's own, in words; None: it is not known to be."""
        if self.bottleneck is not None:
            return self.bottleneck
        if self.others is not None and self.others > OTHERS_SHARE:
            return f"other programs used {self.others:.0%} of the service's core(s): the machine is busy"
        return None

    @property
    def failed_share(self) -> float:
        """Of the requests, without a good answer."""
        return 1 - self.answered / self.requests if self.requests else 0.0


def summarise(
    latency_s: NDArray[np.float64],
    outcome: NDArray[np.int16],
    due_s: NDArray[np.float64],
    *,
    rounds: NDArray[np.int64],
    seconds: float,
    seed: int,
) -> tuple[tuple[Percentile, ...], dict[str, int], float | None, str]:
    """Percentiles, failures by kind, the longest latency in ms, and the encoded histogram.

    Args:
        latency_s: `[N]`, NaN without an answer.
        outcome: `[N]`, of `plan`.
        due_s: `[N]`, intended times from the start of the measured time.
        rounds: `[N]`, which round each belongs to, from 0.
        seconds: of the measured time.
        seed: draws the blocks of the intervals.
    """
    from hdrh.histogram import HdrHistogram

    good = outcome == OK
    effective = np.where(good, latency_s, np.inf)
    count = int(np.clip(seconds / _BLOCK_S, 1, _MOST_BLOCKS))
    blocks = np.clip((due_s / seconds * count).astype(np.int64), 0, count - 1)
    rng = np.random.default_rng(seed)
    percentiles = []
    for q in QUANTILES if len(effective) else ():
        found = quantile_estimate(effective, q, blocks=blocks, rng=rng, rounds=rounds)
        percentiles.append(Percentile(q, _ms(found.value), _ms(found.low), _ms(found.high)))
    failed: dict[str, int] = {}
    for code, times in zip(*np.unique(outcome[~good], return_counts=True), strict=True):
        failed[OUTCOMES.get(int(code), f"status {int(code)}")] = int(times)
    histogram = HdrHistogram(1, _HIGHEST_US, 3)
    micros = np.clip(np.round(latency_s[good] * 1e6), 1, _HIGHEST_US).astype(np.int64)
    for value, times in zip(*np.unique(micros, return_counts=True), strict=True):
        histogram.record_value(int(value), int(times))
    encoded = histogram.encode()
    text = encoded.decode() if isinstance(encoded, bytes) else base64.b64encode(bytes(encoded)).decode()
    return tuple(percentiles), failed, float(micros.max() / 1000) if len(micros) else None, text


def _ms(seconds: float) -> float | None:
    return round(seconds * 1000, 4) if np.isfinite(seconds) else None


def find_bottleneck(lag: Lag, p99_ms: float | None) -> str | None:
    """Why the generator's own lag or load makes the latencies worthless, in words."""
    if lag.busy > _BUSY:
        return (
            f"a generating process used {lag.busy:.0%} of its core: give it more --processes, or a lower rate"
        )
    allowed_ms = max(_LAG_FLOOR_S * 1000, _LAG_SHARE * (p99_ms or 0.0))
    if lag.p99_ms > allowed_ms:
        return (
            f"the generator sent 1 request in 100 more than {lag.p99_ms:.2f} ms late, where a tenth of the "
            f"latency, {allowed_ms:.2f} ms, is allowed: the machine is busy, or shared with the service"
        )
    return None

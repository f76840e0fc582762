"""What compressing found: the original, the frontier, what was chosen or what is missing."""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.compress.judging import Judgement
from holdfast.compress.probe import Probed

GAIN: Final = 1.2
"""Smallest ratio that counts as a gain in time or memory: repeated measurements differ by less."""
FELT_MS: Final = 0.01
"""Smallest gain or loss in time of a run that counts: the service itself takes ten times as long."""
FELT_BYTES: Final = 10_000
"""Smallest gain in size that counts: less than the manifest and the card beside the model."""
FELT_MB: Final = 2.0
"""Smallest gain in memory that counts: less than what an allocator rounds to."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate, measured on this machine in the stated compute and judged on held-out rows."""

    name: str
    how: str
    size_bytes: int
    size_ratio: float
    """Of the original's."""
    probed: Probed
    judgement: Judgement
    one_by_one: bool
    """It cannot share a run between rows without changing a row's answer, so it runs row by row."""

    def gains(self, original_memory_mb: float) -> tuple[str, ...]:
        """The axes on which it is better than the original beyond what repeated measurements differ by."""
        probed, found = self.probed, []
        saved = self.size_bytes / self.size_ratio - self.size_bytes
        if self.size_ratio < 1 / GAIN and saved >= FELT_BYTES:
            found.append("size")
        less_mb = original_memory_mb - probed.memory_mb
        if less_mb >= FELT_MB and original_memory_mb >= GAIN * probed.memory_mb:
            found.append("memory")
        saved_ms = probed.original_p50_ms - probed.p50_ms
        if probed.speedup[0] >= GAIN and probed.speedup[1] > 1 and saved_ms >= FELT_MS:
            found.append("latency")
        saved_ms = 32e3 / probed.original_rows_per_s - 32e3 / probed.rows_per_s
        if probed.batch_speedup[0] >= GAIN and probed.batch_speedup[1] > 1 and saved_ms >= FELT_MS:
            found.append("throughput")
        return tuple(found)

    def losses(self) -> tuple[tuple[str, float], ...]:
        """In what it is slower than the original beyond what measurements differ by, and how many times."""
        probed = self.probed
        one_ms = probed.p50_ms - probed.original_p50_ms
        many_ms = 32e3 / probed.rows_per_s - 32e3 / probed.original_rows_per_s
        return tuple(
            (what, 1 / ratio)
            for what, ratio, more_ms in (
                ("one row", probed.speedup[0], one_ms),
                ("a row among many", probed.batch_speedup[0], many_ms),
            )
            if ratio * GAIN < 1 and more_ms >= FELT_MS
        )


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A way that was not tried, failed, or gained nothing."""

    name: str
    why: str


class CompressReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole."""

    version: str
    """That was to be compressed."""
    size_bytes: int
    memory_mb: float
    p50_ms: float
    rows_per_s: float
    allowed_loss: float
    rows_learned_from: int
    rows_judged_on: int
    tried: int
    frontier: tuple[Measured, ...]
    """Those better on some axis and beaten by none on all, smallest first."""
    skipped: tuple[Skipped, ...]
    chosen: str | None
    """Name of the smallest whose bound is inside the allowed loss and that fits the budget."""
    registered: str | None
    """Its version; None: none, or not asked for."""
    missing: str
    """Why none was chosen and by how much, in words; empty otherwise."""
    confined: str
    machine: str


def frontier(measured: list[Measured], original_memory_mb: float) -> tuple[Measured, ...]:
    """Candidates with a gain that no other beats in size, latency, throughput and bound at once."""
    useful = [one for one in measured if one.gains(original_memory_mb)]
    kept = [one for one in useful if not any(_beats(other, one) for other in useful if other is not one)]
    return tuple(sorted(kept, key=lambda one: one.size_bytes))


def _beats(one: Measured, other: Measured) -> bool:
    """At least as good everywhere; speeds count as equal within the noise."""
    noise = 1.1
    return (
        one.size_bytes < other.size_bytes
        and one.judgement.upper <= other.judgement.upper
        and one.probed.speedup[0] * noise >= other.probed.speedup[0]
        and one.probed.batch_speedup[0] * noise >= other.probed.batch_speedup[0]
    )

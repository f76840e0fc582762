"""Which candidate is chosen, or what is missing and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.compress.judging import Judgement
from holdfast.compress.report import Measured

_HOPELESS: Final = 3.0
"""Times the allowed loss: what surely loses more is measured only where nothing else is left."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a candidate must keep."""

    allowed_loss: float
    model_size_mb: float
    p99_ms: float
    qps: float = 0.0
    cores: int = 1
    """That answer `qps` together."""
    must_shrink: bool = False
    """The original is larger than `[compute]` allows, so that a smaller one may be slower than it."""

    def is_hopeless(self, judgement: Judgement) -> bool:
        """Whether it loses far more than is allowed, as far below its mean as its bound is above."""
        lower = 2 * judgement.loss - judgement.upper
        return lower > _HOPELESS * self.allowed_loss


def choose(best: tuple[Measured, ...], budget: Budget) -> tuple[Measured | None, str]:
    """The smallest that keeps the budget; or None and, in words, what is missing and by how much.

    One that is slower than the original is chosen only where the original is too large: nobody who asked for
    nothing but a smaller model expects the service to need more cores for it.
    """
    if not best:
        return None, "nothing is to be gained: no candidate is better than the original on any axis"
    faults = {one.name: _faults(one, budget) for one in best}
    for one in best:
        if not faults[one.name]:
            return one, ""
    # Quality cannot be bought, so what keeps it is nearer than what does not.
    nearest = min(best, key=lambda one: (one.judgement.upper > budget.allowed_loss, len(faults[one.name])))
    if nearest.judgement.upper > budget.allowed_loss:
        nearest = min(best, key=lambda one: one.judgement.upper)
    return None, f"nearest is {nearest.name}: {'; '.join(faults[nearest.name])}"


def _faults(one: Measured, budget: Budget) -> list[str]:
    faults = []
    probed = one.probed
    if one.judgement.upper > budget.allowed_loss:
        by = one.judgement.upper - budget.allowed_loss
        faults.append(
            f"its loss may be up to {one.judgement.upper:.4f}, {by:.4f} more than the allowed "
            f"{budget.allowed_loss:g} (measured {one.judgement.loss:+.4f} on {one.judgement.rows} rows; "
            "more rows narrow the bound)"
        )
    size_mb = one.size_bytes / 1e6
    if size_mb > budget.model_size_mb:
        faults.append(
            f"it has {size_mb:.3g} MB, {size_mb - budget.model_size_mb:.3g} more than model_size_mb"
        )
    if probed.p99_ms > budget.p99_ms:
        over = probed.p99_ms - budget.p99_ms
        faults.append(f"one row takes {probed.p99_ms:.3g} ms at p99, {over:.3g} more than p99_ms")
    most = max(probed.rows_per_s, 1000 / probed.p50_ms) * budget.cores
    if most < budget.qps:
        faults.append(f"{budget.cores} core(s) run {most:.3g} rows a second, fewer than qps = {budget.qps:g}")
    if not budget.must_shrink:
        faults += [
            f"{what} takes {times:.2g} times as long as with the original, which fits [compute] "
            "as it is (set model_size_mb below its size if it must become smaller)"
            for what, times in one.losses()
        ]
    return faults

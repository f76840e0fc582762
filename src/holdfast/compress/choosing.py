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

    def is_hopeless(self, judgement: Judgement) -> bool:
        """Whether it loses far more than is allowed, as far below its mean as its bound is above."""
        lower = 2 * judgement.loss - judgement.upper
        return lower > _HOPELESS * self.allowed_loss


def choose(best: tuple[Measured, ...], budget: Budget) -> tuple[Measured | None, str]:
    """The smallest that keeps the budget; or None and, in words, what is missing and by how much."""
    if not best:
        return None, "nothing is to be gained: no candidate is better than the original on any axis"
    faults = {one.name: _fault(one, budget) for one in best}
    for one in best:
        if faults[one.name] is None:
            return one, ""
    nearest = min(best, key=lambda one: one.judgement.upper)
    return None, f"nearest is {nearest.name}: {faults[nearest.name]}"


def _fault(one: Measured, budget: Budget) -> str | None:
    faults = []
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
    if one.probed.p99_ms > budget.p99_ms:
        over = one.probed.p99_ms - budget.p99_ms
        faults.append(f"one row takes {one.probed.p99_ms:.3g} ms at p99, {over:.3g} more than p99_ms")
    return "; ".join(faults) or None

"""What one demonstration found, as data and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from holdfast.demo.world import Truth


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The one document that `holdfast demo --json` prints."""

    seed: int
    change: bool
    fast: bool
    truth: Truth
    diagnosis: dict[str, Any]
    """The monitor's last `Diagnosis`."""
    agrees: bool
    disagreements: tuple[str, ...]
    """In what the diagnosis differs from the truth; () when it agrees."""
    predictions: int
    """Answers that came back over HTTP."""
    labels: int
    """Labels that the service accepted."""
    unaccounted: int
    """Answered predictions that the log does not hold, and rows that its ledger misses."""
    verified: bool
    """Whether the log's own verification found no hole and no duplicate."""
    errors: dict[str, int]
    """Requests without a good answer, by status or kind."""
    error_texts: tuple[str, ...]
    predictions_per_s: float
    """While predictions were asked for."""
    latency_p50_ms: float
    """As the client saw it, with all its connections busy."""
    latency_p99_ms: float
    reference_auc: float
    """ROC AUC of the model on the reference."""
    timings_s: dict[str, float]
    """Seconds by phase, and `total`."""
    folder: str | None
    """Where the deployment was kept."""

    def __str__(self) -> str:
        happened = (
            "nothing changed"
            if not self.truth.kinds
            else f"{' and '.join(self.truth.kinds)} since {self.truth.since}"
        )
        lines = [
            str(self.diagnosis["summary"]),
            f"Truth: {happened}.",
            "They agree." if self.agrees else "They do not agree: " + "; ".join(self.disagreements) + ".",
            (
                f"{self.predictions} predictions ({self.predictions_per_s:,.0f}/s, "
                f"p50 {self.latency_p50_ms:.1f} ms, p99 {self.latency_p99_ms:.1f} ms), {self.labels} labels, "
                f"{self.unaccounted} unaccounted, {self.timings_s['total']:.0f} s."
            ),
        ]
        if self.folder:
            lines.append(f"The deployment is in {self.folder}.")
        return "\n".join(lines)

"""The curve of latency against load, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import MissingExtraError
from holdfast.loadtest.errors import LoadTestError
from holdfast.loadtest.report import LoadReport
from holdfast.spec import Speed


def draw_curve(probes: Sequence[LoadReport], path: Path, speed: Speed | None = None) -> None:
    """Write p50 and p99, with their intervals, against the rate; `.svg` or `.png` by the path's suffix.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LoadTestError: another suffix.
    """
    if path.suffix.lower() not in {".svg", ".png"}:
        raise LoadTestError(
            "not a kind of picture", where=str(path), expected="a name that ends in .svg or .png"
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for q, colour in ((0.5, "tab:blue"), (0.99, "tab:red")):
        points = [
            (report.rate_per_s, found.ms, found.low_ms or found.ms, found.high_ms or found.ms)
            for report in sorted(probes, key=lambda one: one.rate_per_s)
            if report.offered and report.percentiles
            for found in [report.percentile(q)]
            if found.ms is not None
        ]
        if points:
            rates, values, lows, highs = zip(*points, strict=True)
            axes.plot(rates, values, marker="o", color=colour, label=f"p{q * 100:g}")
            axes.vlines(rates, lows, highs, color=colour, alpha=0.4)
    if speed is not None:
        axes.axhline(speed.p99_ms, color="tab:red", linestyle=":", label=f"p99_ms = {speed.p99_ms:g}")
        axes.axvline(speed.qps, color="grey", linestyle=":", label=f"qps = {speed.qps:g}")
    axes.set(xscale="log", yscale="log", xlabel="requests per second", ylabel="latency in ms, 95 % interval")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend()
    figure.savefig(path)

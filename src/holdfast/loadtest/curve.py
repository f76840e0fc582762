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
        from matplotlib.ticker import LogFormatter
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for q, colour in ((0.5, "tab:blue"), (0.99, "tab:red")):
        points: dict[float, list[float]] = {}
        for report in probes:
            found = report.percentile(q) if report.offered and report.percentiles else None
            if found is None or found.ms is None:
                continue
            points.setdefault(report.rate_per_s, []).append(found.ms)
            axes.vlines(
                report.rate_per_s, found.low_ms or found.ms, found.high_ms or found.ms, colour, alpha=0.4
            )
            # A triangle: too few requests to bound it from above.
            marker = "^" if found.high_ms is None else "o"
            axes.plot(report.rate_per_s, found.ms, marker, color=colour, markersize=4)
        rates = sorted(points)
        middles = [sorted(points[rate])[len(points[rate]) // 2] for rate in rates]
        axes.plot(rates, middles, color=colour, label=f"p{q * 100:g}, the middle one of each rate")
    if speed is not None:
        axes.axhline(speed.p99_ms, color="tab:red", linestyle=":", label=f"p99_ms = {speed.p99_ms:g}")
        axes.axvline(speed.qps, color="grey", linestyle=":", label=f"qps = {speed.qps:g}")
    axes.set(xscale="log", yscale="log", xlabel="requests per second")
    axes.set_ylabel("latency in ms, 95 % interval (triangle: no upper end)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(LogFormatter())
        axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend()
    figure.savefig(path)

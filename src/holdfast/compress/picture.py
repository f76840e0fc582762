"""The frontier as a picture."""

from __future__ import annotations

from pathlib import Path

from holdfast.compress.errors import CompressError
from holdfast.compress.report import CompressReport
from holdfast.errors import MissingExtraError


def draw_frontier(report: CompressReport, path: Path) -> None:
    """Write size against the bound of the loss, the area of a point growing with its throughput.

    Args:
        report: with the frontier.
        path: ends in `.svg` or `.png`.

    Raises:
        MissingExtraError: matplotlib is not installed.
        CompressError: another suffix.
    """
    if path.suffix.lower() not in {".svg", ".png"}:
        raise CompressError(
            "not a kind of picture", where=str(path), expected="a name that ends in .svg or .png"
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot") from error
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.scatter([report.size_bytes / 1e6], [0], s=40, color="black", label="original")
    for one in report.frontier:
        area = 40 * max(one.probed.batch_speedup[0], 0.1)
        colour = "tab:green" if one.name == report.chosen else "tab:blue"
        axes.scatter(
            [one.size_bytes / 1e6], [one.judgement.upper], s=min(area, 2000), color=colour, alpha=0.6
        )
        axes.annotate(one.name, (one.size_bytes / 1e6, one.judgement.upper), fontsize=7)
    axes.axhline(
        report.allowed_loss, color="tab:red", linestyle=":", label=f"allowed loss {report.allowed_loss:g}"
    )
    axes.set(xscale="log", xlabel="size in MB", ylabel="upper bound of the loss against the original")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend()
    figure.savefig(path)

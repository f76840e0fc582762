"""`holdfast compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.options import (
    actor,
    folder_option,
    json_option,
    open_deployment,
    open_registry,
    print_json,
    print_table,
)
from holdfast.clock import SystemClock

if TYPE_CHECKING:
    from holdfast.compress import CompressReport


@click.command("compress")
@folder_option
@click.option("--version", "model_version", help="Model version; the champion by default.")
@click.option(
    "--allowed-loss",
    type=click.FloatRange(0),
    help="By which it may be worse: 0.01 is one point of wrong answers. [rollout] margin by default.",
)
@click.option("--from-log", is_flag=True, help="Students learn from rows of the prediction log too.")
@click.option("--no-register", is_flag=True, help="Only report; register no challenger.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the frontier into a .svg or .png (needs holdfast[plot]).",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every split and draw.")
@json_option
def compress_command(
    folder: Path,
    model_version: str | None,
    allowed_loss: float | None,
    plot: Path | None,
    seed: int,
    *,
    from_log: bool,
    no_register: bool,
    as_json: bool,
) -> None:
    """Make a version smaller and faster, and register the smallest that is hardly worse as a challenger.

    Tries int8, float16, pruning, low rank, fewer trees and students. Each candidate is measured here in the
    stated compute and judged on rows of the reference that it has not seen, with an upper bound on its loss
    that is corrected for the number of candidates. What is better on no axis is not shown.
    """
    from holdfast.check.running import machine
    from holdfast.compress import compress_version, draw_frontier

    deployment = open_deployment(folder)
    clock = SystemClock()
    with open_registry(deployment) as registry:
        report = compress_version(
            deployment,
            registry,
            clock,
            version=model_version,
            allowed_loss=allowed_loss,
            extra=_log_rows(deployment, registry, model_version) if from_log else None,
            register=not no_register,
            actor=actor(),
            seed=seed,
            machine=machine(),
            said=lambda line: click.secho(f"  {line}", err=True, dim=True),
        )
    if plot is not None:
        draw_frontier(report, plot)
    if as_json:
        print_json(report)
    else:
        _print_report(report)


def _log_rows(deployment: Any, registry: Any, model_version: str | None) -> Any:
    """The newest rows of the log with every input in the clear; None if there are none."""
    from holdfast.artifact import Reference, open_artifact
    from holdfast.prediction_log import PredictionLog

    version = registry.version(model_version or registry.route().champion)
    signature = open_artifact(deployment.artifacts_folder / version.artifact_folder).signature
    names = [column.name for column in signature.columns]
    table = PredictionLog(deployment).predictions(columns=names).read_all()
    return Reference(table.slice(max(len(table) - 20_000, 0))) if len(table) else None


def _print_report(report: CompressReport) -> None:
    click.echo(
        f"version {report.version}: {_size(report.size_bytes)}, {report.memory_mb:.1f} MB in memory, "
        f"{report.p50_ms:.3g} ms a row, {report.rows_per_s:.0f} rows/s; {report.tried} candidates tried, "
        f"judged on {report.rows_judged_on} rows"
    )
    rows = [
        [
            ("* " if one.name == report.chosen else "  ") + one.name,
            f"{_size(one.size_bytes)} ({one.size_ratio:.2f}x)",
            f"{one.probed.memory_mb:.1f}",
            f"{one.probed.p50_ms:.3g} / {one.probed.p99_ms:.3g}",
            f"{one.probed.batch_speedup[0]:.2f}x",
            f"{one.judgement.loss:+.4f}",
            f"{one.judgement.upper:.4f}",
        ]
        for one in report.frontier
    ]
    if rows:
        columns = ["candidate", "size", "memory MB", "p50 / p99 ms", "throughput", "loss", "at most"]
        print_table("", columns, rows)
        worst = report.frontier[0].judgement
        click.echo(
            f"loss: {worst.metric}, of the original {worst.original:.4f}; allowed {report.allowed_loss:g}"
        )
    shown = next((one for one in report.frontier if one.name == report.chosen), None)
    for one in () if shown is None else shown.judgement.worst_slices[:1]:
        click.echo(
            f"{report.chosen} loses most where {one.slice}: {one.loss:+.4f}, at most {one.upper:.4f}, "
            f"on {one.rows} rows"
        )
    gained_nothing = [one.name for one in report.skipped if one.why == "better on no axis"]
    if gained_nothing:
        click.echo(f"better on no axis: {', '.join(gained_nothing)}")
    for other in report.skipped:
        if other.why != "better on no axis":
            click.echo(f"{other.name}: {other.why}")
    if report.chosen is None:
        click.echo(f"None is registered: {report.missing}")
    elif report.registered is None:
        click.echo(f"{report.chosen} would be registered")
    else:
        click.echo(
            f"{report.chosen} is version {report.registered}. "
            f"Next: holdfast check --version {report.registered}"
        )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.3g} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.3g} kB"

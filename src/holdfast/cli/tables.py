"""`holdfast score` and `holdfast label`: files in, files out."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.options import folder_option, json_option, open_deployment, open_registry, print_json
from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.spec import Deployment


@click.command("score")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@folder_option
@click.option("--version", "model_version", help="Model version; the champion by default.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="stop at the first bad row, or skip bad rows into TARGET.errors.jsonl and count them.",
)
@click.option("--no-log", is_flag=True, help="Do not write these predictions to the log.")
@json_option
def score_command(
    source: Path,
    target: Path,
    folder: Path,
    model_version: str | None,
    on_error: str,
    *,
    no_log: bool,
    as_json: bool,
) -> None:
    """Score SOURCE (Parquet or CSV) into TARGET (Parquet or CSV), in bounded memory.

    The target appears whole or not at all. Predictions go to the same log as those of the service.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from holdfast.score import score_table

    deployment = open_deployment(folder)
    clock = SystemClock()
    screen = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    with (
        open_registry(deployment) as registry,
        Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress,
    ):
        task = progress.add_task(f"Scoring {source.name}", total=None)
        report = score_table(
            deployment,
            registry,
            source,
            target,
            version=model_version,
            on_error="skip" if on_error == "skip" else "stop",
            log=not no_log,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            clock=clock,
        )
    if as_json:
        print_json(report)
    else:
        click.echo(str(report))
    _look_at_rollout(deployment, quiet=as_json)


@click.command("label")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@folder_option
@click.option("--id-column", default="prediction_id", show_default=True)
@click.option("--label-column", help="Column of the true answer; label or y by default.")
@click.option(
    "--time-column", help="Column of the time the label became known; observed_at if there, else now."
)
@json_option
def label_command(
    source: Path,
    folder: Path,
    id_column: str,
    label_column: str | None,
    time_column: str | None,
    *,
    as_json: bool,
) -> None:
    """Add the labels of SOURCE (Parquet, CSV or JSON lines) by prediction id.

    The same file twice changes nothing; a label for an unknown id is kept and counted.
    """
    from holdfast.prediction_log import add_label_file

    deployment = open_deployment(folder)
    report = add_label_file(
        deployment,
        source,
        id_column=id_column,
        label_column=label_column,
        time_column=time_column,
        clock=SystemClock(),
        of_numbers=_answers_with_numbers(deployment),
    )
    if as_json:
        print_json(report)
    else:
        click.echo(str(report))
    _look_at_rollout(deployment, quiet=as_json)


def _answers_with_numbers(deployment: Deployment) -> bool:
    """Whether the champion does; not where there is none."""
    from holdfast.artifact import open_artifact

    with open_registry(deployment) as registry:
        champion = registry.route().champion
        if champion is None:
            return False
        found = registry.version(champion)
    return open_artifact(deployment.artifacts_folder / found.artifact_folder).signature.task == "regression"


def _look_at_rollout(deployment: Deployment, *, quiet: bool) -> None:
    """Where tables are the traffic no service follows the open rollout, so each table and its labels do."""
    if deployment.checklist.predictions.mode != "batch":
        return

    clock = SystemClock()
    with open_registry(deployment) as registry:
        if registry.rollouts.open() is None:
            return
        from holdfast.rollout import RolloutLoop

        try:
            found = RolloutLoop(deployment, registry, clock).run_once()
        except HoldfastError as error:  # the table is done whatever becomes of the rollout
            click.echo(f"warning: the rollout could not be looked at: {error}", err=True)
            return
    if found is not None and not quiet:
        rollout, report = found
        click.echo(f"Rollout {rollout.number}, version {rollout.challenger}: {report.plan.reason}.")

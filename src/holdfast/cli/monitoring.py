"""`holdfast monitor` and `holdfast diagnose`."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.app import EXIT_ALARM, EXIT_OK
from holdfast.cli.options import folder_option, json_option, open_deployment, open_registry
from holdfast.clock import SystemClock
from holdfast.files import write_whole

if TYPE_CHECKING:
    from holdfast.monitor import Diagnosis

fail_option = click.option(
    "--fail-on-alarm", is_flag=True, help="Exit with 3 when an alarm stands, for CI and cron."
)


explain_option = click.option(
    "--explain/--no-explain",
    default=None,
    help="Always / never work out why, where and at what cost; by default on an alarm with labels.",
)

options_option = click.option(
    "--options", is_flag=True, help="Try what could be done about a change on its labelled rows (seconds)."
)


def _print_diagnosis(diagnosis: Diagnosis, *, as_json: bool) -> None:
    if as_json:
        click.echo(diagnosis.to_json())
        return
    from rich.console import Console

    Console().print(diagnosis)


def _working(what: str) -> AbstractContextManager[object]:
    """Says on a terminal that something is being done; nothing elsewhere."""
    from rich.console import Console

    screen = Console(stderr=True)
    return screen.status(f"{what} ...") if screen.is_terminal else nullcontext()


@click.command("monitor")
@folder_option
@click.option("--follow", is_flag=True, help="Go on judging new windows until stopped.")
@click.option("--quiet", is_flag=True, help="With --follow: print only alarms.")
@explain_option
@options_option
@fail_option
@json_option
def monitor_command(
    folder: Path,
    *,
    follow: bool,
    quiet: bool,
    explain: bool | None,
    options: bool,
    fail_on_alarm: bool,
    as_json: bool,
) -> int:
    """Judge the closed windows of the log against the champion's reference, and print the diagnosis."""
    from holdfast.alerts import AlertError, Alerting
    from holdfast.cli.service import stop_on_signal
    from holdfast.monitor import Monitor
    from holdfast.prediction_log import settle
    from holdfast.privacy import open_sealer

    deployment = open_deployment(folder)
    clock = SystemClock()
    with (
        open_registry(deployment) as registry,
        open_sealer(deployment.checklist.privacy, deployment.folder, os.environ, clock)
        or nullcontext() as sealer,
    ):
        alerting: Alerting | None = None
        try:
            alerting = Alerting.open(deployment, registry, clock, os.environ)
        except AlertError as error:
            if not follow:
                raise
            click.echo(f"nobody is told of alarms: {error}", err=True)  # a service is judged all the same
        monitor = Monitor(
            deployment, registry, clock, sealer, explain=explain, options=options, alerting=alerting
        )
        if follow:
            stop = stop_on_signal()
            with nullcontext() if alerting is None else alerting.sending():
                for diagnosis in monitor.follow(stop):
                    if diagnosis.alarm or not quiet:
                        _print_diagnosis(diagnosis, as_json=as_json)
            return EXIT_OK
        settle(deployment, clock=clock)
        with _working("Judging the windows"):
            diagnosis = monitor.run_once()
        if alerting is not None:
            alerting.sender.send_due()
    _print_diagnosis(diagnosis, as_json=as_json)
    return EXIT_ALARM if fail_on_alarm and diagnosis.alarm else EXIT_OK


@click.command("diagnose")
@click.option("--reference", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--current", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--target", metavar="COLUMN", help="Column of the true answer, where known.")
@click.option("--prediction", metavar="COLUMN", help="Column of the model's answer.")
@click.option("--score", metavar="COLUMN", help="Column of the probability of the positive class.")
@click.option(
    "--time",
    "time_column",
    metavar="COLUMN",
    help="Column of the time; rows are windows in order without it.",
)
@click.option("--window", help='Window length, such as "1d" or "1000 rows"; chosen and stated by default.')
@click.option(
    "--false-alarms", default="1 per 1000 windows", show_default=True, help="Budget for everything together."
)
@click.option(
    "--html", "html_path", type=click.Path(path_type=Path, dir_okay=False), help="Also write an HTML page."
)
@click.option(
    "--markdown",
    "markdown_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write Markdown, for a ticket or a chat.",
)
@click.option("--cost-false-positive", type=float, default=0.0, help="Cost of acting on a wrong positive.")
@click.option("--cost-false-negative", type=float, default=0.0, help="Cost of missing a positive.")
@click.option("--currency", default="EUR", show_default=True, help="Unit of the costs.")
@click.option(
    "--threshold",
    type=click.FloatRange(0.0, 1.0),
    default=0.5,
    show_default=True,
    help="Score from which the model answers with the positive class.",
)
@explain_option
@options_option
@fail_option
@json_option
def diagnose_command(  # noqa: PLR0917 - click passes them by name
    reference: Path,
    current: Path,
    target: str | None,
    prediction: str | None,
    score: str | None,
    time_column: str | None,
    window: str | None,
    false_alarms: str,
    html_path: Path | None,
    markdown_path: Path | None,
    cost_false_positive: float,
    cost_false_negative: float,
    currency: str,
    threshold: float,
    *,
    explain: bool | None,
    options: bool,
    fail_on_alarm: bool,
    as_json: bool,
) -> int:
    """Compare two tables (Parquet or CSV): what has drifted, since when, and in which columns?"""
    from holdfast.monitor import diagnose

    with _working("Comparing the tables"):
        diagnosis = diagnose(
            reference,
            current,
            target=target,
            prediction=prediction,
            score=score,
            time=time_column,
            window=window,
            false_alarms=false_alarms,
            cost_false_positive=cost_false_positive,
            cost_false_negative=cost_false_negative,
            currency=currency,
            threshold=threshold,
            explain=explain,
            options=options,
        )
    if html_path is not None:
        write_whole(html_path, diagnosis.to_html().encode())
    if markdown_path is not None:
        write_whole(markdown_path, diagnosis.to_markdown().encode())
    _print_diagnosis(diagnosis, as_json=as_json)
    return EXIT_ALARM if fail_on_alarm and diagnosis.alarm else EXIT_OK

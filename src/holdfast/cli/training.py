"""`holdfast train` and what belongs to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from holdfast.cli.options import actor, folder_option, json_option, open_deployment, print_json, print_table
from holdfast.clock import SystemClock, parse_time_us
from holdfast.privacy import PSEUDONYM_KEY_VARIABLE, open_sealer
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.train import Asked, Comparison, Difference, Secrets, TrainReport


class _Moment(click.ParamType[int]):
    """An ISO 8601 time, as microseconds since the epoch."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_time_us(str(value))
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 time, such as 2026-03-14 or 2026-03-14T12:00Z", param, ctx)


def _secrets(deployment: Deployment) -> Secrets:
    key = os.environ.get(PSEUDONYM_KEY_VARIABLE)
    return Secrets(
        pseudonym_key=None if key is None else key.encode(),
        sealer=open_sealer(deployment.checklist.privacy, deployment.folder, os.environ, SystemClock()),
    )


@click.group("train", invoke_without_command=True)
@folder_option
@click.option("--since", type=_Moment(), help="Learn from rows of this time and later (ISO 8601).")
@click.option("--until", type=_Moment(), help="Leave out rows from this time on.")
@click.option("--from-diagnosis", type=int, metavar="ID", help="Do what this diagnosis found best.")
@click.option("--keep-worse", is_flag=True, help="Register a challenger that is surely worse all the same.")
@json_option
@click.pass_context
def train_command(
    context: click.Context,
    folder: Path,
    since: int | None,
    until: int | None,
    from_diagnosis: int | None,
    *,
    keep_worse: bool,
    as_json: bool,
) -> None:
    """Build the data set, train a challenger, and judge it against the champion on the newest rows.

    The challenger is registered with the comparison as evidence; who answers does not change. One that is
    surely worse is not registered.
    """
    if context.invoked_subcommand is not None:
        return
    from holdfast.train import train_challenger

    deployment = open_deployment(folder)
    clock = SystemClock()
    with Registry.open(deployment.registry_url, clock) as registry:
        asked = Asked(since_us=since, until_us=until, from_diagnosis=from_diagnosis, keep_worse=keep_worse)
        line = _ProgressLine(shown=not as_json and sys.stderr.isatty())
        try:
            report = train_challenger(
                deployment,
                registry,
                asked,
                clock=clock,
                secrets=_secrets(deployment),
                environ=os.environ,
                actor=actor(),
                progress=line.move,
            )
        finally:
            line.end()
    if as_json:
        print_json(report)
        return
    _print_report(deployment, report, folder)


class _ProgressLine:
    """One line on standard error that is written anew."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._width = 0

    def move(self, seconds: float, said: str) -> None:
        if not self._shown:
            return
        share, _, words = said.partition(" ")
        percent = f"{100 * float(share):3.0f} % " if share.replace(".", "", 1).isdigit() else ""
        text = f"training {seconds:6.1f} s {percent}{words[:60]}"
        click.echo("\r" + text.ljust(self._width), nl=False, err=True)
        self._width = len(text)

    def end(self) -> None:
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)


def _print_report(deployment: Deployment, report: TrainReport, folder: Path) -> None:
    place = "" if folder == Path() else f" -C {folder}"
    rows = ", ".join(f"{count} {name}" for name, count in report.rows.items())
    click.echo(
        f"Registered version {report.version} of {deployment.name}, trained on data set "
        f"{report.data_set[:12]} "
        f"({rows} rows; {report.recipe})."
    )
    for note in report.notes:
        click.echo(f"  {note}")
    _print_comparison(report.comparison)
    if report.champion == report.version or report.champion is None:
        click.echo(f"It is the champion. Next: holdfast serve{place}")
    elif report.comparison.verdict == "better":
        click.echo(f"Next: holdfast rollout promote {report.version}{place}")
    else:
        click.echo(f"The champion is still version {report.champion}.")


def _print_comparison(comparison: Comparison) -> None:
    against = f"champion {comparison.champion}" if comparison.champion.isdecimal() else "a constant answer"
    test = f"{comparison.test_rows} test rows of {comparison.test_since[:10]} to {comparison.test_until[:10]}"
    if comparison.verdict == "not told apart":
        click.echo(f"On {test} it cannot be told apart from {against}:")
    else:
        click.echo(f"On {test} it is {comparison.verdict} than {against}:")
    table = [[name, *_cells(one)] for name, one in comparison.overall.items()]
    print_table("", ["metric", "champion", "challenger", "difference", "95 % interval", ""], table)
    main = comparison.main_metric
    told = [one for one in comparison.slices if one.metrics[main].verdict != "not told apart"]
    if told:
        table = [[one.name, str(one.rows), *_cells(one.metrics[main])] for one in told]
        print_table(
            main, ["slice", "rows", "champion", "challenger", "difference", "95 % interval", ""], table
        )
    for note in comparison.notes:
        click.echo(f"Note: {note}")


def _cells(one: Difference) -> list[str]:
    interval = "" if one.low is None or one.high is None else f"{one.low:+.4g} to {one.high:+.4g}"
    return [
        f"{one.champion:.5g}",
        f"{one.challenger:.5g}",
        f"{one.difference:+.4g}",
        interval,
        "" if one.verdict == "not told apart" else one.verdict,
    ]

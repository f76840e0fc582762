"""`holdfast check`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from holdfast.cli.app import EXIT_ERROR, EXIT_OK
from holdfast.cli.options import folder_option, json_option, open_deployment, open_registry, print_json
from holdfast.clock import SystemClock
from holdfast.spec import ChecklistError, Duration

if TYPE_CHECKING:
    from holdfast.check import CheckReport

EXIT_UNKNOWN: Final = 2
_EXITS: Final = {"pass": EXIT_OK, "fail": EXIT_ERROR, "unknown": EXIT_UNKNOWN}
_STYLES: Final = {"pass": "green", "fail": "bold red", "unknown": "yellow"}


@click.command("check")
@folder_option
@click.option("--version", "model_version", help="Model version; the champion by default.")
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=6.0,
    show_default=True,
    help="Of load. Longer gives narrower intervals.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the arrivals.")
@click.option(
    "--send-alerts", is_flag=True, help="Send each channel of [alerts] a test message; else nothing is sent."
)
@click.option(
    "--reuse",
    metavar="AGE",
    help="Take what the last check measured, if it is no older (such as 24h), all of it passed, and version, "
    "checklist, machine and software are the same.",
)
@json_option
def check_command(
    folder: Path,
    model_version: str | None,
    seconds: float,
    seed: int,
    reuse: str | None,
    *,
    send_alerts: bool,
    as_json: bool,
) -> int:
    """Prove the checklist line by line, before release: what was asked, what was measured, the verdict.

    Runs the real service on a copy of the deployment, held to [compute], under the load of [speed]; its
    predictions stay out of the log. The findings are stored as evidence of the version. Exits with 0 if every
    line passes, 1 if one fails, 2 if none fails and one is unknown. About half a minute.
    """
    from holdfast.check import Effort, check_deployment, check_invalid

    # Asked to end, it ends the service that it started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    clock = SystemClock()
    reuse_us = _age_us(reuse)
    try:
        deployment = open_deployment(folder)
    except ChecklistError as error:
        if not (folder / "holdfast.toml").exists():
            raise
        report = check_invalid(folder.resolve().name, error, clock)
    else:
        with open_registry(deployment) as registry:
            report = check_deployment(
                deployment,
                registry,
                clock,
                os.environ,
                version=model_version,
                effort=Effort(seconds=seconds, seed=seed),
                send_alerts=send_alerts,
                reuse_us=reuse_us,
                said=lambda line: click.secho(f"  {line}", err=True, dim=True),
            )
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    return _EXITS[report.verdict]


def _age_us(text: str | None) -> int:
    if text is None:
        return 0
    try:
        return Duration.parse(text).microseconds
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no age such as 24h or 7d", param_hint="--reuse") from error


def _print_report(report: CheckReport) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    before = report.last_release
    table = Table(header_style="bold", box=None, pad_edge=False)
    columns = ["line", "asked", "measured (interval)", "verdict"]
    if before is not None:
        columns.append(f"version {before.version} had")
    for column in columns:
        # A key is copied into the checklist, so it stays in one piece.
        table.add_column(column, no_wrap=column in {"line", "verdict"}, overflow="fold")
    for line in report.lines:
        measured = _shown(line.measured)
        if line.interval is not None:
            measured += f" ({_shown(line.interval[0])} to {_shown(line.interval[1])})"
        cells = [line.line, _shown(line.asked), measured]
        verdict = line.verdict if line.at is None else f"{line.verdict} *"
        row = [*map(Text, cells), Text(verdict, style=_STYLES[line.verdict])]
        if before is not None:
            row.append(Text(_shown(before.measured.get(line.line))))
        table.add_row(*row)
    console = Console()
    console.print(table)
    advised = [line for line in report.lines if line.advice]
    for line in advised:
        console.print(Text(f"{line.line}: {line.advice}", style=_STYLES[line.verdict]))
    for at in sorted({line.at for line in report.lines if line.at is not None}):
        console.print(f"* measured {at[:16].replace('T', ' ')} UTC, and nothing has changed since")
    console.print(Text(f"{report.confined}; {report.machine}; {report.software}", style="dim"))
    which = f"version {report.version} of {report.name}" if report.version else report.name
    console.print(Text(f"{which}: {report.verdict}", style=_STYLES[report.verdict]))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.0f}"
    return str(value)

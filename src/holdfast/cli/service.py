"""`holdfast serve` and `keep`."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from holdfast.cli.options import folder_option, json_option, open_deployment, open_registry, print_json
from holdfast.spec import Deployment

KEEPER_NICENESS = 5
"""Where cores are short the workers go first: rows that are spooled can wait, callers cannot. Of a core that
it shares with one worker the keeper still gets a fourth."""

if TYPE_CHECKING:
    from holdfast.alerts import LogAlarms
    from holdfast.serve import Served

ROOMY_MB: Final = 1024
"""From so much memory of the service on, 45 MB for a dashboard that is ready are not missed."""


@click.command("serve")
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path, file_okay=False))
@folder_option
@click.option(
    "--all",
    "gathered",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Serve every deployment folder in DIR, and take up and leave out those that come and go.",
)
@click.option("--host", help="Address to listen on, instead of [target] host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port, instead of [target] port; 0 takes a free one."
)
@click.option("--workers", type=click.IntRange(1), help="Worker processes, instead of [compute] cores.")
@click.option("--no-monitor", is_flag=True, help="Do not judge the windows in the background.")
def serve_command(
    folders: tuple[Path, ...],
    folder: Path,
    host: str | None,
    port: int | None,
    workers: int | None,
    *,
    gathered: Path | None,
    no_monitor: bool,
) -> None:
    """Answer predictions over HTTP until SIGTERM or Ctrl-C, then drain and stop.

    With several folders, one service answers for all of these deployments, on one port and in the same
    workers: protocols v2 and v1 name the model, all other paths begin with /deployments/NAME.

    Runs one worker per core, the keeper that moves the log into its tables, the monitor, where [training]
    unattended is true the watch that trains, and while a rollout is open its policy and its challenger.
    """
    overrides = {
        "HOLDFAST_TARGET__HOST": host,
        "HOLDFAST_TARGET__PORT": port,
        "HOLDFAST_COMPUTE__CORES": workers,
    }
    # Set for this process, so that the workers and the background processes read the same answers.
    os.environ.update({key: str(value) for key, value in overrides.items() if value is not None})
    from holdfast.serve import Gathering, serve_several

    if gathered is not None:
        if folders:
            raise click.UsageError("Give either --all or folders.")
        gathering = Gathering(gathered, lambda one: _served(one, several=True, no_monitor=no_monitor))
        raise SystemExit(serve_several(gathering.first(), gathering))
    served = [open_deployment(one) for one in folders or (folder,)]
    raise SystemExit(
        serve_several([_served(one, several=len(served) > 1, no_monitor=no_monitor) for one in served])
    )


def _served(deployment: Deployment, *, several: bool, no_monitor: bool) -> Served:
    """The deployment with its keeper, monitor, rollout policy and dashboard."""
    from holdfast.serve import ChildSpec, Served

    # -P: a file in the working folder, such as http.py, is not taken for a module of the same name.
    this = [sys.executable, "-P", "-m", "holdfast"]
    place = ["-C", str(deployment.folder)]
    background = []
    if deployment.checklist.logging.enabled:
        background.append(ChildSpec("keeper", [*this, "keep", *place]))
        if not no_monitor:
            background.append(ChildSpec("monitor", [*this, "monitor", "--follow", "--quiet", *place]))
        if deployment.checklist.training.unattended:
            background.append(ChildSpec("training", [*this, "train", "watch", "--quiet", *place]))
    background.append(ChildSpec("rollout", [*this, "rollout", "run", "--quiet", *place], during="rollout"))
    pages = deployment.checklist.target.dashboard
    if pages == "auto":
        roomy = not several and deployment.checklist.compute.memory_mb >= ROOMY_MB
        pages = "ready" if roomy else "asked"
    below = ["--below", f"/deployments/{deployment.name}"] if several else []
    dashboard = [] if pages == "none" else [*this, "ui", *place, *below, "--socket"]
    return Served(deployment, background, dashboard, keep_dashboard=pages == "ready")


@click.command("keep")
@folder_option
@click.option("--once", is_flag=True, help="Make one pass and stop.")
@json_option
def keep_command(folder: Path, *, once: bool, as_json: bool) -> None:
    """Move spooled records into the log's tables, exactly once, until stopped.

    `serve` runs this by itself.
    """
    from holdfast.clock import SystemClock
    from holdfast.prediction_log import Keeper

    deployment = open_deployment(folder)
    if once:
        report = Keeper(deployment, clock=SystemClock()).run_once()
        if as_json:
            print_json(report)
        elif not report.lease:
            click.echo("Another keeper is at work on this log.")
        else:
            click.echo(f"Moved {report.predictions} predictions and {report.labels} labels.")
        return
    os.nice(KEEPER_NICENESS)
    # Hundreds of thousands of records in lists hold no cycles: looking for some was a sixth of the work.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    stop = stop_on_signal()
    with _log_alarms(deployment) as alarms:
        Keeper(
            deployment,
            clock=SystemClock(),
            on_account=None if alarms is None else alarms.on_account,
            on_failure=None if alarms is None else alarms.on_failure,
        ).run(stop)


@contextmanager
def _log_alarms(deployment: Deployment) -> Iterator[LogAlarms | None]:
    """Tells of rows that are lost or unaccounted for; without channels nothing is opened for it."""
    alerts = deployment.checklist.alerts
    if not (alerts.webhooks or alerts.channels or alerts.pagers):
        yield None
        return
    from holdfast.alerts import AlertError, Alerting, LogAlarms
    from holdfast.clock import SystemClock

    clock = SystemClock()
    with open_registry(deployment) as registry:
        try:
            alerting = Alerting.open(deployment, registry, clock, os.environ)
        except AlertError as error:  # the log is kept all the same
            click.echo(f"nobody is told of alarms: {error}", err=True)
            yield None
            return
        with alerting.sending():
            yield LogAlarms(alerting, clock)


def stop_on_signal() -> threading.Event:
    """An event that SIGTERM and SIGINT set, for a loop that ends between two passes."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop

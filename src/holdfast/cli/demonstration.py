"""`holdfast demo`: the whole loop once, on a world whose truth is known."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from holdfast.cli.app import EXIT_ERROR
from holdfast.cli.options import json_option, print_json


@click.command("demo")
@click.option("--headless", is_flag=True, help="Draw nothing while it runs.")
@click.option("--fast", is_flag=True, help="A smaller world: under 60 s on 2 cores.")
@click.option(
    "--keep",
    "keep_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Leave the deployment here.",
)
@click.option("--seed", default=1, show_default=True, help="Which world.")
@click.option("--no-change", is_flag=True, help="A world that stays as it is: holdfast should stay silent.")
@json_option
def demo_command(
    keep_folder: Path | None, seed: int, *, headless: bool, fast: bool, no_change: bool, as_json: bool
) -> int:
    """Train, register, serve, play weeks of card traffic over HTTP, and see what holdfast finds.

    In the middle, overnight, many people start to buy online, and for part of them what used to be fraud
    no longer is. The generator knows the truth; exit 1 if the diagnosis does not agree with it.
    """
    from holdfast.demo import run_demo

    # The service is a process of its own: a plain SIGTERM would leave it behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    report = run_demo(
        seed=seed, change=not no_change, fast=fast, folder=keep_folder, headless=headless or as_json
    )
    if as_json:
        print_json(report)
    elif headless:
        click.echo(str(report))
    return 0 if report.agrees and report.unaccounted == 0 else EXIT_ERROR

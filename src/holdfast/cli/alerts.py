"""`holdfast alerts`: test the channels, list what stands and what was told."""

from __future__ import annotations

import os
from pathlib import Path

import click

from holdfast.cli.app import EXIT_ERROR, EXIT_OK
from holdfast.cli.options import (
    CommandGroup,
    folder_option,
    json_option,
    open_deployment,
    open_registry,
    print_json,
    print_table,
)
from holdfast.clock import SystemClock, iso_utc


@click.group("alerts", cls=CommandGroup)
def alerts_command() -> None:
    """Test the channels of alarms; list what stands and what was told to whom."""


@alerts_command.command("test")
@folder_option
@json_option
def test_channels(folder: Path, *, as_json: bool) -> int:
    """Send a test message to every channel now, and say which have taken it. Exit code 1 if one has not."""
    from holdfast.alerts import AlertError, Alerting

    deployment = open_deployment(folder)
    clock = SystemClock()
    with open_registry(deployment) as registry:
        alerting = Alerting.open(deployment, registry, clock, os.environ)
        if not alerting.channels:
            raise AlertError(
                "no channel is named",
                where="[alerts]",
                expected="webhooks, channels or pagers",
                next_step='Add webhooks = ["https://..."] or channels = ["env:NAME"] to the checklist',
            )
        found = alerting.test()
    taken = all(one.state == "sent" for one in found)
    if as_json:
        print_json([{"channel": one.channel, "state": one.state, "error": one.error} for one in found])
    else:
        for one in found:
            click.echo(f"{one.channel}: {'taken' if one.state == 'sent' else one.error or 'no answer yet'}")
    return EXIT_OK if taken else EXIT_ERROR


@alerts_command.command("list")
@folder_option
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Newest messages shown."
)
@json_option
def list_alerts(folder: Path, limit: int, *, as_json: bool) -> None:
    """List the alarms that stand and the newest messages with their state: waiting, sent or given up."""
    with open_registry(open_deployment(folder)) as registry:
        outbox = registry.outbox
        alarms, sent, counts = outbox.alarms(standing=True), outbox.deliveries(limit), outbox.counts()
    if as_json:
        print_json({"standing": alarms, "counts": counts, "messages": sent})
        return
    for alarm in alarms:
        click.echo(
            f"Stands since {iso_utc(alarm.opened_at_us)[:19]}: {alarm.key} ({', '.join(alarm.topics)})"
        )
    if not alarms:
        click.echo("No alarm stands.")
    rows = [
        [
            iso_utc(one.written_at_us)[:19],
            str(one.content.get("kind", "")),
            str(one.content.get("title", "")),
            one.channel,
            one.state,
            str(one.tries),
            one.error,
        ]
        for one in sent
    ]
    if rows:
        print_table("", ["written (UTC)", "kind", "about", "channel", "state", "tries", "error"], rows)
    click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))

"""`holdfast audit`: who did what, and the proof that nothing of it was changed."""

from __future__ import annotations

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
from holdfast.clock import iso_utc


@click.group("audit", cls=CommandGroup)
def audit_command() -> None:
    """Show who did what, and prove that nothing of it was changed."""


@audit_command.command("show")
@folder_option
@click.option(
    "-n", "--entries", default=50, show_default=True, type=click.IntRange(1), help="The newest so many."
)
@json_option
def show(folder: Path, entries: int, *, as_json: bool) -> None:
    """Show the newest administrative acts and readings of raw rows."""
    with open_registry(open_deployment(folder)) as registry:
        found = registry.audit.entries(entries)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            str(one.number),
            iso_utc(one.at_us)[:19],
            one.actor,
            one.action,
            one.target,
            " ".join(
                f"{name}={value}" for name, value in one.detail.items() if value is not None and value != ""
            ),
        ]
        for one in found
    ]
    print_table("", ["number", "when (UTC)", "by", "act", "on", ""], rows)


@audit_command.command("verify")
@folder_option
@click.option(
    "--head", metavar="HASH", help="Printed by an earlier verification: shows that nothing was cut off since."
)
@json_option
def verify(folder: Path, head: str | None, *, as_json: bool) -> int:
    """Recompute the chain of hashes. Exit 1 and name every entry that was changed, removed or put in."""
    with open_registry(open_deployment(folder)) as registry:
        report = registry.audit.verify(head=head)
    if as_json:
        print_json(report)
    else:
        entries = "1 entry" if report.entries == 1 else f"{report.entries} entries"
        click.echo(f"The audit of {entries} is {'whole' if report.ok else 'NOT whole'}.")
        for fault in report.broken:
            click.echo(f"  {fault}")
        click.echo(f"Head, to be kept elsewhere: {report.head}")
    return EXIT_OK if report.ok else EXIT_ERROR

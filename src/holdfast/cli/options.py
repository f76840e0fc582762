"""Options and printing that several commands share."""

from __future__ import annotations

import getpass
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from holdfast.spec import Deployment

if TYPE_CHECKING:
    from holdfast.registry import Registry

Command = TypeVar("Command", bound=Callable[..., Any])

_WIDEST_LINE: Final = 10_000
"""Letters of a table's row where no terminal bounds it; what is longer is folded."""


class CommandGroup(click.Group):
    """Lists its commands with whole sentences, where click cuts them off at the end of a line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002, D102 - click's
        rows = [
            (name, command.get_short_help_str(limit=1000)) for name, command in sorted(self.commands.items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def folder_option(command: Command) -> Command:
    """`-C DIR`: the deployment folder."""
    return click.option(
        "-C",
        "--dir",
        "folder",
        default=".",
        show_default=True,
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="The deployment folder, where holdfast.toml is.",
    )(command)


def json_option(command: Command) -> Command:
    """`--json`: one JSON document on standard output, and errors as JSON on standard error."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def open_deployment(folder: Path) -> Deployment:
    """The deployment of that folder, with overrides from this process's environment."""
    return Deployment.open(folder, os.environ)


def open_registry(deployment: Deployment) -> Registry:
    """The registry of the deployment, for a `with` block."""
    from holdfast.clock import SystemClock
    from holdfast.registry import Registry

    return Registry.open(deployment.registry_url, SystemClock())


def actor() -> str:
    """Who runs this command, as it stands in decisions and in the audit."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def print_json(value: Any) -> None:
    """One JSON document on standard output, indented, with floats that JSON cannot hold as null."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table for people, in the style of the terminal. Cells may hold whatever a caller sent.

    Where no terminal says how wide it is, one row is one line, whatever its length, for `grep` and its like.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(Text(printable(column)))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        unbounded = console.options.update(max_width=_WIDEST_LINE)
        console.width = max(console.width, Measurement.get(console, unbounded, table).maximum)
    console.print(table)


def printable(text: str) -> str:
    """The text with everything escaped that would move a terminal's cursor, colour it or hide letters."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def place(folder: Path) -> str:
    """What a suggested command needs so that it finds the same deployment."""
    return "" if folder == Path() else f" -C {shlex.quote(str(folder))}"


def first_use(deployment: Deployment, folder: Path) -> str:
    """The command by which a new champion is used."""
    batch = deployment.checklist.predictions.mode == "batch"
    return f"holdfast {'score SOURCE TARGET' if batch else 'serve'}{place(folder)}"

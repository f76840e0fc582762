"""The root command: which commands there are, how errors are printed, and what the exit codes mean."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NoReturn

import click

from holdfast.compiled import hot_path_is_compiled
from holdfast.errors import HoldfastError

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_ALARM: Final = 3
EXIT_INTERRUPTED: Final = 130

EXIT_CODES: Final = {
    EXIT_OK: "done",
    EXIT_ERROR: "failed; the message says what, where and what to do next",
    EXIT_USAGE: "the command line was wrong; of check: no line failed, and one is unknown",
    EXIT_ALARM: "done, and an alarm stands (only with --fail-on-alarm)",
    EXIT_INTERRUPTED: "stopped by Ctrl-C",
}

BUILD: Final = " (hot path compiled)" if hot_path_is_compiled() else ""

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("holdfast.cli.checklist", "Write a checklist (holdfast.toml) by asking its questions."),
    "schema": ("holdfast.cli.checklist", "Print the checklist's JSON Schema."),
    "register": ("holdfast.cli.models", "Register a model with its reference data."),
    "versions": ("holdfast.cli.models", "List the registered model versions."),
    "rollout": (
        "holdfast.cli.rollout",
        "Start, watch, hold, promote or roll back a challenger; show what is routed.",
    ),
    "check": ("holdfast.cli.checking", "Prove the checklist line by line, before release."),
    "loadtest": ("holdfast.cli.load_test", "Load a service over the wire and report its latencies."),
    "compress": ("holdfast.cli.compressing", "Make a version smaller and faster, within an allowed loss."),
    "serve": ("holdfast.cli.service", "Answer predictions over HTTP."),
    "ui": ("holdfast.cli.pages", "Show the dashboard of a deployment folder, read-only."),
    "report": ("holdfast.cli.pages", "Write the diagnosis as HTML or PDF, for e-mail and audits."),
    "keep": (
        "holdfast.cli.service",
        "Move spooled records into the log's tables (serve runs this by itself).",
    ),
    "key": ("holdfast.cli.keys", "Make, list and revoke API keys."),
    "erase": ("holdfast.cli.subject", "Erase a subject everywhere, with a signed certificate."),
    "consent": ("holdfast.cli.subject", "Record that a subject agrees to use for training, or withdraws."),
    "subject": ("holdfast.cli.subject", "Export what is held about a subject; verify a certificate."),
    "audit": ("holdfast.cli.audit", "Show who did what, and prove that nothing of it was changed."),
    "score": ("holdfast.cli.tables", "Score a table: Parquet or CSV in, Parquet or CSV out."),
    "label": ("holdfast.cli.tables", "Add labels from a file, by prediction id."),
    "log": ("holdfast.cli.prediction_log", "Read and prove the prediction log."),
    "monitor": ("holdfast.cli.monitoring", "Judge the windows of the log and print the diagnosis."),
    "diagnose": ("holdfast.cli.monitoring", "Compare two tables without any service."),
    "alerts": ("holdfast.cli.alerts", "Test the channels of alarms; list what was told to whom."),
    "train": ("holdfast.cli.training", "Train a challenger and judge it against the champion."),
    "demo": ("holdfast.cli.demonstration", "See the whole loop once, with a world that changes overnight."),
}


class LazyGroup(click.Group):
    """Imports a command's module only when that command runs, so that `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: D102, ARG002 - click's interface
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: D102 - click's
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, summary = COMMANDS[cmd_name]
        if ctx.resilient_parsing or ctx.meta.get("holdfast.listing"):
            return click.Command(cmd_name, short_help=summary)
        command: click.Command = getattr(import_module(module), f"{cmd_name}_command")
        return command

    def resolve_command(  # noqa: D102 - click's interface
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise _with_nearest(error, args[0]) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002, D102 - click's
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002, D102 - click's
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


def _with_nearest(error: click.UsageError, typed: str) -> click.UsageError:
    from difflib import get_close_matches

    near = get_close_matches(typed, COMMANDS, n=1)
    return click.UsageError(f"{error.message} Did you mean {near[0]!r}?", error.ctx) if near else error


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="holdfast", message=f"%(prog)s, version %(version)s{BUILD}")
def root() -> None:
    """Takes a trained model into production and keeps it good there.

    A deployment is a folder with a checklist, holdfast.toml. Start with `holdfast init`, or watch
    `holdfast demo`.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code.

    Errors go to standard error; with `--json` among the arguments, as one JSON object.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = root.main(given, prog_name="holdfast", standalone_mode=False)
    except click.ClickException as error:
        if "--json" in given:
            _print_error(HoldfastError(error.format_message().rstrip(".")), as_json=True)
        else:
            error.show()
        sys.exit(error.exit_code)
    except HoldfastError as error:
        _print_error(error, as_json="--json" in given)
        sys.exit(EXIT_ERROR)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Stopped.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_OK)
    except OSError as error:
        _print_error(_refused_by_the_system(error), as_json="--json" in given)
        sys.exit(EXIT_ERROR)
    sys.exit(code if isinstance(code, int) else EXIT_OK)


class SystemRefusedError(HoldfastError):
    """The operating system did not do what a command asked of it: a full disk, a folder of somebody else."""


def _refused_by_the_system(error: OSError) -> SystemRefusedError:
    steps = {
        errno.ENOSPC: "Free some space, then run the same command again",
        errno.EDQUOT: "Free some space, then run the same command again",
        errno.EACCES: "Choose a place that you may write to",
        errno.EPERM: "Choose a place that you may write to",
        errno.EROFS: "Choose a place that can be written to",
    }
    text = error.strerror or str(error)
    return SystemRefusedError(
        text[:1].lower() + text[1:],
        where=None if error.filename is None else str(error.filename),
        next_step=None if error.errno is None else steps.get(error.errno),
    )


def _print_error(error: HoldfastError, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(error.as_dict()).decode(), err=True)
    else:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)

"""`holdfast init` and `holdfast schema`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from holdfast.cli.options import print_json
from holdfast.errors import HoldfastError
from holdfast.spec import Question, json_schema, parse_checklist, questions, render_checklist, validate_answer


class FileExistsAlreadyError(HoldfastError):
    """`init` never overwrites a checklist unless told to."""


@click.command("init")
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="The deployment's name; without it the folder's name is proposed.")
@click.option("--yes", is_flag=True, help="Take every default that is not set by a flag; ask nothing.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Answer one question on the command line, such as --set speed.p99_ms=50. Repeatable.",
)
@click.option("--force", is_flag=True, help="Replace an existing holdfast.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print the path and the answers as JSON.")
def init_command(
    folder: Path, name: str | None, *, yes: bool, settings: tuple[str, ...], force: bool, as_json: bool
) -> None:
    """Write a commented checklist, holdfast.toml, into FOLDER by asking its questions.

    Every question has a default; press Enter to take it. --yes asks nothing, for scripts.
    """
    path = folder / "holdfast.toml"
    if path.exists() and not force:
        raise FileExistsAlreadyError(
            "there is a checklist already",
            where=str(path),
            next_step="Edit it, or replace it with --force.",
        )
    asked = questions()
    answers = _from_flags(settings)
    if name is not None:
        answers["model.name"] = name
    interactive = not yes and sys.stdin.isatty()
    for question in asked:
        if question.path in answers or not question.applies(answers):
            continue
        default = folder.resolve().name if question.path == "model.name" else question.default
        if interactive:
            answers[question.path] = _ask(question, default, answers)
        elif question.path == "model.name":
            answers[question.path] = default
    text = render_checklist(answers, full=True)
    parse_checklist(text, source=str(path))
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"path": str(path), "answers": answers})
        return
    click.echo(f"Wrote {path}.")
    place = "" if folder == Path() else f" -C {shlex.quote(str(folder))}"
    click.echo(f"Next: holdfast register MODEL --reference FILE{place}")


def _from_flags(settings: tuple[str, ...]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise click.BadParameter(f"{setting!r} is not SECTION.KEY=VALUE", param_hint="--set")
        answers[key] = validate_answer(key, text)
    return answers


def _ask(question: Question, default: Any, answers: dict[str, Any]) -> Any:
    click.echo()
    click.secho(question.text, bold=True)
    click.secho(f"  {question.explanation}", dim=True)
    if question.choices:
        click.echo(f"  one of: {', '.join(question.choices)}")
    while True:
        shown = None if default is None else str(default)
        text = click.prompt("  answer", default=shown, prompt_suffix=" > ")
        try:
            return validate_answer(question, text, answers)
        except HoldfastError as error:
            click.secho(f"  {error}", fg="red")


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of holdfast.toml, for editors that complete and check it."""
    print_json(json_schema())

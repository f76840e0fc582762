"""`holdfast init` and `holdfast schema`."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.options import place, print_json
from holdfast.errors import HoldfastError
from holdfast.files import write_whole
from holdfast.spec import (
    Checklist,
    Question,
    json_schema,
    parse_checklist,
    questions,
    render_checklist,
    validate_answer,
)

if TYPE_CHECKING:
    from holdfast.check import Proposal, Suggested


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
@click.option(
    "--model",
    "model_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A model file, whose size proposes answers; it is not run.",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Parquet or CSV, whose columns propose answers: times, people, what must not be logged.",
)
@click.option("--force", is_flag=True, help="Replace an existing holdfast.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print the path and the answers as JSON.")
def init_command(
    folder: Path,
    name: str | None,
    model_file: Path | None,
    reference: Path | None,
    *,
    yes: bool,
    settings: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Write a commented checklist, holdfast.toml, into FOLDER by asking its questions.

    Every question has a default; press Enter to take it. --yes asks nothing, for scripts. With --model and
    --reference some defaults are proposed from them, with the reason. Answers that fight each
    other are named.
    """
    path = folder / "holdfast.toml"
    if path.exists() and not force:
        raise FileExistsAlreadyError(
            "there is a checklist already",
            where=str(path),
            next_step="Edit it, or replace it with --force.",
        )
    asked = questions()
    from_flags = _from_flags(settings)
    answers = dict(from_flags)
    if name is not None:
        answers["model.name"] = name
    interactive = not yes and sys.stdin.isatty()
    suggested = _suggested(model_file, reference, answers)
    proposed = {} if suggested is None else {one.path: one for one in suggested.proposals}
    for question in asked:
        if question.path in answers or not question.applies(answers):
            continue
        default = _name_of(folder) if question.path == "model.name" else question.default
        if question.path == "compute.memory_mb" and suggested is not None:
            proposed |= _memory(suggested, answers)
        proposal = proposed.get(question.path)
        if interactive:
            answers[question.path] = _ask(question, default, answers, proposal)
            answers |= _implied(answers)
        elif question.path == "model.name":
            answers[question.path] = default
    answers |= _implied(answers)
    _take_proposals(proposed, answers, asked if interactive else [])
    text = render_checklist(answers, full=True)
    checklist = parse_checklist(text, source=str(path))
    warnings = _conflicts(checklist, suggested)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    if as_json:
        reasons = {path: one.reason for path, one in proposed.items()}
        print_json({"path": str(path), "answers": answers, "proposed": reasons, "conflicts": warnings})
        return
    for one in proposed.values():
        if answers.get(one.path) == one.value:
            click.echo(f"{one.path} = {one.value}: {one.reason}")
    if answers.get("security.auth") == "keys" and "security.auth" not in {*from_flags, *proposed}:
        click.echo('security.auth = keys: sensitivity = "high" asks for it')
    for line in () if suggested is None else suggested.notes:
        click.echo(line)
    if warnings:
        click.secho("These answers fight each other; `holdfast check` would fail:", fg="yellow", bold=True)
    for line in warnings:
        click.secho(f"  {line}", fg="yellow")
    named = answers.get("model.name")
    if name is None and named != folder.resolve().name:
        click.echo(f"model.name = {named}: from the folder's name; --name gives another")
    click.echo(f"Wrote {path}.")
    click.echo(f"Next: holdfast register MODEL --reference FILE{place(folder)}")


def _name_of(folder: Path) -> str:
    """The folder's name as a deployment's: letters without accents, and dashes for what no name may hold."""
    plain = unicodedata.normalize("NFKD", folder.resolve().name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._") or "model"


def _suggested(model_file: Path | None, reference: Path | None, answers: dict[str, Any]) -> Suggested | None:
    if model_file is None and reference is None:
        return None
    from holdfast.check import suggest

    return suggest(model_file, reference, int(answers.get("compute.cores", 1)))


def _memory(suggested: Suggested, answers: dict[str, Any]) -> dict[str, Proposal]:
    """Proposed once the cores are known."""
    if suggested.model_mb is None:
        return {}
    from holdfast.check import memory_proposal

    proposal = memory_proposal(suggested.model_mb, int(answers.get("compute.cores", 1)))
    return {proposal.path: proposal}


def _take_proposals(
    proposed: dict[str, Proposal], answers: dict[str, Any], asked: Sequence[Question]
) -> None:
    """Those that were no question, and that do not go against what was answered."""
    paths = {question.path for question in asked}
    for path, proposal in proposed.items():
        unwanted = path == "security.auth" and answers.get("privacy.sensitivity", "high") != "high"
        if path not in answers and path not in paths and not unwanted:
            answers[path] = proposal.value


def _conflicts(checklist: Checklist, suggested: Suggested | None) -> list[str]:
    from holdfast.check import Facts, find_conflicts

    known = (None, None) if suggested is None else (suggested.model_mb, suggested.runtime)
    found = find_conflicts(Facts(checklist, *known))
    return [f"{' and '.join(conflict.keys)}: {conflict.text}" for conflict in found]


def _from_flags(settings: tuple[str, ...]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise click.BadParameter(f"{setting!r} is not SECTION.KEY=VALUE", param_hint="--set")
        answers[key] = validate_answer(key, text)
    return answers


def _implied(answers: dict[str, Any]) -> dict[str, Any]:
    """What an answer asks for that is no question of its own: callers of sensitive data have a key."""
    sensitive = answers.get("privacy.sensitivity") == "high"
    at_once = answers.get("predictions.mode", "realtime") == "realtime"
    return {"security.auth": "keys"} if sensitive and at_once and "security.auth" not in answers else {}


def _ask(question: Question, default: Any, answers: dict[str, Any], proposal: Proposal | None = None) -> Any:
    click.echo()
    click.secho(question.text, bold=True)
    click.secho(f"  {question.explanation}", dim=True)
    if proposal is not None:
        default = proposal.value
        click.secho(f"  proposed: {proposal.reason}", fg="cyan")
    if question.choices:
        click.echo(f"  one of: {', '.join(question.choices)}")
    while True:
        shown = None if default is None else str(default) if default != {} else ""
        text = click.prompt("  answer", default=shown, prompt_suffix=" > ")
        try:
            sure = {**answers, **_implied({**answers, question.path: text.strip()})}
            return validate_answer(question, text, sure)
        except HoldfastError as error:
            click.secho(f"  {error}", fg="red")


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of holdfast.toml, for editors that complete and check it."""
    print_json(json_schema())

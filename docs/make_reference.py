"""Writes the reference pages that are made from code: the command line and the library surface.

Run `uv run python docs/make_reference.py`; `tests/e2e/test_docs.py` fails when a page is stale.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import click

import holdfast
from holdfast.cli.app import COMMANDS, EXIT_CODES, root

FOLDER = Path(__file__).parent / "reference"
LONGEST_SIGNATURE = 90


def command_line_page() -> str:
    """Every command's help text, in the order of `holdfast --help`."""
    context = click.Context(root, info_name="holdfast", **{**root.context_settings, "max_content_width": 100})
    parts = [
        "# The command line\n",
        "Made from the code by `docs/make_reference.py`; do not edit.\n",
        "Every command takes `--help`; those that print results take `--json`.\n",
        "| exit code | meaning |\n| --- | --- |",
        *(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()),
        "",
    ]
    for name in COMMANDS:
        command = root.get_command(context, name)
        if command is None:
            raise LookupError(name)
        parts.extend(_help(command, name, context))
    return "\n".join(parts)


def _help(command: click.Command, name: str, parent: click.Context) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    level = "##" if parent.parent is None else "###"
    parts = [f"{level} {context.command_path}\n", "```text", command.get_help(context), "```\n"]
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            if found is not None:
                parts.extend(_help(found, sub, context))
    return parts


def library_page() -> str:
    """Signature and docstring of everything that `import holdfast` offers."""
    parts = ["# The library\n", "Made from the code by `docs/make_reference.py`; do not edit.\n"]
    for name in holdfast.__all__:
        thing = getattr(holdfast, name)
        if isinstance(thing, str):
            continue
        if inspect.isclass(thing):
            parts.append(f"## holdfast.{name}\n\n{inspect.getdoc(thing)}\n")
            parts += _fields(thing)
            for member, value in vars(thing).items():
                if member.startswith("_"):
                    continue
                if isinstance(value, property):
                    parts.append(f"### {name}.{member}\n\n{inspect.getdoc(value)}\n")
                elif callable(value):
                    parts.append(_function(f"{name}.{member}", value, "###"))
        else:
            parts.append(_function(f"holdfast.{name}", thing, "##"))
    return "\n".join(parts)


def _fields(thing: type) -> list[str]:
    """A table of the fields, with the text that stands below each in the source."""
    (body,) = (one.body for one in ast.parse(inspect.getsource(thing)).body if isinstance(one, ast.ClassDef))
    rows = []
    for line, below in itertools.pairwise([*body, ast.Pass()]):
        if not isinstance(line, ast.AnnAssign):
            continue
        said = ""
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            said = " ".join(str(below.value.value).split())
        kind = ast.unparse(line.annotation).replace("|", "\\|")
        rows.append(f"| `{ast.unparse(line.target)}` | `{kind}` | {said} |")
    return ["| field | type | |\n|---|---|---|", *rows, ""] if rows else []


def _function(title: str, function: Callable[..., object], level: str) -> str:
    name = title.rsplit(".", 1)[-1]
    documented = inspect.getdoc(function) or ""
    return f"{level} {title}\n\n```python\n{name}{_signature(function)}\n```\n\n{documented}\n"


def _signature(function: Callable[..., object]) -> str:
    """As one writes it: without `self`, and over several lines where it is long."""
    signature = inspect.signature(function)
    given = [one for one in signature.parameters.values() if one.name != "self"]
    # Annotations are texts here, since they are not evaluated.
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(signature.replace(parameters=given)))
    if len(text) <= LONGEST_SIGNATURE:
        return text
    inside, _, result = text[1:].rpartition(") -> ")
    lines = re.split(r", (?=\*|\w+:)", inside)
    return "".join(["(\n", *(f"    {line},\n" for line in lines), ") -> ", result])


PAGES = {"command-line.md": command_line_page, "library.md": library_page}


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

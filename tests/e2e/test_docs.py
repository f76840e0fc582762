"""Pages made from code are not stale, links lead somewhere, and named options exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from holdfast.cli.app import COMMANDS, root

ROOT = Path(__file__).parents[2]


def _make_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["command-line.md", "library.md"])
def test_the_reference_says_what_the_code_says(name: str) -> None:
    page = _make_reference().PAGES[name]()
    written = (ROOT / "docs" / "reference" / name).read_text()
    assert page == written, "stale: run `uv run python docs/make_reference.py`"


def test_every_relative_link_in_the_documentation_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_page_is_found_from_the_first_one() -> None:
    first = ROOT / "docs" / "README.md"
    linked = {
        (first.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", first.read_text())
    }
    pages = {
        page for part in ("how-to", "methods", "reference") for page in (ROOT / "docs" / part).glob("*.md")
    }
    assert pages <= linked


def test_every_option_of_a_command_that_the_documentation_names_exists() -> None:
    checked = 0
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for line in re.findall(r"\bholdfast ([a-z][^`\n#|;]*)", page.read_text()):
            name, *words = line.split()
            if name not in COMMANDS:
                continue
            command = root.get_command(click.Context(root), name)
            if isinstance(command, click.Group) and words and words[0] in command.commands:
                command = command.commands[words.pop(0)]
            assert command is not None
            known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
            named = {found.group() for word in words if (found := re.match(r"--?[a-z][a-z-]*", word))}
            assert named <= known | {"-h", "--help"}, f"{page.relative_to(ROOT)}: holdfast {line}"
            checked += len(named)
    assert checked > 50

"""Pages made from code are not stale, and links between pages lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

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

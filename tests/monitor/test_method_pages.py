"""The Python blocks of the pages on methods run; every page says what is assumed and when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
METHODS = sorted((DOCS / "methods").glob("*.md"))
PAGES = [*METHODS, DOCS / "how-to" / "diagnose-drift.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", METHODS, ids=lambda page: page.stem)
def test_a_method_page_says_what_it_assumes_and_when_it_is_wrong(page: Path) -> None:
    assert re.search(r"^## Assumptions, and when it is wrong$", page.read_text(), re.MULTILINE)

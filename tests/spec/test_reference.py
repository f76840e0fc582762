"""The reference page is made from the structs."""

from __future__ import annotations

import re
from pathlib import Path

from holdfast.spec import parse_checklist
from holdfast.spec.keys import keys
from holdfast.spec.reference import reference_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "checklist.md"


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == reference_page(), (
        "stale: run `uv run python -m holdfast.spec.reference > docs/reference/checklist.md`"
    )


def test_every_key_has_a_row() -> None:
    page = reference_page()
    for section, of_section in keys().items():
        table = page.split(f"## [{section}]")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(of_section)


def test_its_example_is_a_checklist() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", reference_page(), re.DOTALL)
    assert len(example.splitlines()) == 5
    assert parse_checklist(example, source="example").speed.qps == 1000


def test_every_key_but_the_name_gives_its_default_with_a_reason() -> None:
    for of_section in keys().values():
        for key in of_section.values():
            assert key.required or "Default" in key.description, key.path

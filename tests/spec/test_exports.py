"""What `holdfast.spec` offers."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import holdfast.spec


def test_every_exported_name_is_there_and_none_is_a_module() -> None:
    assert len(set(holdfast.spec.__all__)) == len(holdfast.spec.__all__)
    for name in holdfast.spec.__all__:
        assert not isinstance(getattr(holdfast.spec, name), ModuleType), name


@pytest.mark.parametrize("first", ["Question", "render_checklist", "json_schema", "Deployment"])
def test_the_order_of_imports_does_not_matter(first: str) -> None:
    code = f"from holdfast.spec import {first}; from holdfast.spec import *; questions(); json_schema()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = holdfast.spec.nothing


def test_importing_the_room_imports_nothing_heavy() -> None:
    code = "import sys, holdfast.spec; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    third_party = set(done.stdout.split()) - sys.stdlib_module_names - {"__main__", "holdfast", "msgspec"}
    assert {name for name in third_party if not name.startswith("_")} <= {"typing_extensions"}

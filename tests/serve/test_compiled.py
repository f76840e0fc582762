"""The hot path is compiled as a whole, or not at all."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

from holdfast.compiled import hot_path_is_compiled

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_what_is_said_to_be_compiled_is_what_runs_in_every_module_of_the_hot_path() -> None:
    hatch = tomllib.loads(PROJECT.read_text())["tool"]["hatch"]
    files = hatch["build"]["targets"]["wheel"]["hooks"]["mypyc"]["include"]
    names = [file.removeprefix("src/").removesuffix(".py").replace("/", ".") for file in files]
    interpreted = {name for name in names if str(import_module(name).__file__).endswith(".py")}
    assert len(names) > 10
    assert interpreted == (set() if hot_path_is_compiled() else set(names))
